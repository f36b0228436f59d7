"""Lesions as they are drawn: as many, as large and as shaped as the patients' are, evolving, enhancing."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage, stats

from lesionseg.metrics.components import label_components
from lesionseg.synthetic.anatomy import Anatomy, Grid
from lesionseg.synthetic.config import ENHANCED, Evolution, Layer, LesionParameters
from lesionseg.synthetic.distributions import Quantiles
from lesionseg.synthetic.lesions import (
    Lesion,
    PlacedLesion,
    _correlated_shares,
    draw_lesions,
    enhancing_mask,
    lesion_mask,
    lesion_signal,
    place_lesions,
)

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
    def test_shares_have_the_rank_correlation(self, rank):
        rng = np.random.default_rng(0)
        first, second = np.array([_correlated_shares(rng, rank) for _ in range(6000)]).T
        assert stats.spearmanr(first, second).statistic == pytest.approx(rank, abs=0.04)
        for share in (first, second):
            assert stats.kstest(share, "uniform").pvalue > 1e-3


class TestEvolution:
    def test_shares_and_factors(self, ms_lesions, patients):
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


@pytest.fixture(scope="module")
def placed(ms_lesions: LesionParameters, grid: Grid, anatomy: Anatomy) -> list[PlacedLesion]:
    """A patient's lesions of both sessions, 120 of them in the first."""
    count = Quantiles(shares=[0.0, 1.0], values=[120.0, 120.0])
    load = Quantiles(shares=[0.0, 1.0], values=[15.0, 15.0])
    always = ms_lesions.evolution.model_copy(update={"nothing_new": 0.0, "growing": 0.4, "shrinking": 0.3})  # type: ignore[union-attr]
    own = ms_lesions.model_copy(update={"count": count, "load_ml": load, "evolution": always})
    drawn = draw_lesions(np.random.default_rng(2), own, 2)
    return place_lesions(np.random.default_rng(3), grid, anatomy, ms_lesions, drawn)


def grown(own: LesionParameters, grid: Grid, anatomy: Anatomy) -> list[PlacedLesion]:
    """Lesions of one session."""
    drawn = draw_lesions(np.random.default_rng(0), own, 1)
    return place_lesions(np.random.default_rng(0), grid, anatomy, own, drawn)


def faces(mask: npt.NDArray[np.bool_]) -> int:
    """How many faces of its voxels lie on its surface."""
    return sum(int(np.diff(np.pad(mask, 1).astype(np.int8), axis=axis).astype(bool).sum()) for axis in range(3))


class TestGrowth:
    def test_no_two_touch_in_any_session(self, grid, placed):
        structure = np.ones((3, 3, 3))
        for session in (0, 1):
            there = [one for one in placed if one.lesion.volumes_mm3[session]]
            mask = lesion_mask(grid, placed, session)
            labels, count = label_components(mask)
            assert count == ndimage.label(mask, structure)[1] == len(there)
            sizes = [one.lesion.voxels[session] for one in there]
            assert sorted(sizes) == sorted(np.bincount(labels.ravel())[1:])
            assert mask.sum() == sum(sizes)
        assert len(placed) > 115

    def test_each_is_as_large_as_drawn(self, grid, placed):
        off = []
        for one in placed:
            for session, volume in enumerate(one.lesion.volumes_mm3):
                voxels, wanted = one.lesion.voxels[session], volume / grid.voxel_mm3
                assert voxels == one.masks[session].sum()
                off.append(abs(voxels - max(wanted, 1)) > max(1, 0.1 * wanted) if volume else voxels > 0)
        assert np.mean(off) < 0.05
        assert max(one.lesion.voxels[0] for one in placed) > 30, "not only the smallest"

    def test_none_lies_in_fluid_or_outside(self, grid, anatomy, placed):
        mask = lesion_mask(grid, placed, 0) | lesion_mask(grid, placed, 1)
        assert anatomy.fluid[mask].max() <= 0.5
        assert anatomy.depth_mm[mask].min() > 0

    def test_growth_is_nested(self, placed):
        grown = 0
        for one in placed:
            first, second = one.masks
            if 0 < one.lesion.volumes_mm3[0] < one.lesion.volumes_mm3[1]:
                assert not (first & ~second).any()
                grown += second.sum() > first.sum()
            elif one.lesion.volumes_mm3[0] > one.lesion.volumes_mm3[1]:
                assert not (second & ~first).any()
            elif one.lesion.volumes_mm3[0]:
                assert np.array_equal(first, second)
            else:
                assert not first.any()
                assert second.any()
        assert grown > 5

    def test_a_lesion_in_even_tissue_is_an_ellipsoid(self, alike, even, anatomy):
        grid = Grid((40, 40, 40), (1.0, 1.0, 1.0))
        own = alike(1, 2000.0, zones={"deep": 1.0}, axis_ratios=[2.0, 1.5])
        drawn = draw_lesions(np.random.default_rng(0), own, 1)
        (one,) = place_lesions(np.random.default_rng(5), grid, even(grid), own, drawn)
        points = np.argwhere(one.masks[0]) * grid.spacing
        extents = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
        assert extents / np.prod(extents) ** (1 / 3) == pytest.approx(one.lesion.axis_ratios, rel=0.05)
        assert one.lesion.voxels == (2000,)
        assert one.reach[0] == pytest.approx((3 * 2000 / (4 * np.pi)) ** (1 / 3), rel=0.02), "the sphere's radius"


