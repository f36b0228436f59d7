import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from lesionseg.data.dataset import Dataset, MaskFile, Study, parse_channel
from lesionseg.data.quality_control import Audit, audit
from lesionseg.data.readers import read_bids

SHARED = Path(__file__).parents[2] / "../shared/data"
Write = Callable[..., Path]


def brain(factor: float = 1.0) -> Any:
    voxels = np.zeros((20, 20, 20), dtype=np.float32)
    voxels[4:16, 4:16, 4:16] = factor * np.arange(100, 100 + 12**3).reshape(12, 12, 12)
    return voxels


def audit_of(dataset: Dataset, *channels: str, target: str | None = "lesion") -> Audit:
    return audit(dataset, [parse_channel(channel) for channel in channels], target)


def audit_files(image: Path, mask: Path | None = None, label: int | None = None) -> tuple[Audit, list[str]]:
    """Audit a study of one image and perhaps a mask; its faults come without what names study and file."""
    study = Study("1", "", {"flair": image}, {"lesion": MaskFile(mask, label)} if mask else {})
    result = audit_of(Dataset("toy", image.parent, (study,)), "flair", target="lesion" if mask else None)
    where = f"sub-1, mask lesion ({mask}): " if mask else f"sub-1, flair ({image}): "
    assert all(fault.startswith(where) for fault in result.faults["text"])
    return result, [fault.removeprefix(where) for fault in result.faults["text"]]


def with_value(voxels: Any, *values: float) -> Any:
    voxels = np.array(voxels, np.float32)
    voxels[6, 6, 4 : 4 + len(values)] = values
    return voxels


def test_an_image_is_described(tmp_path, write_scan):
    path = write_scan(tmp_path / "a.nii.gz", brain()[..., None], np.diag([-1, -2, 3, 1]))
    result, faults = audit_files(path)
    assert faults == []
    (row,) = result.images.to_dict("records")
    assert (row["source"], row["path"], row["shape"]) == ("flair", str(path), [20, 20, 20])
    assert (row["spacing"], row["axes"]) == ([1, 2, 3], "LPS")
    assert (row["minimum"], row["maximum"], row["median"]) == (100, 100 + 12**3 - 1, 100 + (12**3 - 1) / 2)
    assert row["brain_share"] == pytest.approx(12**3 / 20**3)


def test_a_mask_is_described_in_millimetres(tmp_path, write_scan):
    affine = np.diag([1, 2, 3, 1])
    voxels = np.zeros((20, 20, 20), dtype=np.uint8)
    voxels[5, 5, 5] = voxels[6, 6, 6] = 1  # one lesion across a corner: 12 mm³
    voxels[10:13, 10, 10] = 1  # 18 mm³
    voxels[15, 15, 15] = 1  # 6 mm³
    image, mask = write_scan(tmp_path / "a.nii", affine=affine), write_scan(tmp_path / "m.nii", voxels, affine)
    result, faults = audit_files(image, mask)
    assert faults == []
    (row,) = result.masks.to_dict("records")
    assert row["lesion_count"] == ndimage.label(voxels, np.ones((3, 3, 3)))[1] == 3
    assert (row["volume_ml"], row["smallest_mm3"], row["largest_mm3"]) == (pytest.approx(0.036), 6, 18)


@pytest.mark.parametrize(
    ("voxels", "fault"),
    [
        (with_value(brain(), np.nan, np.nan, np.inf), "3 voxels are NaN or infinite"),
        (np.full((20, 20, 20), np.nan, np.float32), "8000 voxels are NaN or infinite"),
        (np.full((20, 20, 20), 7, np.int16), "every voxel is 7; the image is empty"),
        (np.pad(np.full((9, 11, 10), 9, np.int16), 5), "no brain: only 990 mm³ differ from the background"),
    ],
)
def test_an_image_that_cannot_be_trained_on(voxels, fault, tmp_path, write_scan):
    _, faults = audit_files(write_scan(tmp_path / "a.nii", voxels))
    assert faults[0].startswith(fault)


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path, write_scan):
    _, faults = audit_files(tmp_path / "gone.nii")
    assert faults == ["there is no such file; correct the dataset's patterns or put the file there"]
    result, faults = audit_files(write_scan(tmp_path / "a.nii"), tmp_path / "gone.nii")
    assert result.masks.empty
    assert faults == ["there is no such file; correct the dataset's patterns or put the file there"]


