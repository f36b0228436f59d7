"""What is no lesion: where each of it lies, how strong it is, and that none is there where none is asked for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lesionseg.metrics.components import label_components
from lesionseg.synthetic.anatomy import Anatomy, Grid
from lesionseg.synthetic.config import MimicParameters, MimicShapes, Pathology
from lesionseg.synthetic.mimics import MimicDraw, draw_mimics, flow, mimic_signals

LARGEST = {  # at a strength of 1
    "caps": 1.5,
    "rim": 1.0,
    "septum": 1.0,
    "choroid_plexus": 1.0,
    "bright_cortex": 1.0,
    "cortical_spots": 1.2,
    "dirty_white": 2.0,
    "perivascular_spaces": 1.0,
    "vessels": 1.25,
    "sinuses": 1.0,
}
KINDS = [*LARGEST, "flow"]
ShapeOf = Callable[..., npt.NDArray[np.floating]]


def only(kind: str, *, tubes: int = 100, **strengths: float) -> MimicDraw:
    """One mimic, and nothing else."""
    return MimicDraw({name: strengths if name == kind else {} for name in KINDS}, tubes)


@pytest.fixture(scope="module")
def form(mni: Pathology) -> MimicShapes:
    return mni.mimics.shapes


@pytest.fixture(scope="module")
def shape_of(form: MimicShapes, grid: Grid, anatomy: Anatomy) -> ShapeOf:
    """A mimic at a strength of 1, with changes of its shape: ``shape_of("rim", half_width_mm=3.0)``."""

    def make(kind: str, **changes: Any) -> npt.NDArray[np.floating]:
        own = form.model_copy(update={kind: getattr(form, kind).model_copy(update=changes)})
        return mimic_signals(np.random.default_rng(0), grid, anatomy, own, only(kind, FLAIR=1.0), ["FLAIR"])["FLAIR"]

    return make


@pytest.fixture(scope="module")
def shapes(shape_of: ShapeOf) -> dict[str, npt.NDArray[np.floating]]:
    """Each mimic at a strength of 1."""
    return {kind: shape_of(kind) for kind in LARGEST}


class TestDraw:
    def test_as_strong_on_every_contrast(self, pathology: Callable[..., Pathology]) -> None:
        parameters = pathology("ms").mimics
        drawn = [draw_mimics(np.random.default_rng(seed), parameters) for seed in range(200)]
        assert set(drawn[0].strengths) == set(KINDS)
        for kind in KINDS:
            quantiles = []
            for name, (low, high) in getattr(parameters, kind).items():
                values = np.array([one.strengths[kind][name] for one in drawn])
                assert low <= values.min() <= values.max() <= high
                quantiles.append((values - low) / (high - low))
            assert np.ptp(quantiles, axis=0) == pytest.approx(np.zeros(200), abs=1e-9)
            assert np.mean(quantiles[0]) == pytest.approx(0.5, abs=0.09)
        counts = [one.perivascular_count for one in drawn]
        low, high = parameters.perivascular_count
        assert low <= min(counts) < max(counts) <= high

    def test_what_is_left_out_changes_nothing_else(self, pathology: Callable[..., Pathology]) -> None:
        whole = pathology("ms").mimics
        without = whole.model_copy(update={"caps": {}, "septum": {}})
        first, second = (draw_mimics(np.random.default_rng(3), parameters) for parameters in (whole, without))
        assert second.strengths == first.strengths | {"caps": {}, "septum": {}}
        assert second.perivascular_count == first.perivascular_count


class TestSignals:
    def test_nothing_where_nothing_is_asked_for(self, form: MimicShapes, grid: Grid, anatomy: Anatomy) -> None:
        nothing: dict[str, Any] = {kind: {} for kind in KINDS}
        empty = MimicParameters(**nothing, perivascular_count=[10.0, 10.0], shapes=form)
        drawn = draw_mimics(np.random.default_rng(0), empty)
        assert drawn == only("none", tubes=10)
        signals = mimic_signals(np.random.default_rng(0), grid, anatomy, form, drawn, ["FLAIR", "T1w"])
        assert set(signals) == {"FLAIR", "T1w"}
        assert not any(signal.any() for signal in signals.values())
        elsewhere = mimic_signals(np.random.default_rng(0), grid, anatomy, form, only("caps", T1w=1.0), ["FLAIR"])
        assert not elsewhere["FLAIR"].any(), "another contrast's is not this one's"

    @pytest.mark.parametrize("kind", LARGEST)
    def test_is_there_within_its_strength_and_in_the_brain(
        self, shapes: dict[str, npt.NDArray[np.floating]], grid: Grid, anatomy: Anatomy, kind: str
    ) -> None:
        shape = shapes[kind]
        assert shape.shape == grid.shape
        assert shape.min() >= -1e-6
        assert 0.25 * LARGEST[kind] < shape.max() <= LARGEST[kind] + 1e-5
        assert 5e-5 < np.mean(shape[anatomy.brain]) < 0.15, "somewhere, and not all over"
        if kind != "perivascular_spaces":  # a tube at the brain's edge reaches out of it
            assert not shape[anatomy.depth_mm <= 0].any()

    def test_perivascular_spaces_end_with_the_brain(self, form: MimicShapes, grid: Grid, anatomy: Anatomy) -> None:
        signal = mimic_signals(
            np.random.default_rng(0), grid, anatomy, form, only("perivascular_spaces", tubes=3000, FLAIR=1.0), ["FLAIR"]
        )["FLAIR"]
        assert not signal[anatomy.depth_mm <= 0].any()

    def test_strengths_are_factors_and_mimics_add_up(
        self, shapes: dict[str, npt.NDArray[np.floating]], form: MimicShapes, grid: Grid, anatomy: Anatomy
    ) -> None:
        both = MimicDraw(
            only("x").strengths | {"caps": {"FLAIR": 2.0, "T1w": -0.5}, "vessels": {"T1w": 3.0}}, perivascular_count=5
        )
        signals = mimic_signals(np.random.default_rng(0), grid, anatomy, form, both, ["T1w", "FLAIR"])
        assert np.allclose(signals["FLAIR"], 2 * shapes["caps"], atol=1e-5)
        assert np.allclose(signals["T1w"], 3 * shapes["vessels"] - 0.5 * shapes["caps"], atol=1e-5)

    def test_caps_are_at_the_horns(self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy) -> None:
        caps = shapes["caps"]
        assert not caps[(anatomy.length > 0.26) & (anatomy.length < 0.74)].any()
        for end in (anatomy.length < 0.25, anatomy.length > 0.75):
            assert caps[end].max() > 0.4
        assert np.average(anatomy.ventricle_mm[anatomy.brain], weights=caps[anatomy.brain]) < 4

    def test_rim_is_a_thin_line_along_the_wall(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        seen = shapes["rim"] > 0.05
        assert np.abs(anatomy.ventricle_mm[seen]).max() < 3
        assert anatomy.fluid[seen].max() < 1
        for low, high in ((0.0, 0.25), (0.25, 0.75), (0.75, 1.0)):
            assert (seen & (anatomy.length >= low) & (anatomy.length < high)).sum() > 10, "all along"

    def test_dirty_white_matter_fades_outwards(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        white = anatomy.white > 0.9
        near, middle, far = (
            shapes["dirty_white"][white & (anatomy.ventricle_mm >= low) & (anatomy.ventricle_mm < low + 6)].mean()
            for low in (3, 15, 27)
        )
        assert near > 1.8 * middle > 3 * far > 0, "by a factor of e every 12 mm"
        assert (shapes["dirty_white"] <= 2 * anatomy.white + 1e-5).all()

    def test_septum_is_between_the_ventricles(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        seen = shapes["septum"] > 0.05
        assert anatomy.side_mm[seen].max() < 3
        assert anatomy.ventricle_mm[seen].max() < 6
        assert anatomy.length[seen].min() > 0.3

    def test_choroid_plexus_is_in_the_ventricles(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        plexus = shapes["choroid_plexus"]
        assert anatomy.ventricle_mm[plexus > 0].max() < 4
        assert (plexus <= anatomy.fluid + 1e-5).all()
        assert np.average(anatomy.length, weights=plexus) == pytest.approx(0.28, abs=0.15)

    def test_bright_cortex_is_patches_of_cortex(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        bright, cortex = shapes["bright_cortex"], anatomy.cortex > 0.8
        assert (bright <= anatomy.cortex + 1e-5).all()
        assert 0.05 < np.mean(bright[cortex] > 0.05) < 0.6

    def test_cortical_spots_are_small_and_in_the_cortex(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        spots, patches = shapes["cortical_spots"], shapes["bright_cortex"]
        assert (spots <= 1.2 * anatomy.cortex + 1e-5).all()
        counts = [label_components(shape > 0.3)[1] for shape in (spots, patches)]
        assert (spots > 0.3).sum() / counts[0] < (patches > 0.3).sum() / counts[1]

    def test_vessels_and_sinuses_are_near_the_surface(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        brain = anatomy.depth_mm > 0
        middle = anatomy.depth_mm[brain].mean()
        for kind, nearer in (("vessels", 0.9), ("sinuses", 0.3)):
            assert np.average(anatomy.depth_mm[brain], weights=shapes[kind][brain]) < nearer * middle
        assert anatomy.depth_mm[shapes["sinuses"] > 0].max() < 5
        midline = shapes["sinuses"][brain & (anatomy.depth_mm < 2) & (anatomy.side_mm < 1.5)]
        assert (
            midline.mean() > 0.8 > 4 * shapes["sinuses"][brain & (anatomy.depth_mm < 2) & (anatomy.side_mm > 10)].mean()
        )
        fluid, solid = (
            shapes["vessels"][part & (anatomy.depth_mm < 10)].mean()
            for part in (brain & (anatomy.fluid > 0.8), brain & (anatomy.fluid < 0.1))
        )
        assert fluid > 3 * solid > 0


class TestPerivascularSpaces:
    GRID = Grid((64, 64, 64), (1.0, 1.0, 1.0))

    @pytest.fixture
    def tubes(self, form: MimicShapes) -> Callable[..., npt.NDArray[np.floating]]:
        """That many at a strength of 1: ``tubes(anatomy, 5, radius_mm=[1.0, 1.0])``."""

        def make(anatomy: Anatomy, count: int, grid: Grid = self.GRID, **changes: Any) -> npt.NDArray[np.floating]:
            drawn = only("perivascular_spaces", tubes=count, FLAIR=1.0)
            own = form.perivascular_spaces.model_copy(update=changes)
            shapes = form.model_copy(update={"perivascular_spaces": own})
            return mimic_signals(np.random.default_rng(4), grid, anatomy, shapes, drawn, ["FLAIR"])["FLAIR"]

        return make

    @pytest.fixture
    def white(self) -> Anatomy:
        """One half white matter, the other cortex."""
        none, every = np.zeros(self.GRID.shape, np.float32), np.ones(self.GRID.shape, np.float32)
        cortex = none.copy()
        cortex[32:] = 1
        return Anatomy(
            brain=every > 0, fluid=none, cortex=cortex, deep_grey=none, white=1 - cortex, bone=None, scalp=None,
            depth_mm=50 * every, ventricle_mm=60 * every, cortex_mm=40 * every, infratentorial=none,
            structure=none, side_mm=30 * every, length=none,
        )  # fmt: skip

    def test_as_many_as_drawn(self, white: Anatomy, tubes: ShapeOf) -> None:
        assert not tubes(white, 0).any()
        assert label_components(tubes(white, 1) > 0.2)[1] == 1
        assert 9 <= label_components(tubes(white, 12) > 0.2)[1] <= 12, "some may meet"

    def test_short_and_thin(self, white: Anatomy, tubes: ShapeOf) -> None:
        labels, count = label_components(tubes(white, 8) > 0.2)
        for label in range(1, count + 1):
            points = np.argwhere(labels == label)
            if points.min() == 0 or points.max() == 63:
                continue  # cut off by the grid
            along = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2]
            extents = np.ptp((points - points.mean(axis=0)) @ along.T, axis=0) + 1
            assert 3 <= extents[0] <= 16
            assert extents[1:].max() <= 5

    def test_as_long_and_as_thick_as_told(self, white: Anatomy, tubes: ShapeOf) -> None:
        plain = tubes(white, 40, length_mm=[4.0, 4.0], radius_mm=[0.6, 0.6]).sum()
        longer = tubes(white, 40, length_mm=[12.0, 12.0], radius_mm=[0.6, 0.6]).sum()
        thicker = tubes(white, 40, length_mm=[4.0, 4.0], radius_mm=[1.2, 1.2]).sum()
        ends = 2 * 0.6 * np.sqrt(np.pi / 2)  # mm that the soft ends add
        assert longer / plain == pytest.approx((12 + ends) / (4 + ends), rel=0.15)
        assert 3.5 < thicker / plain < 6, "by the square, and a little in length"

    def test_in_white_and_deep_grey_matter_only(self, white: Anatomy, tubes: ShapeOf) -> None:
        found = tubes(white, 60)
        assert found[:32].mean() > 20 * found[40:].mean()
        nuclei = replace(white, white=0 * white.white, deep_grey=white.white)
        assert np.array_equal(tubes(nuclei, 60), found)
        assert not tubes(replace(white, white=0 * white.white), 60).any()

    def test_dimmer_where_voxels_are_thicker_than_they(self, white: Anatomy, tubes: ShapeOf) -> None:
        thick = tubes(white, 60, Grid((64, 64, 64), (3.0, 3.0, 3.0)))
        assert 0.1 < thick.max() < 0.5 < tubes(white, 60).max() <= 1

    def test_darken_flair(self, mni: Pathology, form: MimicShapes, grid: Grid, anatomy: Anatomy) -> None:
        drawn = draw_mimics(np.random.default_rng(0), mni.mimics)
        own = MimicDraw(only("x").strengths | {"perivascular_spaces": drawn.strengths["perivascular_spaces"]}, 100)
        signals = mimic_signals(np.random.default_rng(0), grid, anatomy, form, own, ["FLAIR", "T1w", "T2w"])
        assert signals["FLAIR"].min() < -0.02 <= 0 == signals["FLAIR"].max()
        assert signals["T2w"].max() > 0.02 >= 0 == signals["T2w"].min()


class TestFlow:
    def test_some_fluid_moves_another_in_every_scan(self, form: MimicShapes, grid: Grid, anatomy: Anatomy) -> None:
        rng = np.random.default_rng(0)
        first, second = (flow(rng, grid, anatomy, form.flow) for _ in range(2))
        for moving in (first, second):
            assert moving.min() >= -1e-6
            assert 0.2 < moving.max() <= 1
            assert (moving <= anatomy.fluid + 1e-5).all()
            assert not moving[anatomy.depth_mm <= 8].any(), "not on the surface"
            deep = (anatomy.fluid > 0.9) & (anatomy.depth_mm > 8)
            assert 0.01 < np.mean(moving[deep] > 0) < 0.4
        assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.5

    def test_where_and_how_much_is_told(self, form: MimicShapes, grid: Grid, anatomy: Anatomy) -> None:
        def moving(**changes: float) -> npt.NDArray[np.floating]:
            return flow(np.random.default_rng(0), grid, anatomy, form.flow.model_copy(update=changes))

        assert moving(depth_mm=20.0).any()
        assert not moving(depth_mm=20.0)[anatomy.depth_mm <= 20].any()
        assert moving(threshold=0.5).sum() > 2 * moving().sum() > 4 * moving(threshold=2.0).sum()


class TestShapes:
    """Every number of a shape does what it says."""

    def test_caps(self, shape_of: ShapeOf, anatomy: Anatomy) -> None:
        wall = anatomy.ventricle_mm[anatomy.brain]
        far = [np.average(wall, weights=shape_of("caps", width_mm=width)[anatomy.brain]) for width in (1.5, 3.0, 9.0)]
        assert sorted(far) == far
        assert far[2] > far[0] + 2
        long = shape_of("caps", length=0.4)
        assert not long[(anatomy.length > 0.41) & (anatomy.length < 0.59)].any()
        assert long[(anatomy.length > 0.3) & (anatomy.length < 0.39)].any()
        assert shape_of("caps", fade=0.05).sum() > 1.2 * shape_of("caps", fade=0.4).sum()

    def test_rim(self, shape_of: ShapeOf, anatomy: Anatomy) -> None:
        assert shape_of("rim", half_width_mm=3.0).sum() > 1.6 * shape_of("rim").sum()
        wall = anatomy.ventricle_mm[shape_of("rim", distance_mm=6.0) > 0.05]
        assert 4 < wall.min() < 6 < wall.max() < 8
        assert not shape_of("rim", beyond=0.0)[(anatomy.length < 0) | (anatomy.length > 1)].any()
        assert shape_of("rim", beyond=0.5).sum() >= shape_of("rim", beyond=0.0).sum()

    def test_septum(self, shape_of: ShapeOf, anatomy: Anatomy) -> None:
        assert shape_of("septum", half_width_mm=4.0).sum() > 1.5 * shape_of("septum").sum()
        assert anatomy.ventricle_mm[shape_of("septum", reach_mm=12.0) > 0].max() > 8
        part = anatomy.length[shape_of("septum", extent=[0.5, 0.6]) > 0]
        assert 0.5 < part.min() < part.max() < 0.6

    def test_choroid_plexus(self, shape_of: ShapeOf, anatomy: Anatomy) -> None:
        for position in (0.3, 0.7):
            plexus = shape_of("choroid_plexus", position=position, preference=3.0, spread=0.1, threshold=2.5)
            assert np.average(anatomy.length, weights=plexus) == pytest.approx(position, abs=0.1)
        amounts = [shape_of("choroid_plexus", threshold=threshold).sum() for threshold in (0.5, 1.6, 2.5)]
        assert sorted(amounts, reverse=True) == amounts
        assert anatomy.ventricle_mm[shape_of("choroid_plexus", wall_mm=0.0) > 0].max() < 0

    def test_bright_cortex(self, shape_of: ShapeOf) -> None:
        assert shape_of("bright_cortex", threshold=-1.0).sum() > 3 * shape_of("bright_cortex", threshold=0.5).sum()

    def test_cortical_spots(self, shape_of: ShapeOf) -> None:
        assert shape_of("cortical_spots", threshold=0.0).sum() > 3 * shape_of("cortical_spots", threshold=1.0).sum()
        assert not np.array_equal(shape_of("cortical_spots", spot_mm=1.8), shape_of("cortical_spots", spot_mm=4.0))

    def test_dirty_white(self, shape_of: ShapeOf, anatomy: Anatomy) -> None:
        far = (anatomy.white > 0.9) & (anatomy.ventricle_mm > 20)
        near, wide = (shape_of("dirty_white", fade_mm=fade)[far].mean() for fade in (6.0, 24.0))
        assert wide > 5 * near

    def test_vessels(self, shape_of: ShapeOf, anatomy: Anatomy) -> None:
        assert shape_of("vessels", thinness=4.0).sum() > 2 * shape_of("vessels", thinness=16.0).sum()
        solid = (anatomy.fluid < 0.05) & (anatomy.depth_mm > 0)
        assert not shape_of("vessels", outside_fluid=0.0)[anatomy.fluid == 0].any()
        assert shape_of("vessels", outside_fluid=0.5)[solid].sum() > 1.5 * shape_of("vessels")[solid].sum()
        deep = anatomy.depth_mm > 40
        assert not shape_of("vessels", least=0.0, fade_mm=10.0)[deep].any()
        even = shape_of("vessels", surface=9.0)
        assert even[deep].sum() > 1.5 * shape_of("vessels")[deep].sum()

    def test_sinuses(self, shape_of: ShapeOf, anatomy: Anatomy) -> None:
        assert 6 < anatomy.depth_mm[shape_of("sinuses", depth_mm=9.0) > 0].max() < 10.1
        aside = anatomy.side_mm > 8
        none = shape_of("sinuses", threshold=9.0)
        assert none.any()
        assert not none[aside].any()
        assert shape_of("sinuses", threshold=9.0, half_width_mm=15.0)[aside].any()

    def test_patches(self, form: MimicShapes, grid: Grid, anatomy: Anatomy) -> None:
        """Larger ones change less from voxel to voxel."""
        changes = []
        for width in (3.0, 9.0):
            own = form.model_copy(update={"patches_mm": width})
            drawn = only("bright_cortex", FLAIR=1.0)
            bright = mimic_signals(np.random.default_rng(0), grid, anatomy, own, drawn, ["FLAIR"])["FLAIR"]
            both = (anatomy.cortex[1:] > 0.8) & (anatomy.cortex[:-1] > 0.8)
            changes.append(np.abs(np.diff(bright, axis=0))[both].mean())
        assert changes[0] > 1.5 * changes[1]
