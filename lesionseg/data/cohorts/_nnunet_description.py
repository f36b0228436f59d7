"""What nnU-Net's ``dataset.json`` says, in version 2 or 1."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesionseg.errors import InputError

_ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Description:
    """The parts of ``dataset.json`` that say where things are.

    Args:
        channels: channel's name to its number in the file names.
        labels: label's name to its value in the masks, or to the values of a region.
        ending: of every image and mask.
        cases: how many training cases there should be; None where it does not say.
    """

    channels: Mapping[str, int]
    labels: Mapping[str, int | tuple[int, ...]]
    ending: str
    cases: int | None


def read_description(path: Path) -> Description:
    """Read a ``dataset.json``; version 1 says ``modality`` for ``channel_names`` and turns its labels around.

    Raises:
        InputError: no such file, no JSON, without channels or labels, or of files other than NIfTI.
    """
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
    ending = content.get("file_ending", ".nii.gz")  # version 1 knows no other
    faults = [
        f"{path} has no {key}; add it, as nnU-Net's documentation of the dataset format says"
        for key, there in (
            ("channel_names", "channel_names" in content or "modality" in content),
            ("labels", "labels" in content),
        )
        if not there
    ]
    if ending not in _ENDINGS:
        faults.append(f"{path}: file_ending is {ending!r}; convert the scans to NIfTI (.nii.gz or .nii)")
    if faults:
        raise InputError(faults)
    try:
        numbered = content["channel_names" if "channel_names" in content else "modality"]
        channels = {str(channel): int(number) for number, channel in numbered.items()}
        labels = _labels(content["labels"])
        cases = int(content["numTraining"]) if "numTraining" in content else None
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be understood ({error}); it needs channel_names such as {{'0': 'FLAIR'}}, labels "
            "such as {'background': 0, 'lesion': 1} and numTraining as a number"
        ) from error
    return Description(channels, labels, ending, cases)


def _labels(content: Mapping[str, Any]) -> Mapping[str, int | tuple[int, ...]]:
    """Name to value, from version 2 (name to value) or version 1 (value to name)."""
    if all(key.isdigit() for key in content):
        return {str(label): int(value) for value, label in content.items()}
    return {
        label: tuple(int(part) for part in value) if isinstance(value, list) else int(value)
        for label, value in content.items()
    }
