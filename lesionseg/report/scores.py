"""What ``lesionseg score`` and ``lesionseg evaluate`` found: a JSON record, tables on the terminal, and whether
arms rank the same under every criterion."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite, isnan
from textwrap import fill
from typing import Any

import pandas as pd
from tabulate import tabulate

from lesionseg.metrics import (
    UNDEFINED_POLICY,
    Average,
    Criterion,
    Froc,
    LesionScores,
    OneToOneIoU,
    Stratum,
    StudyScores,
    average,
    coverage,
    false_alarms,
    froc_area,
    sensitivity_at,
    stratify,
)

RATIOS = ("sensitivity", "ppv", "f1", "f1_counts")
_ROWS = 40  # cases on the terminal
_WIDTH = 110  # letters in a line of text


@dataclass(frozen=True)
class ScoredCases:
    """Scores of cases under several criteria."""

    criteria: Mapping[str, Criterion]  # rules by name; the first one is that of lesion tables, strata and FROC
    spacings: Mapping[str, tuple[float, float, float]]  # mm, by case
    studies: Mapping[str, StudyScores]  # scores by case
    froc: Froc | None  # over all cases; None where the predictions are masks
    volume_edges_mm3: Sequence[float]  # edges between the strata
    false_positives: Sequence[float]  # per case, at which the FROC is read; its area ends at the last
    tolerance_mm: float  # of the normalised surface Dice
    options: Mapping[str, Any] = field(default_factory=dict)  # what else the scores depend on, for the record

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values; NaN is for the writer to turn into null."""
        n, averages = len(self.studies), self._averages()
        by_criterion = {name: self._criterion_averages(name) for name in self.criteria}
        without = {name: study.case for name, study in self.studies.items() if not study.case.n_reference}
        record = {
            "cases": {name: self._case(name, study) for name, study in self.studies.items()},
            "mean": {
                "n_cases": n,
                "criteria": {name: {score: one.mean for score, one in of.items()} for name, of in by_criterion.items()},
                **{name: one.mean for name, one in averages.items()},
            },
            "undefined": {
                "policy": UNDEFINED_POLICY,
                "without_reference_lesion": list(without),
                "without_any_lesion": [name for name, case in without.items() if not case.n_prediction],
                "criteria": {
                    name: {score: n - one.n for score, one in of.items()} for name, of in by_criterion.items()
                },
                **{name: n - one.n for name, one in averages.items()},
            },
            "strata": [_stratum(row) for row in self.strata],
            "options": {**self.options, "criteria": {name: rule.describe() for name, rule in self.criteria.items()}},
        }
        if self.froc is not None:
            limit = self.false_positives[-1]
            record["froc"] = {
                "rule": self._froc_rule,
                "area": froc_area(self.froc, limit),
                "area_up_to": limit,
                "sensitivity_at": {f"{one:g}": sensitivity_at(self.froc, one) for one in self.false_positives},
                "thresholds": self.froc.thresholds.tolist(),
                "sensitivity": self.froc.sensitivity.tolist(),
                "mean_sensitivity": self.froc.mean_sensitivity.tolist(),
                "false_positives_per_case": self.froc.false_positives_per_study.tolist(),
            }
        return record

    def to_text(self) -> str:
        """Return the tables, for a terminal."""
        blocks = [self._case_table(), self._criterion_table(), self._strata_table()]
        if self.froc is not None:
            limit, reads = self.false_positives[-1], [sensitivity_at(self.froc, one) for one in self.false_positives]
            header = ["false positives per case", *(f"{one:g}" for one in self.false_positives), f"area to {limit:g}"]
            row = ["highest sensitivity", *map(_number, [*reads, froc_area(self.froc, limit)])]
            title = f"FROC over all thresholds ({self._froc_rule}), the lesions of all cases together"
            blocks.append(f"{title}\n{_table([row], header)}")
        if warning := coverage([study.case.as_row() for study in self.studies.values()]).warning:
            blocks.append(fill(f"WARNING: {warning}.", _WIDTH))
        apart = false_alarms([asdict(study.criteria[self._first]) for study in self.studies.values()])
        if apart.n_studies:
            blocks.append(
                f"Cases without reference lesion: {apart.n_studies} of {len(self.studies)}; with false positives: "
                f"{apart.n_with_false_positives} of these; {apart.mean_false_positives:.1f} false lesions of "
                f"{apart.mean_false_positive_volume_ml:.2f} ml together per such case."
            )
        return "\n\n".join([*blocks, fill(UNDEFINED_POLICY, _WIDTH)])

    @property
    def strata(self) -> tuple[Stratum, ...]:
        """Sensitivity and PPV by lesion volume, the lesions of all cases together."""
        rows = [row for study in self.studies.values() for row in study.lesions]
        reference = [row for row in rows if row.side == "reference"]
        prediction = [row for row in rows if row.side == "prediction"]
        return stratify(
            [row.volume_mm3 for row in reference],
            [row.verdict == "detected" for row in reference],
            [row.volume_mm3 for row in prediction],
            [row.verdict == "true" for row in prediction],
            self.volume_edges_mm3,
        )

    @property
    def _first(self) -> str:
        return next(iter(self.criteria))

    @property
    def _froc_rule(self) -> str:
        return f"any overlap of one voxel, {self.criteria[self._first].connectivity}-connected"

    @property
    def _surface_name(self) -> str:
        return f"nsd_{self.tolerance_mm:g}mm"

    def _case(self, name: str, study: StudyScores) -> dict[str, Any]:
        return {
            "spacing_mm": list(self.spacings[name]),
            "criteria": {rule: self._criterion(rule, scores) for rule, scores in study.criteria.items()},
            **self._whole(study),
            "strata": [_stratum(row) for row in study.strata],
            "lesions": [{**row.as_row(), "touches": list(row.touches)} for row in study.lesions],
        }

    def _criterion(self, name: str, scores: LesionScores) -> dict[str, Any]:
        found = asdict(scores)
        quality = found.pop("segmentation_quality")
        if isinstance(self.criteria[name], OneToOneIoU):
            found |= {"recognition_quality": scores.recognition_quality, "segmentation_quality": quality}
            found["panoptic_quality"] = scores.recognition_quality * quality
        return found

    def _whole(self, study: StudyScores) -> dict[str, float]:
        """Return the scores of a case that no criterion changes."""
        case = study.case
        names = ("dice", "voxel_sensitivity", "voxel_ppv", "hd95_mm", "assd_mm")
        more = ("cc_dice", "cc_dice_mm", "volume_reference_ml", "volume_prediction_ml", "volume_difference_ml")
        found = {name: getattr(case, name) for name in names} | {self._surface_name: case.nsd}
        return found | {name: getattr(case, name) for name in more}

    def _averages(self) -> dict[str, Average]:
        """Return the scores that no criterion changes, averaged over the cases with reference lesions."""
        rows = [{**self._whole(study), "n_reference": study.case.n_reference} for study in self.studies.values()]
        return average(rows, [name for name in rows[0] if name != "n_reference"])

    def _criterion_averages(self, name: str) -> dict[str, Average]:
        names = (*RATIOS, "segmentation_quality") if isinstance(self.criteria[name], OneToOneIoU) else RATIOS
        return average([asdict(study.criteria[name]) for study in self.studies.values()], names)

    def _case_table(self) -> str:
        header = [
            *("case", "lesions", "predicted lesions", "merged", "sensitivity", "PPV", "F1"),
            *("Dice", "HD95 mm", "reference ml", "predicted ml"),
        ]
        rows = []
        for name, study in list(self.studies.items())[:_ROWS]:
            case = study.case
            ratios = map(_number, (case.lesion_sensitivity, case.lesion_ppv, case.lesion_f1, case.dice))
            volumes = map(_number, (case.volume_reference_ml, case.volume_prediction_ml))
            counts = (case.n_reference, case.n_prediction, case.merged_lesions)
            rows.append([name, *counts, *ratios, _number(case.hd95_mm, 1), *volumes])
        more = len(self.studies) - _ROWS
        title = f"Each case; a lesion is {self.criteria[self._first].describe()} ({self._first})"
        return "\n".join([title, _table(rows, header), *([f"and {more} more cases"] if more > 0 else [])])

    def _criterion_table(self) -> str:
        rows = []
        for name in self.criteria:
            averages = self._criterion_averages(name)
            rows.append([name, *(_with_error(averages[score]) for score in RATIOS), averages["sensitivity"].n])
        whole = self._averages()
        most = max(average.n for average in whole.values())
        line = ", ".join(
            f"{label} {_with_error(whole[key], digits)}" + (f" (n = {whole[key].n})" if whole[key].n < most else "")
            for label, key, digits in (
                ("Dice", "dice", 2),
                ("Dice per lesion (regions in mm)", "cc_dice_mm", 2),
                (f"surface Dice at {self.tolerance_mm:g} mm", self._surface_name, 2),
                ("HD95 [mm]", "hd95_mm", 1),
                ("ASSD [mm]", "assd_mm", 1),
            )
        )
        legend = []
        for name, rule in self.criteria.items():
            least = f"{'above' if rule.exclusive else 'of at least'} {rule.min_volume_mm3 or 0:g} mm³"
            smallest = "" if rule.min_volume_mm3 is None else f"; lesions {least}"
            legend.append(f"  {name}: {rule.connectivity}-connected, {rule.describe()}{smallest}")
        explained = (
            "F1 is the harmonic mean of sensitivity and PPV, F1 (counts) TP / (TP + (FP + FN) / 2); they differ where "
            "one lesion meets several."
        )
        title = "Mean ± standard error over the cases with reference lesions, under each criterion"
        table = _table(rows, ["criterion", "sensitivity", "PPV", "F1", "F1 (counts)", "n"])
        return "\n".join([title, table, fill(line, _WIDTH), fill(explained, _WIDTH), *legend])

    def _strata_table(self) -> str:
        rows = []
        for row in self.strata:
            end = f"to {row.to_mm3:g}" if isfinite(row.to_mm3) else "and more"
            shares = [row.n_reference, _number(row.sensitivity), row.n_prediction, _number(row.ppv)]
            rows.append([f"{row.from_mm3:g} {end}", *shares])
        title = f"By lesion volume, the lesions of all cases together ({self._first})"
        return "\n".join([title, _table(rows, ["mm³", "lesions", "sensitivity", "predicted lesions", "PPV"])])


