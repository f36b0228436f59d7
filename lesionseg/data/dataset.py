"""What a dataset is made of: studies, each one session of one subject; and which of them a task can use, whose input
channels are a contrast, one of the session before, or the difference of two."""

import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

from lesionseg.errors import InputError

SPLITS = ("train", "validation", "test")
_SOURCE = re.compile(r"(?P<prior>prior\.)?(?P<contrast>[A-Za-z][A-Za-z0-9_]*)")
_DIGITS = re.compile(r"([0-9]+)")
_GERMAN_DATE = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})")
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})")
_STAGES = {**dict.fromkeys(("pre", "before", "baseline", "bl", "base", "first", "initial"), 0)}
_STAGES |= dict.fromkeys(("post", "after", "followup", "fu", "follow", "last", "final"), 2)
_log = logging.getLogger(__name__)
_UNSAFE_IN_FILE_NAMES = re.compile(r'[\x00-\x1f/\\:*?"<>|]|^[.\s=+@-]|[.\s]$')
Sessions = Literal["first", "last", "all"]


@dataclass(frozen=True)
class Source:
    """An image that a channel is read from: a contrast of the study, or of its prior session."""

    contrast: str
    prior: bool = False

    def __str__(self) -> str:
        return f"prior.{self.contrast}" if self.prior else self.contrast


@dataclass(frozen=True)
class Channel:
    """One input channel: ``plus``, or ``plus - minus`` after both were normalised."""

    plus: Source
    minus: Source | None = None

    def __str__(self) -> str:
        return f"{self.plus} - {self.minus}" if self.minus else str(self.plus)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The images it needs."""
        return (self.plus, self.minus) if self.minus else (self.plus,)


def parse_channel(text: str) -> Channel:
    """Read ``flair``, ``prior.flair`` or ``t1_post - t1``.

    Raises:
        ValueError: the text is none of these.
    """
    parts = [_SOURCE.fullmatch(part.strip()) for part in text.split(" - ")]
    if len(parts) > 2 or not all(parts):
        raise ValueError(
            f"{text!r} is no input channel: write a contrast ('flair'), a contrast of the session before "
            "('prior.flair'), or the difference of two ('t1_post - t1', with spaces around the minus)"
        )
    sources = [Source(part["contrast"], bool(part["prior"])) for part in parts if part]
    return Channel(*sources)


def sources_of(channels: Iterable[Channel]) -> tuple[Source, ...]:
    """Every image the channels need, each once, in order of first use."""
    return tuple(dict.fromkeys(source for channel in channels for source in channel.sources))


@dataclass(frozen=True)
class MaskFile:
    """A hand-drawn mask on disk."""

    path: Path
    label: int | None = None  # the voxel value that counts; None: every non-zero voxel does
    declared: tuple[int, ...] = ()  # the values that it may hold, if the dataset says so


@dataclass(frozen=True)
class Study:
    """One session of one subject."""

    subject: str  # label without the ``sub-`` prefix; the unit of every split and every test
    session: str  # label without the ``ses-`` prefix; empty where the dataset knows no sessions
    images: Mapping[str, Path]  # contrast name (``flair``, ``t1``, ``t1_post``, ``t2``, ...) to its file
    # target name (``lesion``, ``new_lesion``, ...) to its mask
    masks: Mapping[str, MaskFile] = field(default_factory=dict)
    site: str | None = None  # where it was scanned, if the dataset says so
    split: str | None = None  # ``train``, ``validation`` or ``test`` if the dataset fixes it
    acquired: str = ""  # when it was scanned, ISO 8601; empty if the dataset does not say so

    @property
    def name(self) -> str:
        """``sub-<subject>_ses-<session>``, or ``sub-<subject>`` without sessions."""
        return f"sub-{self.subject}_ses-{self.session}" if self.session else f"sub-{self.subject}"


@dataclass(frozen=True)
class Dataset:
    """All studies of a dataset, ordered by subject and, within a subject, from the earliest session to the latest."""

    name: str
    root: Path  # the folder or table it was read from
    studies: tuple[Study, ...]

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Every subject once, in order."""
        return tuple(dict.fromkeys(study.subject for study in self.studies))

    @cached_property
    def _by_subject(self) -> Mapping[str, list[Study]]:
        found: dict[str, list[Study]] = {}
        for study in self.studies:
            found.setdefault(study.subject, []).append(study)
        return found

    def prior_of(self, study: Study) -> Study | None:
        """Return the same subject's session right before this one; None if there is none."""
        own = self._by_subject[study.subject]
        position = own.index(study)
        return own[position - 1] if position else None


