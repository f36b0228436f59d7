"""Labels of subjects and sessions: their order, their prefixes, their use in file names."""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lesionseg.data.dataset import Dataset, MaskFile, Study, assemble, without_prefix
from lesionseg.data.readers.table import cell, read_rows
from lesionseg.errors import InputError

BIDS_LABEL = r"[A-Za-z0-9]+"

ANYTHING = r".+?"


_TOKEN = re.compile(r"\{(?P<field>[^{}]*)\}|(?P<nifti>\.nii\*$)|(?P<mark>\*+|[\[\]{}])|(?P<text>[^\[\]{}*.]+|\.)")

_FIELDS = ("subject", "session")


@dataclass(frozen=True)
class Labels:
    """Whose file it is; the session is empty where the pattern's optional part was not there."""

    subject: str
    session: str


@dataclass(frozen=True)
class Pattern:
    """A pattern ready to be matched.

    Args:
        text: as it was written.
        expression: groups ``subject0``, ``session0``, ``subject1``, ... one for each mention.
    """

    text: str
    expression: re.Pattern[str]

    def match(self, path: str) -> Labels | None:
        """The labels in a path with forward slashes, or None where the pattern does not fit.

        Raises:
            ValueError: it fits, but two places name different subjects or sessions.
        """
        fit = self.expression.fullmatch(path)
        if fit is None:
            return None
        found = {field: _values(fit, field) for field in _FIELDS}
        for field, values in found.items():
            if len(values) > 1:
                raise ValueError(f"names two {field}s, {' and '.join(map(repr, values))}")
        return Labels(found["subject"][0], found["session"][0] if found["session"] else "")


def parse_pattern(text: str, subject: str = BIDS_LABEL) -> Pattern:
    """Read a pattern.

    ``{subject}`` and ``{session}`` stand for labels, ``[...]`` is optional, ``*`` is anything within one
    folder or file name, and ``.nii*`` at the end is ``.nii`` or ``.nii.gz``. Everything else stands for
    itself.

    Args:
        text: the pattern.
        subject: regular expression of a subject's label.

    Raises:
        ValueError: the pattern is not well formed; the message says why.
    """
    labels = {"subject": subject, "session": BIDS_LABEL}
    pieces: list[str] = []
    optional = False
    certain_subject = False
    for number, token in enumerate(_TOKEN.finditer(text)):
        field, mark = token["field"], token["mark"]
        if field is not None:
            if field not in labels:
                raise ValueError(f"{{{field}}} is unknown: write {{subject}} or {{session}}")
            pieces.append(f"(?P<{field}{number}>{labels[field]})")
            certain_subject |= field == "subject" and not optional
        elif token["nifti"]:
            pieces.append(r"\.nii(?:\.gz)?")
        elif mark:
            pieces.append(_regex_of_mark(mark, optional))
            optional = mark == "[" or (optional and mark != "]")
        else:
            pieces.append(re.escape(token["text"]))
    if optional:
        raise ValueError("a '[' is never closed")
    if not certain_subject:
        raise ValueError("it does not say whose file it is: it needs {subject} outside of square brackets")
    return Pattern(text, re.compile("".join(pieces)))


def _regex_of_mark(mark: str, optional: bool) -> str:
    """Regular expression of ``*``, ``[`` or ``]``, inside an optional part or not."""
    if mark == "*":
        return "[^/]*"
    if mark == "[" and not optional:
        return "(?:"
    if mark == "]" and optional:
        return ")?"
    reasons = {"[": "a '[' stands inside another", "]": "a ']' has no '[' before it"}
    raise ValueError(reasons.get(mark, f"{mark!r} is not understood ('*' stays within one folder or file name)"))


def _values(fit: re.Match[str], field: str) -> list[str]:
    """The different labels found for a field, in order of appearance."""
    found = (value for group, value in fit.groupdict().items() if group.startswith(field) and value)
    return list(dict.fromkeys(found))


def files_below(root: Path) -> tuple[str, ...]:
    """Every file below the folder, relative to it, with forward slashes, sorted.

    Links are followed, but never round in circles; what begins with a dot is left out (``.git``,
    ``._scan.nii``).
    """
    return tuple(sorted(_walk(root, "", frozenset())))


