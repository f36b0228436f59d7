"""What MLflow is told of a run's test."""

from math import nan

import numpy as np
import pytest

from lesionseg.config.compose import Request, compose_jobs
from lesionseg.metrics import LesionCurve
from lesionseg.runs.measured import criterion_metrics, froc_metrics


def row(criterion, sensitivity, n_reference=2):
    scores = {"sensitivity": sensitivity, "ppv": 0.5, "f1": 0.25, "f1_counts": 0.25, "segmentation_quality": nan}
    return {
        "criterion": criterion,
        "n_reference": n_reference,
        "false_positives": 1,
        "false_positive_volume_ml": 0.1,
        **scores,
    }


def test_each_criterion_has_its_means_over_studies_with_lesions():
    rows = [row("anima", 0.5), row("anima", 1.0), row("anima", nan, n_reference=0), row("any", 0.25)]
    assert criterion_metrics(rows) == {
        "verdict/anima/lesion_sensitivity": 0.75,
        "verdict/anima/lesion_ppv": 0.5,
        "verdict/anima/lesion_f1": 0.25,
        "verdict/any/lesion_sensitivity": 0.25,
        "verdict/any/lesion_ppv": 0.5,
        "verdict/any/lesion_f1": 0.25,
    }


def test_the_froc_is_read_where_the_configuration_says():
    (job,) = compose_jobs(Request("score", ("reference=a", "prediction=b", "metrics.false_positives=[0.5,2]")))
    found, false = np.array([1, 2]), np.array([0, 1])
    curve = LesionCurve(np.array([0.9, 0.4]), found, found + false, false, n_reference=4)
    assert froc_metrics([curve], job.config.metrics) == {  # type: ignore[attr-defined]
        "test/froc_area": pytest.approx((1 / 4 * 1 + 2 / 4 * 1) / 2),
        "test/froc_sensitivity_at_0.5_fp": 1 / 4,
        "test/froc_sensitivity_at_2_fp": 2 / 4,
    }
