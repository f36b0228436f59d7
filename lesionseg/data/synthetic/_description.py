"""What a cohort's folder says of itself, so that subjects of other settings are never put beside."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lesionseg.data.files import write_json
from lesionseg.errors import InputError

VERSION = "3"  # raise it whenever the same seed gives other bytes
_NAME = "lesionseg synthetic cohort"
_FILE = "dataset_description.json"


def check_same(root: Path, settings: dict[str, Any]) -> None:
    """See that a folder is new, empty, or holds a cohort of the same settings.

    Args:
        root: the folder; nothing is written.
        settings: what the cohort's bytes depend on beside the generator itself, as JSON gives it back.

    Raises:
        InputError: it is none of these; told are the keys that differ.
    """
    path = root / _FILE
    way_out = "delete the folder or choose another one"
    if not path.exists():
        foreign = sorted(entry.name for entry in root.iterdir() if entry.name[0] != ".") if root.is_dir() else []
        if foreign:
            raise InputError(f"{root} holds {foreign[0]!r}, but no {_FILE} of a synthetic cohort; {way_out}")
        return
    try:
        (generator,) = json.loads(path.read_text(encoding="utf-8"))["GeneratedBy"]
        name, version, found = (generator[key] for key in ("Name", "Version", "Settings"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{root} already holds another dataset: {path} is of no synthetic cohort; {way_out}"
        ) from error
    differences = list(_differences({"Name": name, "Version": version}, {"Name": _NAME, "Version": VERSION}))
    differences = differences or list(_differences(found, settings))
    if differences:
        raise InputError(f"{root} already holds another dataset: {'; '.join(differences)}; {way_out}")


def describe(root: Path, masks: Path, settings: dict[str, Any]) -> None:
    """Write the descriptions of both datasets, of the images and of the masks.

    Raises:
        InputError: as :func:`check_same`; another process may have been faster.
    """
    check_same(root, settings)
    generator = {"Name": _NAME, "Version": VERSION, "Settings": settings}
    description = {"Name": "Synthetic lesions", "BIDSVersion": "1.9.0", "GeneratedBy": [generator]}
    write_json(root / _FILE, description | {"DatasetType": "raw"})  # first: it says whose folder this is
    write_json(masks / _FILE, description | {"DatasetType": "derivative"})


class _Nothing:
    """Stands for a key that is not there."""


def _differences(found: Any, asked: Any, key: str = "") -> Iterator[str]:
    """The keys, dotted, that have not the same value on both sides."""
    if isinstance(found, dict) and isinstance(asked, dict):
        for name in dict.fromkeys([*found, *asked]):
            yield from _differences(found.get(name, _Nothing), asked.get(name, _Nothing), f"{key}.{name}".lstrip("."))
    elif _are_entries(found) and _are_entries(asked) and len(found) == len(asked):
        for index, pair in enumerate(zip(found, asked, strict=True)):
            yield from _differences(*pair, f"{key}.{index}")
    elif found != asked:
        yield f"{key}: {_shown(found)} there, {_shown(asked)} asked for"


def _are_entries(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _shown(value: Any) -> str:
    if value is _Nothing:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:75]} ..."
