"""A cohort on disk, as BIDS: each subject whole or not at all."""

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from filelock import FileLock

from lesionseg.data.synthetic.fields import Grid
from lesionseg.data.synthetic.subject import PATHOLOGIES, Pathology, Subject, make_subject
from lesionseg.errors import InputError

_MASKS = Path("derivatives", "lesions")
_SMALLEST_SIDE = 32
_VERSION = "1"  # raise it whenever the same seed gives other bytes: cohorts are never mixed


def make_cohort(
    root: Path,
    *,
    subjects: int,
    seed: int,
    pathology: Pathology,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a synthetic cohort; subjects already there are kept, so a broken-off run is simply run again.

    Subject ``i`` depends on ``seed``, ``i`` and the grid alone: a larger cohort contains the smaller one,
    and the bytes do not depend on what was there before.

    Args:
        root: BIDS folder; made if missing. Masks go to its ``derivatives/lesions``.
        subjects: how many, labelled ``001``... (``ms``) or ``s001``... (``infarct``).
        seed: 0 or more.
        pathology: ``ms``: two sessions of FLAIR, T1w and T1w after gadolinium, with masks ``lesion``,
            ``enhancing`` and, in session 2, ``newlesion``; ``infarct``: one FLAIR with ``lesion``.
        shape: voxels along right, anterior, superior; the brain fills most of it.
        spacing: mm along the same axes.
        progress: called with (subjects done, subjects) after each.

    Raises:
        InputError: an argument is out of range, or ``root`` holds another dataset.
    """
    _check_arguments(subjects, seed, pathology, shape, spacing)
    (i, j, k), (di, dj, dk) = map(int, shape), map(float, spacing)  # one type, hence one spelling in JSON
    grid = Grid((i, j, k), (di, dj, dk))
    settings = {"seed": seed, "pathology": pathology, "shape": [i, j, k], "spacing": [di, dj, dk]}
    (root / _MASKS).mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".synthetic.lock"):
        _describe(root, settings)
        for stale in root.glob(".partial-*"):
            shutil.rmtree(stale)
        for index in range(1, subjects + 1):
            name = f"sub-{'s' if pathology == 'infarct' else ''}{index:03d}"
            if not ((root / name).is_dir() and (root / _MASKS / name).is_dir()):
                _write_subject(root, name, make_subject(seed, index, pathology, grid), grid)
            if progress:
                progress(index, subjects)
        _list_participants(root)


def _check_arguments(
    subjects: int, seed: int, pathology: str, shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    faults = []
    if subjects < 1:
        faults.append(f"subjects is {subjects}: a synthetic cohort needs at least 1")
    if seed < 0:
        faults.append(f"seed is {seed}: it must be 0 or more")
    if pathology not in PATHOLOGIES:
        faults.append(f"pathology is {pathology!r}: choose one of {', '.join(PATHOLOGIES)}")
    if len(shape) != 3 or min(shape) < _SMALLEST_SIDE:
        faults.append(f"shape is {tuple(shape)}: it needs three sides of at least {_SMALLEST_SIDE} voxels")
    if len(spacing) != 3 or not min(spacing) > 0:
        faults.append(f"spacing is {tuple(spacing)}: it needs three lengths in mm, each above 0")
    if faults:
        raise InputError(faults)


def _describe(root: Path, settings: dict[str, Any]) -> None:
    """Write the dataset descriptions, or check that those there tell the same settings."""
    path = root / "dataset_description.json"
    generator = {"Name": "lesionseg synthetic cohort", "Version": _VERSION, "Settings": settings}
    description = {"Name": "Synthetic lesions", "BIDSVersion": "1.9.0", "GeneratedBy": [generator]}
    if path.exists():
        found = json.loads(path.read_text()).get("GeneratedBy")
        if found != [generator]:
            raise InputError(
                f"{root} already holds another dataset: {path} says GeneratedBy {found}, asked for was "
                f"{[generator]}; delete the folder or choose another one"
            )
    _replace_text(root / _MASKS / path.name, _json(description | {"DatasetType": "derivative"}))
    _replace_text(path, _json(description | {"DatasetType": "raw"}))


def _write_subject(root: Path, name: str, subject: Subject, grid: Grid) -> None:
    """Write beside, then rename: masks first, so that a subject whose images are seen has its masks."""
    staging = root / f".partial-{name}"
    for number, session in enumerate(subject.sessions, start=1):
        stem, anat = f"{name}_ses-{number}", Path(f"ses-{number}", "anat")
        for contrast, image in session.images.items():
            _write_nifti(staging / "images" / anat / f"{stem}_{contrast}.nii.gz", image, grid)
        for label, mask in session.masks.items():
            _write_nifti(staging / "masks" / anat / f"{stem}_label-{label}_mask.nii.gz", mask, grid)
    (staging / "images" / f"{name}_parameters.json").write_text(_json(subject.parameters))
    for home in (root / name, root / _MASKS / name):
        if home.exists():  # what is left of a broken subject; images go first, as they mark it whole
            shutil.rmtree(home)
    (staging / "masks").rename(root / _MASKS / name)
    (staging / "images").rename(root / name)
    staging.rmdir()


def _write_nifti(path: Path, array: npt.NDArray[Any], grid: Grid) -> None:
    affine = np.diag([*grid.spacing, 1.0])
    affine[:3, 3] = -0.5 * (np.array(grid.shape) - 1) * grid.spacing
    image = nib.Nifti1Image(array.astype(np.uint8) if array.dtype == bool else array, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))  # the same bytes each time


def _list_participants(root: Path) -> None:
    """Write ``participants.tsv`` from what every subject present says of itself."""
    rows = ["participant_id\tsite\tslice_thickness_mm\tlesions\tnew_lesions\tenhancing_lesions"]
    for path in sorted(root.glob("sub-*/sub-*_parameters.json")):
        drawn = json.loads(path.read_text())
        scanner, lesions = drawn["scanner"], drawn["lesions"]
        new = sum(lesion["session"] > 1 for lesion in lesions)
        enhancing = sum(bool(lesion["enhancing"]) for lesion in lesions)
        row = (path.parent.name, scanner["site"], scanner["slice_mm"], len(lesions) - new, new, enhancing)
        rows.append("\t".join(str(cell) for cell in row))
    _replace_text(root / "participants.tsv", "\n".join(rows) + "\n")


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _replace_text(path: Path, text: str) -> None:
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(text)
    os.replace(partial, path)
