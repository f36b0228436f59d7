import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lesionseg.data.dataset import Dataset, MaskFile
from lesionseg.data.readers import read_nnunet
from lesionseg.errors import InputError

CONF = Path(__file__).parents[3] / "conf/dataset/nnunet.yaml"
V2: dict[str, Any] = {
    "channel_names": {"0": "FLAIR", "1": "T1"},
    "labels": {"background": 0, "Lesion": 1, "black_hole": 2, "ignore": 3},
    "file_ending": ".nii.gz",
}


def _dataset(root, images, labels, description=V2, ending=".nii.gz"):
    for folder, names in (("imagesTr", images), ("labelsTr", labels)):
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / f"{name}{ending}").touch()
    text = description if isinstance(description, str) else json.dumps({"numTraining": len(labels), **description})
    (root / "dataset.json").write_text(text)
    return root


def _read(root: Path, **named: Any) -> Dataset:
    defaults: dict[str, Any] = {"images": {"flair": "flair", "t2": "T2"}, "masks": {"lesion": "lesion"}}
    return read_nnunet(root, name="toy", **{**defaults, **named})


def test_channels_and_labels_are_found_by_name(tmp_path):
    root = _dataset(tmp_path, ["MS_2_0000", "MS_2_0001", "MS_10_0000", "MS_10_0001"], ["MS_10", "MS_2"])
    cohort = _read(root, images={"t1": "t1", "flair": "FLAIR"}, masks={"hole": "Black_Hole", "lesion": "lesion"})
    assert [study.name for study in cohort.studies] == ["sub-MS_2", "sub-MS_10"]
    assert cohort.studies[0].images == {
        "t1": root / "imagesTr/MS_2_0001.nii.gz",
        "flair": root / "imagesTr/MS_2_0000.nii.gz",
    }
    assert cohort.studies[0].masks == {
        "hole": MaskFile(root / "labelsTr/MS_2.nii.gz", 2, (0, 1, 2, 3)),
        "lesion": MaskFile(root / "labelsTr/MS_2.nii.gz", 1, (0, 1, 2, 3)),
    }


def test_cases_that_look_like_sessions_of_one_patient_are_named(tmp_path, caplog):
    root = _dataset(tmp_path, ["MS_001_1_0000", "MS_001_2_0000", "MS_002_1_0000"], [])
    _read(root)
    assert "Cases MS_001_1 and MS_001_2 look like sessions of one patient (1 such patients)" in caplog.text
    caplog.clear()
    _read(root, case="{subject}_{session}")
    assert not caplog.text


def test_a_label_of_0_is_the_background(tmp_path):
    labels = {**V2, "labels": {"background": 0, "lesion": 0}}
    with pytest.raises(InputError, match="has the value 0, which is the background"):
        _read(_dataset(tmp_path, ["a_0000"], ["a"], labels))


def test_version_1_says_modality_and_turns_labels_around(tmp_path):
    old = {"modality": {"0": "FLAIR"}, "labels": {"0": "background", "1": "lesion"}}
    (study,) = _read(_dataset(tmp_path, ["case_0000"], ["case"], old)).studies
    assert study.images == {"flair": tmp_path / "imagesTr/case_0000.nii.gz"}
    assert study.masks == {"lesion": MaskFile(tmp_path / "labelsTr/case.nii.gz", 1, (0, 1))}


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("{subject}", [("MS_001_10", ""), ("MS_001_2", ""), ("MS_002_1", "")]),
        ("{subject}_{session}", [("MS_001", "2"), ("MS_001", "10"), ("MS_002", "1")]),
        ("MS_{subject}[_{session}]", [("001", "2"), ("001", "10"), ("002", "1")]),
    ],
)
def test_a_case_is_a_subject_or_a_session_of_one(case, names, tmp_path):
    cases = ["MS_001_2", "MS_001_10", "MS_002_1"]
    cohort = _read(_dataset(tmp_path, [f"{name}_0000" for name in cases], cases), case=case)
    assert sorted((study.subject, study.session) for study in cohort.studies) == sorted(names)


