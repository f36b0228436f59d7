import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from lesionseg.data.channels import Source, parse_channel
from lesionseg.data.dataset import Dataset, MaskFile, Study
from lesionseg.data.nifti import Grid
from lesionseg.data.quality_control import Audit, StudyAudit, audit, audit_study, displacement, overlap
from lesionseg.data.readers import read_bids

SHARED = Path(__file__).parents[2] / "../shared/data"
FLAIR = Source("flair")
PRIOR = Source("flair", prior=True)

Write = Callable[..., Path]


def _brain(factor: float = 1.0) -> Any:
    voxels = np.zeros((20, 20, 20), dtype=np.float32)
    voxels[4:16, 4:16, 4:16] = factor * np.arange(100, 100 + 12**3).reshape(12, 12, 12)
    return voxels


def _audit(cohort: Dataset, *channels: str, target: str | None = "lesion") -> Audit:
    return audit(cohort, [parse_channel(channel) for channel in channels], target)


def _image_faults(path: Path) -> tuple[str, ...]:
    """The faults of a study of one image, without what names study and file."""
    where = f"sub-1, flair ({path}): "
    faults = audit_study(Study("1", "", {"flair": path}), None, [FLAIR], None).faults
    assert all(fault.startswith(where) for fault in faults)
    return tuple(fault.removeprefix(where) for fault in faults)


def _mask_audit(image: Path, mask: Path, label: int | None = None) -> tuple[StudyAudit, tuple[str, ...]]:
    """The audit of a study with a mask, and its faults without what names study and file."""
    row = audit_study(Study("1", "", {"flair": image}, {"lesion": MaskFile(mask, label)}), None, [FLAIR], "lesion")
    where = f"sub-1, mask lesion ({mask}): "
    assert all(fault.startswith(where) for fault in row.faults)
    return row, tuple(fault.removeprefix(where) for fault in row.faults)


def test_an_image_is_described(tmp_path: Path, write_scan: Write) -> None:
    path = write_scan(tmp_path / "a.nii.gz", _brain()[..., None], np.diag([-1, -2, 3, 1]))
    (image,) = audit_study(Study("1", "", {"flair": path}), None, [FLAIR], None).images
    assert (image.source, image.path, image.shape) == ("flair", path, (20, 20, 20))
    assert (image.spacing, image.axes) == ((1, 2, 3), "LPS")
    assert (image.minimum, image.maximum, image.median) == (100, 100 + 12**3 - 1, 100 + (12**3 - 1) / 2)
    assert image.brain_share == pytest.approx(12**3 / 20**3)
    assert _image_faults(path) == ()


def test_a_mask_is_described_in_millimetres(tmp_path: Path, write_scan: Write) -> None:
    affine = np.diag([1, 2, 3, 1])
    voxels = np.zeros((20, 20, 20), dtype=np.uint8)
    voxels[5, 5, 5] = voxels[6, 6, 6] = 1  # one lesion across a corner: 12 mm³
    voxels[10:13, 10, 10] = 1  # 18 mm³
    voxels[15, 15, 15] = 1  # 6 mm³
    row, faults = _mask_audit(
        write_scan(tmp_path / "a.nii", affine=affine), write_scan(tmp_path / "m.nii", voxels, affine)
    )
    assert faults == ()
    assert row.mask is not None
    assert (row.mask.lesion_count, row.mask.volume_ml) == (3, pytest.approx(0.036))
    assert (row.mask.smallest_mm3, row.mask.largest_mm3) == (6, 18)
    _, count = ndimage.label(voxels, np.ones((3, 3, 3)))
    assert count == row.mask.lesion_count


