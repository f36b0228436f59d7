"""The tables that scored studies leave behind: ``cases.csv``, ``lesions.csv``, ``criteria.csv`` and ``froc.csv``."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lesionseg.config.sections import ScoringSection
from lesionseg.metrics import Averages, LesionCurve, average, lesion_curve, score_study
from lesionseg.runs.measured import criterion_metrics, froc_metrics, test_metrics
from lesionseg.runs.scoring import Segmentation, criteria_of, reference_of, write_csv
from lesionseg.weights import ModelCard

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class ScoreTables:
    """Scores of one study after the other.

    Attributes:
        judging: criteria, bins and tolerances.
        cases: a row per study, under the model's own criterion.
        lesions: a row per lesion, likewise.
        criteria: a row per study and configured criterion.
        froc: a row per study and threshold at which a count changes.
        curves: of each study.
    """

    judging: ScoringSection
    cases: Rows = field(default_factory=list)
    lesions: Rows = field(default_factory=list)
    criteria: Rows = field(default_factory=list)
    froc: Rows = field(default_factory=list)
    curves: list[LesionCurve] = field(default_factory=list)

    def add(self, segmentation: Segmentation, card: ModelCard) -> None:
        """Hold a segmentation against the study's reference mask as it was drawn."""
        reference, grid = reference_of(segmentation.study)
        scores = score_study(
            reference,
            segmentation.mask,
            grid.affine,
            card.criterion,
            probability=segmentation.probability,
            min_volume_mm3=card.min_lesion_volume,
            criteria=criteria_of(self.judging),
            volume_edges_mm3=self.judging.volume_edges,
            tolerance_mm=self.judging.surface_tolerance,
        )
        curve = lesion_curve(
            reference,
            segmentation.probability,
            grid.spacing,
            connectivity=card.criterion.connectivity,
            min_volume_mm3=card.min_lesion_volume,
            lowest=self.judging.lowest_probability,
        )
        study = segmentation.study.study.study
        named = {"study": study.name, "subject": study.subject, "session": study.session}
        self.cases.append({**named, **scores.case.as_row()})
        self.lesions.extend({"study": study.name, **lesion.as_row()} for lesion in scores.lesions)
        self.criteria.extend({**named, "criterion": name, **asdict(found)} for name, found in scores.criteria.items())
        self.froc.extend({"study": study.name, **row} for row in _curve_rows(curve))
        self.curves.append(curve)

    @property
    def averages(self) -> Averages:
        """Over the studies with reference lesions, under the model's own criterion."""
        return average(self.cases)

    def metrics(self) -> dict[str, float]:
        """Every score that is averaged over the studies, by its name in MLflow."""
        return test_metrics(self.averages) | criterion_metrics(self.criteria) | froc_metrics(self.curves, self.judging)

    def write(self, folder: Path) -> list[Path]:
        """Write each table as CSV, whole or not at all."""
        tables = {"cases": self.cases, "lesions": self.lesions, "criteria": self.criteria, "froc": self.froc}
        return [write_csv(folder / f"{name}.csv", rows) for name, rows in tables.items()]


def _curve_rows(curve: LesionCurve) -> Rows:
    names = ("threshold", "detected_reference", "n_prediction", "false_positives")
    columns = (getattr(curve, "thresholds" if name == "threshold" else name).tolist() for name in names)
    return [
        {"n_reference": curve.n_reference, **dict(zip(names, row, strict=True))} for row in zip(*columns, strict=True)
    ]
