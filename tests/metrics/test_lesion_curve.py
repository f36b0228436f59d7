"""Lesions at every threshold: against a drawing, relabelling, golden values, and what must not matter."""

import json
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from lesionseg.metrics import lesion_curve

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
MM = (1.0, 1.0, 1.0)
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


def random_pair(seed, shape=(7, 6, 8), sigma=0.7):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.random(shape), sigma)
    probability = np.clip((field - field.min()) / np.ptp(field), 0, 1)
    truth = ndimage.gaussian_filter(rng.random(shape), 0.8)
    return (truth > np.quantile(truth, 0.85)).astype(np.uint8), probability


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

    def test_two_that_become_large_only_together_do_so_where_they_join(self):
        line = np.array([[[0.9, 0.8, 0.2, 0.7, 0.6]]])
        curve = lesion_curve(np.zeros((1, 1, 5), bool), line, MM, min_volume_mm3=3.0)
        assert lists(curve) == [[0.2], [0], [1], [1]]

    def test_a_reference_lesion_below_the_minimum_leaves_its_prediction_false(self):
        reference, probability = np.zeros((2, 1, 1, 4))
        reference[0, 0, 0], probability[0, 0, :2] = 1, [0.6, 0.4]
        curve = lesion_curve(reference, probability, MM, min_volume_mm3=2.0)
        assert curve.n_reference == 0
        assert lists(curve) == [[0.4], [0], [1], [1]]

    def test_the_minimum_is_a_volume(self):
        """0.1 · 0.1 · 0.3 mm³ has no exact binary form; two voxels of it are exactly 0.006 mm³."""
        at = lesion_curve(LINE_REFERENCE, LINE, (0.1, 0.1, 0.3), min_volume_mm3=0.006).at(0.3)
        assert (at.detected_reference, at.n_prediction) == (2, 2)
        at = lesion_curve(LINE_REFERENCE, LINE, (0.1, 0.1, 0.3), min_volume_mm3=0.0061).at(0.3)
        assert (at.detected_reference, at.n_prediction) == (0, 2)

    def test_at_any_thresholds_in_any_order(self):
        curve = lesion_curve(LINE_REFERENCE, LINE, MM)
        at = curve.at([[0.85, 1.0], [0.05, 0.5]])
        assert at.n_prediction.tolist() == [[1, 0], [3, 5]]
        assert at.false_positives.tolist() == [[1, 0], [1, 3]]
        assert at.detected_reference.tolist() == [[0, 0], [2, 2]]
        with pytest.raises(ValueError, match="A threshold must be a number, found NaN"):
            curve.at(nan)

    def test_float32_thresholds_are_the_map_s_own(self):
        curve = lesion_curve(LINE_REFERENCE, LINE.astype(np.float32), MM)
        assert curve.thresholds.tolist() == sorted(np.unique(LINE.astype(np.float32)).tolist())[:0:-1]
        assert curve.at(np.float32(0.7)).n_prediction == 3
        assert curve.at(0.7).n_prediction == 2, "float32 has no 0.7, only something just below"

    def test_voxels_at_the_lowest_value_are_never_lesion(self):
        curve = lesion_curve(LINE_REFERENCE, LINE, MM, lowest=0.4)
        assert lists(curve)[0] == [0.9, 0.8, 0.7, 0.6, 0.5]
        whole = lesion_curve(LINE_REFERENCE, LINE, MM, lowest=-1.0)
        assert lists(whole)[0][-1] == 0.0
        assert counts(whole, 0.0).tolist() == [3, 1, 0], "every voxel, one lesion"


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

    @settings(max_examples=40, deadline=None)
    @given(
        st.integers(0, 2**32 - 1),
        st.sampled_from([6, 18, 26]),
        st.sampled_from([0, 2, 4, 30]),
        st.integers(3, 40),
        st.sampled_from([np.uint8, np.int16, np.uint16, np.int64, np.float32]),
    )
    def test_quantised_larger_maps(self, seed, connectivity, least, steps, dtype):
        reference, probability = random_pair(seed, (9, 8, 7))
        quantised = np.round(probability * steps)
        if dtype is np.float32:
            quantised = quantised / steps
        assert_like_relabelling(reference, quantised.astype(dtype), connectivity, least)

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


