"""Golden cases: the values that published implementations give, and where our empty-case policy differs."""

import json
from math import isnan
from pathlib import Path

import numpy as np
import pytest

from lesionseg.metrics import dice, label_components, score_lesions

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"

if not (GOLDEN / "expected.json").is_file():
    pytest.skip("the golden cases (../shared/golden) are not beside this checkout", allow_module_level=True)

CASES = json.loads((GOLDEN / "expected.json").read_text())["cases"]
EMPTY_REFERENCE = {"01_both_empty", "02_empty_ref"}


def load(name):
    with np.load(GOLDEN / CASES[name]["file"]) as arrays:
        return arrays["ref"], arrays["pred"], tuple(arrays["spacing"].tolist())


@pytest.fixture(params=sorted(CASES))
def case(request):
    return request.param


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_components_and_any_overlap(case, connectivity):
    reference, prediction, spacing = load(case)
    components = CASES[case]["components"][str(connectivity)]
    assert label_components(reference, connectivity)[1] == components["reference"]
    assert label_components(prediction, connectivity)[1] == components["prediction"]

    expected = CASES[case]["any_overlap"][str(connectivity)]
    scores = score_lesions(reference, prediction, spacing, connectivity=connectivity)
    assert scores.detected_reference == expected["tp"]
    assert scores.n_reference - scores.detected_reference == expected["fn"]
    assert scores.false_positives == expected["fp"]
    if case in EMPTY_REFERENCE:
        assert isnan(scores.f1_counts), f"ours: undefined without reference lesion; theirs: {expected['f1']}"
    else:
        assert scores.f1_counts == pytest.approx(expected["f1"], abs=1e-12)


def test_wmh_challenge(case):
    scores = score_lesions(*load(case), connectivity=26)
    expected = CASES[case]["wmh_challenge"]
    if case in EMPTY_REFERENCE:
        assert isnan(scores.sensitivity), f"ours: undefined; theirs: {expected['recall']}"
        assert isnan(scores.f1), f"ours: undefined; theirs: {expected['f1']}"
    else:
        assert scores.sensitivity == pytest.approx(expected["recall"], abs=1e-12)
        assert scores.f1 == pytest.approx(expected["f1"], abs=1e-12)


def test_dice(case):
    reference, prediction, _ = load(case)
    value = dice(reference, prediction)
    if case == "01_both_empty":
        assert isnan(value), "ours: undefined where both are empty; theirs: 1"
    else:
        assert value == pytest.approx(CASES[case]["dice"], abs=1e-12)


def test_the_published_policies_that_ours_departs_from():
    """Said here so that a change on either side is noticed."""
    assert CASES["01_both_empty"]["wmh_challenge"] == {"recall": 1.0, "f1": 1.0}
    assert CASES["02_empty_ref"]["wmh_challenge"] == {"recall": 1.0, "f1": 0.0}
    assert CASES["01_both_empty"]["any_overlap"]["26"]["f1"] == 1.0
    assert CASES["02_empty_ref"]["any_overlap"]["26"]["f1"] == 0.0
    assert CASES["01_both_empty"]["dice"] == 1.0
    ours = {name: score_lesions(*load(name)) for name in ("01_both_empty", "02_empty_ref", "03_empty_pred")}
    assert isnan(ours["01_both_empty"].ppv)
    assert ours["02_empty_ref"].ppv == 0
    assert (ours["03_empty_pred"].sensitivity, ours["03_empty_pred"].ppv, ours["03_empty_pred"].f1) == (
        0,
        0,
        0,
    )


def test_a_lesion_of_exactly_the_minimum_counts_here_and_not_for_anima():
    reference, prediction, spacing = load("10_aniso")
    assert spacing == (0.5, 0.5, 3.0)
    with_them = score_lesions(reference, prediction, spacing, connectivity=6, min_volume_mm3=3.0)
    without = score_lesions(reference, prediction, spacing, connectivity=6, min_volume_mm3=3.1)
    assert (with_them.n_reference, without.n_reference) == (4, 3)
    assert (with_them.n_prediction, without.n_prediction) == (6, 4)
