from pathlib import Path

import pytest

from lesionseg.data.channels import Source, parse_channel
from lesionseg.data.dataset import Dataset, MaskFile, Study, select_studies, task_study


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


def test_a_study_serves_that_has_all_contrasts_and_the_mask() -> None:
    assert names("flair") == ["sub-a_ses-1", "sub-a_ses-3", "sub-b_ses-2", "sub-c"]
    assert names("flair", "t1") == ["sub-a_ses-1", "sub-a_ses-3"]
    assert names("flair - t1") == ["sub-a_ses-1", "sub-a_ses-3"]
    assert names("t2") == []
    assert names("flair", target="new_lesion") == []


def test_the_prior_is_the_session_right_before_with_or_without_mask() -> None:
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
def test_sessions_are_counted_among_those_that_serve(sessions: str, expected: list[str]) -> None:
    assert names("flair", sessions=sessions) == expected


def test_without_target_every_study_with_the_contrasts_serves_and_takes_no_mask() -> None:
    found = select_studies(COHORT, [parse_channel("flair")], None)
    assert [each.name for each in found] == [
        "sub-a_ses-1",
        "sub-a_ses-2",
        "sub-a_ses-3",
        "sub-b_ses-2",
        "sub-c",
    ]
    assert {each.mask for each in found} == {None}


def test_a_study_comes_with_the_files_of_its_channels_in_order_of_first_use() -> None:
    channels = [parse_channel(text) for text in ("t1", "flair - prior.flair", "flair")]
    found = task_study(COHORT, COHORT.studies[2], channels, "lesion")
    assert found is not None
    assert found.sources == (
        (Source("t1"), Path("a-3/t1")),
        (Source("flair"), Path("a-3/flair")),
        (Source("flair", prior=True), Path("a-2/flair")),
    )
    assert found.mask == MaskFile(Path("a-3/mask"))
    assert found.files == (Path("a-3/t1"), Path("a-3/flair"), Path("a-2/flair"), Path("a-3/mask"))
    assert (found.name, found.subject) == ("sub-a_ses-3", "a")


def test_a_study_that_lacks_something_is_none() -> None:
    first, second = COHORT.studies[:2]
    assert task_study(COHORT, first, [parse_channel("t2")], None) is None
    assert task_study(COHORT, first, [parse_channel("prior.flair")], None) is None
    assert task_study(COHORT, second, [parse_channel("flair")], "lesion") is None
    unlabelled = task_study(COHORT, second, [parse_channel("flair")], None)
    assert unlabelled is not None
    assert unlabelled.files == (Path("a-2/flair"),)
