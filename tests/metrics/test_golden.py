"""Golden cases: the values that published implementations give, and where our policy for empty masks differs.

Surfaces, cells and FROC have theirs beside their other tests.
"""

import json
from math import isnan
from pathlib import Path

import numpy as np
import pytest

from lesionseg.metrics import (
    Anima,
    AnyOverlap,
    BestIoU,
    LesionScores,
    OneToOneIoU,
    dice,
    label_components,
    score_criteria,
    score_lesions,
)

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"

if not (GOLDEN / "expected.json").is_file():
    pytest.skip("the golden cases (../shared/golden) are not beside this checkout", allow_module_level=True)

CASES = json.loads((GOLDEN / "expected.json").read_text())["cases"]
EMPTY_REFERENCE = {"01_both_empty", "02_empty_ref"}
CRITERIA = {
    **{f"any_overlap_{connectivity}": AnyOverlap(connectivity=connectivity) for connectivity in (6, 18, 26)},
    "anima": Anima(),
    **{f"iou_{threshold}": BestIoU(min_iou=threshold) for threshold in (0.25, 0.5)},
    **{f"one_to_one_iou_{threshold}": OneToOneIoU(min_iou=threshold) for threshold in (0.1, 0.5)},
}


def load(name):
    with np.load(GOLDEN / CASES[name]["file"]) as arrays:
        return arrays["ref"], arrays["pred"], tuple(arrays["spacing"].tolist())


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request):
    return request.param


@pytest.fixture(scope="module")
def scores(case) -> dict[str, LesionScores]:
    """The case under every criterion at once."""
    return score_criteria(*load(case), CRITERIA)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_components_and_any_overlap(case, scores, connectivity):
    reference, prediction, _ = load(case)
    components = CASES[case]["components"][str(connectivity)]
    assert label_components(reference, connectivity)[1] == components["reference"]
    assert label_components(prediction, connectivity)[1] == components["prediction"]

    expected = CASES[case]["any_overlap"][str(connectivity)]
    found = scores[f"any_overlap_{connectivity}"]
    assert found.detected_reference == expected["tp"]
    assert found.n_reference - found.detected_reference == expected["fn"]
    assert found.false_positives == expected["fp"]
    if case in EMPTY_REFERENCE:
        assert isnan(found.f1_counts), f"ours: undefined without reference lesion; theirs: {expected['f1']}"
    else:
        assert found.f1_counts == pytest.approx(expected["f1"], abs=1e-12)


def test_wmh_challenge(case, scores):
    found, expected = scores["any_overlap_26"], CASES[case]["wmh_challenge"]
    if case in EMPTY_REFERENCE:
        assert isnan(found.sensitivity), f"ours: undefined; theirs: {expected['recall']}"
        assert isnan(found.f1), f"ours: undefined; theirs: {expected['f1']}"
    else:
        assert found.sensitivity == pytest.approx(expected["recall"], abs=1e-12)
        assert found.f1 == pytest.approx(expected["f1"], abs=1e-12)


def test_anima(case, scores):
    """Six digits is what the program prints."""
    found, expected = scores["anima"], CASES[case]["anima"]
    if case in EMPTY_REFERENCE:
        assert found.n_prediction == expected["NbTestedLesions"]
        assert found.false_positive_volume_ml * 1000 == pytest.approx(expected["VolTestedLesions"])
        assert isnan(found.sensitivity), "ours: undefined; Anima gives none, and counts the predicted lesions"
    else:
        assert found.sensitivity == pytest.approx(expected["SensL"], abs=1e-6)
        assert found.ppv == pytest.approx(expected["PPVL"], abs=1e-6)
        assert found.f1 == pytest.approx(expected["F1_score"], abs=1e-6)


@pytest.mark.parametrize("threshold", [0.25, 0.5])
def test_shifts(case, scores, threshold):
    found, expected = scores[f"iou_{threshold}"], CASES[case]["shifts"][f"lesion_f1@{threshold}"]
    if case in EMPTY_REFERENCE:
        assert isnan(found.f1_counts), f"ours: undefined without reference lesion; theirs: {expected}"
    else:
        assert found.f1_counts == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_panoptica(case, scores, threshold):
    found, expected = scores[f"one_to_one_iou_{threshold}"], CASES[case]["panoptica"][f"naive_iou_{threshold}"]
    assert found.detected_reference == found.true_prediction == expected["tp"]
    assert found.false_positives == expected["fp"]
    assert found.n_reference - found.detected_reference == expected["fn"]
    quality = {"rq": found.recognition_quality, "sq": found.segmentation_quality}
    quality["pq"] = quality["rq"] * quality["sq"]
    for name, value in quality.items():
        if case in EMPTY_REFERENCE:
            assert isnan(value), f"ours: undefined without reference lesion; theirs: {expected[name]}"
        else:
            assert value == pytest.approx(expected[name], abs=1e-12)


def test_dice(case):
    reference, prediction, _ = load(case)
    value = dice(reference, prediction)
    if case == "01_both_empty":
        assert isnan(value), "ours: undefined where both are empty; theirs: 1"
    else:
        assert value == pytest.approx(CASES[case]["dice"], abs=1e-12)


def test_the_published_policies_that_ours_departs_from():
    """Said here so that a change on either side is noticed."""
    both, reference = CASES["01_both_empty"], CASES["02_empty_ref"]
    assert (both["wmh_challenge"], reference["wmh_challenge"]) == (
        {"recall": 1.0, "f1": 1.0},
        {"recall": 1.0, "f1": 0.0},
    )
    assert (both["any_overlap"]["26"]["f1"], reference["any_overlap"]["26"]["f1"]) == (1.0, 0.0)
    assert (both["shifts"]["lesion_f1@0.25"], reference["shifts"]["lesion_f1@0.25"]) == (1.0, 0.0)
    panoptica = [block["panoptica"]["naive_iou_0.5"]["rq"] for block in (both, reference)]
    assert panoptica == ["nan", 0.0]
    assert both["dice"] == 1.0
    ours = {name: score_lesions(*load(name)) for name in ("01_both_empty", "02_empty_ref", "03_empty_pred")}
    assert isnan(ours["01_both_empty"].ppv)
    assert ours["02_empty_ref"].ppv == 0
    without = ours["03_empty_pred"]
    assert (without.sensitivity, without.ppv, without.f1) == (0, 0, 0)


def test_a_lesion_of_exactly_the_minimum_counts_here_and_not_for_anima():
    reference, prediction, spacing = load("10_aniso")
    assert spacing == (0.5, 0.5, 3.0)
    face = AnyOverlap(connectivity=6)
    with_them = score_lesions(reference, prediction, spacing, face, min_volume_mm3=3.0)
    assert (with_them.n_reference, with_them.n_prediction) == (4, 6)
    strictly = score_lesions(reference, prediction, spacing, Anima())
    assert (strictly.n_reference, strictly.n_prediction) == (3, 4)
