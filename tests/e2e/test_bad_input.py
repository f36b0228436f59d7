"""What is wrong is told in one list before anything starts, and nothing is left behind."""

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest


def _train(cohort: Any, tiny: tuple[str, ...], *more: str) -> list[str]:
    return ["train", "dataset=bids", f"dataset.root={cohort.root}", "train_size=2", *tiny, *more]


def _flair(root: Path, subject: str) -> Path:
    return root / f"sub-{subject}" / "ses-1" / "anat" / f"sub-{subject}_ses-1_FLAIR.nii.gz"


def _mask(root: Path, subject: str) -> Path:
    anat = root / "derivatives" / "lesions" / f"sub-{subject}" / "ses-1" / "anat"
    return anat / f"sub-{subject}_ses-1_label-lesion_mask.nii.gz"


def _rewrite(path: Path, change: Any) -> None:
    image = nib.load(path)
    voxels, affine = change(np.asarray(image.dataobj).astype(np.float32), image.affine)
    nib.save(nib.Nifti1Image(voxels, affine), path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train_size=0"], "train_size: input should be greater than or equal to 1, found 0"),
        (["train_size=6"], "train_size=6: there are 5 subjects to train on (10 in all, of which 3 for the test and 2 "),
        (["init=pretrained", "init.checkpoint=nowhere.ckpt"], "checkpoint {here}/nowhere.ckpt: there is no such "),
        (["init=pretrained", "init.checkpoint=notes.txt"], "checkpoint {here}/notes.txt: is no checkpoint that can "),
        (["init=pretrained", "init.checkpoint=runs:/0123"], "tracking.uri=sqlite:///{here}/outputs/mlflow.db: there "),
        (["paths.outputs=notes.txt"], "paths.outputs={here}/notes.txt: {here}/notes.txt is a file; choose another"),
        (["paths.outputs=notes.txt/deep/er"], "paths.outputs={here}/notes.txt/deep/er: {here}/notes.txt is a file; "),
        (["tracking=server", "tracking.uri=http://127.0.0.1:9"], "tracking.uri=http://127.0.0.1:9: no server answers "),
        (["tracking.uri=sqlite:///notes.txt/mlflow.db"], "tracking.uri=sqlite:///notes.txt/mlflow.db: notes.txt is a "),
        (["task=new_lesions", "train_size=5"], "train_size=5: there are 3 subjects to train on (6 in all, of which"),
        (["task.target=plaque"], "task=flair_lesions: no study of bids ("),
        (["task.patch_size=[17,16,16]"], "task.patch_size=[17, 16, 16], task.inputs=['flair']: model.network cannot"),
        (["model.network.norm=layer"], "model.network: norm must be 'instance', 'batch' or 'group', not 'layer'"),
        (["model.network.widths=[-4,8]"], "model.network: widths must be whole numbers from 1 to 2048, not [-4, 8]"),
        (["model.network.widths=[4,1000000]"], "model.network: widths must be whole numbers from 1 to 2048, not [4"),
        (["loss.function.dice_weight=much"], "loss.function: cannot be taken of logits and a mask ("),
        (["augment.transforms=[{_target_: torchio.RandomFlip, flip_probability: 3}]"], "augment.transforms: "),
        (["trainer.accelerator=tpu"], "trainer.accelerator=tpu, devices=1, strategy=auto, precision=32-true: "),
        (["dataset.root=nowhere"], "{here}/nowhere"),
        (["dataset.subjects=[77]"], "dataset.subjects.0: input should be a valid string, found 77"),
        (["dataset.subjects=['77']"], "bids: subject '77' of the list 'subjects' is not in the dataset; its subjects:"),
    ],
)
def test_a_wrong_setting_ends_with_2_and_leaves_nothing(here, end, cohort, tiny, overrides, message):
    (here / "notes.txt").write_text("no checkpoint and no folder\n")
    code, out, err = end(*_train(cohort, tiny, *overrides))
    assert (code, out) == (2, ""), out + err
    assert message.format(here=here) in err
    assert not err.startswith("Found"), "one fault, told once"
    assert len(err.splitlines()) == 1
    assert [path.name for path in here.iterdir()] == ["notes.txt"]


