"""Lesions as they are drawn: as many, as large and as shaped as the patients' are, evolving, enhancing."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from lesionseg.synthetic.config import Enhancement, Evolution, LesionParameters
from lesionseg.synthetic.distributions import Quantiles, Volumes
from lesionseg.synthetic.lesions import Lesion, _correlated_shares, draw_lesions

Alike = Callable[..., LesionParameters]
PATIENTS = 200


@pytest.fixture(scope="module")
def patients(ms_lesions: LesionParameters) -> list[list[Lesion]]:
    """Drawn, not placed; both sessions."""
    return [draw_lesions(np.random.default_rng(seed), ms_lesions, 2) for seed in range(PATIENTS)]


def within(share: float, expected: float, number: int) -> bool:
    """Whether a share of a sample is what chance makes of the expected one (four standard errors)."""
    return abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / number)


class TestDraw:
    @pytest.mark.parametrize("rank", [-0.5, 0.0, 0.69, 1.0])
    def test_shares_have_the_rank_correlation(self, rank: float) -> None:
        rng = np.random.default_rng(0)
        first, second = np.array([_correlated_shares(rng, rank) for _ in range(6000)]).T
        assert stats.spearmanr(first, second).statistic == pytest.approx(rank, abs=0.04)
        for share in (first, second):
            assert stats.kstest(share, "uniform").pvalue > 1e-3

    def test_volumes_are_a_truncated_log_normal(self) -> None:
        volumes = Volumes(median=14.0, log_sd=1.6, low=1.0, high=200.0)
        drawn = np.array(volumes.draw(np.random.default_rng(0), 20_000))
        ends = [(np.log(limit) - np.log(14.0)) / 1.6 for limit in (1.0, 200.0)]
        expected = stats.truncnorm(*ends, loc=np.log(14.0), scale=1.6)
        assert 1 <= drawn.min() < 1.01
        assert 198 < drawn.max() <= 200
        assert stats.kstest(np.log(drawn), expected.cdf).pvalue > 1e-3
        assert np.median(drawn) == pytest.approx(np.exp(expected.median()), rel=0.04)
        assert np.log(drawn).mean() == pytest.approx(expected.mean(), abs=0.04)
        rejected = np.exp(np.random.default_rng(1).normal(np.log(14.0), 1.6, 20_000))  # another way to cut off
        assert np.median(drawn) == pytest.approx(np.median(rejected[(rejected > 1) & (rejected < 200)]), rel=0.06)

    def test_volumes_without_spread_and_none(self) -> None:
        volumes = Volumes(median=14.0, log_sd=0.0, low=1.0, high=200.0)
        assert volumes.draw(np.random.default_rng(0), 3) == pytest.approx([14.0] * 3)
        assert volumes.draw(np.random.default_rng(0), 0) == []

    def test_counts_follow_their_quantiles(self, ms_lesions: LesionParameters, patients: list[list[Lesion]]) -> None:
        counts = np.array([sum(one.volumes_mm3[0] > 0 for one in lesions) for lesions in patients])
        assert ms_lesions.count.values[0] - 1 <= counts.min()
        assert counts.max() <= ms_lesions.count.values[-1]
        for share in (0.1, 0.25, 0.5, 0.75, 0.9):
            assert within(float(np.mean(counts <= ms_lesions.count.at(share) + 0.5)), share, PATIENTS)

    def test_loads_follow_their_quantiles_and_the_counts(
        self, ms_lesions: LesionParameters, patients: list[list[Lesion]]
    ) -> None:
        loads = np.array([sum(one.volumes_mm3[0] for one in lesions) / 1000 for lesions in patients])
        assert ms_lesions.load_ml is not None
        for share in (0.25, 0.5, 0.75, 0.9):
            assert within(float(np.mean(loads <= 1.02 * ms_lesions.load_ml.at(share))), share, PATIENTS)
        counts = [len(lesions) for lesions in patients]
        assert stats.spearmanr(counts, loads).statistic == pytest.approx(ms_lesions.load_correlation, abs=0.12)

    def test_looks_like_the_published_patients(self, patients: list[list[Lesion]]) -> None:
        """As measured on 30 patients (Lesjak et al. 2017) in voxels of 1 mm³, so that volumes are whole numbers."""
        whole = [[max(1, round(one.volumes_mm3[0])) for one in lesions if one.volumes_mm3[0]] for lesions in patients]
        assert np.median([len(volumes) for volumes in whole]) == pytest.approx(85, abs=20)
        assert np.median([sum(volumes) / 1000 for volumes in whole]) == pytest.approx(13.5, abs=5)
        volumes = np.sort(np.concatenate(whole))
        assert np.log(volumes).mean() == pytest.approx(2.80, abs=0.15)
        assert np.log(volumes).std() == pytest.approx(1.65, abs=0.12)
        assert np.mean(volumes < 10) == pytest.approx(0.38, abs=0.04)
        assert np.mean(volumes < 50) == pytest.approx(0.77, abs=0.04)
        largest = volumes[-round(0.016 * volumes.size) :]
        assert 0.6 <= largest.sum() / volumes.sum() <= 0.8

    def test_one_lesion_and_no_load_of_its_own(self, alike: Alike) -> None:
        (only,) = draw_lesions(np.random.default_rng(0), alike(1, 90.0), 1)
        assert only.volumes_mm3 == pytest.approx((90.0,))
        load = Quantiles(shares=[0.0, 1.0], values=[5.0, 5.0])
        (only,) = draw_lesions(np.random.default_rng(0), alike(1, 90.0, load_ml=load), 1)
        assert only.volumes_mm3 == pytest.approx((90.0,)), "one lesion cannot be confluent beside itself"

    def test_what_is_left_of_the_load_is_confluent(self, alike: Alike) -> None:
        load = Quantiles(shares=[0.0, 1.0], values=[9.0, 9.0])
        drawn = draw_lesions(np.random.default_rng(0), alike(20, 50.0, load_ml=load, confluent_share=0.15), 1)
        volumes = sorted(one.volumes_mm3[0] for one in drawn)
        small = [volume for volume in volumes if volume == pytest.approx(50)]
        assert len(volumes) == 20
        assert 1 <= 20 - len(small) <= 8
        assert sum(volumes) == pytest.approx(9000)

    def test_confluent_ones_are_as_even_as_told(self, alike: Alike) -> None:
        load = Quantiles(shares=[0.0, 1.0], values=[60.0, 60.0])
        spread = []
        for evenness in (0.3, 2.0, 1000.0):
            own = alike(40, 50.0, load_ml=load, confluent_share=0.25, confluent_evenness=evenness)
            (volumes,) = np.transpose([one.volumes_mm3 for one in draw_lesions(np.random.default_rng(0), own, 1)])
            confluent = volumes[volumes > 60]
            assert confluent.size > 2
            spread.append(confluent.std() / confluent.mean())
        assert spread[0] > 1.5 * spread[1] > 3 * spread[2] > 0
        assert spread[2] < 0.1

    def test_those_count_as_confluent_that_are_larger(self, alike: Alike) -> None:
        zones = {"periventricular": 0.01, "deep": 0.99}
        for limit, expected in ((89.0, {"periventricular"}), (91.0, {"deep"})):
            own = alike(12, 90.0, zones=zones, hugging=1.0, confluent_mm3=limit)
            assert {one.zone for one in draw_lesions(np.random.default_rng(0), own, 1)} == expected

    def test_axes_zones_and_signals(self, ms_lesions: LesionParameters, patients: list[list[Lesion]]) -> None:
        lesions = [one for drawn in patients[:60] for one in drawn]
        axes = np.array([one.axis_ratios for one in lesions])
        assert axes.prod(axis=1) == pytest.approx(np.ones(len(axes)))
        assert (np.diff(axes, axis=1) <= 1e-9).all(), "the longest first"
        assert [np.median(axes[:, i] / axes[:, i + 1]) for i in (0, 1)] == pytest.approx(
            ms_lesions.axis_ratios, rel=0.03
        )
        small = [one.zone for one in lesions if max(one.volumes_mm3) <= 1000]
        for zone, weight in ms_lesions.zones.items():
            assert within(small.count(zone) / len(small), weight / sum(ms_lesions.zones.values()), len(small))
        assert {one.zone for one in lesions if max(one.volumes_mm3) > 1000} == {"periventricular"}
        for name, (low, high) in ms_lesions.layers[0].signal.items():
            values = np.array([one.signals[0][name] for one in lesions])
            assert low <= values.min() < values.max() <= high
            assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
        low, high = ms_lesions.border_mm
        assert low <= min(one.border_mm for one in lesions) < max(one.border_mm for one in lesions) <= high
        assert {
            (one.enhancing, one.enhancement)
            for one in draw_lesions(np.random.default_rng(0), ms_lesions.model_copy(update={"enhancement": None}), 1)
        } == {((), 0.0)}


class TestEvolution:
    def test_shares_and_factors(self, ms_lesions: LesionParameters, patients: list[list[Lesion]]) -> None:
        evolution = ms_lesions.evolution
        assert isinstance(evolution, Evolution)
        old = np.array([one.volumes_mm3 for lesions in patients for one in lesions if one.volumes_mm3[0]])
        able = old[old[:, 0] <= evolution.largest_mm3]
        ratio = able[:, 1] / able[:, 0]
        assert within(float(np.mean(ratio > 1)), evolution.growing, len(able))
        assert within(float(np.mean(ratio < 1)), evolution.shrinking, len(able))
        low, high = evolution.factor
        for factors in (ratio[ratio > 1], 1 / ratio[ratio < 1]):
            assert low <= factors.min() < factors.max() <= high + 1e-9
            assert factors.mean() == pytest.approx((low + high) / 2, abs=0.05)
        large = old[old[:, 0] > evolution.largest_mm3]
        assert len(large) > 50
        assert (large[:, 0] == large[:, 1]).all()

    def test_new_lesions(self, ms_lesions: LesionParameters, patients: list[list[Lesion]]) -> None:
        evolution = ms_lesions.evolution
        assert isinstance(evolution, Evolution)
        new = [[one.volumes_mm3[1] for one in lesions if not one.volumes_mm3[0]] for lesions in patients]
        counts = np.array([len(volumes) for volumes in new])
        assert within(float(np.mean(counts == 0)), evolution.nothing_new, PATIENTS)
        assert counts.max() <= evolution.new.values[-1]
        assert within(float(np.mean(counts[counts > 0] <= evolution.new.at(0.75))), 0.75, int((counts > 0).sum()))
        volumes = np.concatenate(new)
        limits = evolution.new_volume_mm3
        assert limits.low <= volumes.min() < volumes.max() <= limits.high
        ends = [np.log(limit / limits.median) / limits.log_sd for limit in (limits.low, limits.high)]
        assert np.median(volumes) == pytest.approx(
            limits.median * np.exp(limits.log_sd * stats.truncnorm(*ends).median()), rel=0.15
        )

    def test_one_session_has_none(self, ms_lesions: LesionParameters) -> None:
        assert {len(one.volumes_mm3) for one in draw_lesions(np.random.default_rng(0), ms_lesions, 1)} == {1}

    def test_always_and_never(self, ms_lesions: LesionParameters, alike: Alike) -> None:
        assert ms_lesions.evolution is not None
        still = ms_lesions.evolution.model_copy(update={"nothing_new": 1.0, "growing": 0.0, "shrinking": 0.0})
        drawn = draw_lesions(np.random.default_rng(1), ms_lesions.model_copy(update={"evolution": still}), 2)
        assert all(one.volumes_mm3[0] == one.volumes_mm3[1] for one in drawn)
        busy = ms_lesions.evolution.model_copy(update={"nothing_new": 0.0, "growing": 1.0, "factor": [2.0, 2.0]})
        drawn = draw_lesions(np.random.default_rng(1), alike(10, 30.0, evolution=busy), 2)
        assert [one.volumes_mm3[1] / one.volumes_mm3[0] for one in drawn[:10]] == pytest.approx([2.0] * 10)
        assert len(drawn) > 10


class TestEnhancement:
    def test_who_enhances(self, ms_lesions: LesionParameters, patients: list[list[Lesion]]) -> None:
        enhancement = ms_lesions.enhancement
        assert isinstance(enhancement, Enhancement)
        active = [lesions for lesions in patients if any(one.enhancing for one in lesions)]
        assert within(len(active) / PATIENTS, enhancement.subjects, PATIENTS)
        able = [one for lesions in active for one in lesions if max(one.volumes_mm3) <= enhancement.largest_mm3]
        new = [bool(one.enhancing) for one in able if not one.volumes_mm3[0]]
        assert within(float(np.mean(new)), enhancement.new_lesions, len(new))
        old = [bool(one.enhancing) for one in able if one.volumes_mm3[0]]
        assert within(float(np.mean(old)), enhancement.lesions, len(old))
        for one in (one for lesions in active for one in lesions if one.enhancing):
            assert one.enhancing == ((1,) if one.volumes_mm3[0] else (2,)), "when it is seen first"
            assert max(one.volumes_mm3) <= enhancement.largest_mm3
            assert enhancement.signal[0] <= one.enhancement <= enhancement.signal[1]

    def test_rings(self, ms_lesions: LesionParameters, alike: Alike) -> None:
        assert ms_lesions.enhancement is not None
        every = ms_lesions.enhancement.model_copy(update={"subjects": 1.0, "lesions": 1.0, "ring": 0.3})
        drawn = draw_lesions(np.random.default_rng(0), alike(400, 100.0, enhancement=every), 1)
        depths = [one.ring_depth for one in drawn if one.ring_depth is not None]
        low, high = every.ring_depth
        assert within(len(depths) / 400, 0.3, 400)
        assert low <= min(depths) < max(depths) <= high
        small = draw_lesions(np.random.default_rng(0), alike(50, 70.0, enhancement=every), 1)
        assert {one.ring_depth for one in small} == {None}, "too small for one"
        tiny = every.model_copy(update={"ring_mm3": 60.0})
        small = draw_lesions(np.random.default_rng(0), alike(50, 70.0, enhancement=tiny), 1)
        assert {one.ring_depth is None for one in small} == {True, False}

    def test_at_least_one_of_an_active_subject_but_none_too_large(
        self, ms_lesions: LesionParameters, alike: Alike
    ) -> None:
        assert ms_lesions.enhancement is not None
        rare = ms_lesions.enhancement.model_copy(update={"subjects": 1.0, "lesions": 0.0, "largest_mm3": 100.0})
        for seed in range(5):
            drawn = draw_lesions(np.random.default_rng(seed), alike(6, 90.0, enhancement=rare), 1)
            assert sum(bool(one.enhancing) for one in drawn) == 1
        drawn = draw_lesions(np.random.default_rng(0), alike(6, 110.0, enhancement=rare), 1)
        assert not any(one.enhancing for one in drawn)