@pytest.mark.parametrize(
    ("voxels", "label", "fault"),
    [
        (np.zeros((20, 20, 19)), None, "the mask has the shape 20 × 20 × 19, the image "),
        (np.ones((20, 20, 20)), None, "every voxel of the mask is 1, so that there is no background"),
        (with_value(np.zeros((20, 20, 20)), 0, 1, 2), None, "the mask is not binary: it holds 0, 1, 2; "),
        (with_value(np.zeros((20, 20, 20)), 0, 0.5, 1), None, "the mask is not binary: it holds 0, 0.5, 1; "),
        (with_value(np.zeros((20, 20, 20)), -1), None, "the mask is not binary: it holds -1, 0; "),
        (with_value(np.zeros((20, 20, 20)), np.nan, 1), None, "the mask is not binary: it holds 0, 1, nan; "),
        (
            with_value(np.zeros((20, 20, 20)), *range(9)),
            None,
            "the mask is not binary: it holds 0, 1, 2, 3, 4, ... (",
        ),
        (with_value(np.zeros((20, 20, 20)), 2, 0.25, 1.75), 2, "the mask holds 0.25, 1.75, which are no labels; label"),
        (with_value(np.zeros((20, 20, 20)), 255), None, None),
        (with_value(np.zeros((20, 20, 20)), 1, 2, 2), 2, None),
    ],
)
def test_values_and_shape_of_a_mask(voxels, label, fault, tmp_path, write_scan):
    result, faults = audit_files(
        write_scan(tmp_path / "a.nii"), write_scan(tmp_path / "m.nii", voxels.astype(np.float32)), label
    )
    assert [found.startswith(fault or "-") for found in faults] == [True] * bool(fault)
    if not fault:
        assert result.masks["lesion_count"].tolist() == [1]


@pytest.mark.parametrize(
    ("spacing", "shift", "moved"), [(1, 0.009, None), (1, 0.011, "0.011"), (3, 0.027, None), (0.5, 0.009, "0.018")]
)
def test_affines_are_compared_in_voxels(spacing, shift, moved, tmp_path, write_scan):
    affine = np.diag([spacing, spacing, spacing, 1.0])
    other = affine.copy()
    other[1, 3] = shift
    image = write_scan(tmp_path / "a.nii", np.kron(brain(), np.ones((2, 2, 2))), affine)
    mask = write_scan(tmp_path / "m.nii", np.kron(brain() > 900, np.ones((2, 2, 2))).astype(np.uint8), other)
    _, faults = audit_files(image, mask)
    assert [fault.split(":")[0] for fault in faults] == (
        [f"the mask lies up to {moved} voxels away from the image {image}"] if moved else []
    )


def test_a_mask_may_share_the_grid_of_any_image_of_its_own_session(tmp_path, write_scan, write_mask):
    flair, t1 = write_scan(tmp_path / "flair.nii", np.pad(brain(), 2)), write_scan(tmp_path / "t1.nii")
    drawn = {"lesion": MaskFile(write_mask(tmp_path / "m.nii", (5, 5, 5)))}
    dataset = Dataset("toy", tmp_path, (Study("1", "2", {"flair": flair, "t1": t1}, drawn),))
    assert audit_of(dataset, "flair", "t1").faults.empty
    both = (Study("1", "1", {"t1": write_scan(tmp_path / "b.nii")}), Study("1", "2", {"flair": flair}, drawn))
    (fault,) = audit_of(Dataset("toy", tmp_path, both), "flair", "prior.t1").faults["text"]
    assert f"the image {flair} has 24 × 24 × 24" in fault


def _study(root: Path, write_scan: Write, subject: str, image: Any, mask: Any, **named: Any) -> Study:
    files = [write_scan(root / f"{subject}_{kind}.nii", voxels) for kind, voxels in (("i", image), ("m", mask))]
    return Study(subject, "", {"flair": files[0]}, {"lesion": MaskFile(files[1], **named)})


