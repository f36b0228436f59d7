"""What is no lesion: where each of it lies, how strong it is, and that none is there where none is asked for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lesionseg.metrics.components import label_components
from lesionseg.synthetic.anatomy import Anatomy, Grid
from lesionseg.synthetic.config import MimicShapes, Pathology
from lesionseg.synthetic.mimics import MimicDraw, flow, mimic_signals

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


class TestSignals:
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
