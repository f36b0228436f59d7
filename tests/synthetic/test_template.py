"""The brain that subjects are bent from: anatomy in plausible amounts, and distances that are distances."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from lesionseg.errors import InputError
from lesionseg.synthetic.anatomy import Template, load_template
from lesionseg.synthetic.config import AnatomyParameters, Pathology

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
def parameters(pathology: Callable[..., Pathology]) -> Callable[..., AnatomyParameters]:
    """Those of a label map on disk: ``parameters(path, skull=True)``."""

    def change(labels: Path, **others: Any) -> AnatomyParameters:
        return pathology("ms").anatomy.model_copy(update={"labels": str(labels), "tissues": TISSUES} | others)

    return change


@pytest.fixture
def template_of(parameters: Callable[..., AnatomyParameters], tmp_path: Path) -> Callable[..., Template]:
    """The template of a label map: ``template_of(labels, steps)``."""

    def load(labels: npt.NDArray[Any], steps: tuple[float, ...] = STEPS, **others: Any) -> Template:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.nii.gz"  # a template is kept by its path
        nib.save(nib.Nifti1Image(labels, np.diag([*steps, 1.0])), path)
        return load_template(parameters(path, **others))

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
    def test_is_made_once(self, mni: Pathology, mni_template: Template) -> None:
        assert load_template(mni.anatomy) is mni_template
        assert {value.shape for value in maps(mni_template).values()} == {mni_template.maps["white"].shape}
        assert {value.dtype for value in maps(mni_template).values()} == {np.dtype(np.float32)}

    def test_shares_are_shares(self, mni_template: Template) -> None:
        brain = inside(mni_template)
        total = np.zeros(brain.sum())
        for share in (mni_template.maps["white"], mni_template.maps["cortex"], mni_template.maps["deep_grey"]):
            assert 0 <= share[brain].min() < share[brain].max() <= 1
            total += share[brain]
        assert total.max() <= 1 + 1e-5
        assert 0.02 < np.mean(total < 0.5) < 0.2, "what is left is the fluid"

    def test_volumes_are_a_brains(self, mni_template: Template) -> None:
        brain = inside(mni_template)
        millilitres = {name: float(value[brain].sum()) / 1000 for name, value in maps(mni_template).items()}
        assert 1700 <= brain.sum() / 1000 <= 2000
        assert 10 <= (mni_template.maps["ventricle_mm"] < 0).sum() / 1000 <= 40
        assert 450 <= millilitres["white"] <= 850
        assert 600 <= millilitres["cortex"] <= 1000
        assert 20 <= millilitres["deep_grey"] <= 60
        assert 130 <= millilitres["infratentorial"] <= 260
        assert ndimage.label(brain)[1] == 1
        assert ndimage.label(mni_template.maps["ventricle_mm"] < 0)[1] == 1

    def test_the_box_is_a_heads(self, mni_template: Template) -> None:
        assert mni_template.spacing == (1, 1, 1)
        width, length, height = mni_template.extent_mm
        assert 130 <= width <= 155
        assert width < height < length <= 195
        box = ndimage.find_objects(inside(mni_template).astype(np.uint8))[0]
        assert tuple(side.stop - side.start for side in box) == mni_template.extent_mm
        for side, low in zip(box, mni_template.origin, strict=True):
            assert side.start + low == -(side.stop - 1 + low), "0 mm is its middle"

    def test_left_mirrors_right(self, mni_template: Template) -> None:
        for name in ("depth_mm", "ventricle_mm", "infratentorial", "white", "cortex"):
            side = maps(mni_template)[name]
            assert np.abs(side - side[::-1]).max() < 0.1
        middle = -mni_template.origin[0]
        assert middle == (len(mni_template.maps["depth_mm"]) - 1) / 2, "the middle of the array is the midline"

    def test_front_is_front_and_up_is_up(self, mni_template: Template) -> None:
        brain = inside(mni_template)
        back, front = mni_template.horns_mm
        assert -60 < back < -25, "mm from the brain's middle"
        assert 25 < front < 60
        where = ndimage.center_of_mass(mni_template.maps["infratentorial"] * brain)
        offset = np.array(where) + mni_template.origin
        assert offset[0] == pytest.approx(0, abs=0.1)
        assert offset[1] < -15
        assert offset[2] < -30
        assert (mni_template.maps["cortex"] * mni_template.maps["infratentorial"])[brain].sum() > 50_000, (
            "the cerebellum has one too"
        )

    def test_structure_is_small_and_even(self, mni_template: Template) -> None:
        brain = inside(mni_template)
        assert not mni_template.maps["structure"][~brain].any()
        assert abs(mni_template.maps["structure"][brain].mean()) < 0.01
        assert 0.01 < mni_template.maps["structure"][brain].std() < 0.08


class TestLabelMap:
    def test_distances_are_scipys(self, template_of: Callable[..., Template]) -> None:
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

    def test_banks_meet_halfway_between_two_walls(self, template_of: Callable[..., Template]) -> None:
        """White matter but for a slab of cortex, eight voxels of a millimetre thick."""
        labels = np.full((40, 30, 30), 2, np.int16)
        labels[16:24] = 1
        labels[4:6, 10:20, 10:20] = 3
        template = template_of(labels, (1.0, 1.0, 1.0))
        across = template.maps["banks"][:, 23, 23]
        first = 8 + 16  # a margin of 8 mm around the box
        assert across[first + 3 : first + 5].min() > 0.8
        assert across[: first + 2].max() == across[first + 6 :].max() == 0

    def test_by_hand(self, template_of: Callable[..., Template]) -> None:
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

    def test_shares_are_the_labels_with_soft_edges(self, template_of: Callable[..., Template]) -> None:
        template = template_of(drawn_labels())
        labels = np.pad(drawn_labels()[4:26, 2:18, 3:21], [(8, 8), (4, 4), (6, 6)])
        of = {"white": (2, 7, 3), "cortex": (1,), "deep_grey": (5,)}
        total = sum(maps(template)[name] for name in of)
        assert isinstance(total, np.ndarray)
        assert total.max() <= 1 + 1e-5
        for name, values in of.items():
            share, mask = maps(template)[name], np.isin(labels, values)
            assert 0 <= share.min() < share.max() <= 1 + 1e-5
            assert np.mean((share > 0.5) == mask) > 0.98
            assert share.sum() == pytest.approx(mask.sum(), rel=1e-3), "an edge moves nothing away"
        assert np.array_equal(template.maps["infratentorial"] > 0.5, labels == 7)
        assert total[8, 10, 12] < 0.1, "fluid is what the tissues leave"

    def test_stored_another_way_round_is_the_same_head(
        self, template_of: Callable[..., Template], parameters: Callable[..., AnatomyParameters], tmp_path: Path
    ) -> None:
        upright = template_of(drawn_labels())
        turned = np.flip(drawn_labels(), (0, 1)).transpose(2, 0, 1)  # stored superior, left, posterior
        affine = np.array([[0, -1.0, 0, 29], [0, 0, -2.0, 38], [1.5, 0, 0, 0], [0, 0, 0, 1]])
        nib.save(nib.Nifti1Image(turned, affine), tmp_path / "turned.nii.gz")
        found = load_template(parameters(tmp_path / "turned.nii.gz"))
        assert found.spacing == upright.spacing
        assert all(np.array_equal(value, maps(upright)[name]) for name, value in maps(found).items())

    def test_which_number_a_label_has_does_not_matter(self, template_of: Callable[..., Template]) -> None:
        renamed = np.array([0, 101, 2, 13, 24, 5, 0, 77], np.int16)[drawn_labels()]
        tissues = {
            name: [{1: 101, 3: 13, 4: 24, 7: 77}.get(value, value) for value in TISSUES[name]] for name in TISSUES
        }
        first, second = template_of(drawn_labels()), template_of(renamed, tissues=tissues)
        assert all(np.array_equal(value, maps(first)[name]) for name, value in maps(second).items())

    def test_a_skull_needs_more_room(self, template_of: Callable[..., Template]) -> None:
        narrow, wide = template_of(drawn_labels()), template_of(drawn_labels(), skull=True)
        more = [
            wide - narrow for wide, narrow in zip(wide.maps["white"].shape, narrow.maps["white"].shape, strict=True)
        ]
        assert more == [2 * (20 - 8), 2 * (10 - 4), 2 * (14 - 6)]
        assert (narrow.extent_mm, narrow.horns_mm) == (wide.extent_mm, wide.horns_mm)

    def test_a_path_from_home(
        self,
        template_of: Callable[..., Template],
        parameters: Callable[..., AnatomyParameters],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        template = template_of(drawn_labels())
        monkeypatch.setenv("HOME", str(tmp_path))
        assert np.array_equal(load_template(parameters(Path("~/0.nii.gz"))).maps["white"], template.maps["white"])


class TestFaults:
    @staticmethod
    def told(anatomy: AnatomyParameters) -> str:
        with pytest.raises(InputError) as caught:
            load_template(anatomy)
        (fault,) = caught.value.faults
        return fault

    @pytest.mark.parametrize(
        ("name", "content", "why"),
        [
            ("missing.nii.gz", None, "FileNotFoundError"),
            ("text.nii", b"no labels here", "ImageFileError"),
            ("labels.txt", b"no labels here", "ImageFileError"),
            ("broken.nii.gz", b"no gzip here", "BadGzipFile|ImageFileError"),
        ],
    )
    def test_unreadable(
        self,
        parameters: Callable[..., AnatomyParameters],
        tmp_path: Path,
        name: str,
        content: bytes | None,
        why: str,
    ) -> None:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        fault = self.told(parameters(path))
        assert fault.startswith(f"anatomy.labels: {path} cannot be read (")
        assert any(f"({reason}: " in fault for reason in why.split("|"))
        assert fault.endswith("); give a NIfTI label map, or null for the MNI152 template")

    @pytest.mark.parametrize("kept", [400, 1200])
    def test_broken_off(
        self, parameters: Callable[..., AnatomyParameters], label_map: Path, tmp_path: Path, kept: int
    ) -> None:
        path = tmp_path / "half.nii.gz"
        path.write_bytes(label_map.read_bytes()[:kept])
        assert self.told(parameters(path)).startswith(f"anatomy.labels: {path} cannot be read (EOFError: ")

    @pytest.mark.parametrize("start", [900, 10])
    def test_damaged(
        self, parameters: Callable[..., AnatomyParameters], label_map: Path, tmp_path: Path, start: int
    ) -> None:
        path = tmp_path / "damaged.nii.gz"
        whole = gzip.compress(gzip.decompress(label_map.read_bytes()), mtime=0)
        path.write_bytes(whole[:start] + b"\xff" * 300 + whole[start + 300 :])
        assert self.told(parameters(path)).startswith(f"anatomy.labels: {path} cannot be read (")

    def test_not_three_dimensions(self, parameters: Callable[..., AnatomyParameters], tmp_path: Path) -> None:
        path = tmp_path / "series.nii.gz"
        nib.save(nib.Nifti1Image(np.stack([drawn_labels()] * 2, axis=-1), np.eye(4)), path)
        assert self.told(parameters(path)) == f"anatomy.labels: {path} has 4 dimensions; a label map has 3"

    def test_a_tissue_that_is_not_there(self, parameters: Callable[..., AnatomyParameters], tmp_path: Path) -> None:
        path = tmp_path / "labels.nii.gz"
        nib.save(nib.Nifti1Image(drawn_labels(), np.diag([*STEPS, 1.0])), path)
        assert self.told(parameters(path, tissues=TISSUES | {"white": [9], "ventricle": []})) == (
            f"anatomy.labels: {path} has no white and no ventricle; its labels are 0, 1, 2, 3, 4, 5, 7...: say in "
            "anatomy.tissues which label is which tissue"
        )
        only_three = {name: TISSUES[name] for name in ("white", "cortex", "ventricle")}
        template = load_template(parameters(path, tissues=only_three))
        assert not template.maps["deep_grey"].any(), "the others need not be there"