def _drawn(*corners: tuple[int, int, int], value: int = 1) -> Any:
    mask = np.zeros((20, 20, 20), np.uint8)
    for x, y, z in corners:
        mask[x : x + 2, y : y + 2, z : z + 2] = value
    return mask


def test_lesions_outside_of_the_brain(tmp_path, write_scan):
    inside, outside = (8, 8, 8), (0, 0, 0)
    image = np.zeros((20, 20, 20), np.float32)
    image[6:, 6:, 6:] = np.random.default_rng(0).uniform(1, 2, (14, 14, 14))
    study = _study(tmp_path, write_scan, "1", image, _drawn(inside, outside))
    found = audit_of(Dataset("toy", tmp_path, (study,)), "flair")
    assert found.faults.empty
    assert "1 of its 2 lesions lie outside of the brain" in found.notes["text"].iloc[0]
    study = _study(tmp_path, write_scan, "2", image, _drawn(outside))
    (fault,) = audit_of(Dataset("toy", tmp_path, (study,)), "flair").faults["text"]
    assert "1 of its 1 lesions lie outside of the brain or head; the mask may be of another scan" in fault


def test_masks_are_held_against_each_other(tmp_path, write_scan):
    def cohort(*masks: Any, **named: Any) -> list[str]:
        rng = np.random.default_rng(0)
        studies = [
            _study(tmp_path, write_scan, str(number), brain() * rng.uniform(1, 2), mask, **named)
            for number, mask in enumerate(masks)
        ]
        return list(audit_of(Dataset("toy", tmp_path, tuple(studies)), "flair").faults["text"])

    one, two, on, none = _drawn((8, 8, 8)), _drawn((8, 8, 8), value=2), _drawn((8, 8, 8), value=255), _drawn()
    assert cohort(one, one, on, none) == []
    (fault,) = cohort(one, one, one, two)
    assert fault.startswith(f"sub-3, mask lesion ({tmp_path}/3_m.nii): its lesions have the value 2, those of 3 other")
    (fault,) = cohort(none, none)
    assert "none of the 2 masks holds a value other than 0 (values found: none but 0)" in fault
    (fault,) = cohort(on, on, label=1)
    assert "none of the 2 masks holds the value 1 (values found: 255)" in fault
    (fault,) = cohort(one, one + two, label=1, declared=(0, 1))
    assert "the mask holds 3, which dataset.json does not declare (it has 0, 1)" in fault


def test_an_image_whose_axes_are_exchanged(tmp_path, write_scan):
    voxels = np.zeros((24, 24, 24), np.float32)
    voxels[5:15, 4:20, 6:16] = np.random.default_rng(0).uniform(1, 2, (10, 16, 10))
    turns = [voxels, 2 * voxels, 3 * voxels, 4 * voxels, 5 * voxels.transpose(1, 0, 2)]
    studies = [Study(str(n), "", {"flair": write_scan(tmp_path / f"{n}.nii", one)}) for n, one in enumerate(turns)]
    (fault,) = audit_of(Dataset("toy", tmp_path, tuple(studies)), "flair", target=None).faults["text"]
    assert fault.startswith(f"sub-4, flair ({tmp_path}/4.nii): its axes look exchanged")


@pytest.mark.parametrize(("codes", "kind"), [((1, 1), "faults"), ((1, 4), "notes")])
def test_qform_and_sform_that_disagree(codes, kind, tmp_path):
    moved = np.eye(4)
    moved[0, 3] = 5
    image = nib.Nifti1Image(brain(), np.eye(4))
    image.set_qform(moved, codes[0])
    image.set_sform(np.eye(4), codes[1])
    nib.save(image, tmp_path / "a.nii")
    dataset = Dataset("toy", tmp_path, (Study("1", "", {"flair": tmp_path / "a.nii"}),))
    (text,) = getattr(audit_of(dataset, "flair", target=None), kind)["text"]
    assert "its qform and sform put a voxel up to 5 voxels apart" in text


