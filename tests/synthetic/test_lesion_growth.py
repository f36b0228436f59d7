"""How lesions grow: to the volume that was drawn, apart from each other, and where there is room."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from lesionseg.metrics.components import label_components
from lesionseg.synthetic.anatomy import Anatomy, Grid
from lesionseg.synthetic.config import LesionParameters
from lesionseg.synthetic.distributions import Quantiles
from lesionseg.synthetic.lesions import PlacedLesion, draw_lesions, lesion_mask, place_lesions

Alike = Callable[..., LesionParameters]


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
    def test_no_two_touch_in_any_session(self, grid: Grid, placed: list[PlacedLesion]) -> None:
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

    def test_each_is_as_large_as_drawn(self, grid: Grid, placed: list[PlacedLesion]) -> None:
        off = []
        for one in placed:
            for session, volume in enumerate(one.lesion.volumes_mm3):
                voxels, wanted = one.lesion.voxels[session], volume / grid.voxel_mm3
                assert voxels == one.masks[session].sum()
                off.append(abs(voxels - max(wanted, 1)) > max(1, 0.1 * wanted) if volume else voxels > 0)
        assert np.mean(off) < 0.05
        assert max(one.lesion.voxels[0] for one in placed) > 30, "not only the smallest"

    def test_none_lies_in_fluid_or_outside(self, grid: Grid, anatomy: Anatomy, placed: list[PlacedLesion]) -> None:
        mask = lesion_mask(grid, placed, 0) | lesion_mask(grid, placed, 1)
        assert anatomy.fluid[mask].max() <= 0.5
        assert anatomy.depth_mm[mask].min() > 0

    def test_none_lies_where_the_skull_stripping_cut(
        self, grid: Grid, anatomy: Anatomy, placed: list[PlacedLesion]
    ) -> None:
        assert anatomy.brain[lesion_mask(grid, placed, 0) | lesion_mask(grid, placed, 1)].all()

    def test_growth_is_nested(self, placed: list[PlacedLesion]) -> None:
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

    def test_a_lesion_in_even_tissue_is_an_ellipsoid(
        self, alike: Alike, even: Callable[[Grid], Anatomy], anatomy: Anatomy
    ) -> None:
        grid = Grid((40, 40, 40), (1.0, 1.0, 1.0))
        own = alike(1, 2000.0, zones={"deep": 1.0}, axis_ratios=[2.0, 1.5])
        drawn = draw_lesions(np.random.default_rng(0), own, 1)
        (one,) = place_lesions(np.random.default_rng(5), grid, even(grid), own, drawn)
        points = np.argwhere(one.masks[0]) * grid.spacing
        extents = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
        assert extents / np.prod(extents) ** (1 / 3) == pytest.approx(one.lesion.axis_ratios, rel=0.05)
        assert one.lesion.voxels == (2000,)
        assert one.reach[0] == pytest.approx((3 * 2000 / (4 * np.pi)) ** (1 / 3), rel=0.02), "the sphere's radius"

    def test_hugging_keeps_confluent_lesions_at_the_ventricle(self, alike: Alike, grid: Grid, anatomy: Anatomy) -> None:
        far = []
        for hugging in (0.0, 3.0):
            own = alike(4, 6000.0, zones={"periventricular": 1.0}, hugging=hugging)
            found = grown(own, grid, anatomy)
            assert len(found) == 4
            far.append(anatomy.ventricle_mm[lesion_mask(grid, found, 0)].mean())
        assert far[1] < 0.8 * far[0]

    def test_hugging_begins_at_its_distance(self, alike: Alike, grid: Grid, anatomy: Anatomy) -> None:
        far = []
        for begin in (0.0, 4.0, 8.0):
            own = alike(4, 6000.0, zones={"periventricular": 1.0}, hugging=3.0, hugging_mm=begin)
            far.append(anatomy.ventricle_mm[lesion_mask(grid, grown(own, grid, anatomy), 0)].mean())
        assert sorted(far) == far
        assert far[0] < 0.9 * far[2]

    def test_confluent_ones_alone_hug(self, alike: Alike, grid: Grid, anatomy: Anatomy) -> None:
        masks = {}
        for name, others in {
            "none": {"hugging": 0.0},
            "too small": {"hugging": 3.0, "confluent_mm3": 6010.0},
            "confluent": {"hugging": 3.0, "confluent_mm3": 5990.0},
        }.items():
            own = alike(4, 6000.0, zones={"periventricular": 1.0}, **others)
            masks[name] = lesion_mask(grid, grown(own, grid, anatomy), 0).tobytes()
        assert masks["too small"] == masks["none"] != masks["confluent"]

    def test_roughness_is_as_fine_as_told(self, alike: Alike, even: Callable[[Grid], Anatomy]) -> None:
        grid = Grid((50, 50, 50), (1.0, 1.0, 1.0))
        surfaces = []
        for roughness, width in ((0.3, 2.0), (0.3, 4.0), (0.3, 12.0), (0.0, 2.0)):
            own = alike(1, 4000.0, zones={"deep": 1.0}, roughness=roughness, roughness_mm=width)
            (one,) = grown(own, grid, even(grid))
            assert one.lesion.voxels[0] == pytest.approx(4000, rel=0.1)
            surfaces.append(faces(one.masks[0]) / one.lesion.voxels[0])
        assert sorted(surfaces, reverse=True) == surfaces
        assert surfaces[0] > 1.3 * surfaces[2]

    def test_none_is_cut_off_flat_by_its_box(self, alike: Alike, grid: Grid, anatomy: Anatomy) -> None:
        own = alike(3, 12000.0, zones={"periventricular": 1.0}, hugging=8.0)
        drawn = draw_lesions(np.random.default_rng(1), own, 1)
        found = place_lesions(np.random.default_rng(1), grid, anatomy, own, drawn)
        assert found
        for one in found:
            for axis, (side, size) in enumerate(zip(one.where, grid.shape, strict=True)):
                walls = [side.start > 0 and 0, side.stop < size and -1]
                assert not any(one.masks[0].take(wall, axis).any() for wall in walls if wall is not False)

    def test_grey_matter_is_spared(self, alike: Alike, grid: Grid, anatomy: Anatomy) -> None:
        shares = []
        for spares in (0.0, 3.0):
            own = alike(25, 2000.0, zones={"juxtacortical": 1.0}, spares_grey=spares)
            found = grown(own, grid, anatomy)
            shares.append(anatomy.cortex[lesion_mask(grid, found, 0)].mean())
        assert shares[1] < 0.75 * shares[0]

    def test_too_small_ones_get_the_fewest_voxels(self, alike: Alike, grid: Grid, anatomy: Anatomy) -> None:
        own = alike(20, 5.0, minimum_voxels=3)
        found = grown(own, grid, anatomy)
        assert {one.lesion.voxels for one in found} <= {(3,), (4,)}
        assert np.mean([one.lesion.voxels == (3,) for one in found]) > 0.8

    def test_where_there_is_no_room_there_is_none(self, alike: Alike, even: Callable[[Grid], Anatomy]) -> None:
        grid = Grid((32, 32, 32), (2.0, 2.0, 2.0))
        own = alike(5, 100.0, zones={"deep": 1.0})
        drawn = draw_lesions(np.random.default_rng(0), own, 1)
        healthy = even(grid)
        assert len(place_lesions(np.random.default_rng(0), grid, healthy, own, drawn)) == 5
        for anatomy in (
            replace(healthy, white=0 * healthy.white),
            replace(healthy, fluid=1 + 0 * healthy.fluid),
            replace(healthy, depth_mm=-1 + 0 * healthy.depth_mm),
        ):
            assert place_lesions(np.random.default_rng(0), grid, anatomy, own, drawn) == []
        crowded = alike(400, 1500.0, zones={"deep": 1.0})
        many = draw_lesions(np.random.default_rng(0), crowded, 1)
        assert 20 < len(place_lesions(np.random.default_rng(0), grid, healthy, crowded, many)) < 400
