"""Studies of an nnU-Net raw dataset, version 2 or 1."""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesionseg.data.dataset import Dataset, MaskFile, Study, assemble
from lesionseg.data.readers.bids import Pattern, parse_pattern
from lesionseg.errors import InputError

_ENDINGS = (".nii.gz", ".nii")
_NUMBERED = re.compile(r"(?P<start>.*[0-9].*)_[0-9]{1,2}")  # MS_001_2, of a patient who has a number already
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Description:
    """The parts of ``dataset.json`` that say where things are."""

    path: Path
    channels: Mapping[str, int]  # channel's name to its number in the file names
    labels: Mapping[str, int | tuple[int, ...]]  # label's name to its value in the masks, or to the values of a region
    ending: str  # of every image and mask
    cases: int | None  # how many training cases there should be; None where it does not say

    def channel_numbers(self, images: Mapping[str, str]) -> dict[str, int]:
        """Return contrast to the number of its channel, for the channels the dataset has, in capitals or not."""
        numbers = {channel.casefold(): number for channel, number in self.channels.items()}
        return {key: numbers[name.casefold()] for key, name in images.items() if name.casefold() in numbers}

    def label_names(self, masks: Mapping[str, str]) -> dict[str, str]:
        """Return target to its label as ``dataset.json`` spells it, for the labels the dataset has."""
        spelled = {label.casefold(): label for label in self.labels}
        return {key: spelled[name.casefold()] for key, name in masks.items() if name.casefold() in spelled}


def read_description(path: Path) -> Description:
    """Read a ``dataset.json``; version 1 says ``modality`` for ``channel_names`` and turns its labels around."""
    if not path.is_file():
        raise InputError(
            f"{path} is not there; set the dataset's root to a folder nnUNet_raw/DatasetXXX_Name with "
            "dataset.json, imagesTr and labelsTr"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); mend it, or write it anew") from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__}; it must hold an object with channel_names and labels"
        )
    numbered: Any = content.get("channel_names", content.get("modality"))
    faults = [
        f"{path} has no {key}; add it, as nnU-Net's documentation of the dataset format says"
        for key, found in (("channel_names", numbered), ("labels", content.get("labels")))
        if found is None
    ]
    ending = content.get("file_ending", ".nii.gz")  # version 1 knows no other
    if ending not in _ENDINGS:
        faults.append(f"{path}: file_ending is {ending!r}; convert the scans to NIfTI (.nii.gz or .nii)")
    if faults:
        raise InputError(faults)
    try:
        channels = {str(channel): int(number) for number, channel in numbered.items()}
        labels = _labels(content["labels"])
        cases = int(content["numTraining"]) if "numTraining" in content else None
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be understood ({error}); it needs channel_names such as {{'0': 'FLAIR'}}, labels "
            "such as {'background': 0, 'lesion': 1} and numTraining as a number"
        ) from error
    return Description(path, channels, labels, ending, cases)


def _labels(content: Mapping[str, Any]) -> Mapping[str, int | tuple[int, ...]]:
    """Return name to value, from version 2 (name to value) or version 1 (value to name)."""
    if all(key.isdigit() for key in content):
        return {str(label): int(value) for value, label in content.items()}
    return {
        label: tuple(int(part) for part in value) if isinstance(value, list) else int(value)
        for label, value in content.items()
    }


