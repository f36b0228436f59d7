"""Shares of the tissues, voxel by voxel and by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lesionseg.synthetic.anatomy import tissue_shares
from lesionseg.synthetic.config import AnatomyParameters, Pathology

Shares = Callable[..., npt.NDArray[np.floating]]
NAMES = ("white", "cortex", "deep_grey", "ventricle_mm", "cortex_mm", "white_mm", "banks", "infratentorial")


@pytest.fixture(scope="module")
def parameters(pathology: Callable[..., Pathology]) -> AnatomyParameters:
    return pathology("ms").anatomy.model_copy(update={"sharpness": 3.0, "cortex_mm": 2.5, "sulci": 3.0})


@pytest.fixture
def shares(parameters: AnatomyParameters) -> Shares:
    """Fluid, cortex, deep grey and white matter of one voxel of these maps; ``width`` is the ventricles' own."""

    def make(folding: float = 0.0, width: float = 0.0, atrophy: float = 0.0, **maps: float) -> npt.NDArray[Any]:
        none = dict.fromkeys(NAMES, 0.0) | {"ventricle_mm": 30.0}
        arrays = {name: np.array([value], np.float32) for name, value in (none | maps).items()}
        field = np.array([folding], np.float32)
        found = tissue_shares(arrays, field, parameters, ventricle_mm=width, atrophy=atrophy)
        return np.concatenate([found[name] for name in ("fluid", "cortex", "deep_grey", "white")])

    return make


def test_pure_tissue_stays_pure(shares: Shares) -> None:
    assert shares(white=1.0) == pytest.approx([0, 0, 0, 1], abs=1e-5)
    assert shares(cortex=1.0) == pytest.approx([0, 1, 0, 0], abs=1e-5)
    assert shares(deep_grey=1.0) == pytest.approx([0, 0, 1, 0], abs=1e-5)
    assert shares() == pytest.approx([1, 0, 0, 0], abs=1e-5), "what is left is fluid"


def test_mixtures_are_sharpened(shares: Shares) -> None:
    cortex, white = 0.6**3, 0.4**3
    assert shares(cortex=0.6, white=0.4) == pytest.approx(
        [0, cortex / (cortex + white), 0, white / (cortex + white)], abs=1e-4
    )


def test_folds_are_log_odds_of_grey_against_white_matter_and_spare_the_cerebellum(shares: Shares) -> None:
    folded = shares(folding=0.5, cortex=0.5, white=0.5)
    assert np.log(folded[1] / folded[3]) == pytest.approx(2 * 0.5, abs=1e-3)
    below = shares(folding=0.5, cortex=0.5, white=0.5, infratentorial=1.0)
    assert below[1] == pytest.approx(below[3])


def test_ventricles_are_as_wide_as_told(shares: Shares) -> None:
    for width, fluid in ((1.0, 0.0), (2.0, 0.5), (3.0, 1.0)):
        found = shares(width=width, white=1.0, ventricle_mm=2.0)
        assert found[0] == pytest.approx(fluid, abs=1e-4), "half of it where the wall is"


def test_a_narrower_ventricle_leaves_wall(shares: Shares) -> None:
    found = shares(width=-2.0, ventricle_mm=-1.0)
    assert found == pytest.approx([0, 0, 0, 1], abs=1e-4), "white matter, where the average brain has fluid"


def test_sulci_open_beyond_the_cortex_and_with_atrophy(shares: Shares) -> None:
    fluids = [shares(cortex=0.9, white_mm=distance)[0] for distance in (0.0, 2.0, 3.0, 4.0)]
    assert fluids[0] < 0.01
    assert sorted(fluids) == fluids
    opened = shares(cortex=0.9, white_mm=3.0, atrophy=1.5)
    closed = shares(cortex=0.9, white_mm=3.0, atrophy=-1.5)
    assert np.log(opened[0] / opened[1]) - np.log(closed[0] / closed[1]) == pytest.approx(3.0, abs=1e-2)
    assert shares(cortex=0.9, white_mm=4.0, infratentorial=1.0)[0] < 0.01, "none in the cerebellum"


def test_a_narrow_sulcus_opens_where_gyri_meet(shares: Shares, parameters: AnatomyParameters) -> None:
    fluid, cortex = shares(cortex=1.0, banks=0.8)[:2]
    assert fluid / cortex == pytest.approx(parameters.narrow_sulci * 0.8**2, abs=1e-3)
    assert shares(cortex=1.0, banks=0.8, infratentorial=1.0)[0] < 1e-4, "none in the cerebellum"
