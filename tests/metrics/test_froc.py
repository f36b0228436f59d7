"""The free-response ROC of several studies: by hand, and against the curves that it is made of."""

import json
from math import inf, isnan, nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from lesionseg.metrics import LesionCurve, choose_threshold, froc_area, lesion_curve, pool_curves, sensitivity_at

MM = (1.0, 1.0, 1.0)


def random_pair(seed, shape=(7, 6, 8), sigma=0.7):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.random(shape), sigma)
    probability = np.clip((field - field.min()) / np.ptp(field), 0, 1)
    truth = ndimage.gaussian_filter(rng.random(shape), 0.8)
    return (truth > np.quantile(truth, 0.85)).astype(np.uint8), probability


def curve(thresholds, detected, false, n_reference):
    detected, false = np.array(detected), np.array(false)
    return LesionCurve(np.array(thresholds, dtype=float), detected, detected + false, false, n_reference)


class TestPooled:
    """Three studies: two with 4 and 1 reference lesions, one with none."""

    @pytest.fixture
    def froc(self):
        return pool_curves(
            [
                curve([0.9, 0.6, 0.3], [1, 2, 4], [0, 3, 1], 4),
                curve([0.6, 0.5], [0, 1], [1, 2], 1),
                curve([0.8], [0], [1], 0),
            ]
        )

    def test_by_hand(self, froc):
        assert froc.thresholds.tolist() == [0.9, 0.8, 0.6, 0.5, 0.3]
        assert froc.sensitivity.tolist() == [1 / 5, 1 / 5, 2 / 5, 3 / 5, 1.0]
        assert froc.mean_sensitivity.tolist() == [1 / 8, 1 / 8, 1 / 4, 3 / 4, 1.0]
        assert froc.false_positives_per_study.tolist() == [0, 1 / 3, 5 / 3, 2, 4 / 3]
        assert (froc.n_studies, froc.n_reference) == (3, 5)

    def test_the_best_sensitivity_with_so_few_false_positives(self, froc):
        """The lowest threshold has fewer false positives than the two above it, where lesions merged: no gain."""
        wanted = {0: 0.2, 1 / 3: 0.2, 4 / 3: 0.2, 5 / 3: 0.4, 1.9: 0.4, 2: 1.0, inf: 1.0}
        assert {limit: sensitivity_at(froc, limit) for limit in wanted} == wanted

    def test_the_area_by_hand(self, froc):
        assert froc_area(froc, 1.0) == pytest.approx(0.2)
        assert froc_area(froc, 2.0) == pytest.approx((0.2 * 5 / 3 + 0.4 * 1 / 3) / 2)

    def test_one_lesion_that_covers_everything_finds_nothing_for_free(self):
        reference = np.zeros((9, 9, 9), bool)
        reference[1:3, 1:3, 1:3] = reference[6:8, 6:8, 6:8] = True
        probability = np.full(reference.shape, 0.001)  # a sigmoid's tail
        probability[1:3, 1:3, 1:3] = 0.9
        probability[6, 1, 1] = probability[1, 6, 1] = 0.5
        froc = pool_curves([lesion_curve(reference, probability, MM)])
        assert froc.sensitivity.tolist() == [0.5, 0.5, 1.0]
        assert froc.false_positives_per_study.tolist() == [0, 2, 0]
        assert (sensitivity_at(froc, 0), sensitivity_at(froc, 1), sensitivity_at(froc, 2)) == (0.5, 0.5, 1.0)
        assert froc_area(froc, 1.0) == 0.5

    def test_pooling_sums_the_studies_at_each_threshold(self):
        pairs = [random_pair(seed, sigma=0.5) for seed in range(4)]
        froc = pool_curves([lesion_curve(*pair, MM) for pair in pairs])
        for threshold in (0.9, 0.7, 0.5, 0.2):
            at = [lesion_curve(*pair, MM).at(threshold) for pair in pairs]
            index = np.flatnonzero(froc.thresholds >= threshold)[-1]
            assert froc.sensitivity[index] == sum(one.detected_reference for one in at) / froc.n_reference
            assert froc.false_positives_per_study[index] == sum(one.false_positives for one in at) / 4