def read_nnunet(
    root: Path, *, name: str, images: Mapping[str, str], masks: Mapping[str, str], case: str = "{subject}"
) -> Dataset:
    """Read the training cases of an nnU-Net raw dataset ``DatasetXXX_Name``, version 2 or 1.

    ``images`` and ``masks`` give the name of each contrast's channel and each target's label, in capitals or not; a
    channel that the dataset lacks is a contrast that no study has. ``case`` says how cases are called, with
    ``{subject}`` (any characters), ``{session}`` (letters and digits) and optional parts in square brackets, such as
    ``sub-{subject}[_ses-{session}]``. By default every case is a subject of its own, which is wrong where several cases
    are one patient: they would be divided between training and test. Everything that is wrong is raised as one
    InputError.
    """
    root = Path(root)
    try:
        description = read_description(root / "dataset.json")
    except InputError as error:
        raise InputError(f"{name}: {fault}" for fault in error.faults) from error
    pattern = _check_names(name, description, images, masks, case)
    called = re.compile(rf"(?P<case>.+)_(?P<channel>[0-9]{{4}}){re.escape(description.ending)}")
    image_files: dict[str, dict[int, Path]] = {}
    for path in _files(root / "imagesTr"):
        if fit := called.fullmatch(path.name):
            image_files.setdefault(fit["case"], {})[int(fit["channel"])] = path
    ending = description.ending
    labels = [path for path in _files(root / "labelsTr") if path.name.endswith(ending)]
    label_files = {path.name.removesuffix(ending): path for path in labels}
    faults = list(_case_faults(root, description, image_files, label_files))
    channels = description.channel_numbers(images)
    values = {target: description.labels[label] for target, label in description.label_names(masks).items()}
    of_label = ((value,) if isinstance(value, int) else value for value in description.labels.values())
    declared = tuple(sorted({0, *(value for values in of_label for value in values)}))
    _warn_of_sessions(image_files, case)
    studies: list[Study] = []
    for identifier in sorted(image_files.keys() | label_files.keys()):
        try:
            who = pattern.match(identifier)
            if who is None:
                raise ValueError("does not fit")
        except ValueError as error:
            faults.append(f"case {identifier} {error} (pattern {case!r}); correct 'case' of the dataset")
            continue
        files = image_files.get(identifier, {})
        faults += [
            f"case {identifier} has no {root / 'imagesTr'}/{identifier}_{number:04d}{ending}, its channel "
            f"{images[contrast]} ({contrast}); add it, or take {contrast} out of 'images'"
            for contrast, number in channels.items()
            if files and number not in files
        ]
        own = {contrast: files[number] for contrast, number in channels.items() if number in files}
        mask = label_files.get(identifier)
        masks_of = {
            target: MaskFile(mask, value, declared)
            for target, value in values.items()
            if isinstance(value, int) and mask
        }
        studies.append(Study(who[0].removeprefix("sub-"), who[1].removeprefix("ses-"), own, masks_of))
    return assemble(name, root, studies, faults)


def _check_names(
    name: str, description: Description, images: Mapping[str, str], masks: Mapping[str, str], case: str
) -> Pattern:
    """Return the pattern of the cases, once every name the dataset's file gives makes sense."""
    faults = []
    for key, what, named, found, there in (
        ("images", "channels", images, description.channel_numbers(images), description.channels),
        ("masks", "labels", masks, description.label_names(masks) or not masks, description.labels),
    ):
        if not found:
            listed = ", ".join(f"{mine}: {theirs}" for mine, theirs in named.items()) or "none"
            faults.append(
                f"{name}: {description.path} has none of the {what} named ({listed}); its {what}: {', '.join(there)}. "
                f"Correct '{key}' of the dataset"
            )
    for target, label in description.label_names(masks).items():
        value = description.labels[label]
        if value == 0:
            faults.append(
                f"{name}: {description.path}: label {label!r} ({target}) has the value 0, which is the background; "
                "correct its labels, such as {'background': 0, 'lesion': 1}"
            )
        if isinstance(value, tuple):
            faults.append(
                f"{name}: {description.path}: label {label!r} ({target}) is a region of the values "
                f"{', '.join(map(str, value))}; give the target a label of a single value, or write masks of the region"
            )
    try:
        pattern = parse_pattern(case, subject=r".+?")
    except ValueError as error:
        faults.append(f"{name}: the pattern {case!r} of 'case' cannot be read: {error}")
    if faults:
        raise InputError(faults)
    return pattern


def _warn_of_sessions(identifiers: Iterable[str], case: str) -> None:
    """Name cases that differ in a last number alone: by default each is taken for a patient of its own."""
    alike: dict[str, list[str]] = {}
    for identifier in sorted(identifiers):
        if fit := _NUMBERED.fullmatch(identifier):
            alike.setdefault(fit["start"], []).append(identifier)
    several = [names for names in alike.values() if len(names) > 1]
    if case == "{subject}" and several:
        _log.warning(
            "Cases %s look like sessions of one patient (%d such patients), and count as patients of their own; if so "
            "set dataset.case={subject}_{session}",
            " and ".join(several[0]),
            len(several),
        )


def _files(folder: Path) -> list[Path]:
    """Return the folder's files, sorted, without those that begin with a dot; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _case_faults(
    root: Path, description: Description, images: Mapping[str, object], labels: Mapping[str, Path]
) -> Iterator[str]:
    first = f"_0000{description.ending}"
    if not images:
        yield (
            f"{root / 'imagesTr'} has no file <case>{first}; put the images there, named "
            "so (a dataset of the Medical Segmentation Decathlon: nnUNetv2_convert_MSD_dataset)"
        )
    else:
        for identifier, path in labels.items():
            if identifier not in images:
                yield (
                    f"the label {path} has no image {identifier}{first} in imagesTr; add the image, or remove the label"
                )
    if description.cases is not None and description.cases != len(labels):
        yield (
            f"{description.path} says numTraining {description.cases}, but labelsTr holds {len(labels)} "
            "labels; copy what is missing, or correct the number"
        )