@dataclass(frozen=True)
class TaskStudy:
    """A study with the files that a task needs."""

    study: Study
    sources: tuple[tuple[Source, Path], ...]  # each image that the channels need, in order of first use
    mask: MaskFile | None  # the reference; None where only a prediction is wanted

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.name

    @property
    def subject(self) -> str:
        """The study's subject."""
        return self.study.subject


def select_studies(
    dataset: Dataset, channels: Sequence[Channel], target: str | None, sessions: Sessions = "all"
) -> tuple[TaskStudy, ...]:
    """Return the studies that have every image the channels need and, if a target is named, its mask.

    Without a target, studies that have no mask serve as well, and take none along. ``sessions`` says which of a
    subject's studies that serve are taken.
    """
    chosen: dict[str, list[TaskStudy]] = {}
    for study in dataset.studies:
        if not missing_files(dataset, study, channels, target):
            files = {source: image_of(dataset, study, source) for source in sources_of(channels)}
            sources = tuple((source, path) for source, path in files.items() if path)
            found = TaskStudy(study, sources, study.masks[target] if target else None)
            chosen.setdefault(study.subject, []).append(found)
    part = {"first": slice(0, 1), "last": slice(-1, None), "all": slice(None)}[sessions]
    return tuple(found for own in chosen.values() for found in own[part])


def image_of(dataset: Dataset, study: Study, source: Source) -> Path | None:
    """Return the file of a source; None if the study, or the one before it, lacks it."""
    session = dataset.prior_of(study) if source.prior else study
    return session.images.get(source.contrast) if session else None


def missing_files(dataset: Dataset, study: Study, channels: Sequence[Channel], target: str | None) -> tuple[str, ...]:
    """Return what a task needs and a study has not, in words; empty if it can be used."""
    needs: list[str] = []
    prior = dataset.prior_of(study)
    for source in sources_of(channels):
        if source.prior and prior is None:
            needs.append("no session before it")
        elif image_of(dataset, study, source) is None:
            where = f" in the session before it ({prior.name})" if source.prior and prior else ""
            needs.append(f"no contrast '{source.contrast}'{where}")
    if target is not None and target not in study.masks:
        needs.append(f"no mask for the target '{target}'")
    return tuple(dict.fromkeys(needs))


def nothing_usable(dataset: Dataset, channels: Sequence[Channel], target: str | None) -> str:
    """Say why a task can use no study of a dataset at all."""
    studies, sources = dataset.studies, sources_of(channels)
    if not studies:
        return f"{dataset.name}: no study in {dataset.root}; check the dataset's root and its list of subjects"
    contrasts = dict.fromkeys(contrast for study in studies for contrast in study.images)
    targets = dict.fromkeys(name for study in studies for name in study.masks)
    reasons = [
        f"no study has contrast '{contrast}' (contrasts found: {', '.join(contrasts) or 'none'})"
        for contrast in dict.fromkeys(source.contrast for source in sources)
        if contrast not in contrasts
    ]
    if any(source.prior for source in sources) and len(dataset.subjects) == len(studies):
        reasons.append("no subject has two sessions, so that no study has one before it")
    if target is not None and target not in targets:
        reasons.append(f"no study has a mask for the target '{target}' (targets found: {', '.join(targets) or 'none'})")
    if not reasons:
        reasons.append("each needed image and mask is there for some study, but for none all of them are")
    return (
        f"{dataset.name}: no study can be used for this task: {'; '.join(reasons)}. Choose another task, or "
        "add what is missing to the dataset's 'images' and 'masks'"
    )


def select_subjects(dataset: Dataset, subjects: Collection[str] | None) -> Dataset:
    """Return the studies of the subjects listed, with or without ``sub-``; None keeps everyone."""
    if subjects is None:
        return dataset
    wanted = dict.fromkeys(str(subject).removeprefix("sub-") for subject in subjects)
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


