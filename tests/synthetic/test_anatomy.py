"""A subject's brain: shares of tissue that are whole, and every number that is drawn does what it says."""

from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from lesionseg.synthetic.anatomy import Anatomy, AnatomyDraw, Grid, Template, draw_anatomy, load_template, make_anatomy
from lesionseg.synthetic.config import AnatomyParameters, Pathology, SkullLayers

UPRIGHT = AnatomyDraw((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), flipped=False, ventricle_mm=0.0, atrophy=0.0, outline_mm=0.0)
RIGID: dict[str, Any] = {"elastic": [], "folding": 0.0, "outline_roughness_mm": 0.0}


@pytest.fixture(scope="module")
def parameters(pathology: Callable[..., Pathology]) -> AnatomyParameters:
    """Of a head of ellipsoids."""
    return pathology("ms").anatomy


@pytest.fixture(scope="module")
def template(parameters: AnatomyParameters) -> Template:
    return load_template(parameters)


@pytest.fixture(scope="module")
def make(template: Template, parameters: AnatomyParameters) -> Callable[..., Anatomy]:
    """A brain on the template's own voxels, as it is in the template unless told otherwise."""
    shape = template.maps["white"].shape

    def call(drawn: AnatomyDraw = UPRIGHT, grid: Grid | None = None, seed: int = 0, **others: Any) -> Anatomy:
        own = others.pop("template", None)
        changed = parameters.model_copy(update=others)
        grid = grid or Grid((shape[0], shape[1], shape[2]), template.spacing)
        return make_anatomy(np.random.default_rng(seed), grid, own or load_template(changed), changed, drawn)

    return call


def volumes(anatomy: Anatomy) -> dict[str, npt.NDArray[Any]]:
    return {name: value for name, value in vars(anatomy).items() if value is not None}


def same(first: Anatomy, second: Anatomy) -> bool:
    return all(value.tobytes() == volumes(second)[name].tobytes() for name, value in volumes(first).items())


def alike(first: npt.NDArray[Any], second: npt.NDArray[Any] | float, tolerance: float = 1e-3) -> bool:
    return np.allclose(first, second, rtol=0, atol=tolerance)


def tissues(anatomy: Anatomy) -> npt.NDArray[np.float32]:
    return np.stack([anatomy.fluid, anatomy.cortex, anatomy.deep_grey, anatomy.white])


