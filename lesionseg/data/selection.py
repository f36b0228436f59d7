"""Which studies of a cohort serve a task, and the files each is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lesionseg.data.channels import Channel, Source, sources_of
from lesionseg.data.study import Cohort, MaskFile, Study

Sessions = Literal["first", "last", "all"]


@dataclass(frozen=True)
class TaskStudy:
    """A study with the files that a task needs.

    Args:
        study: the session that is segmented.
        sources: each image that the channels need, with its file, in order of first use.
        mask: the reference; None where only a prediction is wanted.
    """

    study: Study
    sources: tuple[tuple[Source, Path], ...]
    mask: MaskFile | None

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.name

    @property
    def subject(self) -> str:
        """The study's subject."""
        return self.study.subject

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file it is made of."""
        return (*(path for _, path in self.sources), *((self.mask.path,) if self.mask else ()))


def select_studies(
    cohort: Cohort, channels: Sequence[Channel], target: str | None, sessions: Sessions = "all"
) -> tuple[TaskStudy, ...]:
    """The studies that have every image the channels need and, if a target is named, its mask.

    Args:
        cohort: where to choose from.
        channels: the task's inputs.
        target: the task's mask; None: studies without one serve as well, and take none along.
        sessions: which of a subject's studies that serve are taken.
    """
    chosen: dict[str, list[TaskStudy]] = {}
    for study in cohort.studies:
        found = task_study(cohort, study, channels, target)
        if found is not None:
            chosen.setdefault(study.subject, []).append(found)
    part = {"first": slice(0, 1), "last": slice(-1, None), "all": slice(None)}[sessions]
    return tuple(found for own in chosen.values() for found in own[part])


def task_study(cohort: Cohort, study: Study, channels: Sequence[Channel], target: str | None) -> TaskStudy | None:
    """One study with its files; None if it lacks an image, the session before or the mask."""
    prior = cohort.prior_of(study)
    sources = []
    for source in sources_of(channels):
        session = prior if source.prior else study
        path = session.images.get(source.contrast) if session else None
        if path is None:
            return None
        sources.append((source, path))
    mask = study.masks.get(target) if target else None
    if target and mask is None:
        return None
    return TaskStudy(study, tuple(sources), mask)
