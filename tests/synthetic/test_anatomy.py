"""A subject's brain: shares of tissue that are whole, and every number that is drawn does what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from lesionseg.errors import InputError
from lesionseg.synthetic.anatomy import (
    Anatomy,
    AnatomyDraw,
    Grid,
    Template,
    load_template,
    make_anatomy,
    ramp,
    smooth_field,
    tissue_shares,
)
from lesionseg.synthetic.config import AnatomyParameters, Pathology

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


def alike(first: npt.NDArray[Any], second: npt.NDArray[Any] | float, tolerance: float = 1e-3) -> bool:
    return np.allclose(first, second, rtol=0, atol=tolerance)


def tissues(anatomy: Anatomy) -> npt.NDArray[np.float32]:
    return np.stack([anatomy.fluid, anatomy.cortex, anatomy.deep_grey, anatomy.white])


class TestMake:
    def test_a_brain_of_plausible_make(self, anatomy, grid):
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

    def test_nothing_drawn_gives_the_template(self, make, template):
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


TISSUES = {"cortex": [1], "white": [2, 7], "ventricle": [3], "fluid": [4], "deep_grey": [5], "infratentorial": [7]}
STEPS = (1.0, 2.0, 1.5)


def drawn_labels() -> npt.NDArray[np.int16]:
    """A box of cortex around white matter; all else off the middle, so that no two axes look alike."""
    labels = np.zeros((30, 20, 24), np.int16)
    labels[4:26, 2:18, 3:21] = 1
    labels[8:22, 4:16, 7:17] = 2
    labels[8:22, 4:7, 7:11] = 7
    labels[10:13, 6:12, 10:13] = 3
    labels[4:6, 2:18, 3:21] = 4
    labels[16:20, 8:12, 11:15] = 5
    return labels


@pytest.fixture(scope="module")
def parameters_of_template(pathology: Callable[..., Pathology]) -> Callable[..., AnatomyParameters]:
    """Those of a label map on disk: ``parameters_of_template(path, skull=True)``."""

    def change(labels: Path, **others: Any) -> AnatomyParameters:
        return pathology("ms").anatomy.model_copy(update={"labels": str(labels), "tissues": TISSUES} | others)

    return change


@pytest.fixture
def template_of(parameters_of_template: Callable[..., AnatomyParameters], tmp_path: Path) -> Callable[..., Template]:
    """The template of a label map: ``template_of(labels, steps)``."""

    def load(labels: npt.NDArray[Any], steps: tuple[float, ...] = STEPS, **others: Any) -> Template:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.nii.gz"  # a template is kept by its path
        nib.save(nib.Nifti1Image(labels, np.diag([*steps, 1.0])), path)
        return load_template(parameters_of_template(path, **others))

    return load


def maps(template: Template) -> dict[str, npt.NDArray[np.float32]]:
    return template.maps


def inside(template: Template) -> npt.NDArray[np.bool_]:
    return template.maps["depth_mm"] > 0


def signed_distance(mask: npt.NDArray[np.bool_], steps: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Positive inside, 0 between the voxels of the edge; by scipy."""
    half = np.mean(steps) / 2
    into, out = (ndimage.distance_transform_edt(part, sampling=steps) for part in (mask, ~mask))
    return np.where(mask, into - half, half - out)


class TestMni152:
    def test_shares_are_shares(self, mni_template):
        brain = inside(mni_template)
        total = np.zeros(brain.sum())
        for share in (mni_template.maps["white"], mni_template.maps["cortex"], mni_template.maps["deep_grey"]):
            assert 0 <= share[brain].min() < share[brain].max() <= 1
            total += share[brain]
        assert total.max() <= 1 + 1e-5
        assert 0.02 < np.mean(total < 0.5) < 0.2, "what is left is the fluid"


class TestLabelMap:
    def test_distances_are_scipys(self, template_of):
        template = template_of(drawn_labels())
        assert template.spacing == STEPS
        labels = np.pad(drawn_labels()[4:26, 2:18, 3:21], [(8, 8), (4, 4), (6, 6)])  # 8 mm around its box
        for found, mask in ((template.maps["depth_mm"], labels > 0), (-template.maps["ventricle_mm"], labels == 3)):
            assert found == pytest.approx(signed_distance(mask, STEPS), abs=1e-4)
            assert np.array_equal(found > 0, mask)
        white = template.maps["white"] + template.maps["deep_grey"]
        for found, far in (
            (template.maps["cortex_mm"], template.maps["cortex"] <= 0.5),
            (template.maps["white_mm"], white <= 0.5),
        ):
            assert found == pytest.approx(ndimage.distance_transform_edt(far, sampling=STEPS), abs=1e-4)

    def test_by_hand(self, template_of):
        """Ten voxels of 2 mm, four of them ventricle, seen along a line through the middle."""
        labels = np.zeros((12, 12, 12), np.int16)
        labels[1:11, 1:11, 1:11] = 1
        labels[2:10, 2:10, 2:10] = 2
        labels[4:8, 3:7, 4:8] = 3
        template = template_of(labels, (2.0, 2.0, 2.0))
        assert template.maps["depth_mm"].shape == (18, 18, 18)
        line = (slice(3, 15), 8, 9)
        assert template.maps["depth_mm"][line].tolist() == [-1, 1, 3, 5, 7, 9, 9, 7, 5, 3, 1, -1]
        assert template.maps["ventricle_mm"][line].tolist() == [7, 5, 3, 1, -1, -3, -3, -1, 1, 3, 5, 7]
        assert template.extent_mm == (20, 20, 20)
        assert template.origin == (-17, -17, -17)
        assert template.horns_mm == (-5, 1), "of the centres of the ventricle's voxels"
        assert template.maps["white"][4, 9, 9] < 0.1 < 0.9 < template.maps["white"][6, 9, 9]
        assert template.maps["white"][9, 9, 9] > 0.9, "the ventricles are white matter, till a subject's own are opened"
        assert not template.maps["infratentorial"].any()
        assert not template.maps["structure"].any()