def test_a_mask_without_lesion_is_noted(tmp_path, write_scan, write_mask):
    other = Study("2", "", {"flair": write_scan(tmp_path / "b.nii", 2 * brain())})
    other = replace(other, masks={"lesion": MaskFile(write_mask(tmp_path / "n.nii", (5, 5, 5)))})
    one = Study(
        "1", "", {"flair": write_scan(tmp_path / "a.nii")}, {"lesion": MaskFile(write_mask(tmp_path / "m.nii"))}
    )
    result = audit_of(Dataset("toy", tmp_path, (one, other)), "flair")
    assert result.faults.empty
    (note,) = result.notes["text"]
    assert note.startswith(f"sub-1, mask lesion ({tmp_path}/m.nii): no lesion; its sensitivity will be undefined")
    content = json.loads(json.dumps(result.to_json(), allow_nan=False))
    study = content["studies"][0]
    assert study["mask"] == {
        "path": str(tmp_path / "m.nii"), "label": None, "lesion_count": 0, "volume_ml": 0.0,
        "smallest_mm3": None, "largest_mm3": None, "values": [],
    }  # fmt: skip
    assert study["images"][0]["shape"] == [20, 20, 20]
    assert (content["dataset"], content["sources"], content["target"]) == ("toy", ["flair"], "lesion")


def test_fields_of_view_that_are_apart(tmp_path, write_scan):
    near, far = np.eye(4), np.eye(4)
    near[:3, 3], far[0, 3] = 15, 20
    one, two = write_scan(tmp_path / "a.nii"), write_scan(tmp_path / "b.nii", affine=near)
    three = write_scan(tmp_path / "c.nii", affine=far)
    dataset = Dataset("toy", tmp_path, (Study("1", "", {"flair": one, "t1": two, "t2": three}),))
    (fault,) = audit_of(dataset, "flair", "t1", "t2", target=None).faults["text"]
    assert fault.startswith(f"sub-1, t2 ({three}): it shows nothing of what flair ({one}) shows")


@pytest.fixture
def sessions(tmp_path: Path, write_scan: Write, write_mask: Write) -> Dataset:
    """Subject a with two sessions, subject b with one, subject c without mask."""

    def study(subject: str, session: str, *masks: str, **more: Any) -> Study:
        name = f"{subject}{session}"
        drawn = {mask: MaskFile(write_mask(tmp_path / f"{name}_{mask}.nii", (5, 5, 5), (9, 9, 9))) for mask in masks}
        return Study(subject, session, {"flair": write_scan(tmp_path / f"{name}.nii.gz")}, drawn, **more)

    studies = (
        study("a", "1", "lesion", split="train"),
        study("a", "2", "lesion", "new_lesion", split="train", site="X"),
        study("b", "1", "lesion"),
        study("c", "1"),
    )
    return Dataset("toy", tmp_path, studies)


def test_studies_that_lack_something_are_left_out_with_the_reason(sessions):
    one = audit_of(sessions, "flair")
    assert one.studies["study"].tolist() == ["sub-a_ses-1", "sub-a_ses-2", "sub-b_ses-1"]
    assert one.left_out.to_dict("records") == [{"study": "sub-c_ses-1", "reason": "no mask for the target 'lesion'"}]
    assert one.faults.empty
    two = audit_of(sessions, "flair", "flair - prior.flair", target="new_lesion")
    (row,) = two.studies.to_dict("records")
    assert (row["study"], row["prior"], row["site"], row["split"]) == ("sub-a_ses-2", "sub-a_ses-1", "X", "train")
    assert two.images["source"].tolist() == ["flair", "prior.flair"]
    assert two.left_out.groupby("reason")["study"].apply(list).to_dict() == {
        "no session before it": ["sub-a_ses-1", "sub-b_ses-1", "sub-c_ses-1"],
        "no mask for the target 'new_lesion'": ["sub-a_ses-1", "sub-b_ses-1", "sub-c_ses-1"],
    }
    assert len(audit_of(sessions, "flair", target=None).studies) == 4


