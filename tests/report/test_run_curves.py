"""The thresholds of a run put together, against the curves that its maps give."""

import numpy as np
import pandas as pd
import pytest

from lesionseg.metrics import lesion_curve, pool_curves, score_lesions
from lesionseg.report.run_curves import place_of, run_curves

SPACING = (1.0, 1.0, 1.0)


def studies():
    """Three noisy maps with two, one and no reference lesion; the first two are sessions of one patient."""
    random = np.random.default_rng(1)
    found = []
    for corners in ([(2, 2, 2), (9, 9, 9)], [(5, 5, 5)], []):
        reference = np.zeros((14, 14, 14), np.uint8)
        for x, y, z in corners:
            reference[x : x + 3, y : y + 3, z : z + 3] = 1
        probability = (0.6 * reference + random.random(reference.shape) ** 6 * 0.7).clip(0, 1).astype(np.float32)
        found.append((reference, probability))
    return found


STUDIES = studies()
CURVES = [lesion_curve(reference, probability, SPACING, lowest=0.2) for reference, probability in STUDIES]
CASES = pd.DataFrame(
    {
        **{"init": "scratch", "train_size": 5, "repeat": 1, "study": ["a1", "a2", "b"]},
        **{"subject": ["a", "a", "b"], "n_reference": [2, 1, 0]},
    }
)


def table():
    rows = [
        pd.DataFrame(
            {
                **{"study": study, "n_reference": curve.n_reference, "threshold": curve.thresholds},
                **{"detected_reference": curve.detected_reference, "n_prediction": curve.n_prediction},
                "false_positives": curve.false_positives,
            }
        )
        for study, curve in zip(CASES["study"], CURVES, strict=True)
    ]
    return pd.concat(rows, ignore_index=True)


def test_the_pooled_curve_is_that_of_the_maps():
    found, expected = run_curves(table().sample(frac=1, random_state=0), CASES, 0.5).froc(), pool_curves(CURVES)
    for name in ("thresholds", "sensitivity", "mean_sensitivity", "false_positives_per_study"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), err_msg=name)
    assert (found.n_studies, found.n_reference) == (3, 3)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_sensitivity_and_ppv_are_those_of_the_cut_maps(threshold):
    curves = run_curves(table(), CASES, threshold)
    scores = [
        score_lesions(reference, (probability >= np.float32(threshold)).astype(np.uint8), SPACING)
        for reference, probability in STUDIES
    ]
    assert curves.sensitivity_at(curves.threshold) == pytest.approx((scores[0].sensitivity + scores[1].sensitivity) / 2)
    ppv = curves.patient_ppv(curves.threshold)
    assert ppv.to_dict() == pytest.approx({"a": (scores[0].ppv + scores[1].ppv) / 2}), "b has no reference lesion"


def test_the_threshold_of_a_sensitivity_is_the_highest_that_has_it():
    curves = run_curves(table(), CASES, 0.5)
    thresholds, values = curves.sensitivity
    for target in (0.25, 0.5, 1.0):
        at = curves.threshold_at(target)
        assert at == max(
            threshold for threshold, value in zip(thresholds, values, strict=True) if value >= target - 1e-9
        )
    assert curves.threshold_at(1.01) is None


def test_above_every_threshold_nothing_is_predicted():
    curves = run_curves(table(), CASES, 0.5)
    assert curves.sensitivity_at(1.1) == 0
    assert curves.patient_ppv(1.1).to_dict() == {"a": 0.0}


def test_a_study_without_a_threshold_counts_with_its_lesions_all_the_same():
    lost = run_curves(table().query("study != 'a2'"), CASES, 0.5)
    assert lost.froc().sensitivity[-1] == pytest.approx(2 / 3)
    assert lost.sensitivity[1][-1] == pytest.approx(0.5)
    assert lost.patient_ppv(0.5)["a"] == pytest.approx(
        run_curves(table(), CASES, 0.5).patient_ppv(0.5)["a"] / 2, abs=0.5
    )


def test_rows_of_studies_that_are_no_case_are_left_out():
    found = run_curves(table(), CASES.iloc[:2], 0.5)
    assert found.n_reference.tolist() == [2, 1]
    assert set(found.study.tolist()) == {0, 1}


def test_without_any_lesion_sensitivity_is_undefined():
    assert np.isnan(run_curves(table().query("study == 'b'"), CASES.iloc[2:], 0.5).froc().sensitivity).all()


def test_a_run_without_any_threshold_predicts_nothing():
    nothing = run_curves(table().iloc[:0], CASES, 0.5)
    assert nothing.froc().thresholds.size == 0
    assert nothing.patient_ppv(0.5).to_dict() == {"a": 0.0}


@pytest.mark.parametrize("kind", ["category", "object", "str"])
def test_names_without_a_place_are_minus_one(kind):
    names = pd.Series(["b", "x", "a"], dtype=kind)
    assert place_of(names, {"a": 0, "b": 1}).tolist() == [1, -1, 0]