def arm_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Average each arm under each criterion: the mean over patients with reference lesions, each over its repeats."""
    ordered = scores.assign(
        criterion=pd.Categorical(scores["criterion"], list(dict.fromkeys(scores["criterion"]))),
        init=pd.Categorical(scores["init"], list(dict.fromkeys(scores["init"]))),
    )
    keys, names = ["train_size", "criterion", "init"], ["sensitivity", "ppv", "f1"]
    with_lesions = ordered[ordered["n_reference"] > 0]
    by_repeat = with_lesions.groupby([*keys, "subject", "repeat"], observed=True)[names].mean()
    grouped = by_repeat.groupby([*keys, "subject"], observed=True).mean().groupby(keys, observed=True)
    return grouped.mean().assign(n_patients=grouped.size()).reset_index().astype({"criterion": str, "init": str})


def ranking_text(means: pd.DataFrame, style: str = "simple") -> str:
    """Return the table of `arm_means` and where the order of arms depends on the criterion, for terminal or
    Markdown."""
    names = {"sensitivity": "sensitivity", "ppv": "PPV", "f1": "F1"}
    wide = means.pivot(index=["train_size", "criterion"], columns="init", values=list(names))
    order = means[["train_size", "criterion"]].drop_duplicates()
    arms = list(dict.fromkeys(means["init"]))
    header = ["training studies", "criterion", *(f"{arm} {label}" for arm in arms for label in names.values())]
    rows = [
        [size, criterion, *(_number(wide.loc[(size, criterion), (name, arm)]) for arm in arms for name in names)]
        for size, criterion in order.itertuples(index=False)
    ]
    changes = []
    for size, of_size in means.groupby("train_size"):
        for name, label in names.items():
            orders: dict[str, list[str]] = {}
            for criterion, own in of_size.groupby("criterion", sort=False):
                ranked = own[own[name].notna()].assign(rounded=own[name].round(9))
                ranked = ranked.sort_values("rounded", ascending=False, kind="stable")
                if len(ranked) > 1:
                    level = ranked["rounded"].eq(ranked["rounded"].shift())
                    words = ["level with " if one else "before " for one in level]
                    text = " ".join(f"{word}{arm}" for word, arm in zip(["", *words[1:]], ranked["init"], strict=True))
                    orders.setdefault(text, []).append(str(criterion))
            if len(orders) > 1:
                told = "; ".join(f"{text} under {', '.join(under)}" for text, under in orders.items())
                changes.append(f"{size} training studies, {label}: {told}.")
    said = changes or ["The arms rank the same under every criterion, at every size, by each score."]
    table = tabulate(rows, header, tablefmt=style, disable_numparse=True)
    return table + "\n\n" + "\n".join(f"- {sentence}" for sentence in said)


def _stratum(row: Stratum) -> dict[str, Any]:
    return {**asdict(row), "to_mm3": row.to_mm3 if isfinite(row.to_mm3) else None}


def _table(rows: list[list[Any]], header: list[str]) -> str:
    aligned = ["left", *["right"] * (len(header) - 1)]
    return tabulate(rows, header, disable_numparse=True, colalign=aligned)


def _number(value: float, digits: int = 2) -> str:
    return "–" if isnan(value) else f"{value:.{digits}f}"


def _with_error(average: Average, digits: int = 2) -> str:
    error = "" if isnan(average.standard_error) else f" ± {average.standard_error:.{digits}f}"
    return "–" if isnan(average.mean) else f"{average.mean:.{digits}f}{error}"