def test_what_is_no_curve_or_no_limit_is_refused():
    froc = pool_curves([curve([0.5], [1], [0], 1)])
    with pytest.raises(ValueError, match="curve of at least one study, found none"):
        pool_curves([])
    for value in (-1.0, nan):
        with pytest.raises(ValueError, match=f"must be 0 or more, found {value}"):
            sensitivity_at(froc, value)
    for value in (0.0, -1.0, inf, nan):
        with pytest.raises(ValueError, match=f"positive number of false positives per study, found {value}"):
            froc_area(froc, value)


GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
STRUCTURES = {6: 1, 18: 2, 26: 3}

#   p  .9 .3 .7  0 .6 .4 .8  0 .5  0  0  0
#   ref       #  #        #  #        #  #
#
#  .9   |
#  .8   |                 |
#  .7   |     |           |
#  .6   |     |     |     |
#  .5   |     |     |     |     |
#  .4   |     |     +--+--+     |
#  .3   +--+--+     +--+--+     |
LINE = np.array([[[0.9, 0.3, 0.7, 0, 0.6, 0.4, 0.8, 0, 0.5, 0, 0, 0]]])
LINE_REFERENCE = np.array([[[0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1]]])


def lists(curve):
    return [
        array.tolist()
        for array in (curve.thresholds, curve.detected_reference, curve.n_prediction, curve.false_positives)
    ]


def counts(curve, thresholds):
    at = curve.at(thresholds)
    return np.stack([at.detected_reference, at.n_prediction, at.false_positives])


def relabelled(reference, probability, threshold, connectivity=26, least=1):
    """Detected reference lesions, predicted lesions, false ones at one threshold, by the definition."""
    structure = ndimage.generate_binary_structure(3, STRUCTURES[connectivity])
    sides = []
    for mask in (reference > 0, probability >= threshold):
        labels, count = ndimage.label(mask, structure)
        sides.append([labels == n for n in range(1, count + 1) if (labels == n).sum() >= least])
    reference_lesions, predicted = sides
    true = [any((lesion & other).any() for other in reference_lesions) for lesion in predicted]
    found = [any((lesion & other).any() for other in predicted) for lesion in reference_lesions]
    return sum(found), len(predicted), len(predicted) - sum(true)


def assert_like_relabelling(reference, probability, connectivity, least, lowest=0.0):
    curve = lesion_curve(
        reference, probability, MM, connectivity=connectivity, min_volume_mm3=float(least), lowest=lowest
    )
    values = np.unique(probability)
    values = values[values.astype(float) > lowest]
    expected = [relabelled(reference, probability, value, connectivity, least) for value in values]
    assert counts(curve, values).T.tolist() == [list(row) for row in expected]
    assert set(curve.thresholds) <= set(values.astype(float))
    assert (np.diff(curve.thresholds) < 0).all()
    steps = counts(curve, np.concatenate([[inf], curve.thresholds]))
    assert (steps[:, 0] == 0).all()
    assert np.diff(steps, axis=1).any(axis=0).all(), "a threshold where nothing changes"
    assert steps[:, 1:].tolist() == [
        curve.detected_reference.tolist(),
        curve.n_prediction.tolist(),
        curve.false_positives.tolist(),
    ]