class TestFaults:
    @staticmethod
    def told(anatomy: AnatomyParameters) -> str:
        with pytest.raises(InputError) as caught:
            load_template(anatomy)
        (fault,) = caught.value.faults
        return fault

    def test_not_three_dimensions(self, parameters_of_template, tmp_path):
        path = tmp_path / "series.nii.gz"
        nib.save(nib.Nifti1Image(np.stack([drawn_labels()] * 2, axis=-1), np.eye(4)), path)
        assert self.told(parameters_of_template(path)) == f"anatomy.labels: {path} has 4 dimensions; a label map has 3"

    def test_a_tissue_that_is_not_there(self, parameters_of_template, tmp_path):
        path = tmp_path / "labels.nii.gz"
        nib.save(nib.Nifti1Image(drawn_labels(), np.diag([*STEPS, 1.0])), path)
        assert self.told(parameters_of_template(path, tissues=TISSUES | {"white": [9], "ventricle": []})) == (
            f"anatomy.labels: {path} has no white and no ventricle; its labels are 0, 1, 2, 3, 4, 5, 7...: say in "
            "anatomy.tissues which label is which tissue"
        )
        only_three = {name: TISSUES[name] for name in ("white", "cortex", "ventricle")}
        template = load_template(parameters_of_template(path, tissues=only_three))
        assert not template.maps["deep_grey"].any(), "the others need not be there"


Shares = Callable[..., npt.NDArray[np.floating]]
NAMES = ("white", "cortex", "deep_grey", "ventricle_mm", "cortex_mm", "white_mm", "banks", "infratentorial")


@pytest.fixture(scope="module")
def parameters_of_tissue(pathology: Callable[..., Pathology]) -> AnatomyParameters:
    return pathology("ms").anatomy.model_copy(update={"sharpness": 3.0, "cortex_mm": 2.5, "sulci": 3.0})


@pytest.fixture
def shares(parameters_of_tissue: AnatomyParameters) -> Shares:
    """Fluid, cortex, deep grey and white matter of one voxel of these maps; ``width`` is the ventricles' own."""

    def make(folding: float = 0.0, width: float = 0.0, atrophy: float = 0.0, **maps: float) -> npt.NDArray[Any]:
        none = dict.fromkeys(NAMES, 0.0) | {"ventricle_mm": 30.0}
        arrays = {name: np.array([value], np.float32) for name, value in (none | maps).items()}
        field = np.array([folding], np.float32)
        found = tissue_shares(arrays, field, parameters_of_tissue, ventricle_mm=width, atrophy=atrophy)
        return np.concatenate([found[name] for name in ("fluid", "cortex", "deep_grey", "white")])

    return make


def test_pure_tissue_stays_pure(shares):
    assert shares(white=1.0) == pytest.approx([0, 0, 0, 1], abs=1e-5)
    assert shares(cortex=1.0) == pytest.approx([0, 1, 0, 0], abs=1e-5)
    assert shares(deep_grey=1.0) == pytest.approx([0, 0, 1, 0], abs=1e-5)
    assert shares() == pytest.approx([1, 0, 0, 0], abs=1e-5), "what is left is fluid"


def test_sulci_open_beyond_the_cortex_and_with_atrophy(shares):
    fluids = [shares(cortex=0.9, white_mm=distance)[0] for distance in (0.0, 2.0, 3.0, 4.0)]
    assert fluids[0] < 0.01
    assert sorted(fluids) == fluids
    opened = shares(cortex=0.9, white_mm=3.0, atrophy=1.5)
    closed = shares(cortex=0.9, white_mm=3.0, atrophy=-1.5)
    assert np.log(opened[0] / opened[1]) - np.log(closed[0] / closed[1]) == pytest.approx(3.0, abs=1e-2)
    assert shares(cortex=0.9, white_mm=4.0, infratentorial=1.0)[0] < 0.01, "none in the cerebellum"


def test_ramp_by_hand():
    distance = np.array([-9, -1, -0.5, 0, 0.5, 1, 9], dtype=np.float32)
    assert ramp(distance, 2.0).tolist() == [0, 0, 0.25, 0.5, 0.75, 1, 1]
    assert ramp(distance, 1.0).tolist() == [0, 0, 0, 0.5, 1, 1, 1]
    assert ramp(distance, 2.0).dtype == np.float32


def test_a_random_field_has_mean_0_sd_1_and_its_smoothness_in_mm():
    rng, grid, width = np.random.default_rng(0), Grid((9, 12, 7), (2.0, 1.0, 3.0)), 3.0
    drawn = np.stack([smooth_field(rng, grid, width) for _ in range(2000)])
    assert np.abs(drawn.mean(axis=0)).max() < 6 / np.sqrt(2000)
    assert drawn.std(axis=0) == pytest.approx(np.ones(grid.shape), abs=6 / np.sqrt(4000))
    for axis, step in enumerate(grid.spacing, start=1):
        turned = np.moveaxis(drawn, axis, 0)
        found = np.corrcoef(turned[:-2].ravel(), turned[2:].ravel())[0, 1]
        assert found == pytest.approx(np.exp(-((2 * step) ** 2) / (4 * width**2)), abs=0.06), "of bumps of that SD"
