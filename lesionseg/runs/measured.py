"""Names and values of the metrics that a run's test gives."""

from collections.abc import Mapping, Sequence
from typing import Any

from lesionseg.config.sections import ScoringSection
from lesionseg.metrics import Averages, LesionCurve, average_criterion, froc_area, pool_curves, sensitivity_at


def test_metrics(averages: Averages) -> dict[str, float]:
    """The scores under the task's own criterion."""
    names = ("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice")
    metrics = {f"test/{name}": getattr(averages, name).mean for name in names}
    metrics["test/n_studies"] = averages.lesion_sensitivity.n
    metrics["test/n_without_lesions"] = averages.without_lesions.n_studies
    if averages.without_lesions.n_studies:
        metrics["test/false_positives_without_lesions"] = averages.without_lesions.mean_false_positives
    return metrics


def criterion_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The scores under each further criterion, as ``verdict/<name>/lesion_f1``: MLflow shows sections by
    name, and these are to come after ``test`` and ``val``.

    Args:
        rows: of ``criteria.csv``.
    """
    metrics: dict[str, float] = {}
    for name in dict.fromkeys(row["criterion"] for row in rows):
        averages = average_criterion([row for row in rows if row["criterion"] == name])
        for score in ("sensitivity", "ppv", "f1"):
            metrics[f"verdict/{name}/lesion_{score}"] = getattr(averages, score).mean
    return metrics


def froc_metrics(curves: Sequence[LesionCurve], judging: ScoringSection) -> dict[str, float]:
    """Area under the FROC up to the last configured number of false positives per study, and sensitivity at each."""
    froc = pool_curves(curves)
    area = {"test/froc_area": froc_area(froc, judging.false_positives[-1])}
    return area | {
        f"test/froc_sensitivity_at_{limit:g}_fp": sensitivity_at(froc, limit) for limit in judging.false_positives
    }