def test_a_missing_file(tmp_path: Path) -> None:
    assert _image_faults(tmp_path / "gone.nii") == (
        "there is no such file; correct the dataset's patterns or put the file there",
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_a_file_cut_off_is_found(share: float, ending: str, tmp_path: Path, write_scan: Write) -> None:
    path = write_scan(tmp_path / f"a{ending}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    (fault,) = _image_faults(path)
    assert fault.startswith("it cannot be read to its end (")
    assert fault.endswith("it is truncated, damaged or no NIfTI: copy or convert it again from its source")


def test_a_file_without_its_last_bytes_or_with_one_changed_is_found(tmp_path: Path, write_scan: Write) -> None:
    path = write_scan(tmp_path / "a.nii.gz")
    content = path.read_bytes()
    path.write_bytes(content[:-4])  # every voxel is there, the checksum is not complete
    np.asarray(nib.load(path).dataobj)
    (fault,) = _image_faults(path)
    assert "Compressed file ended before the end-of-stream marker was reached" in fault
    path.write_bytes(content[:-8] + bytes(4) + content[-4:])
    (fault,) = _image_faults(path)
    assert "CRC check failed" in fault


def test_what_is_no_nifti_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_text("no scan")
    (tmp_path / "a.nii.gz").write_text("no scan")
    (tmp_path / "b.nii").touch()
    for name in ("a.nii", "a.nii.gz", "b.nii"):
        (fault,) = _image_faults(tmp_path / name)
        assert "it is truncated, damaged or no NIfTI" in fault


def test_an_image_that_is_not_3d(tmp_path: Path, write_scan: Write) -> None:
    mend = "not 3D; save the one volume that counts as a file of its own"
    assert _image_faults(write_scan(tmp_path / "4d.nii", np.ones((8, 8, 8, 2)))) == (
        f"it is 4D, of shape (8, 8, 8, 2), {mend}",
    )
    assert _image_faults(write_scan(tmp_path / "2d.nii", np.ones((8, 8)))) == (f"it is 2D, of shape (8, 8), {mend}",)


def test_voxels_that_are_no_grey_values(tmp_path: Path, write_scan: Write) -> None:
    rgb = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    (fault,) = _image_faults(write_scan(tmp_path / "rgb.nii", rgb))
    assert fault.endswith("no real numbers; save one grey value for each voxel")


@pytest.mark.parametrize(
    "affine", [np.diag([1, 0.001, 1, 1]), np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])]
)
def test_an_affine_without_size(affine: Any, tmp_path: Path, write_scan: Write) -> None:
    path = write_scan(tmp_path / "a.nii")
    image = nib.load(path, mmap=False)
    image.header.set_sform(affine, code=1)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)
    (fault,) = _image_faults(path)
    assert fault.startswith("its affine [[")
    assert fault.endswith("gives the voxels no size in mm; convert the scan again from its source")


def test_voxels_that_are_no_numbers(tmp_path: Path, write_scan: Write) -> None:
    voxels = _brain()
    voxels[5, 5, 5:7] = np.nan
    voxels[0, 0, 0] = np.inf
    path = write_scan(tmp_path / "a.nii", voxels)
    assert _image_faults(path) == ("3 voxels are NaN or infinite; set them to the background and save the image again",)
    (image,) = audit_study(Study("1", "", {"flair": path}), None, [FLAIR], None).images
    assert image.maximum == 100 + 12**3 - 1
    all_nan = write_scan(tmp_path / "b.nii", np.full((20, 20, 20), np.nan, dtype=np.float32))
    assert _image_faults(all_nan)[0].startswith("8000 voxels are NaN or infinite")


def test_an_image_of_one_value(tmp_path: Path, write_scan: Write) -> None:
    assert _image_faults(write_scan(tmp_path / "a.nii", np.full((20, 20, 20), 7, dtype=np.int16))) == (
        "every voxel is 7; the image is empty: export it again from its source",
    )


def test_an_image_without_brain(tmp_path: Path, write_scan: Write) -> None:
    voxels = np.zeros((20, 20, 20), dtype=np.int16)
    voxels[5:14, 5:16, 5:15] = 9  # 990 mm³
    mend = "and 1000 mm³ is the least; look at the image, its brain mask and its voxel size"
    assert _image_faults(write_scan(tmp_path / "a.nii", voxels)) == (
        f"no brain: only 990 mm³ differ from the background, {mend}",
    )
    assert _image_faults(write_scan(tmp_path / "b.nii", voxels, np.diag([1.1, 1, 1, 1]))) == ()


def test_a_mask_of_another_shape(tmp_path: Path, write_scan: Write) -> None:
    image = write_scan(tmp_path / "a.nii")
    _, faults = _mask_audit(image, write_scan(tmp_path / "m.nii", np.zeros((20, 20, 19), dtype=np.uint8)))
    assert faults == (
        f"the mask has the shape 20 × 20 × 19, the image {image} has 20 × 20 × 20; resample the mask to the "
        "image with nearest neighbour",
    )


