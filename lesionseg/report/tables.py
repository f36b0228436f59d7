"""The comparison as a table for the terminal, for Markdown and for a spreadsheet."""

from math import isnan
from pathlib import Path
from typing import Literal

import pandas as pd
from tabulate import tabulate

from lesionseg.data.files import written_whole
from lesionseg.report.cases import SCORE_NAMES, SCORES, Score
from lesionseg.report.results import ArmMean, Results
from lesionseg.report.sentences import format_p
from lesionseg.report.validation import Validation
from lesionseg.stats import PairedDifference

Style = Literal["terminal", "markdown"]

_FORMATS = {"terminal": "simple", "markdown": "github"}
_NOTHING = "–"


def format_table(results: Results, style: Style = "terminal") -> str:
    """Scores by size: mean ± standard error per arm, difference with its 95 % interval, p.

    Args:
        results: the numbers of a comparison.
        style: plain columns, or GitHub's Markdown.
    """
    compared = len(results.arms) == 2
    header = ["training studies", "score", *results.arms]
    header += ["difference [95 % CI]", "p"] if compared else []
    header += ["patients × repeats"]
    rows = []
    for size in results.sizes:
        for number, score in enumerate(SCORES):
            row = [str(size) if number == 0 else "", SCORE_NAMES[score]]
            rows.append([*row, *_cells(results, size, score, compared)])
    return _layout(header, rows, style)


def format_without_lesions(results: Results, style: Style = "terminal") -> str:
    """False positives in the studies without reference lesion, per arm and size; empty where there is none."""
    if not results.without_lesions:
        return ""
    header = [
        "training studies",
        "arm",
        "studies without lesion",
        "with false positives",
        "false positives per study",
        "volume per study (ml)",
    ]
    rows = [
        [
            str(row.train_size),
            row.arm,
            str(row.n_studies),
            f"{100 * row.marked:.0f} %",
            f"{row.false_positives:.2f}",
            f"{row.false_positive_volume_ml:.3f}",
        ]
        for row in results.without_lesions
    ]
    return _layout(header, rows, style)


def tidy_table(results: Results, validation: Validation | None = None) -> pd.DataFrame:
    """One row per size, score and quantity: an arm's mean, or the difference named `second - first`; after them the
    arms' means on validation, whose score is the one that was watched, as ``val/dice``.

    Columns train_size, score, quantity, mean, standard_error, low and high (95 % interval), p, df, n_patients,
    n_repeats, n_undefined, note; what a quantity does not have is NaN or empty.
    """
    means = [
        {
            "train_size": row.train_size,
            "score": row.score,
            "quantity": row.arm,
            "mean": row.mean,
            "standard_error": row.standard_error,
            "n_patients": row.n_patients,
            "n_repeats": row.n_repeats,
            "n_undefined": row.n_undefined,
            "note": "",
        }
        for row in results.means
    ]
    differences = [
        {
            "train_size": row.train_size,
            "score": row.score,
            "quantity": " - ".join(reversed(results.arms)),
            "mean": row.difference.mean,
            "standard_error": row.difference.standard_error,
            "low": row.difference.low,
            "high": row.difference.high,
            "p": row.difference.p,
            "df": row.difference.df,
            "n_patients": row.difference.n_patients,
            "n_repeats": row.difference.n_repeats,
            "note": row.difference.note,
        }
        for row in results.differences
    ]
    watched = validation or Validation()
    validated = [
        {
            "train_size": row.train_size,
            "score": watched.monitor,
            "quantity": row.arm,
            "mean": row.mean,
            "n_repeats": row.n_repeats,
            "note": "validation: each run's highest value, mean of the repeats that both arms have",
        }
        for row in watched.means
    ]
    table = pd.DataFrame([*means, *differences, *validated], columns=_TIDY)
    order = {score: number for number, score in enumerate(SCORES)}
    ranked = table.assign(rank=table["score"].map(order).fillna(len(order))).sort_values(
        ["train_size", "rank"], kind="stable"
    )
    tidy = ranked.drop(columns="rank").reset_index(drop=True)
    return tidy.astype({"n_patients": "Int64", "n_undefined": "Int64"})


_TIDY = [
    *("train_size", "score", "quantity", "mean", "standard_error", "low", "high", "p", "df"),
    *("n_patients", "n_repeats", "n_undefined", "note"),
]


def write_csv(results: Results, path: Path, validation: Validation | None = None) -> None:
    """Write `tidy_table` as CSV; the file appears whole or not at all."""
    with written_whole(path) as partial:
        tidy_table(results, validation).to_csv(partial, index=False)


def _cells(results: Results, size: int, score: Score, compared: bool) -> list[str]:
    means = [results.mean(arm, size, score) for arm in results.arms]
    cells = [_mean_cell(mean) for mean in means]
    if not compared:
        return [*cells, _basis_cell(means[0])]
    difference = results.difference(size, score)
    basis: ArmMean | PairedDifference | None = difference or next(filter(None, means), None)
    return [*cells, _difference_cell(difference), _p_cell(difference), _basis_cell(basis)]


def _mean_cell(mean: ArmMean | None) -> str:
    if mean is None or isnan(mean.mean):
        return _NOTHING
    error = _NOTHING if isnan(mean.standard_error) else f"{mean.standard_error:.2f}"
    return f"{mean.mean:.2f} ± {error}"


def _difference_cell(difference: PairedDifference | None) -> str:
    if difference is None or isnan(difference.mean):
        return _NOTHING
    if isnan(difference.low):
        return f"{_signed(difference.mean)} [{_NOTHING}]"
    return f"{_signed(difference.mean)} [{_signed(difference.low)}, {_signed(difference.high)}]"


def _p_cell(difference: PairedDifference | None) -> str:
    if difference is None or isnan(difference.p):
        return _NOTHING
    return format_p(difference.p).removeprefix("p ").removeprefix("= ")


def _basis_cell(basis: ArmMean | PairedDifference | None) -> str:
    return _NOTHING if basis is None else f"{basis.n_patients} × {basis.n_repeats}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−").replace("−0.00", "0.00").replace("+0.00", "0.00")


def _layout(header: list[str], rows: list[list[str]], style: Style) -> str:
    aligned = ["right" if name in ("training studies", "p") else "left" for name in header]
    return tabulate(rows, header, tablefmt=_FORMATS[style], disable_numparse=True, colalign=aligned)
