"""The free-response ROC of several studies: by hand, and against the curves that it is made of."""

from math import inf, isnan, nan

import numpy as np
import pytest
from scipy import ndimage

from lesionseg.metrics import Froc, LesionCurve, froc_area, lesion_curve, pool_curves, sensitivity_at

MM = (1.0, 1.0, 1.0)
MASK = np.array([[[0, 1, 1, 0, 1]]])


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

    def test_none_so_few(self):
        froc = pool_curves([curve([0.9, 0.5], [0, 1], [1, 2], 2)])
        assert sensitivity_at(froc, 0.5) == 0.0
        assert sensitivity_at(froc, 1) == 0.0
        assert sensitivity_at(froc, 2) == 0.5
        assert froc_area(froc, 1.0) == 0.0
        assert froc_area(froc, 4.0) == pytest.approx(0.25)

    def test_the_area_by_hand(self, froc):
        assert froc_area(froc, 1.0) == pytest.approx(0.2)
        assert froc_area(froc, 2.0) == pytest.approx((0.2 * 5 / 3 + 0.4 * 1 / 3) / 2)

    def test_the_area_is_the_mean_over_limits(self):
        studies = [random_pair(seed, (20, 20, 20)) for seed in range(3)]
        froc = pool_curves([lesion_curve(*study, MM, lowest=0.6) for study in studies])
        limits = (np.arange(4000) + 0.5) / 4000 * 80
        mean = np.mean([sensitivity_at(froc, limit) for limit in limits])
        assert 0.1 < mean < 0.9
        assert froc_area(froc, 80.0) == pytest.approx(mean, abs=1e-3)

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

    def test_perfect(self):
        froc = pool_curves([lesion_curve(MASK, MASK.astype(float), MM)])
        assert sensitivity_at(froc, 0) == froc_area(froc, 1.0) == 1.0

    def test_pooling_sums_the_studies_at_each_threshold(self):
        pairs = [random_pair(seed, sigma=0.5) for seed in range(4)]
        froc = pool_curves([lesion_curve(*pair, MM) for pair in pairs])
        for threshold in (0.9, 0.7, 0.5, 0.2):
            at = [lesion_curve(*pair, MM).at(threshold) for pair in pairs]
            index = np.flatnonzero(froc.thresholds >= threshold)[-1]
            assert froc.sensitivity[index] == sum(one.detected_reference for one in at) / froc.n_reference
            assert froc.false_positives_per_study[index] == sum(one.false_positives for one in at) / 4

    def test_no_reference_lesion_anywhere(self):
        froc = pool_curves([curve([0.8, 0.4], [0, 0], [1, 2], 0)] * 2)
        assert np.isnan(froc.sensitivity).all()
        assert np.isnan(froc.mean_sensitivity).all()
        assert froc.false_positives_per_study.tolist() == [1, 2]
        assert isnan(sensitivity_at(froc, 1.0))
        assert isnan(froc_area(froc, 1.0))

    def test_no_prediction_anywhere(self):
        froc = pool_curves([curve([], [], [], 2), curve([], [], [], 0)])
        assert isinstance(froc, Froc)
        assert froc.thresholds.size == froc.sensitivity.size == froc.false_positives_per_study.size == 0
        assert sensitivity_at(froc, 1.0) == froc_area(froc, 1.0) == 0.0


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
