from pathlib import Path

import pytest

from lesionseg.data.dataset import (
    Channel,
    Dataset,
    MaskFile,
    Source,
    Study,
    assemble,
    missing_files,
    parse_channel,
    select_studies,
    select_subjects,
    sources_of,
)
from lesionseg.errors import InputError


def study(subject: str, session: str, contrasts: str, mask: bool = True) -> Study:
    path = Path(f"{subject}-{session}")
    images = {contrast: path / contrast for contrast in contrasts.split()}
    return Study(subject, session, images, {"lesion": MaskFile(path / "mask")} if mask else {})


COHORT = Dataset(
    "cohort",
    Path("root"),
    (
        study("a", "1", "flair t1"),
        study("a", "2", "flair", mask=False),
        study("a", "3", "flair t1"),
        study("b", "1", "t1"),
        study("b", "2", "flair"),
        study("c", "", "flair"),
    ),
)


def names(*texts: str, target: str | None = "lesion", **options) -> list[str]:
    return [found.name for found in select_studies(COHORT, [parse_channel(t) for t in texts], target, **options)]


def test_a_study_serves_that_has_all_contrasts_and_the_mask():
    assert names("flair") == ["sub-a_ses-1", "sub-a_ses-3", "sub-b_ses-2", "sub-c"]
    assert names("flair", "t1") == ["sub-a_ses-1", "sub-a_ses-3"]
    assert names("flair - t1") == ["sub-a_ses-1", "sub-a_ses-3"]
    assert names("t2") == []
    assert names("flair", target="new_lesion") == []


def test_the_prior_is_the_session_right_before_with_or_without_mask():
    assert names("flair", "prior.flair") == ["sub-a_ses-3"], "b's session before has no FLAIR, c none at all"
    assert names("flair", "prior.t1") == ["sub-b_ses-2"], "a's session right before its third has no T1"


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        ("first", ["sub-a_ses-1", "sub-b_ses-2", "sub-c"]),
        ("last", ["sub-a_ses-3", "sub-b_ses-2", "sub-c"]),
        ("all", ["sub-a_ses-1", "sub-a_ses-3", "sub-b_ses-2", "sub-c"]),
    ],
)
def test_sessions_are_counted_among_those_that_serve(sessions, expected):
    assert names("flair", sessions=sessions) == expected


def test_a_study_comes_with_the_files_of_its_channels_in_order_of_first_use():
    channels = [parse_channel(text) for text in ("t1", "flair - prior.flair", "flair")]
    (found,) = select_studies(COHORT, [parse_channel("t1"), *channels], "lesion", "last")[:1]
    assert (found.name, found.subject, found.mask) == ("sub-a_ses-3", "a", MaskFile(Path("a-3/mask")))
    assert found.sources == (
        (Source("t1"), Path("a-3/t1")),
        (Source("flair"), Path("a-3/flair")),
        (Source("flair", prior=True), Path("a-2/flair")),
    )


def test_what_a_study_lacks_is_said():
    first, second = COHORT.studies[:2]
    assert missing_files(COHORT, first, [parse_channel("t2")], None) == ("no contrast 't2'",)
    channels = [parse_channel("flair - prior.flair"), parse_channel("prior.t1")]
    assert missing_files(COHORT, first, channels, "lesion") == ("no session before it",)
    assert missing_files(COHORT, second, [parse_channel("flair")], "lesion") == ("no mask for the target 'lesion'",)
    wanted = [parse_channel("prior.t2")]
    lacks = ("no contrast 't2' in the session before it (sub-a_ses-1)",)
    assert missing_files(COHORT, second, wanted, None) == lacks
    assert missing_files(COHORT, second, [parse_channel("flair")], None) == ()


def _cohort(*labels: tuple[str, str]) -> Dataset:
    return Dataset("toy", Path("toy"), tuple(Study(subject, session, {}) for subject, session in labels))


def test_a_study_is_named_after_subject_and_session():
    assert Study("01", "2", {}).name == "sub-01_ses-2"
    assert Study("01", "", {}).name == "sub-01"


def test_some_subjects_are_selected_with_all_their_sessions():
    cohort = _cohort(("01", "1"), ("01", "2"), ("02", "1"), ("03", "1"))
    assert [study.name for study in select_subjects(cohort, ["sub-01", "03"]).studies] == [
        "sub-01_ses-1",
        "sub-01_ses-2",
        "sub-03_ses-1",
    ]
    assert select_subjects(cohort, None) is cohort


@pytest.mark.parametrize(
    ("subjects", "fault"),
    [
        (["01", "7"], "toy: subject '7' of the list 'subjects' is not in the dataset; its subjects: 01, 02"),
        ([], "toy: the list 'subjects' is empty; name some of 01, 02, or write null for all"),
    ],
)
def test_subjects_that_cannot_be_selected_are_named(subjects, fault):
    with pytest.raises(InputError) as caught:
        select_subjects(_cohort(("01", ""), ("02", "")), subjects)
    assert caught.value.faults == (fault,)


def test_subjects_that_may_be_one_person_are_named(caplog):
    studies = [Study(subject, "", {"flair": Path(f"{subject}.nii")}) for subject in ("1", "001", "P2", "p2", "3")]
    assemble("toy", Path(), studies, [])
    assert "Subjects 001 and 1 have nearly the same name" in caplog.text
    assert "Subjects P2 and p2 have nearly the same name" in caplog.text
    assert caplog.text.count("nearly the same name") == 2


def test_dates_are_in_the_order_of_time_however_they_are_written():
    labels = ["31.12.2018", "2019-03-01", "1.2.2019", "20200115"]
    studies = [Study("a", label, {"flair": Path(f"{number}.nii")}) for number, label in enumerate(labels)]
    found = [study.session for study in assemble("toy", Path(), studies, []).studies]
    assert found == ["31.12.2018", "1.2.2019", "2019-03-01", "20200115"]


@pytest.mark.parametrize(
    ("text", "channel"),
    [
        ("flair", Channel(Source("flair"))),
        (" prior.flair ", Channel(Source("flair", prior=True))),
        ("t1_post - t1", Channel(Source("t1_post"), Source("t1"))),
        ("flair - prior.flair", Channel(Source("flair"), Source("flair", prior=True))),
    ],
)
def test_a_channel_is_read_and_written_alike(text, channel):
    assert parse_channel(text) == channel
    assert str(channel) == text.strip()
    assert parse_channel(str(channel)) == channel


@pytest.mark.parametrize("text", ["", "t1-t2", "a - b - c", "prior.", "next.flair", "flair -", "1t", "prior.prior.t1"])
def test_what_is_no_channel_is_refused_with_the_forms_that_are(text):
    with pytest.raises(ValueError, match="is no input channel: write a contrast") as caught:
        parse_channel(text)
    assert repr(text) in str(caught.value)
    assert "'t1_post - t1', with spaces around the minus" in str(caught.value)


def test_every_image_is_needed_once_in_order_of_first_use():
    channels = [parse_channel(text) for text in ("t1_post", "t1_post - t1", "prior.t1", "t1")]
    assert sources_of(channels) == (Source("t1_post"), Source("t1"), Source("t1", prior=True))
    assert channels[1].sources == (Source("t1_post"), Source("t1"))
