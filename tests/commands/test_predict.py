"""Scans that a model goes home to: found, segmented on their own grid, described, and told where they are strange."""

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from lesionseg.data.cache import Cache
from lesionseg.data.dataset import Source, Study, TaskStudy
from lesionseg.data.preprocessing import facts_range
from lesionseg.models import IntensityThreshold
from lesionseg.transfer.checkpoint import METADATA_KEY, ModelCard

LESION = 27.0  # mm³, of the tiny cohort's cubes


def _scan(root: Path, subject: str, session: int = 1, contrast: str = "FLAIR") -> Path:
    return root / f"sub-{subject}" / f"ses-{session}" / "anat" / f"sub-{subject}_ses-{session}_{contrast}.nii.gz"


@pytest.fixture(scope="module")
def training_images(cohort: Any, tmp_path_factory: Any) -> dict[str, Any]:
    """What the cohort's first scans look like."""
    cache = Cache(tmp_path_factory.mktemp("cache"))
    files = [((Source("flair"), _scan(cohort.root, f"{number:02d}")),) for number in range(1, 5)]
    studies = [TaskStudy(Study(str(number), "", {}), sources, None) for number, sources in enumerate(files)]
    return facts_range([cache.get(study, (1.0, 1.0, 1.0)).facts() for study in studies])