class TestDraw:
    def draws(self, parameters: AnatomyParameters, template: Template, **others: Any) -> list[AnatomyDraw]:
        grid = Grid((300, 300, 300), (1.0, 1.0, 1.0))
        rng = np.random.default_rng(0)
        changed = parameters.model_copy(update=others)
        return [draw_anatomy(rng, grid, template, changed) for _ in range(400)]

    def test_intervals_and_spreads_are_kept(self, parameters: AnatomyParameters, template: Template) -> None:
        drawn = self.draws(parameters, template, scale=[0.9, 0.9], aspect=0.05, rotation_deg=4.0, flip=0.25)
        scale, tilt = np.array([one.scale for one in drawn]), np.array([one.tilt_deg for one in drawn])
        assert np.log(scale).mean() == pytest.approx(np.log(0.9), abs=0.01)
        assert np.log(scale).std(axis=0) == pytest.approx([0.05] * 3, rel=0.15)
        assert tilt.std(axis=0) == pytest.approx([4.0] * 3, rel=0.15)
        assert np.abs(tilt.mean(axis=0)).max() < 0.8
        assert np.mean([one.flipped for one in drawn]) == pytest.approx(0.25, abs=0.09)
        for name in ("ventricle_mm", "atrophy", "outline_mm"):
            low, high = getattr(parameters, name)
            values = [getattr(one, name) for one in drawn]
            assert low <= min(values) < max(values) <= high
            assert np.mean(values) == pytest.approx((low + high) / 2, abs=0.1 * (high - low))

    def test_what_has_no_spread_is_fixed(self, parameters: AnatomyParameters, template: Template) -> None:
        none: dict[str, Any] = {"scale": [0.9, 0.9], "aspect": 0.0, "rotation_deg": 0.0, "flip": 1.0}
        fixed = {"ventricle_mm": [1.0, 1.0], "atrophy": [0.5, 0.5], "outline_mm": [2.0, 2.0]}
        drawn = self.draws(parameters, template, **none, **fixed)
        assert {astuple(one) for one in drawn} == {((0.9,) * 3, (0.0,) * 3, True, 1.0, 0.5, 2.0)}

    @pytest.mark.parametrize("skull", [False, True])
    def test_too_large_a_brain_is_made_to_fit(
        self, parameters: AnatomyParameters, template: Template, make: Callable[..., Anatomy], skull: bool
    ) -> None:
        grid = Grid((32, 48, 60), (4.0, 4.0, 4.0))
        huge = parameters.model_copy(
            update={"scale": [1.3, 1.3], "aspect": 0.0, "rotation_deg": 0.0, "outline_mm": [0.0, 0.0], "skull": skull}
        )
        drawn = draw_anatomy(np.random.default_rng(0), grid, template, huge)
        room = np.multiply(grid.shape, grid.spacing) - 2 * (6 + 14 * skull)
        assert drawn.scale == pytest.approx(np.minimum(1.3, room / np.array(template.extent_mm)))
        assert drawn.scale[0] < 1.1 < 1.3 == drawn.scale[2], "only the axes that are too long"
        brain = make(drawn, grid, skull=skull, **RIGID).brain
        for axis in range(3):
            assert not np.take(brain, [0, -1], axis=axis).any()


