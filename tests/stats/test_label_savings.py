"""Label savings: curves worked by hand, what is only a bound, and a known truth by simulation."""

from math import exp, inf, isnan, log, nan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionseg.stats import isotonic_curve, label_savings, power_law_curve

SIZES = np.array([5.0, 10, 20, 40])
RISING = np.array([0.1, 0.2, 0.4, 0.6])


def _same_for_all(scores, patients=4, repeats=3):
    return np.broadcast_to(np.asarray(scores, dtype=float)[:, None, None], (len(scores), patients, repeats)).copy()


def _needed(de_novo, fine_tuned):
    return label_savings(SIZES, _same_for_all(de_novo), _same_for_all(fine_tuned), n_resamples=20).needed.tolist()


def test_by_hand():
    # 0.3 lies half-way from 0.2 at 10 to 0.4 at 20, in log n at √200; 0.6 is the last score itself.
    found = label_savings(SIZES, _same_for_all(RISING), _same_for_all([0.15, 0.3, 0.6, 0.6]), n_resamples=20)
    np.testing.assert_allclose(found.needed, [sqrt(50), sqrt(200), 40, 40])
    np.testing.assert_array_equal(found.sizes, SIZES)
    np.testing.assert_allclose(found.scores, [0.15, 0.3, 0.6, 0.6])
    np.testing.assert_allclose(found.reference.fitted, RISING)
    assert (found.n_patients, found.n_repeats, found.note) == (4, 3, "")


def test_beyond_the_sizes_there_are_only_bounds():
    found = label_savings(SIZES, _same_for_all(RISING), _same_for_all([0.05, 0.1, 0.61, 0.6]), n_resamples=20)
    assert found.needed.tolist() == [-inf, -inf, inf, 40]
    assert (found.low[2], found.high[2]) == (inf, inf), "the same for all patients"


def test_on_a_plateau_the_smallest_size_that_reaches_it_counts():
    assert _needed([0.1, 0.4, 0.4, 0.6], [0.4] * 4) == [10.0] * 4
    assert _needed([0.4, 0.4, 0.4, 0.6], [0.4] * 4) == [-inf] * 4


def test_a_de_novo_curve_that_falls_is_evened_out():
    # 0.5 and 0.3 become 0.4 each; 0.5 is then half-way from 20 to 40.
    assert _needed([0.1, 0.5, 0.3, 0.6], [0.5] * 4)[0] == pytest.approx(sqrt(800))


def test_ends_of_the_interval_stay_bounds():
    random = np.random.default_rng(5)
    de_novo = RISING[:, None, None] + random.normal(0, 0.05, size=(4, 8, 3))
    fine_tuned = np.array([0.1, 0.35, 0.6, 0.9])[:, None, None] + random.normal(0, 0.05, size=(4, 8, 3))
    found = label_savings(SIZES, de_novo, fine_tuned, n_resamples=500)
    assert found.low[0] == -inf
    assert 5 < found.low[1] < found.needed[1] < found.high[1] < 40
    assert found.high[2] == found.low[3] == found.high[3] == inf


def test_the_interval_is_that_of_the_same_draws_counted_out():
    random = np.random.default_rng(6)
    de_novo = RISING[:, None, None] + random.normal(0, 0.02, size=(4, 5, 3))
    fine_tuned = np.array([0.15, 0.3, 0.35, 0.5])[:, None, None] + random.normal(0, 0.02, size=(4, 5, 3))
    draws = np.random.default_rng(9)
    patients = draws.multinomial(5, np.full(5, 0.2), size=99)
    repeats = draws.multinomial(3, np.full(3, 1 / 3), size=99)
    needed = []
    for p, r in zip(patients, repeats, strict=True):
        rows, columns = np.repeat(np.arange(5), p), np.repeat(np.arange(3), r)
        curve, scores = (arm[:, rows][:, :, columns].mean(axis=(1, 2)) for arm in (de_novo, fine_tuned))
        assert (np.diff(curve) > 0).all(), "so that the curve needs no evening"
        needed.append(exp(np.interp(scores[2], curve, [log(size) for size in SIZES])))
    found = label_savings(SIZES, de_novo, fine_tuned, level=0.9, n_resamples=99, seed=9)
    # 5 % of 99 is 4.95: four draws lie below the interval and four above.
    assert found.low[2] == pytest.approx(sorted(needed)[4])
    assert found.high[2] == pytest.approx(sorted(needed)[-5])


def test_a_size_that_an_arm_lacks_is_left_out_of_that_arm():
    de_novo, fine_tuned = _same_for_all(RISING), _same_for_all([0.15, 0.3, 0.5, 0.6])
    de_novo[1], fine_tuned[3] = nan, nan
    found = label_savings(SIZES, de_novo, fine_tuned, n_resamples=10)
    np.testing.assert_array_equal(found.reference.sizes, [5, 20, 40])
    # From 0.1 at 5 to 0.4 at 20: 0.3 is two thirds of the way.
    assert found.needed[1] == pytest.approx(5 * 4 ** (2 / 3))
    assert isnan(found.scores[3])
    assert isnan(found.needed[3])
    assert (found.n_patients, found.note) == (4, "")


