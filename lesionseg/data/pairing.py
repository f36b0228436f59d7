"""Which prediction belongs to which reference, by their file names or by a table."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path

import numpy as np

from lesionseg.data.nifti import Array, Grid, UnreadableScanError, dicom_fault, read_labels, read_volume
from lesionseg.data.readers.table import cell, read_rows
from lesionseg.errors import InputError

_ENDING = re.compile(
    r"(?:^|[_.-])(?:label-[^_]+|desc-[^_]+|mask|masks|dseg|seg|segm|segmentation|lesions?|labels?|gt|ref|reference"
    r"|manual|truth|pred|prediction|predicted|prob|probs|probability|probabilities|probseg|pmap|output|result|auto)$",
    re.IGNORECASE,
)
_ENTITIES = re.compile(r"(?:_(?:label|desc)-[^_]+)+$")
_MOST = 5  # names of one kind in a message
_ROUNDING = 1e-5  # a map that was resampled, or stored as scaled integers, ends a little outside of 0 … 1


@dataclass(frozen=True)
class FilePair:
    """One case: the reference mask's file and the prediction's."""

    name: str
    reference: Path
    prediction: Path


class UnpairedError(InputError):
    """Some files have no partner, or several.

    Args:
        faults: one message each.
        pairs: those of which there is no doubt, so that whoever catches this can look for further faults in them.
    """

    def __init__(self, faults: Iterable[str], pairs: Iterable[FilePair]) -> None:
        super().__init__(faults)
        self.pairs = tuple(pairs)


def pair_files(reference: str, prediction: str, *, probabilities: bool = False) -> list[FilePair]:
    """Pair two files, whatever their names, or the files of two folders or patterns with ``*`` by their names.

    Of a folder that ``lesionseg predict`` wrote the masks count, or the probability maps if these are wanted.
    """
    sides: list[list[Path]] = []
    faults: list[str] = []
    for key, where in (("reference", reference), ("prediction", prediction)):
        try:
            sides.append(_volumes(key, where))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    if all(Path(where).expanduser().is_file() for where in (reference, prediction)):
        return _without_entities([FilePair(_shared_name(sides[0][0], sides[1][0]), sides[0][0], sides[1][0])])
    return _pair_by_name(sides[0], sides[1] if has_magic(prediction) else _one_kind(sides[1], probabilities))


def _one_kind(files: list[Path], probabilities: bool) -> list[Path]:
    """Return of a folder with a mask and a probability map of each case, as ``lesionseg predict`` writes them, those
    that are wanted."""
    kinds = ("_prob.nii.gz", "_mask.nii.gz")
    parts = [[file for file in files if file.name.endswith(kind)] for kind in kinds]
    names = [{file.name.removesuffix(kind) for file in part} for part, kind in zip(parts, kinds, strict=True)]
    return parts[0 if probabilities else 1] if names[0] == names[1] and len(files) == 2 * len(names[0]) else files


def read_pairs(table: Path) -> list[FilePair]:
    """Return the pairs of a CSV file with the columns ``reference`` and ``prediction``, and ``name`` if it has one;
    paths are taken from the table's folder."""
    if not table.is_file():
        raise InputError(f"pairs={table}: there is no such file; give a CSV file with columns reference and prediction")
    try:
        rows = read_rows(table)
    except InputError as error:
        raise InputError(f"pairs={fault}; put paths with a comma in quotes" for fault in error.faults) from error
    rows = rows[rows.apply(lambda row: any(str(one).strip() for one in row), axis=1).astype(bool)]
    lacking = [column for column in ("reference", "prediction") if column not in rows.columns]
    if lacking:
        raise InputError(
            f"pairs={table}: has no column {' and no column '.join(lacking)}, found {', '.join(rows.columns)}; its "
            "first line must name reference and prediction"
        )
    if rows.empty:
        raise InputError(f"pairs={table}: holds no pair; write a line for each")
    pairs, faults = [], []
    for number, cells in enumerate(rows.to_dict("records"), start=2):
        row = {str(column): cell(cells, str(column)) for column in rows.columns}
        files = [table.parent / Path(row[column]).expanduser() for column in ("reference", "prediction")]
        faults += [
            f"pairs={table}, line {number}: there is no file {file}; paths are taken from the table's folder"
            if row[column]
            else f"pairs={table}, line {number}: names no {column}; write a path, or leave the line out"
            for column, file in zip(("reference", "prediction"), files, strict=True)
            if not file.is_file()
        ]
        pairs.append(FilePair(row.get("name") or _shared_name(*files), *files))
    names = [pair.name for pair in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        faults.append(
            f"pairs={table}: {_listed([repr(name) for name in twice])} stands there more than once; give each line a "
            "name of its own in a column name"
        )
    if faults:
        sure = (pair for pair in pairs if pair.reference.is_file() and pair.prediction.is_file())
        raise UnpairedError(faults, (pair for pair in sure if pair.name not in twice))
    return pairs


def case_names(file: Path) -> list[str]:
    """Return what a case may be called, the longest name first.

    That is the file's name without ``.nii.gz``, then without one ending such as ``_mask``, ``_label-lesion``, ``_pred``
    or ``_prob`` after the other. A file called by endings alone, such as ``mask.nii.gz``, has its folder's name.
    """
    name = re.sub(r"\.nii(\.gz)?$", "", unicodedata.normalize("NFC", file.name), flags=re.IGNORECASE)
    names = [name]
    while (shorter := _ENDING.sub("", names[-1])) != names[-1]:
        names.append(shorter)
    return names if names[-1] else [file.absolute().parent.name]


def _pair_by_name(references: Sequence[Path], predictions: Sequence[Path]) -> list[FilePair]:
    """Pair each reference with the prediction that shares the longest name with it."""
    called: dict[str, list[Path]] = {}
    for file in predictions:
        for name in case_names(file):
            called.setdefault(name, []).append(file)
    partners: dict[Path, tuple[str, list[Path]]] = {}
    taken: dict[Path, list[Path]] = {}
    for file in references:
        for name in (name for name in case_names(file)[::-1] if name in called):  # the longest counts
            partners[file] = (name, called[name])
        for rival in partners[file][1] if file in partners else ():
            taken.setdefault(rival, []).append(file)
    rivals = [("prediction", name, files) for name, files in partners.values()]
    rivals += [("reference", case_names(file)[-1], files) for file, files in taken.items()]
    faults = [_ambiguous(*rival) for rival in rivals if len(rival[2]) > 1]
    both = [str(file) for file, (_, files) in partners.items() if any(file.samefile(other) for other in files)]
    if both:
        faults.append(
            f"{_listed(both)}: reference and prediction at once; give patterns that tell them apart, such as "
            "reference='FOLDER/**/*_mask.nii.gz' prediction='FOLDER/**/*_pred.nii.gz'"
        )
    for partner, lonely in (
        ("prediction", [file for file in references if file not in partners]),
        ("reference", [file for file in predictions if file not in taken]),
    ):
        if lonely:
            listed = _listed([f"{file} (case {case_names(file)[-1]!r})" for file in lonely])
            faults.append(
                f"{listed}: no {partner} has such a name; rename the files, or name the pairs in a table "
                "(pairs=FILE.csv)"
            )
    pairs = [
        FilePair(name, file, files[0])
        for file, (name, files) in partners.items()
        if len(files) == len(taken[files[0]]) == 1
    ]
    if faults:
        raise UnpairedError(dict.fromkeys(faults), pairs)
    return sorted(_without_entities(pairs), key=lambda pair: pair.name)


def _without_entities(pairs: Sequence[FilePair]) -> list[FilePair]:
    """Return names without such shared endings as ``_label-lesion``, where cases can be told apart so."""
    short = [_ENTITIES.sub("", pair.name) or pair.name for pair in pairs]
    return [
        replace(pair, name=name) if short.count(name) == 1 else pair for pair, name in zip(pairs, short, strict=True)
    ]


def _shared_name(reference: Path, prediction: Path) -> str:
    """Return the longest name that both may have; without one, the reference's shortest."""
    names = case_names(reference)
    return next((name for name in names if name in case_names(prediction)), names[-1])


def _ambiguous(key: str, name: str, files: Sequence[Path]) -> str:
    kind = "_mask" if key == "reference" else "_pred"
    return (
        f"{key}: {len(files)} files may be case {name!r} ({_listed([str(file) for file in files])}); choose one kind "
        f"with a pattern such as {key}='FOLDER/**/*{kind}.nii.gz', or name the pairs in a table (pairs=FILE.csv)"
    )


def _volumes(key: str, where: str) -> list[Path]:
    path = Path(where).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if _is_volume(file)]
        # not those in such a folder as .git, where git-annex keeps what the names link to
        found = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        if not found:
            fault = dicom_fault(path) or "the folder holds no NIfTI file (.nii, .nii.gz); give another one"
            raise InputError(f"{key}={where}: {fault}")
        return found
    if has_magic(where):
        found = [file for file in map(Path, sorted(glob(str(path), recursive=True))) if _is_volume(file)]
        if not found:
            raise InputError(f"{key}={where}: no NIfTI file fits this pattern; ** stands for any subfolders")
        return found
    raise InputError(f"{key}={where}: there is no such file or folder; paths are taken from the current folder")


