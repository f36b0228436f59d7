"""Studies of a BIDS folder, found by file patterns."""

import difflib
import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lesionseg.data.dataset import Dataset, MaskFile, Study, assemble, natural_key
from lesionseg.data.readers.table import cell, read_rows
from lesionseg.errors import InputError

BIDS_LABEL = r"[A-Za-z0-9]+"
_TOKEN = re.compile(r"\{(?P<field>[^{}]*)\}|(?P<nifti>\.nii\*$)|(?P<mark>\*+|[\[\]{}])|(?P<text>[^\[\]{}*.]+|\.)")
_MOST = 5  # names in a message
_log = logging.getLogger(__name__)

Who = tuple[str, str]  # subject and session; the session is empty where the pattern's optional part was not there


@dataclass(frozen=True)
class Pattern:
    """A file pattern as it was written, and its expression, with a group for each mention of subject and session."""

    text: str
    expression: re.Pattern[str]

    def match(self, path: str) -> Who | None:
        """Return whose file it is, of a path with forward slashes; None where the pattern does not fit.

        Raises:
            ValueError: it fits, but two places name different subjects or sessions.
        """
        fit = self.expression.fullmatch(path)
        if fit is None:
            return None
        found = []
        for field in ("subject", "session"):
            values = dict.fromkeys(
                value for group, value in fit.groupdict().items() if group.startswith(field) and value
            )
            if len(values) > 1:
                raise ValueError(f"names two {field}s, {' and '.join(map(repr, values))}")
            found.append(next(iter(values), ""))
        return found[0], found[1]


def parse_pattern(text: str, subject: str = BIDS_LABEL) -> Pattern:
    """Read a pattern; ``subject`` is the regular expression of a subject's label.

    ``{subject}`` and ``{session}`` stand for labels, ``[...]`` is optional, ``*`` is anything within one folder or file
    name, and ``.nii*`` at the end is ``.nii`` or ``.nii.gz``. Everything else stands for itself. Raise ValueError,
    which says why, where it is not well formed.
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
            pieces.append(_expression_of(mark, optional))
            optional = mark == "[" or (optional and mark != "]")
        else:
            pieces.append(re.escape(token["text"]))
    if optional:
        raise ValueError("a '[' is never closed")
    if not certain_subject:
        raise ValueError("it does not say whose file it is: it needs {subject} outside of square brackets")
    return Pattern(text, re.compile("".join(pieces)))


def _expression_of(mark: str, optional: bool) -> str:
    """Return the regular expression of ``*``, ``[`` or ``]``, inside an optional part or not."""
    meanings = {("*", False): "[^/]*", ("*", True): "[^/]*", ("[", False): "(?:", ("]", True): ")?"}
    if (mark, optional) in meanings:
        return meanings[mark, optional]
    reasons = {"[": "a '[' stands inside another", "]": "a ']' has no '[' before it"}
    raise ValueError(reasons.get(mark, f"{mark!r} is not understood ('*' stays within one folder or file name)"))


def files_below(root: Path) -> tuple[str, ...]:
    """Return every file below the folder, relative to it, with forward slashes, sorted.

    Links are followed, but never round in circles; what begins with a dot is left out (``.git``, ``._scan.nii``).
    """

    def walk(folder: Path, prefix: str, above: frozenset[Path]) -> Iterator[str]:
        real = folder.resolve()
        if real in above:
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from walk(Path(entry.path), f"{prefix}{entry.name}/", above | {real})
                else:
                    yield prefix + entry.name

    return tuple(sorted(walk(root, "", frozenset())))


def read_participants(root: Path) -> Mapping[str, tuple[str | None, str | None]]:
    """Return site and split of each subject from ``participants.tsv``; empty where there is no such file."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    table = read_rows(path)
    if "participant_id" not in table.columns:
        raise InputError(
            f"{path} has no column participant_id (found: {', '.join(table.columns)}); add it, or remove the file"
        )
    participants: dict[str, tuple[str | None, str | None]] = {}
    faults: list[str] = []
    for row in table.to_dict("records"):
        subject = cell(row, "participant_id").removeprefix("sub-")
        if subject in participants:
            faults.append(f"{path} lists sub-{subject} twice; keep one of the rows")
        participants[subject] = (cell(row, "site") or None, cell(row, "split") or None)
    if faults:
        raise InputError(dict.fromkeys(faults))
    return participants