class TestDrawn:
    def test_every_step_of_the_drawing(self):
        curve = lesion_curve(LINE_REFERENCE, LINE, MM)
        assert curve.n_reference == 3
        assert lists(curve) == [
            [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3],
            [0, 1, 2, 2, 2, 2, 2],
            [1, 2, 3, 4, 5, 4, 3],
            [1, 1, 1, 2, 3, 2, 1],
        ]

    def test_lesions_of_one_voxel_dropped_at_each_threshold(self):
        """Joined at 0.4 and 0.3 they are large enough at once, though each has a peak far above."""
        assert lists(lesion_curve(LINE_REFERENCE, LINE, MM, min_volume_mm3=2.0)) == [
            [0.4, 0.3],
            [1, 2],
            [1, 2],
            [0, 0],
        ]

    def test_a_reference_lesion_below_the_minimum_leaves_its_prediction_false(self):
        reference, probability = np.zeros((2, 1, 1, 4))
        reference[0, 0, 0], probability[0, 0, :2] = 1, [0.6, 0.4]
        curve = lesion_curve(reference, probability, MM, min_volume_mm3=2.0)
        assert curve.n_reference == 0
        assert lists(curve) == [[0.4], [0], [1], [1]]

    def test_at_any_thresholds_in_any_order(self):
        curve = lesion_curve(LINE_REFERENCE, LINE, MM)
        at = curve.at([[0.85, 1.0], [0.05, 0.5]])
        assert at.n_prediction.tolist() == [[1, 0], [3, 5]]
        assert at.false_positives.tolist() == [[1, 0], [1, 3]]
        assert at.detected_reference.tolist() == [[0, 0], [2, 2]]
        with pytest.raises(ValueError, match="A threshold must be a number, found NaN"):
            curve.at(nan)


class TestAgainstRelabelling:
    @settings(max_examples=120, deadline=None)
    @given(
        hnp.arrays(np.uint8, (4, 3, 5), elements=st.integers(0, 4)),
        hnp.arrays(np.bool_, (4, 3, 5)),
        st.sampled_from([6, 18, 26]),
        st.sampled_from([0, 2, 3, 5, 9]),
    )
    def test_few_values_and_many_ties(self, probability, reference, connectivity, least):
        assert_like_relabelling(reference, probability, connectivity, least)

    @settings(max_examples=60, deadline=None)
    @given(
        st.integers(0, 2**32 - 1),
        st.sampled_from([6, 18, 26]),
        st.sampled_from([0, 2, 3, 6, 20]),
        st.sampled_from([np.float16, np.float32, np.float64]),
        st.sampled_from([0.0, 0.4, 0.8]),
        st.sampled_from([0.0, 0.3, -1.0]),
    )
    def test_floats_rough_and_smooth(self, seed, connectivity, least, dtype, sigma, lowest):
        reference, probability = random_pair(seed, (5, 6, 4), sigma)
        assert_like_relabelling(reference, probability.astype(dtype), connectivity, least, lowest)

    @pytest.mark.parametrize("connectivity", [6, 18, 26])
    @pytest.mark.parametrize("least", [1, 5])
    def test_a_map_of_many_chunks_and_basins(self, connectivity, least):
        rng = np.random.default_rng(5)
        probability = rng.random((40, 41, 42), dtype=np.float32)
        reference = rng.random(probability.shape) > 0.98
        curve = lesion_curve(reference, probability, MM, connectivity=connectivity, min_volume_mm3=least)
        structure = ndimage.generate_binary_structure(3, STRUCTURES[connectivity])

        def kept(mask):
            labels, _ = ndimage.label(mask, structure)
            large = np.bincount(labels.ravel()) >= least
            large[0] = False
            return labels * large[labels]

        for threshold in (0.99, 0.95, 0.9, 0.8, 0.7, 0.5, 0.1):
            lesions, predicted = kept(reference), kept(probability >= np.float32(threshold))
            n_prediction = np.unique(predicted[predicted > 0]).size
            true = np.unique(predicted[(predicted > 0) & (lesions > 0)]).size
            detected = np.unique(lesions[(predicted > 0) & (lesions > 0)]).size
            assert counts(curve, np.float32(threshold)).tolist() == [detected, n_prediction, n_prediction - true]


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"probability": LINE * 4}, "Probabilities must lie within 0 … 1, found 0 … 3.6; are these logits"),
            ({"probability": np.where(LINE == 0.3, nan, LINE)}, "must be finite, found NaN or infinite"),
            ({"probability": LINE + 0j}, "must hold real numbers, found the type complex128"),
            ({"probability": LINE[..., :3]}, r"found shapes \(1, 1, 12\) and \(1, 1, 3\)"),
            ({"probability": LINE[0], "reference": LINE_REFERENCE[0]}, r"must be 3D, found shape \(1, 12\)"),
            ({"reference": LINE_REFERENCE * 2}, "The reference must be a mask of 0 and 1, found the values 0, 2"),
            ({"spacing": (1.0, 0.0, 1.0)}, "three positive lengths in mm"),
            ({"connectivity": 8}, "Connectivity must be 6, 18 or 26, found 8"),
            ({"min_volume_mm3": -1.0}, "must be 0 mm³ or more, found -1"),
            ({"min_volume_mm3": inf}, "must be 0 mm³ or more, found inf"),
            ({"lowest": nan}, "The lowest value must be a finite number, found nan"),
        ],
    )
    def test_by_the_curve(self, change, message):
        arguments = {"reference": LINE_REFERENCE, "probability": LINE, "spacing": MM} | change
        with pytest.raises(ValueError, match=message):
            lesion_curve(**arguments)