def assemble(name: str, root: Path, studies: Iterable[Study], faults: Sequence[str]) -> Dataset:
    """Put studies in order, give all sessions of a subject one split, and refuse what no reader may let by.

    Besides the reader's own faults: labels that no file can be named by, studies of one name, sessions without an
    order, an image used twice, a subject in two splits, an unknown split. Sessions are in the order of their dates
    where all of a subject have one, else of their labels.
    """
    studies = list(studies)
    dated = {study.subject for study in studies} - {study.subject for study in studies if not study.acquired}
    ordered = sorted(
        studies,
        key=lambda study: (
            *(natural_key(study.subject), study.subject, study.acquired if study.subject in dated else ""),
            *(session_key(study.session), study.session),
        ),
    )
    _warn_of_names(ordered, dated)
    found = [*faults, *_label_faults(ordered), *_order_faults(ordered), *_image_faults(ordered)]
    found += _split_faults(ordered)
    if found:
        raise InputError(f"{name}: {fault}" for fault in dict.fromkeys(found))
    split_of = {study.subject: study.split for study in ordered if study.split}
    return Dataset(name, root, tuple(replace(study, split=split_of.get(study.subject)) for study in ordered))


def _label_faults(studies: Sequence[Study]) -> Iterator[str]:
    labels = [("subject", study.subject) for study in studies]
    labels += [("session", study.session) for study in studies if study.session]
    for kind, label in dict.fromkeys(labels):
        if _UNSAFE_IN_FILE_NAMES.search(label):
            yield (
                f'{kind} {label!r} cannot be part of a file name; rename it: no / \\ : * ? " < > | or '
                "line break, no dot or blank at either end, and none of = + @ - at its beginning"
            )


def _order_faults(studies: Sequence[Study]) -> Iterator[str]:
    """Find studies that carry one name, and sessions such as 1 and 01, of which neither comes first."""
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
        same = earlier.subject == later.subject and session_key(earlier.session) == session_key(later.session)
        if same and earlier.session != later.session and (not later.acquired or earlier.acquired == later.acquired):
            yield (
                f"sub-{later.subject}: sessions {earlier.session!r} and {later.session!r} have no order in "
                "time; rename one of them"
            )


def _image_faults(studies: Sequence[Study]) -> Iterator[str]:
    """Find images that stand for two contrasts or two studies."""
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
            yield f"sub-{subject}: split {split!r} is unknown; write one of {', '.join(SPLITS)}, or leave it empty"
        if len(found) > 1:
            yield (
                f"sub-{subject} is in the splits {' and '.join(sorted(found))}; all sessions of a subject "
                "belong to one, or the test would see patients of the training"
            )


def _warn_of_names(studies: Sequence[Study], dated: Collection[str]) -> None:
    """Name subjects that may be one person, and sessions whose order is no more than a guess."""
    alike: dict[tuple[str | int, ...], list[str]] = {}
    for subject in dict.fromkeys(study.subject for study in studies):
        alike.setdefault(natural_key(subject), []).append(subject)
    for names in alike.values():
        if len(names) > 1:
            _log.warning("Subjects %s have nearly the same name: are they one person?", " and ".join(names))
    guessed: dict[str, list[str]] = {}
    for study in studies:
        if study.subject not in dated and study.session and not _DIGITS.search(study.session):
            guessed.setdefault(study.subject, []).append(study.session)
    for sessions in dict.fromkeys(tuple(own) for own in guessed.values() if len(own) > 1):
        _log.warning(
            "The order in time of the sessions %s is guessed from their names; acq_time in sessions.tsv would tell it",
            " < ".join(sessions),
        )


def session_key(label: str) -> tuple[str | int, ...]:
    """Return a sort key of a session: a date (``2019-03-01``, ``01.03.2019``) by time, words such as ``pre`` and
    ``post`` by what they mean, all else as `natural_key`."""
    date, iso = _GERMAN_DATE.fullmatch(label), _ISO_DATE.fullmatch(label)
    if date or iso:
        parts = date.groups()[::-1] if date else iso.groups() if iso else ()
        return (1, *natural_key("".join(f"{int(part):02d}" for part in parts)))
    return (_STAGES.get(label.lower(), 1), *natural_key(label))


def natural_key(label: str) -> tuple[str | int, ...]:
    """Return a sort key in which ``2`` comes before ``10``; ISO dates (``2019-03-01``, ``20190301``) sort by time.

    Text and numbers alternate, starting with text, so that any two keys can be compared.
    """
    parts = _DIGITS.split(label.lower())
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))
