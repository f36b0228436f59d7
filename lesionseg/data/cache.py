"""Prepared studies on disk: each made once, shared by every run, read without loading whole volumes."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from lesionseg.data.dataset import Channel, TaskStudy
from lesionseg.data.nifti import Array, Grid
from lesionseg.data.preprocessing import NORMALISATION, Prepared, image_facts, prepare
from lesionseg.io import content_digest, naming_full_disk

_DIGEST_LENGTH = 64  # letters
_MOST_MAPPED = 256  # files that one process keeps open
_VERSION = 2  # counts the changes of what preparing a study gives


@dataclass(frozen=True)
class CachedStudy:
    """A prepared study in the cache. Arrays are memory maps: only what is used is read."""

    folder: Path  # where its arrays are
    study: TaskStudy  # the files that it was made from
    key: str  # SHA-256 of those files' content and the preparation's settings, hexadecimal

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.name

    @property
    def subject(self) -> str:
        """The study's subject."""
        return self.study.subject

    @cached_property
    def _geometry(self) -> dict[str, Any]:
        return _entry(self.folder)

    @property
    def grid(self) -> Grid:
        """The working grid, cropped to the brain."""
        return _grid(self._geometry["grid"])

    @property
    def native(self) -> Grid:
        """The grid of the reference mask or, without one, of the first image."""
        return _grid(self._geometry["native"])

    @property
    def mask(self) -> Array:
        """(X, Y, Z) uint8, memory-mapped."""
        return _mapped(self.folder, "mask")

    @property
    def images(self) -> Array:
        """(sources, X, Y, Z) float16, memory-mapped, in the order of the study's sources."""
        return _mapped(self.folder, "images")

    def facts(self) -> dict[str, list[float]]:
        """What its images look like, as `image_facts` has it."""
        return image_facts(self.images, [str(source) for source, _ in self.study.sources], self.grid, self.native)

    def lesions(self) -> tuple[Array, Array]:
        """Voxels (voxels, 3), lesion after lesion, and where each lesion starts (lesions + 1,)."""
        return _mapped(self.folder, "lesion_voxels"), _mapped(self.folder, "lesion_starts")

    def channels(self, channels: Sequence[Channel], box: tuple[Any, ...] = (slice(None),) * 3) -> Array:
        """The task's input channels inside a box, (channels, x, y, z) float32."""
        import torch  # converts float16 by vectors, which NumPy does number by number

        index = {source: number for number, (source, _) in enumerate(self.study.sources)}
        images: Any = self.images
        parts = []
        for channel in channels:
            part = torch.from_numpy(images[(index[channel.plus], *box)].copy()).float().numpy()
            if channel.minus is not None:
                part -= images[(index[channel.minus], *box)]
            parts.append(part)
        return parts[0][None] if len(parts) == 1 else np.stack(parts)


class Cache:
    """A folder of prepared studies, safe to share between processes.

    A study's folder is named by the content of its files and the preparation's settings: another content is another
    folder, so nothing in the cache is ever out of date. ``geometry.json`` holds the digest of each array; an entry that
    is not whole is made again.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def key(self, study: TaskStudy, spacing: tuple[float, float, float]) -> str:
        """SHA-256 of everything that the prepared arrays depend on, hexadecimal."""
        content = {
            "version": _VERSION,
            "normalisation": NORMALISATION,
            "spacing": list(spacing),
            "sources": [[str(source), self.digest(path)] for source, path in study.sources],
            "mask": [self.digest(study.mask.path), study.mask.label] if study.mask else None,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def folder(self, key: str) -> Path:
        """Return where the study of a key is kept."""
        return self.root / key[:32]

    def digest(self, path: Path) -> str:
        """A file's content digest; remembered for as long as its path, size and time of change stay the same."""
        facts = path.stat()
        known = f"{path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}"
        memory = self.root / "digests" / hashlib.sha256(known.encode()).hexdigest()
        known_digest = memory.read_text() if memory.exists() else ""
        if len(known_digest) == _DIGEST_LENGTH:
            return known_digest
        digest = content_digest(path)
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(digest)  # whoever is killed meanwhile leaves too few letters, and no other file
        return digest

    def has(self, study: TaskStudy, spacing: tuple[float, float, float]) -> bool:
        """Whether a study is prepared already; asking leaves nothing behind where there is no cache yet."""
        return self.root.is_dir() and self.is_whole(self.folder(self.key(study, spacing)))

    def is_whole(self, folder: Path) -> bool:
        """Whether an entry is there with all its arrays as they were written."""
        try:
            return all(self.digest(folder / name) == digest for name, digest in _entry(folder)["files"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def get(self, study: TaskStudy, spacing: tuple[float, float, float]) -> CachedStudy:
        """A prepared study; prepared now, by this process alone, if it was not."""
        key = self.key(study, spacing)
        folder = self.folder(key)
        if not self.is_whole(folder):
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                if not self.is_whole(folder):
                    _write(folder, prepare(study, spacing))
        return CachedStudy(folder, study, key)


def _write(folder: Path, prepared: Prepared) -> None:
    """All arrays into a folder beside, flushed to the disk, which then takes its name. The caller holds the folder's
    lock."""
    partial = folder.with_suffix(".partial")
    for left in (partial, folder):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir()
    arrays = {name: getattr(prepared, name) for name in ("images", "mask", "lesion_voxels", "lesion_starts")}
    contents: dict[str, bytes] = {}
    for name, array in arrays.items():
        if array is not None:
            np.save(stream := io.BytesIO(), array)
            contents[f"{name}.npy"] = stream.getvalue()
    entry: dict[str, Any] = {
        name: {"shape": list(grid.shape), "affine": grid.affine.tolist()}
        for name, grid in (("grid", prepared.grid), ("native", prepared.native))
    }
    entry["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    for name, content in {**contents, "geometry.json": json.dumps(entry).encode()}.items():
        with naming_full_disk(folder, partial / name), (partial / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    os.replace(partial, folder)
    _mapped.cache_clear()  # what was mapped of a damaged entry


@lru_cache(_MOST_MAPPED)
def _mapped(folder: Path, name: str) -> Array:
    path = folder / f"{name}.npy"
    return np.asarray(np.load(path, mmap_mode="r"))  # as a plain array, of which cutting a part costs less


def _entry(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "geometry.json").read_text())
    return content


def _grid(content: dict[str, Any]) -> Grid:
    x, y, z = content["shape"]
    return Grid((x, y, z), np.array(content["affine"]))