def _unjoined(
    path: Path,
    participants: Mapping[str, tuple[str | None, str | None]],
    folders: Sequence[str],
    studied: Sequence[str],
) -> Iterator[str]:
    """Find rows of participants without a folder and subjects without a row, each with the near match."""
    for subject in participants:
        if subject not in folders:
            yield f"{path} lists sub-{subject}, and there is no such folder{_near(subject, folders)}"
    for subject in studied:
        if subject not in participants:
            yield f"{path} has no row of sub-{subject}, whose scans are there{_near(subject, list(participants))}"


def _near(subject: str, names: Sequence[str]) -> str:
    same = [name for name in names if natural_key(name) == natural_key(subject)]
    near = same or difflib.get_close_matches(subject, names, n=1)
    return f"; write sub-{near[0]} in both" if near else "; add it, or remove the other"


def read_acquisition_times(root: Path, files: Iterable[str]) -> dict[Who, str]:
    """Return ``acq_time`` of each session that a ``*sessions.tsv`` tells, in the root or in a subject's folder."""
    times: dict[Who, str] = {}
    for path in (path for path in files if path.endswith("sessions.tsv") and path.count("/") < 2):
        table = read_rows(root / path)
        if {"session_id", "acq_time"} <= set(table.columns):
            for row in table.to_dict("records"):
                own = path.partition("/")[0] if "/" in path else cell(row, "participant_id")
                who = own.removeprefix("sub-"), cell(row, "session_id").removeprefix("ses-")
                times[who] = cell(row, "acq_time")
    return times


def read_bids(
    root: Path, *, name: str, images: Mapping[str, Sequence[str]], masks: Mapping[str, Sequence[str]]
) -> Dataset:
    """Find the studies of a BIDS folder.

    Patterns are those of :func:`parse_pattern`, relative to the root. Of several for one contrast or target, the first
    that fits a file of the study counts. Columns ``site`` and ``split`` of ``participants.tsv`` are honoured where they
    exist, and so is ``acq_time`` of ``sessions.tsv``; where there is a column ``split``, every subject needs a row and
    every row a subject. Everything that is wrong is raised as one InputError.
    """
    root = Path(root)
    patterns = _parse_all(name, {"images": images, "masks": masks})
    if not root.is_dir():
        state = "is a file, not a folder" if root.exists() else "does not exist"
        raise InputError(f"{name}: the root {root} {state}; set the dataset's root to the BIDS folder")
    files = files_below(root)
    faults: list[str] = []
    image_files = {what: _find(root, files, what, own, faults) for what, own in patterns["images"].items()}
    mask_files = {what: _find(root, files, what, own, faults) for what, own in patterns["masks"].items()}
    everyone = dict.fromkeys(who for found in image_files.values() for who in found)
    if not everyone:
        raise InputError([*(f"{name}: {fault}" for fault in faults), _nothing_found(name, root, files, images)])
    faults += [
        f"{_study_name(who)}: the mask {root / path} ({target}) belongs to a session without any image; add "
        "the image, correct the labels in the mask's name, or remove it"
        for target, found in mask_files.items()
        for who, path in found.items()
        if who not in everyone
    ]
    participants: Mapping[str, tuple[str | None, str | None]] = {}
    try:
        participants = read_participants(root)
    except InputError as error:
        faults += error.faults
    folders = sorted({path[4:].partition("/")[0] for path in files if path.startswith("sub-") and "/" in path})
    studied = list(dict.fromkeys(subject for subject, _ in everyone))
    unjoined = list(_unjoined(root / "participants.tsv", participants, folders, studied)) if participants else []
    if any(split for _, split in participants.values()):
        faults += unjoined
    elif unjoined:
        _log.warning("%s", "\n".join(unjoined[:_MOST]) + ("\n..." if len(unjoined) > _MOST else ""))
    times = read_acquisition_times(root, files)
    _warn_of_subjects_without_image(files, {subject for subject, _ in everyone})
    studies = [
        Study(
            *who,
            {contrast: root / found[who] for contrast, found in image_files.items() if who in found},
            {target: MaskFile(root / found[who]) for target, found in mask_files.items() if who in found},
            *participants.get(who[0], (None, None)),
            times.get(who, ""),
        )
        for who in everyone
    ]
    return assemble(name, root, studies, faults)


