"""Where lesions lie: in their zones, and along the veins."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lesionseg.synthetic.anatomy import Anatomy, Grid
from lesionseg.synthetic.config import LesionParameters, ZoneLimits
from lesionseg.synthetic.lesions import Place, PlacedLesion, draw_lesions, draw_place, place_lesions, zone_voxels

Alike = Callable[..., LesionParameters]
ZONES = ("periventricular", "juxtacortical", "deep", "infratentorial", "cortical", "deep_grey")


class TestPlaces:
    def test_centres_lie_in_their_zones(self, alike: Alike, grid: Grid, anatomy: Anatomy) -> None:
        zones = dict.fromkeys(ZONES, 1.0)
        own = alike(60, 60.0, zones=zones)
        drawn = draw_lesions(np.random.default_rng(0), own, 1)
        found = place_lesions(np.random.default_rng(1), grid, anatomy, own, drawn)
        assert len(found) > 50
        seen = dict.fromkeys(zones, 0)
        for one in found:
            centre = one.lesion.centre
            assert centre is not None
            assert one.masks[0][tuple(c - side.start for c, side in zip(centre, one.where, strict=True))]
            seen[one.lesion.zone] += 1
            white, cortex, nuclei, below, wall, grey = (
                volume[centre]
                for volume in (
                    anatomy.white,
                    anatomy.cortex,
                    anatomy.deep_grey,
                    anatomy.infratentorial,
                    anatomy.ventricle_mm,
                    anatomy.cortex_mm,
                )
            )
            assert {
                "periventricular": white > 0.5 and wall < 10 and below < 0.5,
                "juxtacortical": white > 0.5 and grey < 4 and below < 0.5,
                "deep": white > 0.5 and grey > 3 and below < 0.5,
                "infratentorial": below > 0.5,
                "cortical": cortex > 0.5 and below < 0.5,
                "deep_grey": nuclei > 0.5,
            }[one.lesion.zone], one.lesion
        assert min(seen.values()) >= 4

    def test_periventricular_ones_point_away_from_the_wall(self, alike: Alike, grid: Grid, anatomy: Anatomy) -> None:
        away = np.stack(np.gradient(anatomy.ventricle_mm, *grid.spacing))
        cosines = {}
        for zone in ("periventricular", "deep"):
            own = alike(40, 600.0, zones={zone: 1.0}, axis_ratios=[2.5, 1.2])
            drawn = draw_lesions(np.random.default_rng(0), own, 1)
            cosines[zone] = [
                abs(longest_axis(one, grid) @ unit(away[(slice(None), *one.lesion.centre)]))
                for one in place_lesions(np.random.default_rng(0), grid, anatomy, own, drawn)
                if one.lesion.centre
            ]
        assert len(cosines["periventricular"]) > 30
        assert np.mean(cosines["periventricular"]) > 0.8
        assert 0.35 < np.mean(cosines["deep"]) < 0.65, "that of random directions is 0.5"

    def test_zones_end_where_they_are_told_to(self, alike: Alike, anatomy: Anatomy) -> None:
        limits = ZoneLimits(periventricular_mm=5.0, beyond_horns=0.05, juxtacortical_mm=2.5, infratentorial_mm=9.0)
        own = alike(1, 60.0, zones=dict.fromkeys(ZONES, 1.0), zone_limits=limits)
        voxels = zone_voxels(anatomy, own)
        assert all(found.size for found in voxels.values())
        wall, along = (getattr(anatomy, name).ravel()[voxels["periventricular"]] for name in ("ventricle_mm", "length"))
        assert 3 < wall.max() < 5
        assert -0.05 < along.min() < 0.05
        assert 0.95 < along.max() < 1.05
        assert anatomy.cortex_mm.ravel()[voxels["juxtacortical"]].max() < 2.5
        assert anatomy.cortex_mm.ravel()[voxels["deep"]].min() >= 2.5
        assert 9 < anatomy.depth_mm.ravel()[voxels["infratentorial"]].min() < 12
        white = [voxels[zone] for zone in ("periventricular", "juxtacortical", "deep")]
        assert np.unique(np.concatenate(white)).size == sum(found.size for found in white), "no voxel in two of them"
        wider = zone_voxels(
            anatomy, own.model_copy(update={"zone_limits": limits.model_copy(update={"periventricular_mm": 8.0})})
        )
        assert set(wider["periventricular"]) > set(voxels["periventricular"])
        assert set(zone_voxels(anatomy, alike(1, 60.0, zones={"deep": 1.0}))) == {"deep"}

    def test_directions_are_orthogonal_and_scatter_about_the_veins(
        self, alike: Alike, grid: Grid, anatomy: Anatomy
    ) -> None:
        away = np.stack(np.gradient(anatomy.ventricle_mm, *grid.spacing))
        cosines = []
        for scatter in (0.0, 0.5, 50.0):
            own = alike(1, 60.0, zones={"periventricular": 1.0}, vein_scatter=scatter)
            places = drawn_places(own, grid, anatomy, 100)
            for place in places:
                assert np.allclose(place.directions @ place.directions.T, np.eye(3))
                assert np.abs(place.shift).max() < 0.5
            cosines.append(
                np.mean([abs(place.directions[0] @ unit(away[(slice(None), *place.centre)])) for place in places])
            )
        assert cosines[0] > 0.95
        assert sorted(cosines, reverse=True) == cosines
        assert 0.35 < cosines[2] < 0.65, "that of random directions is 0.5"

    def test_no_place_in_a_blocked_voxel(self, alike: Alike, grid: Grid, anatomy: Anatomy) -> None:
        own = alike(1, 60.0, zones={"deep": 1.0})
        blocked = anatomy.ventricle_mm < 20
        candidates = zone_voxels(anatomy, own)["deep"]
        rng = np.random.default_rng(0)
        places = [draw_place(rng, grid, anatomy, own, "deep", candidates, blocked) for _ in range(60)]
        free = [place for place in places if place is not None]
        assert 5 < len(free) < 55
        assert not any(blocked[place.centre] for place in free)


def drawn_places(own: LesionParameters, grid: Grid, anatomy: Anatomy, number: int) -> list[Place]:
    """In the periventricular zone, of which nothing is blocked."""
    candidates, nothing = zone_voxels(anatomy, own)["periventricular"], np.zeros(grid.shape, bool)
    rng = np.random.default_rng(0)
    places = [draw_place(rng, grid, anatomy, own, "periventricular", candidates, nothing) for _ in range(number)]
    return [place for place in places if place is not None]


def unit(vector: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return vector / np.linalg.norm(vector)


def longest_axis(one: PlacedLesion, grid: Grid) -> npt.NDArray[Any]:
    points = np.argwhere(one.masks[0]) * grid.spacing
    return np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][0]