@pytest.fixture
def model(tmp_path: Path, training_images: dict[str, Any]) -> Any:
    """Writes a model that marks what is far brighter than the brain: the cohort's lesions, each of them exactly."""

    def write(name: str = "best.ckpt", threshold: float = 0.5, inputs: tuple[str, ...] = ("flair",)) -> Path:
        network = IntensityThreshold(threshold=4.0, margin=1)
        card = ModelCard(
            network={"_target_": "lesionseg.models.IntensityThreshold"},
            task="flair_lesions",
            inputs=list(inputs),
            target="lesion",
            spacing=[1.0, 1.0, 1.0],
            patch_size=[32, 32, 32],
            normalisation="zscore_brain",
            threshold=threshold,
            matching={"_target_": "lesionseg.metrics.AnyOverlap", "connectivity": 26},
            min_lesion_volume=3.0,
            dataset="tiny",
            train_subjects=["01"],
            init="none",
            training_images=training_images,
        )
        weights = {f"network.{name}": value for name, value in network.state_dict().items()}
        torch.save({"state_dict": weights, METADATA_KEY: card.to_dict()}, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def predict(model: Any, inside: Any, tmp_path: Path) -> Any:
    """Runs ``lesionseg predict`` with that model; gives its end and the output's folder."""

    def run(*arguments: object, **changes: Any) -> tuple[Any, Path]:
        return inside(tmp_path, "predict", f"model={model(**changes)}", "output=out", *arguments), tmp_path / "out"

    return run


def test_one_scan_is_named_by_its_contrast_and_keeps_its_header(predict, cohort, tmp_path):
    source = nib.load(_scan(cohort.root, "03"))
    turned = nib.Nifti1Image(np.flip(np.asarray(source.dataobj), 0), np.diag([-1.0, 1, 1, 1]))
    turned.set_qform(turned.affine, 1)
    turned.set_sform(None, 0)
    nib.save(turned, tmp_path / "patient 7 (first).nii.gz")
    done, out = predict(f"flair={tmp_path}/patient 7 (first).nii.gz")
    assert done.code == 0, done.err
    mask = nib.load(out / "sub-patient 7 (first)_label-lesion_mask.nii.gz")
    assert mask.shape == turned.shape
    np.testing.assert_allclose(mask.affine, turned.affine)
    assert [int(mask.header[code]) for code in ("qform_code", "sform_code")] == [1, 0]
    reference = _scan(cohort.root / "derivatives" / "lesions", "03", contrast="label-lesion_mask")
    np.testing.assert_array_equal(np.flip(np.asarray(mask.dataobj), 0), np.asarray(nib.load(reference).dataobj))


def test_each_lesion_has_a_row_with_place_hemisphere_and_probability(predict, cohort):
    done, out = predict(f"flair={_scan(cohort.root, '03')}")
    assert done.code == 0, done.err
    table = pd.read_csv(out / "sub-03_ses-1_FLAIR_label-lesion_lesions.csv")
    record = json.loads((out / "sub-03_ses-1_FLAIR_label-lesion.json").read_text())
    assert list(table["lesion"]) == list(range(1, cohort.lesions["03"] + 1))
    assert set(table["volume_mm3"]) == {LESION}
    assert set(table["kind"]) == {"lesion"}
    # the brain's block reaches from 4 to 27: its middle is at 15.5
    assert list(table["hemisphere"]) == ["left" if x < 15.5 else "right" for x in table["x_mm"]]
    assert (table["mean_probability"] > 0.5).all()
    assert [row["volume_mm3"] for row in record["lesions"]] == list(table["volume_mm3"])
    assert record["threshold"] == 0.5


def test_the_page_shows_every_lesion_and_is_light(predict, cohort):
    done, out = predict(f"flair={_scan(cohort.root, '04')}")
    assert done.code == 0, done.err
    page = (out / "sub-04_ses-1_FLAIR_label-lesion.html").read_text()
    assert {int(number) for number in re.findall(r"<text [^>]*>(\d+)</text>", page)} == {1, 2, 3, 4}
    assert page.count("data:image/jpeg") == page.count("<svg ") <= 4
    assert len(page) < 40_000
    assert "<script" not in page


@pytest.mark.parametrize("how", ["folder", "bids", "table", "dataset"])
def test_many_scans_are_found_in_a_folder_a_dataset_or_a_table(predict, cohort, tmp_path, how):
    folder = tmp_path / "scans"
    folder.mkdir()
    for subject in ("01", "02"):
        (folder / f"case{subject}.nii.gz").symlink_to(_scan(cohort.root, subject))
    (folder / "list.csv").write_text("subject;flair\n01;case01.nii.gz\n02;case02.nii.gz\n")
    where = {
        "folder": f"input={folder}",
        "bids": f"input={cohort.root}",
        "table": f"input={folder}/list.csv",
        "dataset": f"dataset.root={cohort.root}",
    }[how]
    few = () if how in ("folder", "table") else ("subjects=['07','08']",)
    done, out = predict(where, *few)
    assert done.code == 0, done.err
    found = {file.name.removesuffix("_label-lesion.html") for file in out.glob("*.html")}
    assert (
        found
        == {
            "folder": {"sub-case01", "sub-case02"},
            "bids": {"sub-07_ses-1", "sub-08_ses-1"},
            "table": {"sub-01", "sub-02"},
            "dataset": {"sub-07_ses-1", "sub-08_ses-1"},
        }[how]
    )


def test_a_broken_scan_stops_no_other_and_what_is_done_is_not_done_again(predict, cohort, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for subject in ("01", "02", "03"):
        (folder / f"{subject}.nii.gz").write_bytes(_scan(cohort.root, subject).read_bytes())
    whole = (folder / "02.nii.gz").read_bytes()
    (folder / "02.nii.gz").write_bytes(whole[:2000])
    done, out = predict(f"input={folder}")
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("sub-02, flair (")
    assert not list(out.glob("sub-02*"))
    (folder / "02.nii.gz").write_bytes(whole)
    made = (out / "sub-01_label-lesion_mask.nii.gz").stat().st_mtime_ns
    again, _ = predict(f"input={folder}")
    assert again.code == 0
    assert again.out.count("is done already") + again.err.count("is done already") == 2
    assert (out / "sub-01_label-lesion_mask.nii.gz").stat().st_mtime_ns == made
    other, _ = predict(f"input={folder}", "threshold=0.6")
    assert "is done already" not in other.out + other.err


def test_a_scan_unlike_those_of_the_training_is_told_and_how(predict, cohort, tmp_path):
    image = np.asarray(nib.load(_scan(cohort.root, "01")).dataobj, np.float32)
    noisy = np.where(image > 0, np.random.default_rng(0).exponential(100, image.shape), 0)
    nib.save(nib.Nifti1Image(noisy.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "other.nii.gz")
    done, out = predict(f"flair={tmp_path}/other.nii.gz")
    assert done.code == 0, done.err
    warnings = json.loads((out / "sub-other_label-lesion.json").read_text())["warnings"]
    assert [one.split(":")[0].split(" ")[0] for one in warnings] == ["its", "flair", "what"]
    assert (out / "sub-other_label-lesion.html").read_text().count("Unlike the training data") == 3
    predict(f"flair={_scan(cohort.root, '02')}")
    assert json.loads((out / "sub-02_ses-1_FLAIR_label-lesion.json").read_text())["warnings"] == []


def test_mirror_images_change_nothing_for_a_model_that_is_the_same_on_both_sides(predict, cohort):
    name = "sub-02_ses-1_FLAIR_label-lesion_prob.nii.gz"
    _, out = predict(f"flair={_scan(cohort.root, '02')}")
    once = np.asarray(nib.load(out / name).dataobj)
    done, _ = predict(f"flair={_scan(cohort.root, '02')}", "flips=true")
    assert done.code == 0, done.err
    np.testing.assert_allclose(np.asarray(nib.load(out / name).dataobj), once, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        (["flair=none.nii.gz"], ["flair="]),
        (["flar=none.nii.gz"], ["Found 2 faults:", "flar=", "flair: has no file; give flair=FILE"]),
        (["input=nowhere"], ["input=nowhere: there is no such file or folder"]),
        (["input=empty"], ["input=empty: holds no scan (.nii or .nii.gz) and no folder sub-*"]),
        (["input=dicom"], ["dicom: is DICOM, such as IM0001"]),
        (["input=empty", "flair=a.nii.gz"], ["input and flair: name scans in one of both ways"]),
        ([], ["dataset.root: has no value"]),
        (["model=sweep:nothing/scratch/2", "flair=a.nii.gz"], ["tracking.uri="]),
    ],
)
def test_what_cannot_be_segmented_is_told_before_anything_starts(predict, tmp_path, arguments, faults):
    (tmp_path / "empty").mkdir()
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "IM0001").write_bytes(bytes(128) + b"DICM")
    done, out = predict(*arguments)
    assert done.code == 2
    assert len(done.err.splitlines()) == len(faults), done.err
    for line, fault in zip(done.err.splitlines(), faults, strict=True):
        assert fault in line
    assert not out.exists()