def _walk(folder: Path, prefix: str, above: frozenset[Path]) -> Iterator[str]:
    """Files below one folder; ``above`` holds the real folders that lead to it."""
    real = folder.resolve()
    if real in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", above | {real})
            else:
                yield prefix + entry.name


@dataclass(frozen=True)
class Participant:
    """What ``participants.tsv`` says of a subject, where it says it."""

    site: str | None
    split: str | None


def read_participants(root: Path) -> Mapping[str, Participant]:
    """Site and split of each subject from ``participants.tsv``; empty where there is no such file.

    Raises:
        InputError: it cannot be read, has no column ``participant_id``, or lists a subject twice.
    """
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    table = read_rows(path)
    if "participant_id" not in table.columns:
        raise InputError(
            f"{path} has no column participant_id (found: {', '.join(table.columns)}); add it, or remove the file"
        )
    participants: dict[str, Participant] = {}
    faults: list[str] = []
    for _, row in table.iterrows():
        subject = without_prefix(cell(row, "participant_id"), "sub-")
        if subject in participants:
            faults.append(f"{path} lists sub-{subject} twice; keep one of the rows")
        participants[subject] = Participant(cell(row, "site") or None, cell(row, "split") or None)
    if faults:
        raise InputError(dict.fromkeys(faults))
    return participants


_log = logging.getLogger(__name__)


Patterns = Mapping[str, Sequence[Pattern]]

Found = Mapping[str, Mapping[Labels, str]]

"""Contrast or target to the one file of each study, relative to the root."""


def read_bids(
    root: Path, *, name: str, images: Mapping[str, Sequence[str]], masks: Mapping[str, Sequence[str]]
) -> Dataset:
    """Find the studies of a BIDS folder.

    In a pattern, ``{subject}`` and ``{session}`` are BIDS labels, ``[...]`` is optional, ``*`` is anything
    within one folder or file name, and ``.nii*`` at the end is ``.nii`` or ``.nii.gz``. Of several patterns
    for one contrast or target, the first that fits a file of the study counts. Columns ``site`` and ``split``
    of ``participants.tsv`` are honoured where they exist.

    Args:
        root: the dataset's folder.
        name: the dataset's name.
        images: contrast to its patterns, relative to the root.
        masks: target to its patterns, relative to the root.

    Returns:
        Studies with at least one image, sessions in natural order (2 before 10).

    Raises:
        InputError: everything found wrong: a pattern that cannot be read, no folder, no study, two files for
            one contrast of a study, a mask without image, a link that leads nowhere, and what `assemble`
            refuses.
    """
    root = Path(root)
    image_patterns, mask_patterns = _parse_all(name, images, masks)
    if not root.is_dir():
        state = "is a file, not a folder" if root.exists() else "does not exist"
        raise InputError(f"{name}: the root {root} {state}; set the dataset's root to the BIDS folder")
    files = files_below(root)
    found_images, faults = _find(root, files, image_patterns)
    found_masks, mask_faults = _find(root, files, mask_patterns)
    faults += mask_faults
    studies = dict.fromkeys(labels for found in found_images.values() for labels in found)
    if not studies:
        raise InputError([*(f"{name}: {fault}" for fault in faults), _nothing_found(name, root, files, images)])
    faults += _masks_without_image(root, found_masks, studies)
    participants: Mapping[str, Participant] = {}
    try:
        participants = read_participants(root)
    except InputError as error:
        faults += error.faults
    _warn_of_subjects_without_image(files, studies)
    return assemble(name, root, (_study(root, who, found_images, found_masks, participants) for who in studies), faults)


def _parse_all(
    name: str, images: Mapping[str, Sequence[str]], masks: Mapping[str, Sequence[str]]
) -> tuple[Patterns, Patterns]:
    """Both maps with their patterns read; a single pattern may stand without a list."""
    faults: list[str] = []
    parsed: list[Patterns] = []
    for key, patterns_of in (("images", images), ("masks", masks)):
        understood: dict[str, list[Pattern]] = defaultdict(list)
        for what, texts in patterns_of.items():
            for text in [texts] if isinstance(texts, str) else texts:
                try:
                    understood[what].append(parse_pattern(text))
                except ValueError as error:
                    faults.append(f"{name}: {key}.{what}: the pattern {text!r} cannot be read: {error}")
        parsed.append(understood)
    if not any(images.values()):
        faults.append(f"{name}: images names no pattern; write one for each contrast, such as flair")
    if faults:
        raise InputError(faults)
    return parsed[0], parsed[1]


