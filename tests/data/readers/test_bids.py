import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from lesionseg.data.dataset import Dataset, natural_key
from lesionseg.data.readers import read_bids
from lesionseg.data.readers.bids import parse_pattern
from lesionseg.errors import InputError

CONF = Path(__file__).parents[3] / "conf/dataset/bids.yaml"
STUDY = "sub-{subject}[/ses-{session}]/anat/sub-{subject}[_ses-{session}]"
IMAGES = {
    "flair": [f"{STUDY}_FLAIR.nii*"],
    "t1": [f"{STUDY}_T1w.nii*"],
    "t1_post": [f"{STUDY}_ce-*_T1w.nii*"],
}
MASKS = {"lesion": [f"derivatives/*/{STUDY}[_*]_label-lesion_mask.nii*"]}


def _touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def _read(root: Path, images: Any = IMAGES, masks: Any = MASKS) -> Dataset:
    return read_bids(root, name="toy", images=images, masks=masks)


def _found(cohort: Dataset) -> dict[str, dict[str, str]]:
    """Contrast or target to relative path, by study."""
    return {
        study.name: {
            **{key: path.relative_to(cohort.root).as_posix() for key, path in study.images.items()},
            **{key: mask.path.relative_to(cohort.root).as_posix() for key, mask in study.masks.items()},
        }
        for study in cohort.studies
    }


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        ("sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii.gz", ("01", "2")),
        ("sub-01/anat/sub-01_FLAIR.nii", ("01", "")),
        ("sub-01/anat/sub-01_ses-2_FLAIR.nii", ("01", "2")),
        ("sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz", None),
        ("sub-0_1/anat/sub-0_1_FLAIR.nii", None),
        ("sub-01/anat/sub-01_FLAIR.nii.gz.part", None),
        ("other/sub-01/anat/sub-01_FLAIR.nii", None),
    ],
)
def test_a_pattern_finds_the_labels(path, labels):
    assert parse_pattern(f"{STUDY}_FLAIR.nii*").match(path) == labels


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("{patient}_FLAIR.nii", "{patient} is unknown: write {subject} or {session}"),
        ("FLAIR.nii", "it does not say whose file it is: it needs {subject} outside of square brackets"),
        (
            "[{subject}]_FLAIR.nii",
            "it does not say whose file it is: it needs {subject} outside of square brackets",
        ),
        ("{subject}[_{session}.nii", "a '[' is never closed"),
        ("{subject}[_[x]].nii", "a '[' stands inside another"),
        ("{subject}].nii", "a ']' has no '[' before it"),
        ("**/{subject}.nii", "'**' is not understood ('*' stays within one folder or file name)"),
        ("{subject.nii", "'{' is not understood ('*' stays within one folder or file name)"),
    ],
)
def test_a_pattern_that_cannot_be_read_is_a_fault(pattern, reason, tmp_path, faults_of):
    expected = f"toy: masks.lesion: the pattern {pattern!r} cannot be read: {reason}"
    assert faults_of(_read, tmp_path, masks={"lesion": [pattern]}) == (expected,)


def test_sessions_in_order_of_time_whatever_the_order_on_disk():
    labels = ["10", "2", "1", "20200115", "20190301", "m12", "m6"]
    assert sorted(labels, key=natural_key) == ["1", "2", "10", "20190301", "20200115", "m6", "m12"]


def test_images_masks_and_order(tmp_path):
    _touch(
        tmp_path,
        "sub-10/ses-1/anat/sub-10_ses-1_FLAIR.nii.gz",
        "sub-2/ses-10/anat/sub-2_ses-10_FLAIR.nii",
        "sub-2/ses-10/anat/sub-2_ses-10_T1w.nii.gz",
        "sub-2/ses-10/anat/sub-2_ses-10_ce-gadolinium_T1w.nii.gz",
        "sub-2/ses-2/anat/sub-2_ses-2_FLAIR.nii.gz",
        "sub-2/ses-2/anat/._sub-2_ses-2_FLAIR.nii.gz",
        "derivatives/rater/sub-2/ses-10/anat/sub-2_ses-10_space-T1w_label-lesion_mask.nii.gz",
        "derivatives/rater/sub-2/ses-2/anat/sub-2_ses-2_label-lesion_mask.nii.gz",
    )
    cohort = _read(tmp_path)
    assert _found(cohort) == {
        "sub-2_ses-2": {
            "flair": "sub-2/ses-2/anat/sub-2_ses-2_FLAIR.nii.gz",
            "lesion": "derivatives/rater/sub-2/ses-2/anat/sub-2_ses-2_label-lesion_mask.nii.gz",
        },
        "sub-2_ses-10": {
            "flair": "sub-2/ses-10/anat/sub-2_ses-10_FLAIR.nii",
            "t1": "sub-2/ses-10/anat/sub-2_ses-10_T1w.nii.gz",
            "t1_post": "sub-2/ses-10/anat/sub-2_ses-10_ce-gadolinium_T1w.nii.gz",
            "lesion": "derivatives/rater/sub-2/ses-10/anat/sub-2_ses-10_space-T1w_label-lesion_mask.nii.gz",
        },
        "sub-10_ses-1": {"flair": "sub-10/ses-1/anat/sub-10_ses-1_FLAIR.nii.gz"},
    }
    assert list(_found(cohort)) == ["sub-2_ses-2", "sub-2_ses-10", "sub-10_ses-1"]
    assert cohort.prior_of(cohort.studies[1]) == cohort.studies[0]
    assert all(mask.label is None for study in cohort.studies for mask in study.masks.values())


