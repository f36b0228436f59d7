"""Whether the arms of a sweep rank the same under every criterion."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from tabulate import tabulate

_SCORES = {"sensitivity": "sensitivity", "ppv": "PPV", "f1": "F1"}


@dataclass(frozen=True)
class ArmRanking:
    """Arms under several criteria.

    Attributes:
        means: columns train_size, criterion, init, sensitivity, ppv, f1, n_patients: the mean over the test patients
            with reference lesions, each the mean of their repeats (and of their sessions before that).
        changes: a sentence for each size and score at which the arms change places between criteria; empty where
            they nowhere do.
    """

    means: pd.DataFrame
    changes: tuple[str, ...]

    def to_text(self, style: str = "simple") -> str:
        """Table and sentences, for a terminal or as Markdown (`style="github"`)."""
        arms = list(dict.fromkeys(self.means["init"]))
        header = ["training studies", "criterion", *(f"{arm} {name}" for arm in arms for name in _SCORES.values())]
        rows = []
        for (size, criterion), group in self.means.groupby(["train_size", "criterion"], sort=False):
            of_arm = {row["init"]: row for row in group.to_dict("records")}
            cells = [_cell(of_arm[arm][score]) if arm in of_arm else "–" for arm in arms for score in _SCORES]
            rows.append([size, criterion, *cells])
        table = tabulate(rows, header, tablefmt=style, disable_numparse=True)
        told = self.changes or ("The arms rank the same under every criterion, at every size, by each score.",)
        return table + "\n\n" + "\n".join(f"- {sentence}" for sentence in told)


def rank_arms(scores: pd.DataFrame) -> ArmRanking:
    """Average each arm under each criterion and see where their order differs.

    Args:
        scores: a row per run, test study and criterion, with the columns init, train_size, repeat, subject,
            criterion, n_reference, sensitivity, ppv and f1; the first criterion is the one that others are told from.

    Raises:
        ValueError: if there is no row.
    """
    if scores.empty:
        raise ValueError("There is nothing to rank: the table of scores has no row.")
    criteria = list(dict.fromkeys(scores["criterion"]))
    with_lesions = scores[scores["n_reference"] > 0]
    keys = ["train_size", "criterion", "init"]
    names = list(_SCORES)
    by_repeat = with_lesions.groupby([*keys, "subject", "repeat"], sort=False)[names].mean()
    by_patient = by_repeat.groupby([*keys, "subject"], sort=False).mean()
    grouped = by_patient.groupby(keys, sort=False)
    means = grouped.mean().assign(n_patients=grouped.size()).reset_index()
    order = means["criterion"].map({name: number for number, name in enumerate(criteria)})
    arms = list(dict.fromkeys(scores["init"]))
    arm_order = means["init"].map({name: number for number, name in enumerate(arms)})
    means = means.assign(_criterion=order, _arm=arm_order).sort_values(["train_size", "_criterion", "_arm"])
    means = means.drop(columns=["_criterion", "_arm"]).reset_index(drop=True)
    changes = [
        sentence
        for size in means["train_size"].unique()
        for score in names
        if (sentence := _change(means[means["train_size"] == size], int(size), score, criteria))
    ]
    return ArmRanking(means, tuple(changes))


def _change(means: pd.DataFrame, size: int, score: str, criteria: Sequence[str]) -> str | None:
    """How the order of arms at one size depends on the criterion; None where it does not."""
    orders: dict[str, list[str]] = {}
    for criterion in criteria:
        rows = means[(means["criterion"] == criterion) & means[score].notna()]
        if len(rows) > 1:
            ranked = rows.assign(shown=rows[score].round(9)).sort_values("shown", ascending=False, kind="stable")
            values = ranked["shown"].tolist()
            names = ranked["init"].tolist()
            text = names[0]
            for before, value, name in zip(values, values[1:], names[1:], strict=False):
                text += f" {'level with' if value == before else 'before'} {name}"
            orders.setdefault(text, []).append(criterion)
    if len(orders) < 2:
        return None
    told = "; ".join(f"{order} under {', '.join(under)}" for order, under in orders.items())
    return f"{size} training studies, {_SCORES[score]}: {told}."


def _cell(value: float) -> str:
    return "–" if value != value else f"{value:.2f}"