def _find(root: Path, files: Sequence[str], patterns_of: Patterns) -> tuple[Found, list[str]]:
    """The file of each study for each contrast or target, and what is wrong with them."""
    found: dict[str, dict[Labels, str]] = {}
    faults: list[str] = []
    for what, patterns in patterns_of.items():
        chosen: dict[Labels, str] = {}
        for pattern in patterns:
            fitting, contradictions = _fitting(files, pattern)
            faults += [f"{root / path} {contradiction}" for path, contradiction in contradictions.items()]
            for who, paths in fitting.items():
                if who in chosen:
                    continue
                chosen[who] = paths[0]
                if len(paths) > 1:
                    faults.append(
                        f"{_study_name(who)}: {len(paths)} files fit the pattern {pattern.text!r} of {what}: "
                        f"{', '.join(paths)} (in {root}); make the pattern more specific, or move all but "
                        "one away"
                    )
        found[what] = chosen
        faults += [
            f"{_study_name(who)}: {root / path} is a link that leads nowhere; fetch the file (with DataLad: "
            f"datalad get {path})"
            for who, path in chosen.items()
            if not (root / path).exists()
        ]
    return found, faults


def _fitting(files: Sequence[str], pattern: Pattern) -> tuple[Mapping[Labels, Sequence[str]], Mapping[str, str]]:
    """Every file a pattern fits, by study, and what is wrong with those whose labels disagree."""
    fitting: dict[Labels, list[str]] = defaultdict(list)
    contradictions: dict[str, str] = {}
    for path in files:
        try:
            who = pattern.match(path)
        except ValueError as error:
            contradictions[path] = f"{error}; rename the folder or the file so that they agree"
            continue
        if who is not None:
            fitting[who].append(path)
    return fitting, contradictions


def _masks_without_image(root: Path, masks: Found, studies: Mapping[Labels, None]) -> list[str]:
    return [
        f"{_study_name(who)}: the mask {root / path} ({target}) belongs to a session without any image; add "
        "the image, correct the labels in the mask's name, or remove it"
        for target, found in masks.items()
        for who, path in found.items()
        if who not in studies
    ]


def _nothing_found(name: str, root: Path, files: Sequence[str], images: Mapping[str, Sequence[str]]) -> str:
    looked_for = [
        f"{contrast}: {text}"
        for contrast, texts in images.items()
        for text in ([texts] if isinstance(texts, str) else texts)
    ]
    scans = [path for path in files if path.endswith((".nii", ".nii.gz"))] or files
    there = ", ".join(scans[:3]) if files else "nothing at all"
    return (
        f"{name}: no study found in {root}. Looked for {'; '.join(looked_for)}. Files there ({len(files)}), "
        f"for example: {there}. Write the dataset's patterns after these names, or correct its root"
    )


def _warn_of_subjects_without_image(files: Sequence[str], studies: Mapping[Labels, None]) -> None:
    """A folder ``sub-*`` in which no pattern fits any image would otherwise vanish unseen."""
    known = {who.subject for who in studies}
    folders = dict.fromkeys(path.split("/")[0] for path in files if path.startswith("sub-") and "/" in path)
    lost = [folder for folder in folders if folder.removeprefix("sub-") not in known]
    if lost:
        _log.warning(
            "No image pattern fits anything of %d subjects: %s%s",
            len(lost),
            ", ".join(islice(lost, 5)),
            ", ..." if len(lost) > 5 else "",
        )


def _study(root: Path, who: Labels, images: Found, masks: Found, participants: Mapping[str, Participant]) -> Study:
    participant = participants.get(who.subject, Participant(None, None))
    return Study(
        who.subject,
        who.session,
        images={contrast: root / found[who] for contrast, found in images.items() if who in found},
        masks={target: MaskFile(root / found[who]) for target, found in masks.items() if who in found},
        site=participant.site,
        split=participant.split,
    )


def _study_name(who: Labels) -> str:
    return Study(who.subject, who.session, {}).name