def test_the_first_pattern_that_fits_a_study_counts(tmp_path):
    _touch(
        tmp_path,
        "sub-1/anat/sub-1_run-1_FLAIR.nii.gz",
        "sub-1/anat/sub-1_run-2_FLAIR.nii.gz",
        "sub-2/anat/sub-2_FLAIR.nii.gz",
    )
    patterns = ["sub-{subject}/anat/sub-{subject}_run-2_FLAIR.nii.gz", "sub-{subject}/anat/*_FLAIR.nii.gz"]
    assert _found(_read(tmp_path, {"flair": patterns})) == {
        "sub-1": {"flair": "sub-1/anat/sub-1_run-2_FLAIR.nii.gz"},
        "sub-2": {"flair": "sub-2/anat/sub-2_FLAIR.nii.gz"},
    }
    assert _found(_read(tmp_path, {"flair": patterns[0]}))["sub-1"]["flair"].endswith("run-2_FLAIR.nii.gz")


def test_site_and_split_come_from_the_participants(tmp_path):
    _touch(tmp_path, *(f"sub-{n}/ses-{s}/anat/sub-{n}_ses-{s}_FLAIR.nii" for n in "123" for s in "12"))
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tsite\tsplit\nsub-1\tA\ttest\nsub-2\tn/a\tn/a\nsub-3\t\t\n"
    )
    assert [(study.name, study.site, study.split) for study in _read(tmp_path).studies] == [
        ("sub-1_ses-1", "A", "test"),
        ("sub-1_ses-2", "A", "test"),
        ("sub-2_ses-1", None, None),
        ("sub-2_ses-2", None, None),
        ("sub-3_ses-1", None, None),
        ("sub-3_ses-2", None, None),
    ]


def test_rows_and_folders_that_do_not_meet_are_faults_where_they_split(tmp_path, caplog):
    _touch(tmp_path, *(f"sub-{n}/anat/sub-{n}_FLAIR.nii" for n in ("01", "02", "abc")))
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tsplit\nsub-01\ttest\nsub-2\ttest\n")
    with pytest.raises(InputError) as caught:
        _read(tmp_path)
    assert caught.value.faults == (
        f"toy: {table} lists sub-2, and there is no such folder; write sub-02 in both",
        f"toy: {table} has no row of sub-02, whose scans are there; write sub-2 in both",
        f"toy: {table} has no row of sub-abc, whose scans are there; add it, or remove the other",
    )
    table.write_text("participant_id\tsite\nsub-2\tA\n")
    assert len(_read(tmp_path).studies) == 3
    assert "lists sub-2, and there is no such folder; write sub-02 in both" in caplog.text


def test_sessions_are_in_the_order_of_their_dates(tmp_path, caplog):
    _touch(tmp_path, *(f"sub-1/ses-{s}/anat/sub-1_ses-{s}_FLAIR.nii" for s in ("a", "b", "post", "pre")))
    assert [study.session for study in _read(tmp_path).studies] == ["pre", "a", "b", "post"]
    assert "pre < a < b < post is guessed" in caplog.text
    caplog.clear()
    dates = {"b": "2019-01-05", "pre": "2019-03-01", "a": "2020-01-01", "post": "2021-01-01T10:00:00"}
    rows = "".join(f"ses-{session}\t{date}\n" for session, date in dates.items())
    (tmp_path / "sub-1" / "sub-1_sessions.tsv").write_text(f"session_id\tacq_time\n{rows}")
    assert [study.session for study in _read(tmp_path).studies] == ["b", "pre", "a", "post"]
    assert not caplog.text


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (
            "id\tsplit\n1\ttest\n",
            "has no column participant_id (found: id, split); add it, or remove the file",
        ),
        ("participant_id\nsub-1\n1\n", "lists sub-1 twice; keep one of the rows"),
        (
            "participant_id\tsplit\nsub-1\teval\n",
            "sub-1: split 'eval' is unknown; write one of train, validation, test, or leave it empty",
        ),
        (
            "participant_id\tsplit\nsub-1\ttest\textra\n",
            "every line needs as many cells as the header, in UTF-8",
        ),
    ],
)
def test_participants_that_cannot_be_used(table, fault, tmp_path, faults_of):
    _touch(tmp_path, "sub-1/anat/sub-1_FLAIR.nii")
    (tmp_path / "participants.tsv").write_text(table)
    (found,) = faults_of(_read, tmp_path)
    assert found.startswith("toy: ")
    assert found.endswith(fault)


