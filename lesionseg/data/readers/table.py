"""Studies listed in a CSV or TSV table."""

import csv
import warnings
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lesionseg.data.dataset import Dataset, MaskFile, Study, assemble
from lesionseg.errors import InputError

_ABSENT = ("", "n/a")


def read_rows(path: Path) -> pd.DataFrame:
    """Read a ``.tsv`` or ``.csv`` (commas, or semicolons as some spreadsheets write) with every cell as text.

    Row n of the result is line n + 2 of the file: leading zeros, blank lines and empty cells are kept.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; give the path of a .csv or .tsv table")
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise InputError(f"{path} ends in {path.suffix!r}; save the table as .csv or .tsv")
    try:
        header = path.read_text(encoding="utf-8-sig").partition("\n")[0]
        comma = ";" if ";" in header and "," not in header else ","
        separator = "\t" if path.suffix.lower() == ".tsv" else comma
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                sep=separator,
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
    columns = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise InputError(f"{path} has the column {', '.join(map(repr, twice))} twice; keep one, or rename it")
    table.columns = [str(column).strip() for column in table.columns]
    return table.fillna("")


def cell(row: Mapping[Hashable, Any], column: str) -> str:
    """Return a cell without blanks around it; empty where it is empty or ``n/a``, or there is no such column."""
    value = str(row.get(column, "")).strip()
    return "" if value.lower() in _ABSENT else value


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
    """Read the studies from a CSV or TSV table, one a row.

    ``images`` and ``masks`` name the column of each contrast and target; a column that the table lacks is a contrast
    that no study has. A column ``acq_time`` gives the order of sessions. Cells are text (leading zeros stay);
    ``sub-`` and ``ses-`` before labels are dropped. An empty cell, or ``n/a``, means that the study has no such thing.
    Relative paths start at the table's folder. Everything that is wrong is raised as one InputError.
    """
    table = Path(table)
    rows = read_rows(table)
    rows = rows[rows.map(str.strip).map(bool).any(axis=1)]
    there = ", ".join(rows.columns)
    faults = []
    if subject not in rows.columns:
        faults.append(
            f"{name}: {table} has no column {subject!r} for the subjects; its columns: {there}. Set 'subject' to one "
            "of them"
        )
    if not any(column in rows.columns for column in images.values()):
        named = ", ".join(f"{contrast}: {column}" for contrast, column in images.items()) or "none"
        faults.append(
            f"{name}: {table} has none of the image columns named ({named}); its columns: {there}. Correct "
            "'images' of the dataset"
        )
    if faults:
        raise InputError(faults)
    studies: dict[tuple[str, str], Study] = {}
    lines: dict[tuple[str, str], int] = {}
    for index, row in zip(rows.index, rows.to_dict("records"), strict=True):
        line = int(str(index)) + 2  # as a spreadsheet counts: the header is line 1
        files = {column: table.parent / cell(row, column) for column in (*images.values(), *masks.values())}
        given = {column: path for column, path in files.items() if cell(row, column)}
        study = Study(
            cell(row, subject).removeprefix("sub-"),
            cell(row, session).removeprefix("ses-"),
            images={contrast: given[column] for contrast, column in images.items() if column in given},
            masks={target: MaskFile(given[column]) for target, column in masks.items() if column in given},
            site=cell(row, site) or None,
            split=cell(row, split) or None,
            acquired=cell(row, "acq_time"),
        )
        found = [] if study.subject else [f"column {subject!r} is empty; say whose scan it is, or remove the row"]
        found += [
            f"column {column!r}: {path} is not a file; correct the path (relative ones start at the table's "
            "folder), or empty the cell"
            for column, path in given.items()
            if not path.is_file()
        ]
        if study.masks and not study.images:
            found.append(f"{study.name} has a mask ({', '.join(study.masks)}) but no image; add the image's path")
        key = (study.subject, study.session)
        if study.subject and key in studies:
            found.append(
                f"{study.name} stands in row {lines[key]} already; keep one row for each subject and session (columns "
                f"{subject!r} and {session!r})"
            )
        faults += [f"{table.name}, row {line}: {fault}" for fault in found]
        studies.setdefault(key, study)
        lines.setdefault(key, line)
    if not studies:
        faults.append(f"{table} has no row below its header; add one for each study")
    return assemble(name, table, (study for study in studies.values() if study.subject), faults)
