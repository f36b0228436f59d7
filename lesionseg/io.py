"""Atomic files, JSON and CSV, digests, progress bars: used by everyone, importing nothing of ours."""

import csv
import errno
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lesionseg.errors import InputError

_log = logging.getLogger(__name__)


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where there is no room for a file."""


@contextmanager
def naming_full_disk(path: Path, partial: Path) -> Iterator[None]:
    """Have the system's word on a full disk say which file there was no room for, and how much of it was written."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        free, written = shutil.disk_usage(path.parent).free / 1e6, partial.stat().st_size / 1e6
        reason = f"{error.strerror} ({free:.0f} MB are free, and {written:.0f} MB of it were written)"
        raise OSError(error.errno, reason, str(path)) from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; it takes the place of ``path`` once all is written.

    The name keeps the ending, since writers choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", suffix="".join(path.suffixes[-2:]), dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        with naming_full_disk(path, partial):
            yield partial
        os.chmod(partial, 0o666 & ~_umask())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented, whole or not at all. NaN, which JSON does not know, becomes null."""
    with written_whole(path) as partial:
        text = json.dumps(_without_nan(content), indent=2, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Return what `write_json` wrote, of an object; empty where there is no such file. A file that holds something
    else, as a disk may leave it, is set aside under another name, with a warning."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError:
        content = None
    if isinstance(content, dict):
        return content
    aside = path.with_name(f"{path.name}.damaged")
    with suppress(OSError):
        path.replace(aside)
    _log.warning("%s is damaged; it is set aside as %s, and the work goes on without it", path, aside.name)
    return {}


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as CSV, whole or not at all; an empty file where there are none."""
    with written_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
    return path


def link_or_copy(source: Path, target: Path) -> None:
    """Have a file lie at a second place, without taking its room twice where the file system has hard links. Files are
    replaced, never changed, so that neither place changes the other."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        with written_whole(target) as partial:
            shutil.copyfile(source, partial)


def content_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _without_nan(content: Any) -> Any:
    if isinstance(content, float) and content != content:
        return None
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return content


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def check_writable(key: str, folder: Path) -> None:
    """See that a folder, which a configuration key names, can be made and written to."""
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise InputError(f"{key}={folder}: {place} is a file; choose another folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{key}={folder}: {place} cannot be written to; choose another folder")


def progress_bar(what: str, unit: str, total: int | None = None) -> Any:
    """A tqdm bar that shows itself only when the work takes more than two seconds."""
    lively = sys.stderr.isatty()
    seconds = 0.2 if lively else 10
    return tqdm(desc=what, unit=unit, total=total, delay=2, leave=not lively, mininterval=seconds)
