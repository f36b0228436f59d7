"""Parameters of synthetic cohorts, and one healthy brain to put things into."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from lesionseg.config.compose import Request, compose_jobs
from lesionseg.data.synthetic.anatomy import Anatomy, draw_anatomy, make_anatomy
from lesionseg.data.synthetic.fields import Grid
from lesionseg.data.synthetic.parameters import Pathology
from lesionseg.data.synthetic.subject import grid_of
from lesionseg.data.synthetic.template import Template, load_template


@pytest.fixture(scope="session")
def pathology(small_heads: tuple[str, ...]) -> Callable[..., Pathology]:
    """One of conf/pathology on a coarse grid, with further overrides: ``pathology("ms", "sessions=1")``."""

    @cache
    def compose(name: str = "ms", *overrides: str) -> Pathology:
        own = [f"pathology.{text}" for text in overrides]
        request = Request("synthesize", (f"pathology={name}", "output=x", "subjects=1", *small_heads, *own))
        found = compose_jobs(request)[0].config.pathology  # type: ignore[attr-defined]
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
