"""Tasks beside the main one: of two sessions, of three channels, and of one's own; and models that go home."""

from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

COUNTS = {"train_size": 2, "split.test": 1, "split.validation": 1}


def _arguments(cohort: Any, tiny: tuple[str, ...], *more: str) -> list[str]:
    few = [f"{key}={value}" for key, value in COUNTS.items()]
    return ["train", "dataset=bids", f"dataset.root={cohort.root}", *tiny, *few, *more]


@pytest.mark.parametrize(
    ("task", "inputs"),
    [
        ("flair_lesions", ["flair"]),
        ("new_lesions", ["flair", "prior.flair"]),
        ("enhancing_lesions", ["t1_post", "t1", "t1_post - t1"]),
    ],
)
def test_every_shipped_task_trains_and_predicts_on_the_scans_own_grid(
    here, end, with_store, cohort, tiny, make_cohort, task, inputs
):
    with_store(here / "outputs")
    code, out, err = end(*_arguments(cohort, tiny, f"task={task}", "trainer.steps=1"))
    assert code == 0, out + err
    (checkpoint,) = here.glob("outputs/runs/*/*/checkpoints/best.ckpt")
    assert torch.load(checkpoint, weights_only=True)["lesionseg"]["inputs"] == inputs
    (cases,) = here.glob("outputs/runs/*/*/cases.csv")
    expected = cohort.lesions if task == "flair_lesions" else cohort.new_lesions
    for row in pd.read_csv(cases, dtype={"subject": str, "session": str}).itertuples():
        assert row.n_reference == expected[row.subject]
        assert row.session == ("1" if task == "flair_lesions" else "2")
    if task != "new_lesions":
        return

    new = make_cohort(here / "new", 2, seed=4, two_sessions=1)
    images = sorted(new.root.glob("sub-*/ses-*/anat/*_FLAIR.nii.gz"))
    for path in images:  # as scanners write them: other axes, other voxels
        image = nib.load(path)
        turned = np.flip(np.swapaxes(np.asarray(image.dataobj), 0, 2), axis=1)[:, ::2]
        affine = np.array([[0, 0, 1.0, -3], [0, -2, 0, 31], [1, 0, 0, 7], [0, 0, 0, 1]])
        nib.save(nib.Nifti1Image(turned, affine), path)
    for masks in new.root.glob("derivatives/*"):
        for path in masks.rglob("*.nii.gz"):
            path.unlink()  # to predict, none is needed
    code, out, err = end("predict", f"checkpoint={checkpoint}", f"dataset.root={new.root}", "output=predicted")
    assert code == 0, err
    assert {path.name for path in (here / "predicted").iterdir()} == {
        f"sub-01_ses-2_label-new_lesion{what}"
        for what in ("_mask.nii.gz", "_prob.nii.gz", "_lesions.csv", ".json", ".html")
    }, "only a session with one before it can be segmented"
    mask = nib.load(here / "predicted" / "sub-01_ses-2_label-new_lesion_mask.nii.gz")
    probability = nib.load(here / "predicted" / "sub-01_ses-2_label-new_lesion_prob.nii.gz")
    native = nib.load(images[1])
    for predicted in (mask, probability):
        assert predicted.shape == native.shape == (32, 16, 32)
        np.testing.assert_allclose(predicted.affine, native.affine)
    assert set(np.unique(mask.dataobj)) <= {0, 1}
    assert 0 <= np.min(probability.dataobj) <= np.max(probability.dataobj) <= 1
    lesions = len(pd.read_csv(here / "predicted" / "sub-01_ses-2_label-new_lesion_lesions.csv"))
    assert f"sub-01_ses-2: {lesions} lesions, " in out
    assert f"Written to {here}/predicted\n" in out


@pytest.mark.slow
def test_a_new_task_is_a_file_outside_the_repository(here, end, with_store, cohort, tiny, runs_in):
    with_store(here / "outputs")
    (here / "mine" / "task").mkdir(parents=True)
    (here / "mine" / "task" / "cortical_lesions.yaml").write_text(
        "name: cortical_lesions\ninputs: [t1_post, t1]\ntarget: enhancing_lesion\n"
        "matching: {connectivity: 6}\nmin_lesion_volume: 10.0\n"
    )
    source = f'init.source=["task=flair_lesions","dataset.root={cohort.root}","train_size=3"]'
    arguments = _arguments(cohort, tiny, "task=cortical_lesions", "init=scratch,pretrained", source, "sweep=mine")
    code, out, err = end(*arguments, "--multirun", "--config-dir", "mine")
    assert (code, err) == (0, ""), out
    _, parent, *children = runs_in(here)
    assert [run.data.params["task"] for run in children] == ["cortical_lesions"] * 2
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    code, out, err = end("compare", "sweep=mine")
    assert code == 0, err
    assert (here / "outputs" / "comparisons" / "mine" / "comparison.csv").is_file()

    table = here / "outputs" / "check.json"
    code, out, err = end(
        "check", f"dataset.root={cohort.root}", "task=cortical_lesions", "--config-dir", "mine", f"output={table}"
    )
    assert (code, err) == (0, "")
    assert "6 studies of 6 subjects" in out
    assert table.is_file()