class TestMake:
    @pytest.mark.parametrize("kind", ["mni", "labels"])
    def test_shares_are_whole(self, kind: str, anatomy: Anatomy, make: Callable[..., Anatomy]) -> None:
        found = anatomy if kind == "mni" else make(replace(UPRIGHT, ventricle_mm=1.0))
        shares = tissues(found)
        assert shares.min() >= -1e-6
        assert shares.max() <= 1 + 1e-6
        assert alike(shares.sum(axis=0), found.brain, 1e-5)
        assert [share.max() > 0.99 for share in shares] == [True] * 4
        for name in ("infratentorial", "structure", "side_mm", "length", "cortex_mm"):
            assert not volumes(found)[name][~found.brain].any()
        assert (found.bone, found.scalp) == (None, None)
        assert {value.dtype for name, value in volumes(found).items() if name != "brain"} == {np.dtype(np.float32)}

    def test_a_brain_of_plausible_make(self, anatomy: Anatomy, grid: Grid) -> None:
        litres = {
            name: float(value[anatomy.brain].sum()) * grid.voxel_mm3 / 1e6 for name, value in volumes(anatomy).items()
        }
        assert 1.0 < litres["brain"] < 1.8
        assert 0.35 < litres["white"] < 0.85
        assert 0.35 < litres["cortex"] < 0.85
        assert 0.01 < litres["deep_grey"] < 0.06
        assert 0.06 < litres["fluid"] < 0.5
        ventricles = (anatomy.fluid > 0.5) & (anatomy.ventricle_mm < 3)
        assert 3 < ventricles.sum() * grid.voxel_mm3 / 1000 < 80
        assert ndimage.label(anatomy.brain)[1] == 1
        ends = anatomy.length[(anatomy.ventricle_mm < -1) & (anatomy.side_mm < 20)]
        assert -0.15 < ends.min() < 0.35
        assert 0.65 < ends.max() < 1.15

    def test_nothing_drawn_gives_the_template(self, make: Callable[..., Anatomy], template: Template) -> None:
        found = make(**RIGID, narrow_sulci=0.0)
        inside = template.maps["depth_mm"] > 0
        assert np.array_equal(found.brain, inside)
        assert alike(found.depth_mm, template.maps["depth_mm"])
        for name in ("ventricle_mm", "cortex_mm", "infratentorial"):
            assert alike(volumes(found)[name][inside], template.maps[name][inside])
        assert found.cortex[inside][template.maps["cortex"][inside] > 0.95].min() > 0.9
        assert found.white[inside & (template.maps["ventricle_mm"] > 3) & (template.maps["white"] > 0.95)].min() > 0.9
        assert found.fluid[inside & (template.maps["ventricle_mm"] < -1)].min() > 0.9
        x, y = (np.arange(inside.shape[axis]) * template.spacing[axis] + template.origin[axis] for axis in (0, 1))
        assert alike(found.side_mm, inside * np.abs(x)[:, None, None])
        back, front = template.horns_mm
        assert alike(found.length, inside * ((y - back) / (front - back))[:, None])

    def test_the_same_generator_makes_the_same_bytes(self, make: Callable[..., Anatomy]) -> None:
        assert same(make(), make())
        assert not np.array_equal(make().brain, make(seed=1).brain)
        assert not np.array_equal(make(folding=0.8, elastic=[]).white, make(folding=0.8, elastic=[], seed=1).white)

    def test_size_is_to_the_third_power(self, make: Callable[..., Anatomy], template: Template) -> None:
        whole = make(**RIGID).brain.sum()
        smaller = make(replace(UPRIGHT, scale=(0.9, 0.8, 0.7)), **RIGID).brain
        assert smaller.sum() / whole == pytest.approx(0.9 * 0.8 * 0.7, rel=0.03)
        extent = [side.stop - side.start for side in ndimage.find_objects(smaller.astype(np.uint8))[0]]
        assert np.multiply(extent, template.spacing) == pytest.approx(
            np.multiply(template.extent_mm, (0.9, 0.8, 0.7)), abs=6.5
        )

    def test_finer_voxels_show_the_same_brain(self, make: Callable[..., Anatomy]) -> None:
        coarse, fine = (
            make(UPRIGHT, grid, **RIGID)
            for grid in (Grid((46, 46, 46), (3.7,) * 3), Grid((74, 74, 59), (2.3, 2.3, 2.9)))
        )
        for name, tolerance in {"brain": 0.02, "white": 0.01, "cortex": 0.04, "deep_grey": 0.08}.items():
            volume = [volumes(coarse)[name].sum() * 3.7**3, volumes(fine)[name].sum() * 2.3**2 * 2.9]
            assert volume[1] == pytest.approx(volume[0], rel=tolerance)

    @pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (2, 0)), (2, (0, 1))])
    def test_a_quarter_turn_is_a_quarter_turn(
        self, make: Callable[..., Anatomy], template: Template, axis: int, plane: tuple[int, int]
    ) -> None:
        grid = Grid((44, 44, 44), (4.0, 4.0, 4.0))
        i, j, k = (np.linspace(-0.05, 0.05, size) for size in template.maps["structure"].shape)
        lopsided = (i[:, None, None] + 2 * j[:, None] + 3 * k).astype(np.float32)
        own: dict[str, Any] = {"template": replace(template, maps=template.maps | {"structure": lopsided})} | RIGID
        upright = make(UPRIGHT, grid, **own)
        tilt = tuple(90.0 * (axis == other) for other in range(3))
        turned = make(replace(UPRIGHT, tilt_deg=tilt), grid, **own)
        both = turned.brain & np.rot90(upright.brain, -1, plane)
        assert alike(turned.structure[both], np.rot90(upright.structure, -1, plane)[both])
        assert alike(turned.depth_mm, np.rot90(upright.depth_mm, -1, plane), 0.01)
        assert np.mean(np.abs(np.rot90(upright.fluid, -1, plane) - turned.fluid) > 0.01) < 1e-3

    def test_a_flip_mirrors(self, make: Callable[..., Anatomy], template: Template) -> None:
        lopsided = (
            template.maps["structure"]
            + np.linspace(-0.1, 0.15, template.maps["structure"].shape[0], dtype=np.float32)[:, None, None]
        )
        own = replace(template, maps=template.maps | {"structure": lopsided})
        straight, flipped = (make(replace(UPRIGHT, flipped=way), template=own, **RIGID) for way in (False, True))
        for name, volume in volumes(straight).items():
            assert alike(volumes(flipped)[name], volume[::-1])
        assert np.abs(flipped.structure - straight.structure).max() > 0.1

    def test_wider_ventricles_hold_more_fluid(self, make: Callable[..., Anatomy], template: Template) -> None:
        widths = (-1.5, 0.0, 2.0, 4.0)
        made = [make(replace(UPRIGHT, ventricle_mm=width), **RIGID) for width in widths]
        near = template.maps["ventricle_mm"] < 8
        wall = near & made[0].brain & (made[0].infratentorial < 0.01) & (made[0].cortex < 0.01)
        fluids = [anatomy.fluid[near].sum() for anatomy in made]
        assert sorted(fluids) == fluids
        assert fluids[3] > 2 * fluids[0] > 0
        for width, anatomy in zip(widths, made, strict=True):
            fluid, far = anatomy.fluid[wall], template.maps["ventricle_mm"][wall]
            assert fluid[far < width - 0.7].min() > 0.99
            assert fluid[far > width + 0.7].max() < 0.1, "the wall moves, nothing beyond it opens"
        assert same(make(replace(UPRIGHT, ventricle_mm=0.0), **RIGID), made[1])

    def test_distance_to_the_ventricles_is_to_the_subjects_own(self, make: Callable[..., Anatomy]) -> None:
        for width in (-1.0, 2.0, 4.0):
            wide = make(replace(UPRIGHT, ventricle_mm=width), **RIGID)
            deep = wide.brain & (wide.depth_mm > 20)
            assert wide.ventricle_mm[deep & (wide.fluid > 0.55)].max() < 0.3
            assert wide.ventricle_mm[deep & (wide.fluid < 0.45) & (wide.white > 0.5)].min() > -0.3

    def test_atrophy_opens_the_sulci(self, mni: Pathology, mni_template: Template, grid: Grid) -> None:
        fluids = []
        for atrophy in (-0.5, 1.0, 2.5):
            drawn = replace(UPRIGHT, scale=(0.9, 0.9, 0.9), atrophy=atrophy)
            anatomy = make_anatomy(np.random.default_rng(0), grid, mni_template, mni.anatomy, drawn)
            ventricles = anatomy.ventricle_mm < 1
            fluids.append((anatomy.fluid[~ventricles].sum(), anatomy.fluid[ventricles].sum()))
        (first, inner), (second, _), (third, outer) = fluids
        assert 1.2 * first < 1.1 * second < third
        assert outer == pytest.approx(inner, rel=0.02), "the ventricles are another number's"

    def test_skull_stripping_takes_off_the_outline(self, make: Callable[..., Anatomy]) -> None:
        whole, stripped = (make(replace(UPRIGHT, outline_mm=width), **RIGID) for width in (0.0, 5.0))
        assert np.array_equal(whole.brain, whole.depth_mm > 0)
        assert np.array_equal(stripped.brain, whole.depth_mm > 5)
        rough = make(replace(UPRIGHT, outline_mm=5.0), **RIGID | {"outline_roughness_mm": 1.5})
        assert not np.array_equal(rough.brain, stripped.brain)
        assert rough.brain.sum() == pytest.approx(stripped.brain.sum(), rel=0.02)
        assert (whole.depth_mm[rough.brain] > 0).all(), "never beyond the brain"

    def test_the_outline_is_as_smooth_as_told(self, make: Callable[..., Anatomy]) -> None:
        """A smoother one has fewer steps from voxel to voxel."""
        steps = []
        for width in (4.0, 30.0):
            rough: dict[str, Any] = RIGID | {"outline_roughness_mm": 1.5, "outline_width_mm": width}
            brain = make(replace(UPRIGHT, outline_mm=6.0), **rough).brain
            steps.append(sum(np.diff(brain, axis=axis).sum() for axis in range(3)))
        assert steps[0] > 1.02 * steps[1]

    def test_sulci_open_where_they_are_told_to(self, mni: Pathology, mni_template: Template, grid: Grid) -> None:
        def fluid(**changes: Any) -> float:
            own = mni.anatomy.model_copy(update=RIGID | changes)
            drawn = replace(UPRIGHT, scale=(0.9, 0.9, 0.9), atrophy=0.5)
            anatomy = make_anatomy(np.random.default_rng(0), grid, mni_template, own, drawn)
            return float(anatomy.fluid[anatomy.ventricle_mm > 3].sum())

        shipped = fluid()
        assert fluid(sulcus_mm=6.0) < shipped < fluid(sulcus_mm=0.0)
        assert fluid(sulcus_fluid=0.0) < shipped < fluid(sulcus_fluid=0.5)
        assert fluid(sulci_range_mm=[-1.0, 0.0]) < shipped < fluid(sulci_range_mm=[0.0, 2.5])

    def test_layers_of_the_skull_are_as_thick_as_told(self, make: Callable[..., Anatomy]) -> None:
        grid = Grid((60, 64, 60), (3.0, 3.0, 3.0))
        layers = SkullLayers(fluid_mm=6.0, bone_mm=12.0, scalp_mm=18.0, thickness_log_sd=0.0, width_mm=25.0)
        whole = make(UPRIGHT, grid, skull=True, skull_layers=layers, **RIGID)
        assert whole.bone is not None
        assert whole.scalp is not None
        away = -whole.depth_mm
        assert np.array_equal(whole.brain, away < 18)
        for share, low, high in ((whole.fluid, 0.5, 5.5), (whole.bone, 6.5, 11.5), (whole.scalp, 12.5, 17.5)):
            assert alike(share[(away > low) & (away < high)], 1.0, 1e-5)
        rough = layers.model_copy(update={"thickness_log_sd": 0.3})
        uneven = make(UPRIGHT, grid, skull=True, skull_layers=rough, **RIGID)
        assert np.array_equal(uneven.brain, whole.brain)
        assert uneven.bone is not None
        assert not alike(uneven.bone, whole.bone, 0.2)

    def test_the_skull_lies_around(self, make: Callable[..., Anatomy]) -> None:
        grid = Grid((56, 60, 56), (3.0, 3.0, 3.0))
        stripped, whole = make(UPRIGHT, grid, **RIGID), make(UPRIGHT, grid, skull=True, **RIGID)
        assert whole.bone is not None
        assert whole.scalp is not None
        inside = stripped.brain
        assert np.array_equal(whole.brain, whole.depth_mm > -14)
        assert whole.brain.sum() > 1.4 * inside.sum()
        assert alike(tissues(whole)[:, inside], tissues(stripped)[:, inside], 1e-5)
        for shell in (whole.bone, whole.scalp):
            assert 0 <= shell.min() < shell.max() <= 1 + 1e-6
            assert not shell[inside].any()
            assert not shell[~whole.brain].any()
        around = whole.brain & ~inside
        every = tissues(whole).sum(axis=0) + whole.bone + whole.scalp
        assert alike(every[around & (whole.depth_mm > -9)], 1.0, 1e-5), "no gap between brain and scalp"
        assert every[around].mean() > 0.9
        assert not every[~whole.brain].any()
        middles = [
            np.average(-whole.depth_mm[around], weights=share[around])
            for share in (whole.fluid, whole.bone, whole.scalp)
        ]
        assert middles == pytest.approx([1, 5, 11], abs=1.5), "mm"