@pytest.mark.parametrize(
    ("spacing", "shift", "moved"),
    [
        (1, 0.009, None),
        (1, 0.011, "0.011"),
        (3, 0.027, None),
        (3, 0.033, "0.011"),
        (0.5, 0.009, "0.018"),
        (1, 5, "5"),
    ],
)
def test_affines_are_compared_in_voxels(
    spacing: float, shift: float, moved: str | None, tmp_path: Path, write_scan: Write
) -> None:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    other = affine.copy()
    other[1, 3] = shift
    image = write_scan(tmp_path / "a.nii", np.kron(_brain(), np.ones((2, 2, 2))), affine)
    mask = write_scan(tmp_path / "m.nii", np.kron(_brain() > 900, np.ones((2, 2, 2))).astype(np.uint8), other)
    study = Study("1", "", {"flair": image}, {"lesion": MaskFile(mask)})
    expected = (
        f"sub-1, mask lesion ({mask}): the mask lies up to {moved} voxels away from the image {image}: their "
        "shapes agree, their affines do not; if it was drawn on this image, copy the image's affine into its "
        "header, otherwise resample it with nearest neighbour"
    )
    assert audit_study(study, None, [FLAIR], "lesion").faults == ((expected,) if moved else ())


def test_a_rotation_is_measured_where_it_moves_most() -> None:
    angle = 0.001
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    one, other = Grid((101, 201, 5), np.eye(4)), Grid((101, 201, 5), turned)
    assert displacement(one, one) == 0
    assert displacement(one, other) == pytest.approx(2 * np.sin(angle / 2) * np.hypot(100, 200))


def test_a_mask_may_share_the_grid_of_any_image_of_its_session(
    tmp_path: Path, write_scan: Write, write_mask: Write
) -> None:
    flair = write_scan(tmp_path / "flair.nii", np.pad(_brain(), 2))
    t1 = write_scan(tmp_path / "t1.nii")
    mask = MaskFile(write_mask(tmp_path / "m.nii", (5, 5, 5)))
    sources = [FLAIR, Source("t1")]
    study = Study("1", "2", {"flair": flair, "t1": t1}, {"lesion": mask})
    assert audit_study(study, None, sources, "lesion").faults == ()
    prior = Study("1", "1", {"t1": t1})
    (fault,) = audit_study(study, prior, [FLAIR, Source("t1", prior=True)], "lesion").faults
    assert f"the image {flair} has 24 × 24 × 24" in fault


@pytest.mark.parametrize(
    ("values", "listed"),
    [
        ([0, 1, 2], "0, 1, 2"),
        ([0, 0.5, 1], "0, 0.5, 1"),
        ([-1, 0], "-1, 0"),
        ([0, 1, np.nan], "0, 1, nan"),
        (list(range(9)), "0, 1, 2, 3, 4, ... (9 values)"),
    ],
)
def test_a_mask_of_several_values(values: list[float], listed: str, tmp_path: Path, write_scan: Write) -> None:
    voxels = np.zeros((20, 20, 20), dtype=np.float32)
    voxels[0, 0, : len(values)] = values
    _, faults = _mask_audit(write_scan(tmp_path / "a.nii"), write_scan(tmp_path / "m.nii", voxels))
    assert faults == (
        f"the mask is not binary: it holds {listed}; keep 0 and one other value (if it was resampled, use "
        "nearest neighbour; if it holds several classes, write a mask for each target)",
    )


def test_a_mask_without_background(tmp_path: Path, write_scan: Write) -> None:
    ones = write_scan(tmp_path / "m.nii", np.ones((20, 20, 20), dtype=np.uint8))
    _, faults = _mask_audit(write_scan(tmp_path / "a.nii"), ones)
    assert faults == ("every voxel of the mask is 1, so that there is no background; export it again",)


def test_any_one_value_is_binary(tmp_path: Path, write_scan: Write, write_mask: Write) -> None:
    row, faults = _mask_audit(write_scan(tmp_path / "a.nii"), write_mask(tmp_path / "m.nii", (5, 5, 5), value=255))
    assert faults == ()
    assert row.mask is not None
    assert row.mask.lesion_count == 1


