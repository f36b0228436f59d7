"""Tables of text: CSV and TSV."""

import warnings
from pathlib import Path

import pandas as pd

from lesionseg.errors import InputError

_ABSENT = ("", "n/a")


def read_table(path: Path) -> pd.DataFrame:
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