def test_all_faults_are_told_at_once(tmp_path, faults_of):
    _touch(
        tmp_path,
        "sub-1/anat/sub-1_FLAIR.nii",
        "sub-1/anat/sub-1_FLAIR.nii.gz",
        "sub-2/anat/sub-3_FLAIR.nii",
        "sub-4/ses-1/anat/sub-4_ses-2_FLAIR.nii",
        "derivatives/a/sub-5/anat/sub-5_label-lesion_mask.nii",
    )
    (tmp_path / "sub-6/anat").mkdir(parents=True)
    (tmp_path / "sub-6/anat/sub-6_FLAIR.nii.gz").symlink_to(".git/annex/objects/gone")
    assert faults_of(_read, tmp_path) == (
        f"toy: {tmp_path}/sub-2/anat/sub-3_FLAIR.nii names two subjects, '2' and '3'; rename the folder or "
        "the file so that they agree",
        f"toy: {tmp_path}/sub-4/ses-1/anat/sub-4_ses-2_FLAIR.nii names two sessions, '1' and '2'; rename the "
        "folder or the file so that they agree",
        f"toy: sub-1: 2 files fit the pattern '{STUDY}_FLAIR.nii*' of flair: sub-1/anat/sub-1_FLAIR.nii, "
        f"sub-1/anat/sub-1_FLAIR.nii.gz (in {tmp_path}); make the pattern more specific, or move all but one "
        "away",
        f"toy: sub-6: {tmp_path}/sub-6/anat/sub-6_FLAIR.nii.gz is a link that leads nowhere; fetch the file "
        "(with DataLad: datalad get sub-6/anat/sub-6_FLAIR.nii.gz)",
        f"toy: sub-5: the mask {tmp_path}/derivatives/a/sub-5/anat/sub-5_label-lesion_mask.nii (lesion) "
        "belongs to a session without any image; add the image, correct the labels in the mask's name, or "
        "remove it",
    )


def test_a_root_without_study_says_what_was_looked_for_and_what_is_there(tmp_path, faults_of):
    _touch(tmp_path, "patient1/flair.nii.gz", "README")
    assert faults_of(_read, tmp_path, images={"flair": IMAGES["flair"]}) == (
        f"toy: no study found in {tmp_path}. Looked for flair: {STUDY}_FLAIR.nii*. Files there (2), for "
        "example: patient1/flair.nii.gz. Write the dataset's patterns after these names, or correct its root",
    )


def test_an_empty_root_a_missing_root_a_file(tmp_path, faults_of):
    _touch(tmp_path, "file")
    (tmp_path / "empty").mkdir()
    (empty,) = faults_of(_read, tmp_path / "empty")
    assert "Files there (0), for example: nothing at all." in empty
    mend = "set the dataset's root to the BIDS folder"
    assert faults_of(_read, tmp_path / "gone") == (f"toy: the root {tmp_path}/gone does not exist; {mend}",)
    assert faults_of(_read, tmp_path / "file") == (f"toy: the root {tmp_path}/file is a file, not a folder; {mend}",)


def test_a_subject_in_whom_nothing_fits_is_warned_of(tmp_path, caplog):
    _touch(tmp_path, "sub-1/anat/sub-1_FLAIR.nii", "sub-2/anat/sub-2_flair.nii")
    with caplog.at_level(logging.WARNING):
        _read(tmp_path)
    assert caplog.messages == ["No image pattern fits anything of 1 subjects: sub-2"]


def test_the_shipped_patterns_tell_the_contrasts_apart(tmp_path):
    conf = yaml.safe_load(CONF.read_text())
    assert conf["format"] == "bids"
    study = "sub-7/ses-1/anat/sub-7_ses-1"
    names = {
        "flair": f"{study}_FLAIR.nii.gz",
        "t1": f"{study}_T1w.nii.gz",
        "t1_post": f"{study}_ce-dotarem_T1w.nii.gz",
        "t2": f"{study}_T2w.nii.gz",
        "lesion": f"derivatives/lesions/{study}_label-lesion_mask.nii.gz",
        "new_lesion": f"derivatives/lesions/{study}_label-newlesion_mask.nii.gz",
        "enhancing_lesion": f"derivatives/lesions/{study}_desc-manual_label-enhancing_mask.nii.gz",
    }
    _touch(tmp_path, *names.values())
    assert _found(_read(tmp_path, conf["images"], conf["masks"])) == {"sub-7_ses-1": names}
