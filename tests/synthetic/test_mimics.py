"""What is no lesion: where each of it lies, how strong it is, and that none is there where none is asked for."""

from collections.abc import Callable
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
    def test_as_strong_on_every_contrast(self, pathology):
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


class TestSignals:
    def test_nothing_where_nothing_is_asked_for(self, form, grid, anatomy):
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
    def test_is_there_within_its_strength_and_in_the_brain(self, shapes, grid, anatomy, kind):
        shape = shapes[kind]
        assert shape.shape == grid.shape
        assert shape.min() >= -1e-6
        assert 0.25 * LARGEST[kind] < shape.max() <= LARGEST[kind] + 1e-5
        assert 5e-5 < np.mean(shape[anatomy.brain]) < 0.15, "somewhere, and not all over"
        if kind != "perivascular_spaces":  # a tube at the brain's edge reaches out of it
            assert not shape[anatomy.depth_mm <= 0].any()

    def test_strengths_are_factors_and_mimics_add_up(self, shapes, form, grid, anatomy):
        both = MimicDraw(
            only("x").strengths | {"caps": {"FLAIR": 2.0, "T1w": -0.5}, "vessels": {"T1w": 3.0}}, perivascular_count=5
        )
        signals = mimic_signals(np.random.default_rng(0), grid, anatomy, form, both, ["T1w", "FLAIR"])
        assert np.allclose(signals["FLAIR"], 2 * shapes["caps"], atol=1e-5)
        assert np.allclose(signals["T1w"], 3 * shapes["vessels"] - 0.5 * shapes["caps"], atol=1e-5)

    def test_caps_are_at_the_horns(self, shapes, anatomy):
        caps = shapes["caps"]
        assert not caps[(anatomy.length > 0.26) & (anatomy.length < 0.74)].any()
        for end in (anatomy.length < 0.25, anatomy.length > 0.75):
            assert caps[end].max() > 0.4
        assert np.average(anatomy.ventricle_mm[anatomy.brain], weights=caps[anatomy.brain]) < 4

    def test_rim_is_a_thin_line_along_the_wall(self, shapes, anatomy):
        seen = shapes["rim"] > 0.05
        assert np.abs(anatomy.ventricle_mm[seen]).max() < 3
        assert anatomy.fluid[seen].max() < 1
        for low, high in ((0.0, 0.25), (0.25, 0.75), (0.75, 1.0)):
            assert (seen & (anatomy.length >= low) & (anatomy.length < high)).sum() > 10, "all along"

    def test_dirty_white_matter_fades_outwards(self, shapes, anatomy):
        white = anatomy.white > 0.9
        near, middle, far = (
            shapes["dirty_white"][white & (anatomy.ventricle_mm >= low) & (anatomy.ventricle_mm < low + 6)].mean()
            for low in (3, 15, 27)
        )
        assert near > 1.8 * middle > 3 * far > 0, "by a factor of e every 12 mm"
        assert (shapes["dirty_white"] <= 2 * anatomy.white + 1e-5).all()

    def test_septum_is_between_the_ventricles(self, shapes, anatomy):
        seen = shapes["septum"] > 0.05
        assert anatomy.side_mm[seen].max() < 3
        assert anatomy.ventricle_mm[seen].max() < 6
        assert anatomy.length[seen].min() > 0.3

    def test_choroid_plexus_is_in_the_ventricles(self, shapes, anatomy):
        plexus = shapes["choroid_plexus"]
        assert anatomy.ventricle_mm[plexus > 0].max() < 4
        assert (plexus <= anatomy.fluid + 1e-5).all()
        assert np.average(anatomy.length, weights=plexus) == pytest.approx(0.28, abs=0.15)

    def test_cortical_spots_are_small_and_in_the_cortex(self, shapes, anatomy):
        spots, patches = shapes["cortical_spots"], shapes["bright_cortex"]
        assert (spots <= 1.2 * anatomy.cortex + 1e-5).all()
        counts = [label_components(shape > 0.3)[1] for shape in (spots, patches)]
        assert (spots > 0.3).sum() / counts[0] < (patches > 0.3).sum() / counts[1]

    def test_vessels_and_sinuses_are_near_the_surface(self, shapes, anatomy):
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

    def test_as_many_as_drawn(self, white, tubes):
        assert not tubes(white, 0).any()
        assert label_components(tubes(white, 1) > 0.2)[1] == 1
        assert 9 <= label_components(tubes(white, 12) > 0.2)[1] <= 12, "some may meet"

    def test_short_and_thin(self, white, tubes):
        labels, count = label_components(tubes(white, 8) > 0.2)
        for label in range(1, count + 1):
            points = np.argwhere(labels == label)
            if points.min() == 0 or points.max() == 63:
                continue  # cut off by the grid
            along = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2]
            extents = np.ptp((points - points.mean(axis=0)) @ along.T, axis=0) + 1
            assert 3 <= extents[0] <= 16
            assert extents[1:].max() <= 5


class TestFlow:
    def test_some_fluid_moves_another_in_every_scan(self, form, grid, anatomy):
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
