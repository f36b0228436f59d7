"""Parameters of synthetic cohorts, and one healthy brain to put things into."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from lesionseg.config.compose import Request, compose_jobs
from lesionseg.synthetic.anatomy import Anatomy, Grid, Template, draw_anatomy, load_template, make_anatomy
from lesionseg.synthetic.cohort import grid_of
from lesionseg.synthetic.config import LesionParameters, Pathology
from lesionseg.synthetic.distributions import Quantiles, Volumes


@pytest.fixture(scope="session")
def pathology(small_heads: tuple[str, ...]) -> Callable[..., Pathology]:
    """One of conf/pathology on a coarse grid, with further overrides: ``pathology("ms", "sessions=1")``."""

    @cache
    def compose(name: str = "ms", *overrides: str) -> Pathology:
        own = [f"pathology.{text}" for text in overrides]
        request = Request("synthesize", (f"pathology={name}", "output=x", "subjects=1", *small_heads, *own))
        found = compose_jobs(request)[0][0].config.pathology  # type: ignore[attr-defined]
        assert isinstance(found, Pathology)
        return found

    return compose


@pytest.fixture(scope="session")
def mni(pathology: Callable[..., Pathology]) -> Pathology:
    """Multiple sclerosis in brains bent from the MNI152 template, in voxels of 3 mm."""
    return pathology("ms", "anatomy.labels=null", "spacing=[3,3,3]")


@pytest.fixture(scope="session")
def mni_template(mni: Pathology) -> Template:
    """The MNI152 template: seconds in every process."""
    return load_template(mni.anatomy)


@pytest.fixture(scope="session")
def grid(mni: Pathology) -> Grid:
    """The voxels of ``anatomy``."""
    return grid_of(mni)


@pytest.fixture(scope="session")
def anatomy(mni: Pathology, mni_template: Template, grid: Grid) -> Anatomy:
    """One subject's healthy brain; for reading only."""
    rng = np.random.default_rng(0)
    drawn = draw_anatomy(rng, grid, mni_template, mni.anatomy)
    return make_anatomy(rng, grid, mni_template, mni.anatomy, drawn)


@pytest.fixture(scope="session")
def ms_lesions(mni: Pathology) -> LesionParameters:
    """Those of multiple sclerosis."""
    return mni.lesions


@pytest.fixture(scope="session")
def alike(ms_lesions: LesionParameters) -> Callable[..., LesionParameters]:
    """That many lesions of one size in mm³, without any scatter: ``alike(5, 90.0, hugging=2.0)``."""

    def change(number: int, mm3: float, **others: Any) -> LesionParameters:
        fixed: dict[str, Any] = {
            "count": Quantiles(shares=[0.0, 1.0], values=[number, number]),
            "load_ml": None,
            "volume_mm3": Volumes(median=mm3, log_sd=0.0, low=mm3 / 2, high=mm3 * 2),
            "axis_ratios": [1.0, 1.0],
            "axis_log_sd": 0.0,
            "roughness": 0.0,
            "spares_grey": 0.0,
            "hugging": 0.0,
        }
        return ms_lesions.model_copy(update=fixed | others)

    return change


@pytest.fixture(scope="session")
def even() -> Callable[[Grid], Anatomy]:
    """White matter all over, far from everything."""

    def make(grid: Grid) -> Anatomy:
        none, every = np.zeros(grid.shape, np.float32), np.ones(grid.shape, np.float32)
        return Anatomy(
            brain=every > 0, fluid=none, cortex=none, deep_grey=none, white=every, bone=None, scalp=None,
            depth_mm=50 * every, ventricle_mm=60 * every, cortex_mm=40 * every, infratentorial=none,
            structure=none, side_mm=30 * every, length=none,
        )  # fmt: skip

    return make