class TestWhatMustNotMatter:
    @pytest.fixture(params=[(26, 0.0), (6, 3.0)], ids=["26", "6, from 3 mm³"])
    def options(self, request):
        connectivity, least = request.param
        return {"spacing": MM, "connectivity": connectivity, "min_volume_mm3": least}

    @pytest.fixture(params=["float", "ties"])
    def pair(self, request):
        reference, probability = random_pair(11, (9, 10, 8))
        return reference, probability if request.param == "float" else np.round(probability * 12) / 12

    @pytest.mark.parametrize(
        "change",
        [
            lambda array: array[::-1],
            lambda array: array[:, ::-1, ::-1],
            lambda array: array.transpose(2, 0, 1),
            lambda array: np.pad(array, ((3, 0), (0, 2), (1, 1))),
            np.asfortranarray,
            lambda array: np.repeat(array, 2, axis=2)[..., ::2],
            lambda array: array.astype(array.dtype.newbyteorder()),
        ],
        ids=["flip", "two flips", "axes", "padding", "Fortran order", "strides", "byte order"],
    )
    def test_how_the_volume_lies(self, pair, options, change):
        expected = lesion_curve(*pair, **options)
        found = lesion_curve(*map(change, pair), **options)
        assert lists(found) == lists(expected)
        assert found.n_reference == expected.n_reference

    def test_a_monotone_change_of_the_values(self, pair, options):
        reference, probability = pair
        values, ranks = np.unique(probability, return_inverse=True)
        expected = lesion_curve(reference, probability, **options)
        found = lesion_curve(reference, ranks.reshape(probability.shape), **options)
        assert lists(found)[1:] == lists(expected)[1:]
        assert values[found.thresholds.astype(int)].tolist() == expected.thresholds.tolist()

    def test_the_arguments_are_left_alone(self, pair, options):
        before = [array.copy() for array in pair]
        lesion_curve(*pair, **options)
        for array, copy in zip(pair, before, strict=True):
            np.testing.assert_array_equal(array, copy)


class TestNothingToMeasure:
    def test_without_reference_lesion_all_is_false(self):
        curve = lesion_curve(np.zeros_like(LINE_REFERENCE), LINE, MM)
        assert curve.n_reference == 0
        assert not curve.detected_reference.any()
        assert curve.false_positives.tolist() == curve.n_prediction.tolist() == [1, 2, 3, 4, 5, 4, 3]

    @pytest.mark.parametrize("least", [0.0, 2.0])
    @pytest.mark.parametrize("shape", [(1, 1, 12), (0, 1, 12)])
    def test_without_prediction_there_is_no_threshold(self, least, shape):
        reference = np.broadcast_to(LINE_REFERENCE, shape)
        curve = lesion_curve(reference, np.zeros(shape), MM, min_volume_mm3=least)
        assert lists(curve) == [[], [], [], []]
        assert curve.n_reference == (3 if reference.size else 0)
        assert counts(curve, [0.5, 0.1]).tolist() == [[0, 0]] * 3

    def test_nothing_is_large_enough(self):
        assert lists(lesion_curve(LINE_REFERENCE, LINE, MM, min_volume_mm3=1e9)) == [[], [], [], []]

    def test_one_voxel(self):
        one = np.ones((1, 1, 1))
        assert lists(lesion_curve(one, one, MM)) == [[1.0], [1], [1], [0]]


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

    def test_predicted_lesions_from_4_voxels(self, golden):
        """The golden values keep three reference lesions of fewer than 4 voxels: let these grow where p is 0."""
        expected, reference, probability = golden
        cube = np.ones((3, 3, 3))
        labels, _ = ndimage.label(reference, cube)
        sizes = np.bincount(labels.ravel())
        assert (sizes < 4).sum() == 3
        grown = ndimage.binary_dilation(np.isin(labels, np.flatnonzero(sizes < 4)), cube)
        enlarged = (reference > 0) | (grown & (probability == 0))

        curve = lesion_curve(enlarged, probability, MM, min_volume_mm3=4.0)
        assert curve.n_reference == expected["n_ref"]
        for row in expected["rows"]:
            found = counts(curve, row["t_u8"]).tolist()[1:]
            assert found == [row["n_pred_ge4vox"], row["fp_ge4vox"]], row["t_u8"]
        as_it_is = lesion_curve(reference, probability, MM, min_volume_mm3=4.0)
        assert as_it_is.n_reference == expected["n_ref"] - 3
        assert [int(as_it_is.at(row["t_u8"]).n_prediction) for row in expected["rows"]] == [
            row["n_pred_ge4vox"] for row in expected["rows"]
        ]