def _parse_all(name: str, texts: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, dict[str, list[Pattern]]]:
    """Read the patterns of images and of masks; a single pattern may stand without a list."""
    faults: list[str] = []
    parsed: dict[str, dict[str, list[Pattern]]] = {key: defaultdict(list) for key in texts}
    for key, what, text in (
        (key, what, text) for key, of in texts.items() for what, own in of.items() for text in _listed(own)
    ):
        try:
            parsed[key][what].append(parse_pattern(text))
        except ValueError as error:
            faults.append(f"{name}: {key}.{what}: the pattern {text!r} cannot be read: {error}")
    if not any(texts["images"].values()):
        faults.append(f"{name}: images names no pattern; write one for each contrast, such as flair")
    if faults:
        raise InputError(faults)
    return parsed


def _listed(texts: Sequence[str]) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts


def _find(
    root: Path, files: Sequence[str], what: str, patterns: Iterable[Pattern], faults: list[str]
) -> dict[Who, str]:
    """Return each study's file for one contrast or target, relative to the root; add what is wrong to the faults."""
    chosen: dict[Who, str] = {}
    for pattern in patterns:
        fitting: dict[Who, list[str]] = defaultdict(list)
        for path in files:
            try:
                who = pattern.match(path)
            except ValueError as error:
                faults.append(f"{root / path} {error}; rename the folder or the file so that they agree")
                continue
            if who is not None and who not in chosen:
                fitting[who].append(path)
        for who, paths in fitting.items():
            chosen[who] = paths[0]
            if len(paths) > 1:
                faults.append(
                    f"{_study_name(who)}: {len(paths)} files fit the pattern {pattern.text!r} of {what}: "
                    f"{', '.join(paths)} (in {root}); make the pattern more specific, or move all but one away"
                )
    faults += [
        f"{_study_name(who)}: {root / path} is a link that leads nowhere; fetch the file (with DataLad: "
        f"datalad get {path})"
        for who, path in chosen.items()
        if not (root / path).exists()
    ]
    return chosen


def _nothing_found(name: str, root: Path, files: Sequence[str], images: Mapping[str, Sequence[str]]) -> str:
    looked_for = [f"{contrast}: {text}" for contrast, texts in images.items() for text in _listed(texts)]
    scans = [path for path in files if path.endswith((".nii", ".nii.gz"))] or files
    there = ", ".join(scans[:3]) if files else "nothing at all"
    return (
        f"{name}: no study found in {root}. Looked for {'; '.join(looked_for)}. Files there ({len(files)}), "
        f"for example: {there}. Write the dataset's patterns after these names, or correct its root"
    )


def _warn_of_subjects_without_image(files: Sequence[str], known: set[str]) -> None:
    """Say which folders ``sub-*`` hold no image that a pattern fits: they would otherwise vanish unseen."""
    folders = dict.fromkeys(path.split("/")[0] for path in files if path.startswith("sub-") and "/" in path)
    lost = [folder for folder in folders if folder.removeprefix("sub-") not in known]
    if lost:
        shown = ", ".join(lost[:_MOST]) + (", ..." if len(lost) > _MOST else "")
        _log.warning("No image pattern fits anything of %d subjects: %s", len(lost), shown)


def _study_name(who: Who) -> str:
    return Study(*who, {}).name