def test_all_faults_are_told_at_once(tmp_path, faults_of):
    description = {**V2, "numTraining": 5}
    root = _dataset(tmp_path, ["a_1_0000", "a_1_0001", "b_1_0000", "odd_0000", "odd_0001"], ["a_1", "c_1"], description)
    images = {"flair": "FLAIR", "t1": "T1"}
    assert faults_of(_read, root, images=images, case="{subject}_{session}") == (
        f"toy: the label {root}/labelsTr/c_1.nii.gz has no image c_1_0000.nii.gz in imagesTr; add the image, "
        "or remove the label",
        f"toy: {root}/dataset.json says numTraining 5, but labelsTr holds 2 labels; copy what is missing, or "
        "correct the number",
        f"toy: case b_1 has no {root}/imagesTr/b_1_0001.nii.gz, its channel T1 (t1); add it, or take t1 out "
        "of 'images'",
        "toy: case odd does not fit (pattern '{subject}_{session}'); correct 'case' of the dataset",
    )


def test_names_the_dataset_does_not_have(tmp_path, faults_of):
    root = _dataset(tmp_path, ["a_0000"], ["a"])
    assert faults_of(_read, root, images={"t2": "T2"}, masks={"lesion": "WMH"}, case="{case}") == (
        f"toy: {root}/dataset.json has none of the channels named (t2: T2); its channels: FLAIR, T1. Correct "
        "'images' of the dataset",
        f"toy: {root}/dataset.json has none of the labels named (lesion: WMH); its labels: background, "
        "Lesion, black_hole, ignore. Correct 'masks' of the dataset",
        "toy: the pattern '{case}' of 'case' cannot be read: {case} is unknown: write {subject} or {session}",
    )


def test_a_region_is_no_label(tmp_path, faults_of):
    regions = {**V2, "labels": {"background": 0, "lesion": [1, 2], "core": 2}}
    root = _dataset(tmp_path, ["a_0000"], ["a"], regions)
    assert faults_of(_read, root) == (
        f"toy: {root}/dataset.json: label 'lesion' (lesion) is a region of the values 1, 2; give the target "
        "a label of a single value, or write masks of the region",
    )
    (study,) = _read(root, masks={"core": "core"}).studies
    assert study.masks["core"].label == 2


@pytest.mark.parametrize(
    ("description", "fault"),
    [
        ("{", "is not JSON (Expecting property name enclosed in double quotes"),
        ("[]", "holds a list; it must hold an object with channel_names and labels"),
        (
            {"labels": {"lesion": 1}},
            "has no channel_names; add it, as nnU-Net's documentation of the dataset format says",
        ),
        ({"channel_names": {"0": "FLAIR"}}, "has no labels; add it, as nnU-Net's documentation"),
        (
            {**V2, "file_ending": ".png"},
            ": file_ending is '.png'; convert the scans to NIfTI (.nii.gz or .nii)",
        ),
        (
            {**V2, "labels": {"lesion": "one"}},
            "cannot be understood (invalid literal for int() with base 10: 'one')",
        ),
    ],
)
def test_a_description_that_cannot_be_used(description, fault, tmp_path, faults_of):
    (found,) = faults_of(_read, _dataset(tmp_path, ["a_0000"], ["a"], description))
    assert found.startswith(f"toy: {tmp_path}/dataset.json")
    assert fault in found


def test_the_shipped_configuration_reads_a_dataset_of_its_names(tmp_path):
    conf = yaml.safe_load(CONF.read_text())
    assert conf["format"] == "nnunet"
    (study,) = _read(
        _dataset(tmp_path, ["a_0000", "a_0001"], ["a"]),
        **{key: conf[key] for key in ("images", "masks", "case")},
    ).studies
    assert (list(study.images), list(study.masks)) == (["flair", "t1"], ["lesion"])
