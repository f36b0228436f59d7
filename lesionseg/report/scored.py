"""Scored cases as a JSON record and as tables on the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite, isnan
from textwrap import fill
from typing import Any

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
    average_criterion,
    average_values,
    froc_area,
    sensitivity_at,
    stratify,
)

_SCORES = ("sensitivity", "ppv", "f1", "f1_counts")
_ROWS = 40  # cases on the terminal
_WIDTH = 110  # letters in a line of text


@dataclass(frozen=True)
class ScoredCases:
    """What `lesionseg score` found.

    Attributes:
        criteria: rules by name; the first one is that of lesion tables, strata and FROC.
        spacings: mm, by case.
        studies: scores by case.
        froc: over all cases; None where the predictions are masks.
        volume_edges_mm3: edges between the strata.
        false_positives: per case, at which the FROC is read; its area ends at the last.
        tolerance_mm: of the normalised surface Dice.
        options: what else the scores depend on, for the record.
    """

    criteria: Mapping[str, Criterion]
    spacings: Mapping[str, tuple[float, float, float]]
    studies: Mapping[str, StudyScores]
    froc: Froc | None
    volume_edges_mm3: Sequence[float]
    false_positives: Sequence[float]
    tolerance_mm: float
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything, with plain values; NaN is for the writer to turn into null."""
        record = {
            "cases": {name: self._case(name) for name in self.studies},
            "mean": self._mean(),
            "undefined": self._undefined(),
            "strata": [_stratum(row) for row in self.strata],
            "options": {**self.options, "criteria": {name: rule.describe() for name, rule in self.criteria.items()}},
        }
        if self.froc is not None:
            record["froc"] = self._froc(self.froc)
        return record

    def to_text(self) -> str:
        """The tables, for a terminal."""
        blocks = [self._case_table(), self._criterion_table(), self._strata_table()]
        if self.froc is not None:
            blocks.append(self._froc_table(self.froc))
        return "\n\n".join([*blocks, *filter(None, [self._without_lesions()]), fill(UNDEFINED_POLICY, _WIDTH)])

    @property
    def strata(self) -> tuple[Stratum, ...]:
        """Sensitivity and PPV by lesion volume, the lesions of all cases together."""
        rows = [row for study in self.studies.values() for row in study.lesions]
        volumes = {side: [row.volume_mm3 for row in rows if row.side == side] for side in ("reference", "prediction")}
        hits = {
            side: [row.verdict in ("detected", "true") for row in rows if row.side == side]
            for side in ("reference", "prediction")
        }
        return stratify(
            volumes["reference"], hits["reference"], volumes["prediction"], hits["prediction"], self.volume_edges_mm3
        )

    @property
    def _first(self) -> str:
        return next(iter(self.criteria))

    @property
    def _surface_name(self) -> str:
        return f"nsd_{self.tolerance_mm:g}mm"

    def _case(self, name: str) -> dict[str, Any]:
        study = self.studies[name]
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
            found |= {
                "recognition_quality": scores.recognition_quality,
                "segmentation_quality": quality,
                "panoptic_quality": scores.recognition_quality * quality,
            }
        return found

    def _whole(self, study: StudyScores) -> dict[str, float]:
        """The scores of a case that no criterion changes."""
        case = study.case
        return {
            "dice": case.dice,
            "voxel_sensitivity": case.voxel_sensitivity,
            "voxel_ppv": case.voxel_ppv,
            "hd95_mm": case.hd95_mm,
            "assd_mm": case.assd_mm,
            self._surface_name: case.nsd,
            "cc_dice": case.cc_dice,
            "cc_dice_mm": case.cc_dice_mm,
            "volume_reference_ml": case.volume_reference_ml,
            "volume_prediction_ml": case.volume_prediction_ml,
            "volume_difference_ml": case.volume_difference_ml,
        }

    def _averages(self) -> dict[str, Average]:
        """Of the scores that no criterion changes, over the cases with reference lesions."""
        rows = [self._whole(study) for study in self.studies.values() if study.case.n_reference > 0]
        names = list(self._whole(next(iter(self.studies.values()))))
        return {name: average_values([row[name] for row in rows]) for name in names}

    def _criterion_averages(self, name: str) -> dict[str, Average]:
        averages = average_criterion([asdict(study.criteria[name]) for study in self.studies.values()])
        names = (*_SCORES, "segmentation_quality") if isinstance(self.criteria[name], OneToOneIoU) else _SCORES
        return {score: getattr(averages, score) for score in names}

    def _mean(self) -> dict[str, Any]:
        return {
            "n_cases": len(self.studies),
            "criteria": {
                name: {score: average.mean for score, average in self._criterion_averages(name).items()}
                for name in self.criteria
            },
            **{name: average.mean for name, average in self._averages().items()},
        }

    def _undefined(self) -> dict[str, Any]:
        """How many cases each average could not take in, and which have no reference lesion."""
        everyone = self.studies.items()
        return {
            "policy": UNDEFINED_POLICY,
            "without_reference_lesion": [name for name, study in everyone if not study.case.n_reference],
            "without_any_lesion": [
                name for name, study in everyone if not study.case.n_reference and not study.case.n_prediction
            ],
            "criteria": {
                name: {
                    score: len(self.studies) - average.n for score, average in self._criterion_averages(name).items()
                }
                for name in self.criteria
            },
            **{name: len(self.studies) - average.n for name, average in self._averages().items()},
        }

    def _froc(self, froc: Froc) -> dict[str, Any]:
        limit = self.false_positives[-1]
        return {
            "rule": self._froc_rule,
            "area": froc_area(froc, limit),
            "area_up_to": limit,
            "sensitivity_at": {f"{number:g}": sensitivity_at(froc, number) for number in self.false_positives},
            "thresholds": froc.thresholds.tolist(),
            "sensitivity": froc.sensitivity.tolist(),
            "mean_sensitivity": froc.mean_sensitivity.tolist(),
            "false_positives_per_case": froc.false_positives_per_study.tolist(),
        }

    def _case_table(self) -> str:
        header = [
            *("case", "lesions", "predicted lesions", "sensitivity", "PPV", "F1"),
            *("Dice", "HD95 mm", "reference ml", "predicted ml"),
        ]
        rows = [
            [
                name,
                study.case.n_reference,
                study.case.n_prediction,
                *map(_ratio, (study.case.lesion_sensitivity, study.case.lesion_ppv, study.case.lesion_f1)),
                _ratio(study.case.dice),
                _millimetres(study.case.hd95_mm),
                _ratio(study.case.volume_reference_ml),
                _ratio(study.case.volume_prediction_ml),
            ]
            for name, study in list(self.studies.items())[:_ROWS]
        ]
        more = len(self.studies) - _ROWS
        title = f"Each case; a lesion is {self.criteria[self._first].describe()} ({self._first})"
        return "\n".join([title, _table(rows, header), *([f"and {more} more cases"] if more > 0 else [])])

    def _criterion_table(self) -> str:
        rows = []
        for name in self.criteria:
            averages = self._criterion_averages(name)
            rows.append([name, *(_mean_and_error(averages[score]) for score in _SCORES), averages["sensitivity"].n])
        title = "Mean ± standard error over the cases with reference lesions, under each criterion"
        whole = self._averages()
        most = max(average.n for average in whole.values())
        line = ", ".join(
            f"{label} {_mean_and_error(whole[key], digits)}" + (f" (n = {whole[key].n})" if whole[key].n < most else "")
            for label, key, digits in (
                ("Dice", "dice", 2),
                ("Dice per lesion (cells in mm)", "cc_dice_mm", 2),
                (f"surface Dice at {self.tolerance_mm:g} mm", self._surface_name, 2),
                ("HD95 [mm]", "hd95_mm", 1),
                ("ASSD [mm]", "assd_mm", 1),
            )
        )
        legend = [
            f"  {name}: {rule.connectivity}-connected, {rule.describe()}{_smallest(rule)}"
            for name, rule in self.criteria.items()
        ]
        told = (
            "F1 is the harmonic mean of sensitivity and PPV, F1 (counts) TP / (TP + (FP + FN) / 2); they differ where "
            "one lesion meets several."
        )
        table = _table(rows, ["criterion", "sensitivity", "PPV", "F1", "F1 (counts)", "n"])
        return "\n".join([title, table, fill(line, _WIDTH), fill(told, _WIDTH), *legend])

    def _strata_table(self) -> str:
        rows = [
            [
                f"{row.from_mm3:g} to {row.to_mm3:g}" if isfinite(row.to_mm3) else f"{row.from_mm3:g} and more",
                row.n_reference,
                _ratio(row.sensitivity),
                row.n_prediction,
                _ratio(row.ppv),
            ]
            for row in self.strata
        ]
        title = f"By lesion volume, the lesions of all cases together ({self._first})"
        return "\n".join([title, _table(rows, ["mm³", "lesions", "sensitivity", "predicted lesions", "PPV"])])

    @property
    def _froc_rule(self) -> str:
        return f"any overlap of one voxel, {self.criteria[self._first].connectivity}-connected"

    def _froc_table(self, froc: Froc) -> str:
        limit = self.false_positives[-1]
        header = ["false positives per case", *(f"{number:g}" for number in self.false_positives), f"area to {limit:g}"]
        read = [*(sensitivity_at(froc, number) for number in self.false_positives), froc_area(froc, limit)]
        title = f"FROC over all thresholds ({self._froc_rule}), the lesions of all cases together"
        return "\n".join([title, _table([["highest sensitivity", *map(_ratio, read)]], header)])

    def _without_lesions(self) -> str:
        apart = average_criterion([asdict(study.criteria[self._first]) for study in self.studies.values()])
        alarms = apart.without_lesions
        if not alarms.n_studies:
            return ""
        return (
            f"Cases without reference lesion: {alarms.n_studies} of {len(self.studies)}; with false positives: "
            f"{alarms.n_with_false_positives} of these; {alarms.mean_false_positives:.1f} false lesions of "
            f"{alarms.mean_false_positive_volume_ml:.2f} ml together per such case."
        )


def _smallest(rule: Criterion) -> str:
    if rule.min_volume_mm3 is None:
        return ""
    return f"; lesions {'above' if rule.exclusive else 'of at least'} {rule.min_volume_mm3:g} mm³"


def _stratum(row: Stratum) -> dict[str, Any]:
    return {**asdict(row), "to_mm3": row.to_mm3 if isfinite(row.to_mm3) else None}


def _table(rows: list[list[Any]], header: list[str]) -> str:
    aligned = ["left", *["right"] * (len(header) - 1)]
    return tabulate(rows, header, disable_numparse=True, colalign=aligned)


def _ratio(value: float) -> str:
    return "–" if isnan(value) else f"{value:.2f}"


def _millimetres(value: float) -> str:
    return "–" if isnan(value) else f"{value:.1f}"


def _mean_and_error(average: Average, digits: int = 2) -> str:
    if isnan(average.mean):
        return "–"
    if isnan(average.standard_error):
        return f"{average.mean:.{digits}f}"
    return f"{average.mean:.{digits}f} ± {average.standard_error:.{digits}f}"