@pytest.mark.parametrize(
    ("channels", "target", "reasons"),
    [
        (["t1_post", "t1"], "lesion", ["no study has contrast 't1_post'", "no study has contrast 't1'"]),
        (["flair"], "black_hole", ["no study has a mask for the target 'black_hole' (targets found: lesion, new_"]),
    ],
)
def test_a_dataset_no_study_of_which_can_be_used(channels, target, reasons, sessions):
    result = audit_of(sessions, *channels, target=target)
    (fault,) = result.faults["text"]
    assert all(reason in fault for reason in reasons)
    assert result.left_out["study"].nunique() == 4
    (fault,) = audit_of(Dataset("toy", sessions.root, sessions.studies[2:]), "prior.flair", target=None).faults["text"]
    assert "no subject has two sessions, so that no study has one before it. Choose another task" in fault
    (fault,) = audit_of(Dataset("toy", sessions.root, ()), "flair").faults["text"]
    assert fault.startswith(f"toy: no study in {sessions.root}; check the dataset's root")


def test_a_copy_of_a_scan_under_another_name_is_found(tmp_path, write_scan):
    one = write_scan(tmp_path / "a.nii.gz", brain())
    two = write_scan(tmp_path / "b.nii", brain().astype(np.int16))
    other = write_scan(tmp_path / "c.nii", brain(2))
    studies = (Study("1", "1", {"flair": one}), Study("1", "2", {"flair": other}), Study("2", "1", {"flair": two}))
    dataset = Dataset("toy", tmp_path, studies)
    (fault,) = audit_of(dataset, "flair", target=None).faults["text"]
    assert fault.startswith(f"sub-2_ses-1, flair ({two}): the same voxels as sub-1_ses-1, flair ({one}); one is a copy")
    assert audit_of(dataset, "flair", "prior.flair", target=None).faults.empty  # sub-2 has no prior


def test_the_table_has_a_row_for_each_study_and_fits_the_screen(sessions, write_scan):
    lines = audit_of(sessions, "flair").table().splitlines()
    header = ["study", "shape", "spacing", "axes", "brain", "intensity", "lesions", "volume", "least", "largest"]
    assert lines[1].split() == header
    assert lines[4].split() == ["sub-a_ses-1", "20×20×20", "1×1×1", "RAS", "22", "100…999", "2", "0.02", "8.0", "8.0"]
    assert len(lines) == 3 + 1 + 3 + 1

    image = write_scan(sessions.root / "long.nii")
    long = Study("x" * 120, "1", {"flair": image}, {"lesion": MaskFile(sessions.root / "gone.nii")})
    table = audit_of(Dataset("toy", sessions.root, (long,)), "flair").table()
    assert max(map(len, table.splitlines())) == 110
    assert "…xxx" in table
    assert "xxx_ses-1  20×20×20" in table
    assert table.splitlines()[1].split()[-1] == "faults"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared/data beside the repository")
def test_counts_agree_with_those_the_semireal_cohort_tells():
    root = SHARED / "semireal/ms"
    study = "sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}"
    masks = {
        name: [f"derivatives/*/{study}_label-{label}_mask.nii*"]
        for name, label in (("lesion", "lesion"), ("new_lesion", "newlesion"))
    }
    dataset = read_bids(root, name="ms", images={"flair": [f"{study}_FLAIR.nii*"]}, masks=masks)
    assert (len(dataset.subjects), len(dataset.studies)) == (28, 42)
    with (root / "sessions.tsv").open() as file:
        told = {f"{row['participant_id']}_{row['session_id']}": row for row in csv.DictReader(file, delimiter="\t")}
    few = Dataset("ms", root, tuple(study for study in dataset.studies if study.subject in ("02", "05", "29")))
    result = audit_of(few, "flair")
    assert result.faults.empty
    for row in result.masks.to_dict("records"):
        assert row["lesion_count"] == int(told[row["study"]]["n_lesions"])
        assert row["volume_ml"] == pytest.approx(float(told[row["study"]]["volume_ml"]), abs=0.001)
    new = audit_of(few, "flair", "prior.flair", target="new_lesion").masks
    assert dict(zip(new["study"], new["lesion_count"], strict=True)) == {
        name: int(told[name]["n_new"]) for name in ("sub-02_ses-2", "sub-05_ses-2")
    }