def _is_volume(file: Path) -> bool:
    return file.name.lower().endswith((".nii", ".nii.gz")) and not file.name.startswith(".") and file.is_file()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")


@dataclass(frozen=True, eq=False)
class PairVoxels:
    """The voxels of one case on one grid."""

    name: str
    reference: Array  # (X, Y, Z) bool
    prediction: Array  # (X, Y, Z) bool
    probability: Array | None  # (X, Y, Z), 0 to 1; None where the prediction is a mask
    grid: Grid


def read_pair(
    pair: FilePair, *, threshold: float | None, reference_label: int | None, prediction_label: int | None
) -> PairVoxels:
    """Read both files and see that they can be compared.

    Lesion is a probability of ``threshold`` or more or, where that is None, the label of either mask; without a label a
    mask must hold 0 and 1 alone.
    """
    faults: list[str] = []
    read: list[tuple[Array, Grid]] = []
    for path in (pair.reference, pair.prediction):
        reader = read_volume if path == pair.prediction and threshold is not None else read_labels
        try:
            read.append(reader(path, strict=True))
        except UnreadableScanError as error:
            faults.append(f"{path}: {error}")
    if faults:
        raise InputError(faults)
    (reference, grid), (prediction, other) = read
    if not grid.same_as(other):
        faults.append(
            f"{pair.prediction}: lies on another grid than {pair.reference} ({_grid_difference(grid, other)}); "
            "resample the prediction to the reference's grid first, a mask with nearest neighbours"
        )
    faults += [f"{pair.reference}: {fault}" for fault in _mask_faults(reference, reference_label, "reference")]
    wrong = _mask_faults(prediction, prediction_label, "prediction") if threshold is None else _map_faults(prediction)
    faults += [f"{pair.prediction}: {fault}" for fault in wrong]
    if faults:
        raise InputError(faults)
    probability = None if threshold is None else np.clip(prediction, 0, 1)
    mask = _inside(prediction, prediction_label) if probability is None else probability >= threshold
    return PairVoxels(pair.name, _inside(reference, reference_label), mask, probability, grid)


