"""A cohort of some of its subjects."""

from collections.abc import Collection
from dataclasses import replace

from lesionseg.data.cohorts._labels import without_prefix
from lesionseg.data.study import Cohort
from lesionseg.errors import InputError


def select_subjects(cohort: Cohort, subjects: Collection[str] | None) -> Cohort:
    """The studies of the subjects listed, with or without ``sub-``; None keeps everyone.

    Raises:
        InputError: a subject is not in the cohort, or none is listed.
    """
    if subjects is None:
        return cohort
    wanted = dict.fromkeys(without_prefix(str(subject), "sub-") for subject in subjects)
    unknown = [subject for subject in wanted if subject not in cohort.subjects]
    known = ", ".join(cohort.subjects[:10]) + (", ..." if len(cohort.subjects) > 10 else "")
    if unknown:
        raise InputError(
            f"{cohort.name}: subject {subject!r} of the list 'subjects' is not in the cohort; its subjects: {known}"
            for subject in unknown
        )
    if not wanted:
        raise InputError(f"{cohort.name}: the list 'subjects' is empty; name some of {known}, or write null for all")
    return replace(cohort, studies=tuple(study for study in cohort.studies if study.subject in wanted))