def test_only_the_label_counts_and_labels_are_whole(tmp_path: Path, write_scan: Write) -> None:
    image = write_scan(tmp_path / "a.nii")
    voxels = np.zeros((20, 20, 20), dtype=np.float32)
    voxels[5, 5, 5], voxels[8, 8, 8:10], voxels[12, 12, 12] = 1, 2, 2
    row, faults = _mask_audit(image, write_scan(tmp_path / "m.nii", voxels), label=2)
    assert faults == ()
    assert row.mask is not None
    assert (row.mask.label, row.mask.lesion_count, row.mask.largest_mm3) == (2, 2, 2)
    voxels[0, 0, :2] = 0.25, 1.75
    _, faults = _mask_audit(image, write_scan(tmp_path / "m.nii", voxels), label=2)
    assert faults == (
        "the mask holds 0.25, 1.75, which are no labels; label 2 counts, and labels are whole numbers: "
        "resample it with nearest neighbour from the original mask",
    )


def test_an_unreadable_mask(tmp_path: Path, write_scan: Write) -> None:
    row, faults = _mask_audit(write_scan(tmp_path / "a.nii"), tmp_path / "gone.nii")
    assert row.mask is None
    assert faults == ("there is no such file; correct the dataset's patterns or put the file there",)


def test_a_mask_without_lesion_is_noted(tmp_path: Path, write_scan: Write, write_mask: Write) -> None:
    row, faults = _mask_audit(write_scan(tmp_path / "a.nii"), write_mask(tmp_path / "m.nii"))
    assert faults == ()
    assert row.notes == (
        f"sub-1, mask lesion ({tmp_path}/m.nii): no lesion; its sensitivity will be undefined and its false "
        "positives counted",
    )
    assert row.mask is not None
    assert (row.mask.lesion_count, row.mask.volume_ml) == (0, 0)
    assert np.isnan([row.mask.smallest_mm3, row.mask.largest_mm3]).all()


def test_fields_of_view_that_are_apart(tmp_path: Path, write_scan: Write) -> None:
    near, far = np.eye(4), np.eye(4)
    near[:3, 3], far[0, 3] = 15, 20
    one = write_scan(tmp_path / "a.nii")
    two = write_scan(tmp_path / "b.nii", affine=near)
    three = write_scan(tmp_path / "c.nii", affine=far)
    study = Study("1", "", {"flair": one, "t1": two, "t2": three})
    assert audit_study(study, None, [FLAIR, Source("t1"), Source("t2")], None).faults == (
        f"sub-1, t2 ({three}): it shows nothing of what flair ({one}) shows, their fields of view are apart; "
        "check that both are of one patient and session, and register them",
    )


