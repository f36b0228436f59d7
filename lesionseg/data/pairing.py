"""Which prediction belongs to which reference, by their file names or by a table."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path

import pandas as pd

from lesionseg.errors import InputError

_ENDING = re.compile(
    r"(?:^|[_.-])(?:label-[^_]+|desc-[^_]+|mask|masks|dseg|seg|segm|segmentation|lesions?|labels?|gt|ref|reference"
    r"|manual|truth|pred|prediction|predicted|prob|probs|probability|probabilities|probseg|pmap|output|result|auto)$",
    re.IGNORECASE,
)
_ENTITIES = re.compile(r"(?:_(?:label|desc)-[^_]+)+$")
_MOST = 5  # names of one kind in a message


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


def pair_files(reference: str, prediction: str) -> list[FilePair]:
    """Pair two files, or the files of two folders or patterns by their names.

    Args:
        reference: a NIfTI file, a folder that is searched with its subfolders, or a pattern with ``*``.
        prediction: likewise. Two single files are a pair whatever their names.

    Raises:
        UnpairedError: names that lack a partner, or several files of one name; all of it in one list.
        InputError: nothing there.
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
    return _pair_by_name(*sides)


def read_pairs(table: Path) -> list[FilePair]:
    """The pairs of a CSV file with the columns ``reference`` and ``prediction``, and ``name`` if it has one.

    Paths are taken from the table's folder.

    Raises:
        UnpairedError: a file that is not there, or a name that is there twice.
        InputError: no such table, or no such columns.
    """
    if not table.is_file():
        raise InputError(f"pairs={table}: there is no such file; give a CSV file with columns reference and prediction")
    try:
        rows = pd.read_csv(table, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"pairs={table}: is no CSV file ({str(error).strip()}); save it as one") from error
    if not isinstance(rows.index, pd.RangeIndex):  # pandas takes what is too much at the left for an index
        raise InputError(
            f"pairs={table}: its lines have more fields than its first line names; put paths with a comma in quotes"
        )
    lacking = [column for column in ("reference", "prediction") if column not in rows.columns]
    if lacking:
        raise InputError(
            f"pairs={table}: has no column {' and no column '.join(lacking)}, found {', '.join(rows.columns)}; its "
            "first line must name reference and prediction"
        )
    if rows.empty:
        raise InputError(f"pairs={table}: holds no pair; write a line for each")
    pairs, faults = [], []
    for number, row in enumerate(rows.to_dict("records"), start=2):
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
    """What a case may be called, the longest name first: the file's name without ``.nii.gz``, then without one ending
    such as ``_mask``, ``_label-lesion``, ``_pred`` or ``_prob`` after the other. A file called by endings alone, such
    as ``mask.nii.gz``, has the name of its folder."""
    name = re.sub(r"\.nii(\.gz)?$", "", file.name, flags=re.IGNORECASE)
    names = [name]
    while (shorter := _ENDING.sub("", names[-1])) != names[-1]:
        names.append(shorter)
    return names if names[-1] else [file.absolute().parent.name]


def _pair_by_name(references: Sequence[Path], predictions: Sequence[Path]) -> list[FilePair]:
    """Each reference with the prediction that shares the longest name with it.

    Raises:
        UnpairedError: every file without a partner, every one with several, and every one that is its own.
    """
    called: dict[str, list[Path]] = {}
    for file in predictions:
        for name in case_names(file):
            called.setdefault(name, []).append(file)
    partners = {
        file: next(((name, called[name]) for name in case_names(file) if name in called), None) for file in references
    }
    taken: dict[Path, list[Path]] = {}
    for file, found in partners.items():
        for other in found[1] if found else []:
            taken.setdefault(other, []).append(file)
    faults = [
        _ambiguous("prediction", found[0], found[1]) for found in partners.values() if found and len(found[1]) > 1
    ]
    faults += [
        _ambiguous("reference", case_names(file)[-1], rivals) for file, rivals in taken.items() if len(rivals) > 1
    ]
    both = [
        str(file)
        for file, found in partners.items()
        if found is not None and any(file.samefile(other) for other in found[1])
    ]
    if both:
        faults.append(
            f"{_listed(both)}: reference and prediction at once; give patterns that tell them apart, such as "
            "reference='FOLDER/**/*_mask.nii.gz' prediction='FOLDER/**/*_pred.nii.gz'"
        )
    lonely = {
        "prediction": [file for file, found in partners.items() if found is None],
        "reference": [file for file in predictions if file not in taken],
    }
    faults += [
        f"{_listed([f'{file} (case {case_names(file)[-1]!r})' for file in files])}: no {other} has such a name; rename "
        "the files, or name the pairs in a table (pairs=FILE.csv)"
        for other, files in lonely.items()
        if files
    ]
    pairs = [
        FilePair(found[0], file, found[1][0])
        for file, found in partners.items()
        if found is not None and len(found[1]) == len(taken[found[1][0]]) == 1
    ]
    if faults:
        raise UnpairedError(dict.fromkeys(faults), pairs)
    return sorted(_without_entities(pairs), key=lambda pair: pair.name)


def _without_entities(pairs: Sequence[FilePair]) -> list[FilePair]:
    """Names without such endings as ``_label-lesion`` that both sides share, where cases can be told apart so."""
    short = [_ENTITIES.sub("", pair.name) or pair.name for pair in pairs]
    return [
        replace(pair, name=name) if short.count(name) == 1 else pair for pair, name in zip(pairs, short, strict=True)
    ]


def _shared_name(reference: Path, prediction: Path) -> str:
    """The longest name that both may have; without one, the reference's shortest."""
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
        found = [file for file in sorted(path.rglob("*")) if _is_volume(file) and not _is_hidden(file, path)]
        if not found:
            raise InputError(f"{key}={where}: the folder holds no NIfTI file (.nii, .nii.gz); give another one")
        return found
    if has_magic(where):
        found = [file for file in map(Path, sorted(glob(str(path), recursive=True))) if _is_volume(file)]
        if not found:
            raise InputError(f"{key}={where}: no NIfTI file fits this pattern; ** stands for any subfolders")
        return found
    raise InputError(f"{key}={where}: there is no such file or folder; paths are taken from the current folder")


def _is_volume(file: Path) -> bool:
    return file.name.lower().endswith((".nii", ".nii.gz")) and not file.name.startswith(".") and file.is_file()


def _is_hidden(file: Path, below: Path) -> bool:
    """Whether it lies in such a folder as ``.git``, where git-annex keeps what the names link to."""
    return any(part.startswith(".") for part in file.relative_to(below).parts)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
