"""Whether what a command leaves behind has a place to go."""

import os
from pathlib import Path

from lesionseg.errors import InputError


def check_writable(key: str, folder: Path) -> None:
    """See that a folder, which a configuration key names, can be made and written to.

    Raises:
        InputError: it cannot.
    """
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise InputError(f"{key}={folder}: {place} is a file; choose another folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{key}={folder}: {place} cannot be written to; choose another folder")
