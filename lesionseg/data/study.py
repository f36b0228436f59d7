"""What a cohort is made of: studies, each one session of one subject."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class MaskFile:
    """A hand-drawn mask on disk.

    Args:
        path: the NIfTI file.
        label: the voxel value that counts; None: the mask is binary and every non-zero voxel counts.
    """

    path: Path
    label: int | None = None


@dataclass(frozen=True)
class Study:
    """One session of one subject.

    Args:
        subject: label without the ``sub-`` prefix; the unit of every split and every test.
        session: label without the ``ses-`` prefix; empty where the cohort knows no sessions.
        images: contrast name (``flair``, ``t1``, ``t1_post``, ``t2``, ...) to its file.
        masks: target name (``lesion``, ``new_lesion``, ...) to its mask.
        site: where it was scanned, if the cohort says so.
        split: ``train``, ``validation`` or ``test`` if the cohort fixes it.
    """

    subject: str
    session: str
    images: Mapping[str, Path]
    masks: Mapping[str, MaskFile] = field(default_factory=dict)
    site: str | None = None
    split: str | None = None

    @property
    def name(self) -> str:
        """``sub-<subject>_ses-<session>``, or ``sub-<subject>`` without sessions."""
        return f"sub-{self.subject}_ses-{self.session}" if self.session else f"sub-{self.subject}"


@dataclass(frozen=True)
class Cohort:
    """All studies of a dataset.

    Args:
        name: the dataset's name, for tables and MLflow.
        root: the folder or table it was read from.
        studies: ordered by subject and, within a subject, from the earliest session to the latest.
    """

    name: str
    root: Path
    studies: tuple[Study, ...]

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Every subject once, in order."""
        return tuple(dict.fromkeys(study.subject for study in self.studies))

    def prior_of(self, study: Study) -> Study | None:
        """The same subject's session right before this one; None if there is none."""
        own = [other for other in self.studies if other.subject == study.subject]
        position = own.index(study)
        return own[position - 1] if position else None