def test_repeats_and_patients_with_missing_scores_are_left_out_of_both_arms():
    random = np.random.default_rng(10)
    de_novo, fine_tuned = RISING[:, None, None] + random.normal(0, 0.02, size=(2, 4, 6, 4))
    expected = label_savings(SIZES, de_novo[:, 1:, :3], fine_tuned[:, 1:, :3], n_resamples=50)
    de_novo[3, :, 3] = nan  # this repeat never ran at the largest size
    fine_tuned[:, 0] = nan  # this patient has no reference lesion
    found = label_savings(SIZES, de_novo, fine_tuned, n_resamples=50)
    for name in ("needed", "low", "high"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.n_patients, found.n_repeats) == (5, 3)
    assert found.note == "1 of 4 repeats lack a size and are left out. 1 of 6 patients lack a score and are left out."


@pytest.mark.parametrize(("patients", "repeats", "reason"), [(1, 3, "One patient"), (4, 2, "Fewer than 3 repeats")])
def test_one_patient_or_few_repeats_have_no_interval(patients, repeats, reason):
    found = label_savings(SIZES, *(_same_for_all(scores, patients, repeats) for scores in (RISING, [0.3] * 4)))
    assert found.needed[0] == pytest.approx(sqrt(200))
    assert np.isnan([found.low, found.high]).all()
    assert reason in found.note


@pytest.mark.parametrize("lacking", ["reference", "arm", "every patient", "every repeat", "no patient"])
def test_nothing_to_compare(lacking):
    arms = {"reference": _same_for_all(RISING, 2, 2), "arm": _same_for_all(RISING, 2, 2)}
    if lacking in arms:
        arms[lacking][:] = nan
    elif lacking == "every patient":
        arms["reference"][0, 0, 0] = arms["arm"][2, 1, 1] = nan
    elif lacking == "every repeat":
        arms["reference"][0, :, 0] = arms["arm"][2, :, 1] = nan
    else:
        arms = {name: arm[:, :0] for name, arm in arms.items()}
    found = label_savings(SIZES, **arms)
    np.testing.assert_array_equal(found.sizes, SIZES)
    assert np.isnan(found.needed).all()
    assert "nothing to compare" in found.note
    assert found.n_patients == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sizes": [5, 10]}, r"\(4, 4, 3\)"),
        ({"sizes": [5, 10, 40, 20]}, "ascending"),
        ({"arm": _same_for_all(RISING, 3, 3)}, r"\(4, 3, 3\)"),
        ({"reference": np.full((4, 4, 3), np.inf)}, "infinite"),
        ({"level": 1.0}, "above 0 and below 1"),
        ({"n_resamples": 0}, "n_resamples must be at least 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(changed, message):
    arguments = {"sizes": SIZES, "reference": _same_for_all(RISING), "arm": _same_for_all(RISING), **changed}
    with pytest.raises(ValueError, match=message):
        label_savings(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([10, 5], [0, 1]), r"sizes must be .* ascending \(got \[10.0, 5.0\]\)"),
        (([5, 5], [0, 1]), "ascending"),
        (([0, 5], [0, 1]), r"got \[0.0, 5.0\]"),
        (([[5, 10]], [0, 1]), "one-dimensional"),
        (([5, 10], [0]), r"one value per size \(got \(1,\) for \(2,\) sizes\)"),
        (([5, 10], [0, np.inf]), "got an infinite one"),
    ],
)
def test_what_is_no_curve_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        isotonic_curve(*arguments)


SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_it_never_falls_keeps_the_mean_and_leaves_a_rising_curve_alone(scores):
    sizes = 2.0 ** np.arange(len(scores))
    fitted = isotonic_curve(sizes, scores).fitted
    assert (np.diff(fitted) >= 0).all()
    assert fitted.mean() == pytest.approx(np.mean(scores))
    np.testing.assert_allclose(isotonic_curve(sizes, np.sort(scores)).fitted, np.sort(scores))


SIZES_CURVES = np.array([5.0, 10, 20, 40, 80])


@pytest.mark.parametrize(("a", "b", "c"), [(0.8, 0.9, 0.7), (0.6, 2.0, 1.5), (100.0, 50.0, 0.4)])
def test_a_power_law_is_found_again(a, b, c):
    found = power_law_curve(SIZES_CURVES, a - b * SIZES_CURVES**-c)
    assert (found.a, found.b, found.c) == (
        pytest.approx(a, rel=1e-4),
        pytest.approx(b, rel=1e-4),
        pytest.approx(c, rel=1e-4),
    )
    np.testing.assert_allclose(found.at(found.sizes), a - b * SIZES_CURVES**-c, rtol=1e-6)
    assert found.note == ""


def test_between_sizes_it_is_the_law_and_outside_it_is_nan():
    found = power_law_curve(SIZES_CURVES, 0.8 - 0.9 * SIZES_CURVES**-0.7)
    np.testing.assert_allclose(
        found.at([4.9, 5, 30, 80, 81]), [nan, 0.8 - 0.9 * 5**-0.7, 0.8 - 0.9 * 30**-0.7, 0.758113, nan], rtol=1e-5
    )
    assert found.at(30).shape == ()


@pytest.mark.parametrize("scores", [[0.4, 0.4, 0.4, 0.4], [0.6, 0.5, 0.3, 0.2]])
def test_scores_that_do_not_rise_are_their_mean(scores):
    found = power_law_curve([5, 10, 20, 40], scores)
    assert (found.b, found.c) == (0, 0)
    np.testing.assert_allclose(found.at([5, 12, 40]), 0.4)
    assert "do not rise" in found.note


@pytest.mark.parametrize("scores", [[0.1, 0.5, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4]], ids=["a step", "a line in log n"])
def test_an_exponent_at_its_bound_is_told(scores):
    found = power_law_curve([5, 10, 20, 40], scores)
    np.testing.assert_allclose(found.at(found.sizes), scores, atol=0.01)
    assert "exponent is at its bound" in found.note
