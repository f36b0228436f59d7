"""What is no lesion: where each of it lies, how strong it is, and that none is there where none is asked for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lesionseg.synthetic.anatomy import Anatomy, Grid
from lesionseg.synthetic.config import MimicShapes, Pathology
from lesionseg.synthetic.mimics import MimicDraw, mimic_signals

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
