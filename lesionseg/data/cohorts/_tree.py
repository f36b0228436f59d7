"""The files below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path


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
