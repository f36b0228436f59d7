import numpy as np
import pandas as pd
import pytest

from lesionseg.metrics import LesionCurve, froc_area, lesion_curve, pool_curves, stratify
from lesionseg.report.operating_points import (
    FALSE_POSITIVES,
    count_by_volume,
    froc_bands,
    match_repeat,
    matched_ppv,
    run_curves,
    run_froc,
    scores_by_volume,
)

SPACING = (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def maps():
    """Four studies with references and probability maps."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(4):
        reference = np.zeros((16, 16, 16), bool)
        for i, j, k in rng.integers(1, 14, (5, 3)):
            reference[i : i + 2, j : j + 2, k : k + 2] = True
        noise = rng.random((16, 16, 16)) * 0.6
        found.append((reference, np.clip(noise + 0.4 * reference * rng.random(reference.shape), 0, 1)))
    return found


@pytest.fixture(scope="module")
def curves(maps) -> list[LesionCurve]:
    return [lesion_curve(reference, probability.round(2), SPACING, lowest=0.4) for reference, probability in maps]


def _run(curves, arm="scratch", repeat=0, threshold=0.7, lower=0.0):
    names = [f"s{number}" for number in range(len(curves))]
    cases = pd.DataFrame({"init": arm, "train_size": 2, "repeat": repeat, "study": names, "subject": names})
    cases["n_reference"] = [curve.n_reference for curve in curves]
    rows = [
        (name, curve.n_reference, threshold - lower, *counts)
        for name, curve in zip(names, curves, strict=True)
        for threshold, *counts in zip(
            curve.thresholds, curve.detected_reference, curve.n_prediction, curve.false_positives, strict=True
        )
    ]
    columns = ["study", "n_reference", "threshold", "detected_reference", "n_prediction", "false_positives"]
    return run_curves(pd.DataFrame(rows, columns=columns), cases, threshold)


def test_the_froc_of_a_run_is_that_of_the_metrics(curves):
    run, pooled = _run(curves).froc(), pool_curves(curves)
    np.testing.assert_allclose(run.thresholds, pooled.thresholds)
    for name in ("sensitivity", "mean_sensitivity", "false_positives_per_study"):
        np.testing.assert_allclose(getattr(run, name), getattr(pooled, name))
    frame = run_froc(_run(curves), 8.0)
    assert frame["false_positives"].tolist() == FALSE_POSITIVES.tolist()
    assert frame["area"].iloc[0] == pytest.approx(froc_area(pooled, 8.0))
    assert frame["sensitivity"].is_monotonic_increasing


def test_bands_need_two_repeats(curves):
    one, two = run_froc(_run(curves), 8.0), run_froc(_run(curves[::-1], repeat=1), 8.0)
    assert froc_bands(one, ["scratch"])["low"].isna().all()
    both = froc_bands(pd.concat([one, two]), ["scratch"])
    np.testing.assert_allclose(both["sensitivity"], (one["sensitivity"] + two["sensitivity"]) / 2)
    assert (both["low"] <= both["high"]).all()


def test_a_model_matched_with_itself_has_its_own_ppv(curves):
    run, other = _run(curves), _run(curves, "pretrained", lower=0.05)  # the same curve, another scale
    matched = match_repeat(run, other)
    assert (matched["ppv"] == matched["reference_ppv"]).all()
    (row,) = matched_ppv(matched, ["pretrained"]).to_dict("records")
    assert (row["difference"], row["n_unmatched"], row["n_patients"]) == (0.0, 0, 4)


def test_a_model_that_finds_nothing_cannot_be_matched(curves):
    nothing = _run(curves, "pretrained", threshold=2.0)
    (row,) = matched_ppv(match_repeat(_run(curves), nothing), ["pretrained"]).to_dict("records")
    assert (row["n_unmatched"], row["difference"] == row["difference"]) == (1, False)


def test_counts_by_volume_are_those_of_stratify():
    rng = np.random.default_rng(5)
    lesions = pd.DataFrame(
        {
            "study": rng.choice(["a", "b"], 60),
            "side": ["reference"] * 30 + ["prediction"] * 30,
            "verdict": [*rng.choice(["detected", "missed"], 30), *rng.choice(["true", "false"], 30)],
            "volume_mm3": rng.integers(1, 200, 60).astype(float),
        }
    )
    cases = pd.DataFrame({"init": "x", "train_size": 2, "repeat": 0, "study": ["a", "b"], "subject": ["a", "b"]})
    counts = count_by_volume(lesions, cases.assign(n_reference=1), [10, 100])
    strata = stratify(
        *(lesions.loc[lesions["side"] == "reference", "volume_mm3"], lesions["verdict"][:30] == "detected"),
        *(lesions.loc[lesions["side"] == "prediction", "volume_mm3"], lesions["verdict"][30:] == "true"),
        [10, 100],
    )
    summed = counts.groupby(["range", "score"])[["hits", "lesions"]].sum()
    for number, stratum in enumerate(strata):
        assert tuple(summed.loc[(number, "sensitivity")]) == (stratum.detected_reference, stratum.n_reference)
        assert tuple(summed.loc[(number, "ppv")]) == (stratum.true_prediction, stratum.n_prediction)
    shares = scores_by_volume(counts, ["x"], [10, 100])
    assert shares["n_lesions"].sum() == 60
    assert shares["mean"].dropna().between(0, 1).all()