def _inside(voxels: Array, label: int | None) -> Array:
    return np.asarray(voxels != 0 if label is None else voxels == label)


def _mask_faults(voxels: Array, label: int | None, what: str) -> Iterator[str]:
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        yield f"holds NaN or infinite values; a {what} mask must not: write 0 where there is no lesion"
        return
    whole = voxels.dtype.kind != "f" or bool((voxels == np.round(voxels)).all())
    if whole if label is not None else ((voxels == 0) | (voxels == 1)).all():
        return
    values = np.unique(voxels)
    shown = ", ".join(f"{value:g}" for value in values[:6]) + (", …" if values.size > 6 else "")
    if what == "prediction" and values[0] >= 0 and values[-1] <= 1:
        way_out = "for a probability map give threshold=0.5, or another one"
    elif whole:
        way_out = f"name the one that is lesion with {what}_label=..., or save a mask of 0 and 1"
    else:
        way_out = "save a mask of 0 and 1"
    wanted = "0 and 1" if label is None else f"whole numbers, in which {what}_label={label} could be looked up"
    yield f"is no mask of {wanted}, found the values {shown}; {way_out}"


def _map_faults(voxels: Array) -> Iterator[str]:
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        yield "holds NaN or infinite values; a probability map must not: write 0 outside of the brain"
        return
    low, high = float(voxels.min()), float(voxels.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        yield (
            f"probabilities lie within 0 … 1, found {low:g} … {high:g}; for logits apply a sigmoid, for per cent or "
            "0 … 255 divide first, and for a mask leave threshold out"
        )


def _grid_difference(grid: Grid, other: Grid) -> str:
    """Say how a prediction's grid differs from the reference's."""
    if grid.shape != other.shape:
        return f"shape {other.shape}, the reference's is {grid.shape}"
    if grid.axes != other.axes:
        return f"axes towards {other.axes}, the reference's towards {grid.axes}"
    if not np.allclose(grid.spacing, other.spacing, rtol=1e-3):
        sizes = [" × ".join(f"{edge:g}" for edge in one.spacing) for one in (other, grid)]
        return f"voxels of {sizes[0]} mm, the reference's are {sizes[1]} mm"
    shift = np.abs(grid.affine - other.affine).max()
    return f"another place or angle in space (the affines differ by up to {shift:.3g})"
