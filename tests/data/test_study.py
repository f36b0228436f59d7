from pathlib import Path

import pytest

from lesionseg.data.dataset import Dataset, Study, select_subjects
from lesionseg.errors import InputError


def _cohort(*labels: tuple[str, str]) -> Dataset:
    return Dataset("toy", Path("toy"), tuple(Study(subject, session, {}) for subject, session in labels))


def test_a_study_is_named_after_subject_and_session() -> None:
    assert Study("01", "2", {}).name == "sub-01_ses-2"
    assert Study("01", "", {}).name == "sub-01"


def test_the_prior_is_the_session_right_before() -> None:
    cohort = _cohort(("01", "1"), ("01", "2"), ("01", "10"), ("02", "1"))
    names = [prior.session if (prior := cohort.prior_of(study)) else None for study in cohort.studies]
    assert names == [None, "1", "2", None]
    assert cohort.subjects == ("01", "02")


def test_some_subjects_are_selected_with_all_their_sessions() -> None:
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
def test_subjects_that_cannot_be_selected_are_named(subjects: list[str], fault: str) -> None:
    with pytest.raises(InputError) as caught:
        select_subjects(_cohort(("01", ""), ("02", "")), subjects)
    assert caught.value.faults == (fault,)