def test_faults_of_all_kinds_stand_in_one_list(here, end, cohort, tiny):
    code, _, err = end(
        *_train(
            cohort,
            tiny,
            "train_size=6",
            "tracking=server",
            "tracking.uri=http://127.0.0.1:9",
            "init=pretrained",
            "init.checkpoint=nowhere.ckpt",
            "trainer.accelerator=tpu",
        )
    )
    assert code == 2
    assert err.splitlines()[0] == "Found 4 faults:"
    assert [line.split()[1].rstrip(":") for line in err.splitlines()[1:]] == [
        "tracking.uri=http://127.0.0.1:9",
        "train_size=6",
        "trainer.accelerator=tpu,",
        "checkpoint",
    ]
    assert list(here.iterdir()) == []


def test_every_fault_of_a_sweep_is_told_once(here, end, cohort, tiny):
    arguments = _train(cohort, tiny, "train_size=2,6,7", "init=scratch,pretrained", "init.checkpoint=nowhere.ckpt")
    code, _, err = end(*arguments, "--multirun")
    assert code == 2
    assert err.splitlines()[0] == "Found 3 faults:"
    assert [line.split()[1].rstrip(":") for line in err.splitlines()[1:]] == [
        "train_size=6",
        "train_size=7",
        "checkpoint",
    ]
    assert list(here.iterdir()) == []


def test_every_faulty_scan_is_named_and_nothing_is_left(here, end, make_cohort, tiny, tmp_path_factory):
    bad = make_cohort(tmp_path_factory.mktemp("bad"), 8)
    root = bad.root
    flair, mask = _flair(root, "01"), _mask(root, "02")
    flair.write_bytes(flair.read_bytes()[:-2000])
    _rewrite(mask, lambda voxels, affine: (voxels[:-1], affine))
    _rewrite(_mask(root, "03"), lambda voxels, affine: (voxels + 0.5 * (voxels > 0) * (voxels.cumsum(0) > 2), affine))
    _rewrite(_flair(root, "04"), lambda voxels, affine: (np.where(voxels > 150, np.nan, voxels), affine))
    _rewrite(_flair(root, "05"), lambda voxels, affine: (np.full_like(voxels, 7), affine))
    _rewrite(_mask(root, "06"), lambda voxels, affine: (voxels, affine + np.eye(4, k=3) * 5))
    shutil.copy(_flair(root, "07"), _flair(root, "08"))
    code, out, err = end(*_train(bad, tiny, "train_size=1"))
    assert (code, out) == (2, "")
    for fault in (
        f"sub-01_ses-1, flair ({flair}): it cannot be read to its end (",
        f"sub-02_ses-1, mask lesion ({mask}): the mask has the shape 31 × 32 × 32, the image {_flair(root, '02')} has",
        f"sub-03_ses-1, mask lesion ({_mask(root, '03')}): the mask is not binary: it holds 0, 1, 1.5; keep 0 and",
        f"sub-04_ses-1, flair ({_flair(root, '04')}): ",
        f"sub-05_ses-1, flair ({_flair(root, '05')}): ",
        f"sub-06_ses-1, mask lesion ({_mask(root, '06')}): the mask lies up to 5 voxels away from the image",
        f"sub-08_ses-1, flair ({_flair(root, '08')}): the same voxels as sub-07_ses-1, flair",
    ):
        assert fault in err
    assert list(here.iterdir()) == []


def test_comparing_what_was_never_run_ends_with_2(here, end):
    code, out, err = end("compare", "sweep=first")
    assert (code, out) == (2, "")
    assert err.startswith(f"tracking.uri=sqlite:///{here}/outputs/mlflow.db: there is no such file, so nothing was run")
    assert list(here.iterdir()) == []
