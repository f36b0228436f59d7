"""What a dataset is made of: studies, each one session of one subject."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

from lesionseg.data.channels import Channel, Source, sources_of
from lesionseg.errors import InputError

_DIGITS = re.compile(r"([0-9]+)")

_UNSAFE = re.compile(r'[\x00-\x1f/\\:*?"<>|]|^[.\s]|[.\s]$')


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
        session: label without the ``ses-`` prefix; empty where the dataset knows no sessions.
        images: contrast name (``flair``, ``t1``, ``t1_post``, ``t2``, ...) to its file.
        masks: target name (``lesion``, ``new_lesion``, ...) to its mask.
        site: where it was scanned, if the dataset says so.
        split: ``train``, ``validation`` or ``test`` if the dataset fixes it.
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
class Dataset:
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
    dataset: Dataset, channels: Sequence[Channel], target: str | None, sessions: Sessions = "all"
) -> tuple[TaskStudy, ...]:
    """The studies that have every image the channels need and, if a target is named, its mask.

    Args:
        dataset: where to choose from.
        channels: the task's inputs.
        target: the task's mask; None: studies without one serve as well, and take none along.
        sessions: which of a subject's studies that serve are taken.
    """
    chosen: dict[str, list[TaskStudy]] = {}
    for study in dataset.studies:
        found = task_study(dataset, study, channels, target)
        if found is not None:
            chosen.setdefault(study.subject, []).append(found)
    part = {"first": slice(0, 1), "last": slice(-1, None), "all": slice(None)}[sessions]
    return tuple(found for own in chosen.values() for found in own[part])


def task_study(dataset: Dataset, study: Study, channels: Sequence[Channel], target: str | None) -> TaskStudy | None:
    """One study with its files; None if it lacks an image, the session before or the mask."""
    prior = dataset.prior_of(study)
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


def select_subjects(dataset: Dataset, subjects: Collection[str] | None) -> Dataset:
    """The studies of the subjects listed, with or without ``sub-``; None keeps everyone.

    Raises:
        InputError: a subject is not in the dataset, or none is listed.
    """
    if subjects is None:
        return dataset
    wanted = dict.fromkeys(without_prefix(str(subject), "sub-") for subject in subjects)
    unknown = [subject for subject in wanted if subject not in dataset.subjects]
    known = ", ".join(dataset.subjects[:10]) + (", ..." if len(dataset.subjects) > 10 else "")
    if unknown:
        raise InputError(
            f"{dataset.name}: subject {subject!r} of the list 'subjects' is not in the dataset; its subjects: {known}"
            for subject in unknown
        )
    if not wanted:
        raise InputError(f"{dataset.name}: the list 'subjects' is empty; name some of {known}, or write null for all")
    return replace(dataset, studies=tuple(study for study in dataset.studies if study.subject in wanted))


SPLITS = ("train", "validation", "test")


def assemble(name: str, root: Path, studies: Iterable[Study], faults: Sequence[str]) -> Dataset:
    """Put studies in order, give all sessions of a subject one split, and refuse what no reader may let by.

    Args:
        name: the dataset's name.
        root: the folder or table the studies came from.
        studies: in any order.
        faults: what the reader found wrong already.

    Raises:
        InputError: the reader's faults and those found here: labels that no file can be named by, studies of
            one name, sessions without an order, an image used twice, a subject in two splits, an unknown
            split.
    """
    ordered = sorted(studies, key=lambda s: (natural_key(s.subject), s.subject, natural_key(s.session), s.session))
    found = [*faults, *_label_faults(ordered), *_order_faults(ordered), *_image_faults(ordered)]
    found += _split_faults(ordered)
    if found:
        raise InputError(f"{name}: {fault}" for fault in dict.fromkeys(found))
    split_of = {study.subject: study.split for study in ordered if study.split}
    return Dataset(name, root, tuple(replace(study, split=split_of.get(study.subject)) for study in ordered))


def _label_faults(studies: Sequence[Study]) -> Iterator[str]:
    for kind, labels in (
        ("subject", dict.fromkeys(study.subject for study in studies)),
        ("session", dict.fromkeys(study.session for study in studies if study.session)),
    ):
        for label in labels:
            if not is_safe_in_file_names(label):
                yield (
                    f'{kind} {label!r} cannot be part of a file name; rename it: no / \\ : * ? " < > | or '
                    "line break, and no dot or blank at either end"
                )


def _order_faults(studies: Sequence[Study]) -> Iterator[str]:
    """Studies that carry one name, and sessions such as 1 and 01, of which neither comes first."""
    named: dict[str, Study] = {}
    for study in studies:
        first = named.setdefault(study.name, study)
        if first is not study:
            yield (
                f"two studies are called {study.name} (subject {first.subject!r} session {first.session!r}, "
                f"and subject {study.subject!r} session {study.session!r}); give each session of a subject a "
                "label of its own"
            )
    for earlier, later in pairwise(studies):
        same = earlier.subject == later.subject and natural_key(earlier.session) == natural_key(later.session)
        if same and earlier.session != later.session:
            yield (
                f"sub-{later.subject}: sessions {earlier.session!r} and {later.session!r} have no order in "
                "time; rename one of them"
            )


def _image_faults(studies: Sequence[Study]) -> Iterator[str]:
    """Images that stand for two contrasts or two studies."""
    used: dict[Path, str] = {}
    for study in studies:
        for contrast, path in study.images.items():
            use = f"{study.name}, {contrast}"
            first = used.setdefault(path, use)
            if first != use:
                yield (
                    f"{path} is used twice, as {first} and as {use}; one image is one contrast of one study: "
                    "make the pattern, column or channel of one of them more specific, or remove the row"
                )


def _split_faults(studies: Sequence[Study]) -> Iterator[str]:
    splits: dict[str, set[str]] = defaultdict(set)
    for study in studies:
        if study.split:
            splits[study.subject].add(study.split)
    for subject, found in splits.items():
        for split in sorted(found - set(SPLITS)):
            yield (f"sub-{subject}: split {split!r} is unknown; write one of {', '.join(SPLITS)}, or leave it empty")
        if len(found) > 1:
            yield (
                f"sub-{subject} is in the splits {' and '.join(sorted(found))}; all sessions of a subject "
                "belong to one, or the test would see patients of the training"
            )


def natural_key(label: str) -> tuple[str | int, ...]:
    """Sort key in which ``2`` comes before ``10``; ISO dates (``2019-03-01``, ``20190301``) sort by time.

    Text and numbers alternate, starting with text, so that any two keys can be compared.
    """
    parts = _DIGITS.split(label.lower())
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))


def without_prefix(label: str, prefix: str) -> str:
    """The label without BIDS's ``sub-`` or ``ses-``, where it has it."""
    return label.removeprefix(prefix)


def is_safe_in_file_names(label: str) -> bool:
    """Whether a file or folder can be named by the label on every common system."""
    return not _UNSAFE.search(label)