@pytest.mark.skipif(
    not (GOLDEN / "froc_realistic.json").is_file(), reason="the golden cases (../shared/golden) are not beside this"
)
class TestGolden:
    @pytest.fixture
    def golden(self):
        expected = json.loads((GOLDEN / "froc_realistic.json").read_text())
        with np.load(GOLDEN / f"{expected['case']}.npz") as arrays:
            return expected, arrays["ref"], arrays["prob_u8"]

    def test_every_lesion(self, golden):
        expected, reference, probability = golden
        curve = lesion_curve(reference, probability, MM)
        assert curve.n_reference == expected["n_ref"]
        for row in expected["rows"]:
            assert counts(curve, row["t_u8"]).tolist() == [row["ref_hit"], row["n_pred"], row["fp"]], row["t_u8"]


MAP = np.array([0.9, 0.6, 0.3, 0.0]).reshape(1, 1, -1)


def scores(values):
    """A score that depends on how many voxels the mask has."""
    return lambda mask: values[int(mask.sum())]


def test_the_candidate_with_the_highest_mean_wins():
    first, second = scores({3: 0.1, 2: 0.9, 1: 0.4}), scores({3: 0.3, 2: 0.5, 1: 0.4})
    choice = choose_threshold([(MAP, first), (MAP, second)], [0.8, 0.2, 0.5], default=0.5)
    assert (choice.threshold, choice.candidates, choice.n_studies) == (0.5, (0.2, 0.5, 0.8), 2)
    assert choice.means == pytest.approx((0.2, 0.7, 0.4))


def test_of_equal_ones_the_nearest_to_the_default_wins_and_then_the_lower():
    level = scores({3: 0.5, 2: 0.5, 1: 0.5})
    assert choose_threshold([(MAP, level)], [0.2, 0.5, 0.8], default=0.75).threshold == 0.8
    assert choose_threshold([(MAP, level)], [0.25, 0.75], default=0.5).threshold == 0.25


def test_undefined_scores_are_left_out_and_counted():
    choice = choose_threshold(
        [(MAP, scores({3: nan, 2: nan, 1: nan})), (MAP, scores({3: 0.2, 2: nan, 1: 0.1}))], [0.2, 0.5, 0.8], default=0.5
    )
    assert (choice.threshold, choice.n_studies) == (0.2, 1)
    assert isnan(choice.means[1])


@pytest.mark.parametrize("found", [0.0, nan])
def test_where_nothing_is_found_the_default_stays(found):
    choice = choose_threshold([(MAP, scores({3: found, 2: found, 1: found}))], [0.2, 0.5, 0.8], default=0.45)
    assert (choice.threshold, choice.n_studies) == (0.45, 0)
