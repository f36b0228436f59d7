"""Whether the arms can be compared: what they differ in, how their learning rates were chosen, and who is behind on
validation. Values only; `lesionseg.report.text` makes sentences of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lesionseg.report.provenance import RunRecord, source_name
from lesionseg.report.text import counted, shown, spread

FIRST_WEIGHTS = "the first weights"
SUBJECTS = "the subjects that they train, validate and test on"
_RATES = ("optim.learning_rate", "optim.learning_rates", "optim.search_steps")


def differing_settings(runs: Sequence[RunRecord], arms: Sequence[str]) -> pd.DataFrame:
    """Return what differs between the arms, or between the runs of an arm.

    Runs of the same size and repeat are compared with each other; where the arms have none in common, all of the one
    with all of the other. A section's ``name`` alone is no difference.
    """
    searched = {run.search is not None for run in runs if run.is_trained}
    values: dict[str, dict[str, dict[tuple[int, int], str]]] = {}
    scopes: dict[str, str] = {}
    keyed = [(run, _settings(run, with_rates=len(searched) < 2)) for run in runs]
    for scope_and_key in dict.fromkeys(pair for _, settings in keyed for pair in settings):
        scope, key = scope_and_key
        scopes[key] = scope
        values[key] = {
            arm: {
                (run.train_size, run.repeat): own.get(scope_and_key, "not set") for run, own in keyed if run.arm == arm
            }
            for arm in arms
        }
    between = [key for key, of_arm in values.items() if _differ(list(of_arm.values()))]
    between = _without_bare_names(between)
    rows = [(key, scopes[key], arm, spread(values[key][arm])) for key in between for arm in arms if values[key][arm]]
    beyond = {key for key in between if scopes[key] == "beyond init"}
    for arm in arms:
        varying = [key for key in values if key not in beyond and len({*values[key][arm].values()}) > 1]
        varying = [key for key in _without_bare_names(varying) if key != SUBJECTS]
        rows += [(key, "within", arm, spread(values[key][arm])) for key in varying]
    return pd.DataFrame(rows, columns=["setting", "scope", "arm", "value"])


def learning_rates(runs: Sequence[RunRecord], arms: Sequence[str]) -> pd.DataFrame:
    """Return which learning rates the runs trained with, and what these were chosen from."""
    rows = []
    for arm in arms:
        own = [run for run in runs if run.arm == arm and run.is_trained]
        ways = {_way(run) for run in own}
        for candidates, steps in sorted(ways):
            alike = [run for run in own if _way(run) == (candidates, steps)]
            rates = [run.search["chosen"] if run.search else run.config["optim"]["learning_rate"] for run in alike]
            text = counted(rates) if candidates or len(set(rates)) > 1 else shown(float(rates[0]))
            rows.append((arm, candidates, steps, text, len(alike)))
    return pd.DataFrame(rows, columns=["arm", "candidates", "steps", "rates", "n_runs"])


def validation_means(runs: Sequence[RunRecord], arms: Sequence[str]) -> pd.DataFrame:
    """Return each arm's mean of its runs' best validation values, over the repeats that all arms have at that size."""
    columns = ["train_size", "score", "arm", "mean", "n_repeats"]
    best = _best(runs)
    if len(arms) < 2 or len({run.monitor for run in runs}) != 1:
        return pd.DataFrame(columns=columns)
    rows = []
    for size, own in best.groupby("train_size"):
        table = own.pivot(index="repeat", columns="arm", values="value").dropna()
        if table.shape[1] > 1 and len(table):
            there = [arm for arm in arms if arm in table.columns]
            rows += [(size, runs[0].monitor, arm, float(table[arm].mean()), len(table)) for arm in there]
    return pd.DataFrame(rows, columns=columns)


def behind_on_validation(runs: Sequence[RunRecord], arms: Sequence[str]) -> pd.DataFrame:
    """Return for each arm and size how it does on validation beside the reference, over the repeats that both have.

    Of an arm that starts from a source's weights and another that does not, the first is judged, even if it is the
    reference: if it is behind, that is negative transfer.
    """
    columns = ["arm", "other", "train_size", "mean", "other_mean", "n_repeats", "n_behind", "transfer"]
    best = _best(runs if len({run.monitor for run in runs}) == 1 else [])
    has_source = {arm: any(run.transfer["source"] for run in runs if run.arm == arm) for arm in arms}
    rows: list[tuple[Any, ...]] = []
    for arm in arms[1:]:
        turned = has_source[arms[0]] and not has_source[arm]
        judged, other = (arms[0], arm) if turned else (arm, arms[0])
        for size in sorted({run.train_size for run in runs if run.arm in (judged, other)}):
            own = best[(best["train_size"] == size) & best["arm"].isin([judged, other])]
            table = own.pivot(index="repeat", columns="arm", values="value").reindex(columns=[judged, other]).dropna()
            behind = int((table[judged] < table[other]).sum())
            means = (float(table[judged].mean()), float(table[other].mean()))
            transfer = has_source[judged] and not has_source[other]
            rows.append((judged, other, size, *means, len(table), behind, transfer))
    return pd.DataFrame(rows, columns=columns)


def _settings(run: RunRecord, *, with_rates: bool) -> dict[tuple[str, str], str]:
    """Return a run's settings as text, each with its scope."""
    report = run.transfer
    weights = "all drawn from the seed"
    if report["source"]:
        share, digest = 100 * report["loaded_share"], report["source_digest"][:8]
        weights = f"{share:.1f} % from {source_name(run)} ({report['source_task']}), digest {digest}"
    found = {("init", FIRST_WEIGHTS): weights, ("beyond init", SUBJECTS): str(run.split.get("sha256", ""))}
    found |= {("init", key): shown(value) for key, value in report.get("strategy", {}).items()}
    kept = {key: value for key, value in run.settings.items() if with_rates or key not in _RATES}
    return found | {("beyond init", key): shown(value) for key, value in kept.items()}


def _differ(of_arm: Sequence[Mapping[tuple[int, int], str]]) -> bool:
    first, *others = of_arm
    for other in others:
        common = first.keys() & other.keys()
        if any(first[key] != other[key] for key in common):
            return True
        if not common and {*first.values()} != {*other.values()}:
            return True
    return False


def _without_bare_names(keys: Sequence[str]) -> list[str]:
    """Leave out ``augment.name``, unless something else of that section is among the keys, too."""
    sections = {key.partition(".")[0] for key in keys if not key.endswith(".name")}
    return [
        key for key in keys if not key.endswith(".name") or key == "dataset.name" or key.partition(".")[0] in sections
    ]


def _way(run: RunRecord) -> tuple[str, int]:
    """Return what the learning rate was chosen from, empty without a search, and the steps of each candidate."""
    if run.search is None:
        return "", 0
    return ", ".join(shown(float(one["learning_rate"])) for one in run.search["candidates"]), int(run.search["steps"])


def _best(runs: Sequence[RunRecord]) -> pd.DataFrame:
    rows = [(*run.key, run.best_validation) for run in runs if run.best_validation is not None]
    return pd.DataFrame(rows, columns=["arm", "train_size", "repeat", "value"])
