"""Tables of text: CSV and TSV."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lesionseg.data.dataset import Dataset, MaskFile, Study, assemble, without_prefix
from lesionseg.errors import InputError

_ABSENT = ("", "n/a")


def read_rows(path: Path) -> pd.DataFrame:
    """Read a ``.tsv`` or ``.csv`` (commas, or semicolons as some spreadsheets write) with every cell as text.

    Row n of the result is line n + 2 of the file: leading zeros, blank lines and empty cells are kept.

    Raises:
        InputError: no such file, another ending, or it is no table.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; give the path of a .csv or .tsv table")
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise InputError(f"{path} ends in {path.suffix!r}; save the table as .csv or .tsv")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                sep=_separator(path),
                dtype=str,
                keep_default_na=False,
                skip_blank_lines=False,
                index_col=False,
                encoding="utf-8-sig",
            )
    except (ValueError, pd.errors.ParserWarning) as error:  # pandas' own errors are ValueErrors
        raise InputError(
            f"{path} cannot be read as a table ({str(error).strip()}); every line needs as many cells as the "
            "header, in UTF-8"
        ) from error
    table.columns = [str(column).strip() for column in table.columns]
    return table.fillna("")


def cell(row: "pd.Series[str]", column: str) -> str:
    """A cell without blanks around it; empty where it is empty or ``n/a``, or there is no such column."""
    value = str(row.get(column, "")).strip()
    return "" if value.lower() in _ABSENT else value


def _separator(path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    return ";" if ";" in header and "," not in header else ","


@dataclass(frozen=True)
class _Columns:
    """Which column is what."""

    images: Mapping[str, str]
    masks: Mapping[str, str]
    subject: str
    session: str
    site: str
    split: str


def read_table(
    table: Path,
    *,
    name: str,
    images: Mapping[str, str],
    masks: Mapping[str, str],
    subject: str = "subject",
    session: str = "session",
    site: str = "site",
    split: str = "split",
) -> Dataset:
    """Read the studies from a CSV or TSV table.

    Cells are text (leading zeros stay); ``sub-`` and ``ses-`` before labels are dropped. An empty cell, or
    ``n/a``, means that the study has no such thing. Relative paths start at the table's folder.

    Args:
        table: the ``.csv`` or ``.tsv`` file.
        name: the dataset's name.
        images: contrast to its column. Columns the table lacks are contrasts that no study has.
        masks: target to its column, likewise.
        subject: column of the subjects.
        session: column of the sessions; may be absent where each subject has one row.
        site: column of the sites; may be absent.
        split: column of ``train``, ``validation`` or ``test``; may be absent.

    Returns:
        One study a row, sessions in natural order (2 before 10; dates as 2019-03-01).

    Raises:
        InputError: everything found wrong: no table, a needed column, files that are not there, rows of one
            subject and session, masks without image, and what `assemble` refuses.
    """
    table = Path(table)
    columns = _Columns(images, masks, subject, session, site, split)
    rows = _without_blank_rows(read_rows(table))
    _check_columns(table, name, rows, columns)
    faults: list[str] = []
    studies: dict[tuple[str, str], Study] = {}
    lines: dict[tuple[str, str], int] = {}
    for index, row in rows.iterrows():
        line = int(str(index)) + 2  # as a spreadsheet counts: the header is line 1
        study = _study(table.parent, row, columns)
        faults += [f"{table.name}, row {line}: {fault}" for fault in _row_faults(study, columns)]
        key = (study.subject, study.session)
        if study.subject and key in studies:
            faults.append(
                f"{table.name}, row {line}: {study.name} stands in row {lines[key]} already; keep one row "
                f"for each subject and session (columns {subject!r} and {session!r})"
            )
            continue
        studies[key] = study
        lines[key] = line
    if not studies:
        faults.append(f"{table} has no row below its header; add one for each study")
    return assemble(name, table, (study for study in studies.values() if study.subject), faults)


def _without_blank_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in which something is written, under their old numbers."""
    written = [any(str(value).strip() for value in values) for values in rows.itertuples(index=False)]
    return rows[pd.Series(written, index=rows.index, dtype=bool)]


def _check_columns(table: Path, name: str, rows: pd.DataFrame, columns: _Columns) -> None:
    there = ", ".join(rows.columns)
    faults = []
    if columns.subject not in rows.columns:
        faults.append(
            f"{name}: {table} has no column {columns.subject!r} for the subjects; its columns: {there}. Set "
            "'subject' to one of them"
        )
    if not any(column in rows.columns for column in columns.images.values()):
        named = ", ".join(f"{contrast}: {column}" for contrast, column in columns.images.items()) or "none"
        faults.append(
            f"{name}: {table} has none of the image columns named ({named}); its columns: {there}. Correct "
            "'images' of the dataset"
        )
    if faults:
        raise InputError(faults)


def _study(folder: Path, row: "pd.Series[str]", columns: _Columns) -> Study:
    images = {contrast: cell(row, column) for contrast, column in columns.images.items()}
    masks = {target: cell(row, column) for target, column in columns.masks.items()}
    return Study(
        without_prefix(cell(row, columns.subject), "sub-"),
        without_prefix(cell(row, columns.session), "ses-"),
        images={contrast: folder / path for contrast, path in images.items() if path},
        masks={target: MaskFile(folder / path) for target, path in masks.items() if path},
        site=cell(row, columns.site) or None,
        split=cell(row, columns.split) or None,
    )


def _row_faults(study: Study, columns: _Columns) -> list[str]:
    faults = []
    if not study.subject:
        faults.append(f"column {columns.subject!r} is empty; say whose scan it is, or remove the row")
    files = [(columns.images[contrast], path) for contrast, path in study.images.items()]
    files += [(columns.masks[target], mask.path) for target, mask in study.masks.items()]
    faults += [
        f"column {column!r}: {path} is not a file; correct the path (relative ones start at the table's "
        "folder), or empty the cell"
        for column, path in files
        if not path.is_file()
    ]
    if study.masks and not study.images:
        faults.append(f"{study.name} has a mask ({', '.join(study.masks)}) but no image; add the image's path")
    return faults