def test_boxes_that_only_an_edge_parts() -> None:
    """Two bars that cross at right angles, one above the other, on their edges."""
    turn = np.eye(4)
    turn[1:3, 1:3] = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    first = Grid((40, 4, 4), turn)
    swap = np.array([[0, 1, 0, 20], [1, 0, 0, -20], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=float)

    def above(height: float) -> Grid:
        lift = np.eye(4)
        lift[2, 3] = height
        return Grid((40, 4, 4), lift @ swap @ turn)

    diagonal = 4 * np.sqrt(2)
    assert overlap(first, above(diagonal - 0.01))
    assert not overlap(first, above(diagonal + 0.01))
    assert not overlap(above(diagonal + 0.01), first)


def _two_sessions(root: Path, write_scan: Write, write_mask: Write) -> Dataset:
    """Subject a with two sessions, subject b with one, subject c without mask."""

    def study(subject: str, session: str, *masks: str, **more: Any) -> Study:
        name = f"{subject}{session}"
        drawn = {mask: MaskFile(write_mask(root / f"{name}_{mask}.nii", (5, 5, 5), (9, 9, 9))) for mask in masks}
        return Study(subject, session, {"flair": write_scan(root / f"{name}.nii.gz")}, drawn, **more)

    return Dataset(
        "toy",
        root,
        (
            study("a", "1", "lesion", split="train"),
            study("a", "2", "lesion", "new_lesion", split="train", site="X"),
            study("b", "1", "lesion"),
            study("c", "1"),
        ),
    )


def test_studies_that_lack_something_are_left_out_with_the_reason(
    tmp_path: Path, write_scan: Write, write_mask: Write
) -> None:
    cohort = _two_sessions(tmp_path, write_scan, write_mask)
    one = _audit(cohort, "flair")
    assert [row.study for row in one.studies] == ["sub-a_ses-1", "sub-a_ses-2", "sub-b_ses-1"]
    assert one.left_out == ("sub-c_ses-1: no mask for the target 'lesion'",)
    assert one.faults == ()
    two = _audit(cohort, "flair", "flair - prior.flair", target="new_lesion")
    (row,) = two.studies
    assert (row.study, row.prior, row.site, row.split) == ("sub-a_ses-2", "sub-a_ses-1", "X", "train")
    assert [image.source for image in row.images] == ["flair", "prior.flair"]
    assert two.left_out == (
        "sub-a_ses-1: no session before it; no mask for the target 'new_lesion'",
        "sub-b_ses-1: no session before it; no mask for the target 'new_lesion'",
        "sub-c_ses-1: no session before it; no mask for the target 'new_lesion'",
    )
    assert len(_audit(cohort, "flair", target=None).studies) == 4


def test_a_prior_without_the_contrast(tmp_path: Path, write_scan: Write) -> None:
    image = write_scan(tmp_path / "a.nii")
    cohort = Dataset("toy", tmp_path, (Study("1", "1", {"t1": image}), Study("1", "2", {"flair": image})))
    result = _audit(cohort, "prior.flair", target=None)
    assert result.left_out[1] == "sub-1_ses-2: no contrast 'flair' in the session before it (sub-1_ses-1)"
    assert result.faults == (
        "toy: no study can be used for this task: each needed image and mask is there for some study, but "
        "for none all of them are. Choose another task, or add what is missing to the dataset's 'images' and "
        "'masks'",
    )


def test_a_study_that_lacks_something_is_at_fault_when_asked_for_by_itself(tmp_path: Path, write_scan: Write) -> None:
    study = Study("1", "", {"t1": write_scan(tmp_path / "a.nii")})
    assert audit_study(study, None, [FLAIR, PRIOR], "lesion").faults == (
        "sub-1: no contrast 'flair'",
        "sub-1: no session before it",
        "sub-1: no mask for the target 'lesion'",
    )


@pytest.mark.parametrize(
    ("channels", "target", "reasons"),
    [
        (
            ["t1_post", "t1"],
            "lesion",
            "no study has contrast 't1_post' (contrasts found: flair); "
            "no study has contrast 't1' (contrasts found: flair)",
        ),
        (
            ["flair"],
            "black_hole",
            "no study has a mask for the target 'black_hole' (targets found: lesion, new_lesion)",
        ),
    ],
)
def test_a_cohort_no_study_of_which_can_be_used(
    channels: Sequence[str], target: str, reasons: str, tmp_path: Path, write_scan: Write, write_mask: Write
) -> None:
    result = _audit(_two_sessions(tmp_path, write_scan, write_mask), *channels, target=target)
    assert result.faults == (
        f"toy: no study can be used for this task: {reasons}. Choose another task, or add what is missing to "
        "the dataset's 'images' and 'masks'",
    )
    assert len(result.left_out) == 4


def test_a_cohort_of_single_sessions_and_an_empty_one(tmp_path: Path, write_scan: Write) -> None:
    image = write_scan(tmp_path / "a.nii")
    (fault,) = _audit(Dataset("toy", tmp_path, (Study("1", "1", {"flair": image}),)), "prior.flair", target=None).faults
    assert "no subject has two sessions, so that no study has one before it. Choose another task" in fault
    assert _audit(Dataset("toy", tmp_path, ()), "flair").faults == (
        f"toy: no study in {tmp_path}; check the dataset's root and its list of subjects",
    )


def test_a_study_twice_and_a_subject_in_two_splits(tmp_path: Path, write_scan: Write) -> None:
    images = [write_scan(tmp_path / f"{n}.nii") for n in range(3)]
    studies = (
        Study("1", "1", {"flair": images[0]}, split="test"),
        Study("1", "2", {"flair": images[1]}, split="train"),
        Study("1", "2", {"flair": images[2]}, split="train"),
    )
    assert _audit(Dataset("toy", tmp_path, studies), "flair", target=None).faults == (
        "sub-1_ses-2 stands in the dataset 2 times; keep one study for each subject and session",
        "sub-1 is in the splits test and train; all sessions of a subject belong to one, or the test would "
        "see patients of the training",
    )


def test_a_copy_of_a_scan_under_another_name_is_found(tmp_path: Path, write_scan: Write) -> None:
    one = write_scan(tmp_path / "a.nii.gz", _brain())
    two = write_scan(tmp_path / "b.nii", _brain().astype(np.int16))
    other = write_scan(tmp_path / "c.nii", _brain(2))
    studies = [
        Study("1", "1", {"flair": one}),
        Study("1", "2", {"flair": other}),
        Study("2", "1", {"flair": two}),
    ]
    cohort = Dataset("toy", tmp_path, tuple(studies))
    assert _audit(cohort, "flair", target=None).faults == (
        f"sub-2_ses-1, flair ({two}): the same voxels as sub-1_ses-1, flair ({one}); one is a copy of the "
        "other: remove it, or put the right scan in its place",
    )
    assert _audit(cohort, "flair", "prior.flair", target=None).faults == ()  # sub-2 has no prior


def test_progress_counts_the_studies_read(tmp_path: Path, write_scan: Write, write_mask: Write) -> None:
    calls: list[tuple[int, int]] = []
    cohort = _two_sessions(tmp_path, write_scan, write_mask)
    audit(cohort, [parse_channel("flair")], "lesion", progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_json_has_none_for_what_is_undefined(tmp_path: Path, write_scan: Write, write_mask: Write) -> None:
    mask = MaskFile(write_mask(tmp_path / "m.nii"))
    cohort = Dataset("toy", tmp_path, (Study("1", "", {"flair": write_scan(tmp_path / "a.nii")}, {"lesion": mask}),))
    content = json.loads(json.dumps(_audit(cohort, "flair").to_json(), allow_nan=False))
    assert (content["dataset"], content["sources"], content["target"]) == ("toy", ["flair"], "lesion")
    assert content["root"] == str(tmp_path)
    (study,) = content["studies"]
    assert study["mask"] == {
        "path": str(tmp_path / "m.nii"),
        "label": None,
        "lesion_count": 0,
        "volume_ml": 0.0,
        "smallest_mm3": None,
        "largest_mm3": None,
    }
    assert study["images"][0]["shape"] == [20, 20, 20]


def test_the_table_has_a_row_for_each_study_and_fits_the_screen(
    tmp_path: Path, write_scan: Write, write_mask: Write
) -> None:
    lines = _audit(_two_sessions(tmp_path, write_scan, write_mask), "flair").table().splitlines()
    assert lines[1].split() == [
        "study",
        "shape",
        "spacing",
        "axes",
        "brain",
        "intensity",
        "lesions",
        "volume",
        "least",
        "largest",
    ]
    assert lines[4].split() == ["sub-a_ses-1", "20×20×20", "1×1×1", "RAS", "22", "100…999", "2", "0.02", "8.0", "8.0"]
    assert len(lines) == 3 + 1 + 3 + 1

    long = Study("x" * 120, "1", {"flair": write_scan(tmp_path / "a.nii")}, {"lesion": MaskFile(tmp_path / "gone.nii")})
    table = _audit(Dataset("toy", tmp_path, (long,)), "flair").table()
    assert max(map(len, table.splitlines())) == 110
    assert "…xxx" in table
    assert "xxx_ses-1  20×20×20" in table
    assert table.splitlines()[1].split()[-1] == "faults"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared/data beside the repository")
def test_counts_agree_with_those_the_semireal_cohort_tells() -> None:
    root = SHARED / "semireal/ms"
    study = "sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}"
    lesions = f"derivatives/*/{study}"
    cohort = read_bids(
        root,
        name="ms",
        images={"flair": [f"{study}_FLAIR.nii*"]},
        masks={
            "lesion": [f"{lesions}_label-lesion_mask.nii*"],
            "new_lesion": [f"{lesions}_label-newlesion_mask.nii*"],
        },
    )
    assert (len(cohort.subjects), len(cohort.studies)) == (28, 42)
    with (root / "sessions.tsv").open() as file:
        told = {f"{row['participant_id']}_{row['session_id']}": row for row in csv.DictReader(file, delimiter="\t")}
    few = Dataset("ms", root, tuple(study for study in cohort.studies if study.subject in ("02", "05", "29")))
    result = _audit(few, "flair")
    assert result.faults == ()
    for row in result.studies:
        assert row.mask is not None
        assert row.mask.lesion_count == int(told[row.study]["n_lesions"])
        assert row.mask.volume_ml == pytest.approx(float(told[row.study]["volume_ml"]), abs=0.001)
    new = _audit(few, "flair", "prior.flair", target="new_lesion")
    found = {row.study: row.mask.lesion_count for row in new.studies if row.mask}
    assert found == {name: int(told[name]["n_new"]) for name in ("sub-02_ses-2", "sub-05_ses-2")}