def changed(parameters: LesionParameters, **others: Any) -> LesionParameters:
    return parameters.model_copy(update=others)


LINE = Grid((1, 1, 11), (1.0, 1.0, 1.0))
NEW = Lesion("deep", (0.0, 300.0), (1.0, 1.0, 1.0), 2.0, ({"FLAIR": 2.0},), enhancing=(2,), enhancement=5.0)


def on_a_line(lesion: Lesion = NEW, reach: float = 4.5) -> PlacedLesion:
    """Centre at voxel 5, a sulcus at voxel 8: what lies behind is no part of it."""
    cost = np.abs(np.arange(11, dtype=np.float32) - 5)[None, None]
    mask = cost <= reach
    mask[..., 8:] = False
    whole = (slice(0, 1), slice(0, 1), slice(0, 11))
    return PlacedLesion(lesion, whole, cost, (0.0, reach), (np.zeros_like(mask), mask))


class TestSignal:
    @pytest.fixture
    def parameters(self, ms_lesions: LesionParameters) -> LesionParameters:
        """One even layer, nothing random."""
        return changed(ms_lesions, layers=[Layer(until=1.0, signal={"FLAIR": [2.0, 2.0]})], signal_scatter=0.0)

    @staticmethod
    def signal(parameters, lesion=NEW, contrast="FLAIR", session=1, **others):
        unevenness = others.pop("unevenness", np.zeros(LINE.shape, np.float32))
        placed = on_a_line(lesion, **others)
        return lesion_signal(LINE, [placed], parameters, session, contrast, unevenness).ravel()

    def test_depth_and_profile_by_hand(self):
        one = on_a_line(reach=4.0)
        assert one.depth(1).ravel()[:7] == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1, 0.75])
        assert one.profile(1).ravel().tolist() == [0, 0.5, 1, 1, 1, 1, 1, 1, 0, 0, 0], (
            "0.5 at the border, cut off beyond"
        )
        assert not one.depth(0)[one.cost > 0].any()

    def test_small_ones_have_their_own_strength(self, parameters):
        own = changed(parameters, small_signal=0.5)
        middle = {mm3: self.signal(own, replace(NEW, volumes_mm3=(0.0, mm3)))[5] for mm3 in (2, 10, 54.77, 300, 9000)}
        assert list(middle.values()) == pytest.approx([1, 1, 1.5, 2, 2], rel=1e-3), "logarithmic between 10 and 300"

    def test_enhancement_on_one_contrast_and_in_one_session(self, ms_lesions):
        assert ms_lesions.enhancement is not None
        layer = Layer(until=1.0, signal={ENHANCED: [-1.0, -1.0], "T1w": [-1.0, -1.0]})
        parameters = changed(
            ms_lesions,
            layers=[layer],
            signal_scatter=0.0,
            enhancement=ms_lesions.enhancement.model_copy(update={"depth": 0.2}),
        )
        lesion = replace(NEW, border_mm=0.5, signals=({ENHANCED: -1.0, "T1w": -1.0},))
        assert self.signal(parameters, lesion, ENHANCED).tolist() == [0, -1, 4, 4, 4, 4, 4, 4, 0, 0, 0]
        assert self.signal(parameters, lesion, "T1w").tolist() == [0, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0]
        ring = replace(lesion, ring_depth=0.6)
        assert self.signal(parameters, ring, ENHANCED).tolist() == [0, -1, 4, 4, -1, -1, -1, 4, 0, 0, 0]
        former = replace(lesion, enhancing=(1,))
        assert self.signal(parameters, former, ENHANCED).tolist() == [0, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0]
        none = changed(parameters, enhancement=None)
        assert self.signal(none, lesion, ENHANCED).max() <= 0

    def test_the_enhancing_mask_holds_what_a_ring_encloses(self):
        ring = on_a_line(replace(NEW, ring_depth=0.6))
        assert np.flatnonzero(enhancing_mask(LINE, [ring], 1, 0.2)).tolist() == [2, 3, 4, 5, 6, 7]
        assert np.flatnonzero(enhancing_mask(LINE, [ring], 1, 0.0)).tolist() == [1, 2, 3, 4, 5, 6, 7]
        silent = on_a_line(replace(NEW, enhancing=()))
        assert not enhancing_mask(LINE, [silent], 1, 0.0).any()
