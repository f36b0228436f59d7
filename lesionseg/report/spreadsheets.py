"""Every number of a report as tidy tables, for a spreadsheet."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd

from lesionseg.data.files import written_whole
from lesionseg.report.cases import SCORES
from lesionseg.report.comparison import Comparison
from lesionseg.report.results import SizeDifference
from lesionseg.stats import ClusteredRatio

Row = dict[str, Any]
_MAIN = [
    *("train_size", "score", "quantity", "mean", "standard_error", "low", "high", "p", "holm_p", "df"),
    *("n_patients", "n_repeats", "n_undefined", "pooled", "pooled_standard_error", "pooled_low", "pooled_high"),
    *("sign_flip_p", "wilcoxon_p", "wilcoxon_median", "mixed_mean", "mixed_standard_error", "mixed_p", "note"),
]
_SAVINGS = [
    *("score", "arm", "reference", "train_size", "arm_score", "needed", "needed_bound", "needed_low"),
    *("needed_low_bound", "needed_high", "needed_high_bound", "saved", "multiplier", "multiplier_low"),
    *("multiplier_high", "n_patients", "n_repeats", "note"),
]
_MATCHED = [
    *("train_size", "arm", "reference", "sensitivity", "ppv", "reference_ppv", "difference", "low", "high", "p"),
    *("n_patients", "n_repeats", "note"),
]


def main_table(comparison: Comparison) -> pd.DataFrame:
    """One row per size, score and quantity: an arm's mean, or a difference named ``arm - reference``; after them the
    arms' means on validation, whose score is the one that was watched, as ``val/dice``.

    Columns train_size, score, quantity, mean, standard_error, low and high (95 % interval), p, holm_p, df, n_patients,
    n_repeats, n_undefined; the pooled ratio with its error and interval; p of the sign-flip test and of Wilcoxon's with
    its median; mean, error and p of the mixed model; note. What a quantity does not have is NaN or empty.
    """
    results, watched = comparison.results, comparison.validation
    means = [
        {
            **{"train_size": row.train_size, "score": row.score, "quantity": row.arm, "mean": row.mean},
            **{"standard_error": row.standard_error, "low": row.low, "high": row.high},
            **{"n_patients": row.n_patients, "n_repeats": row.n_repeats, "n_undefined": row.n_undefined},
            **_pooled(row.pooled),
            "note": "",
        }
        for row in results.means
    ]
    differences = [_difference(row) for row in results.differences]
    validated = [
        {
            **{"train_size": row.train_size, "score": watched.monitor, "quantity": row.arm, "mean": row.mean},
            "n_repeats": row.n_repeats,
            "note": "validation: each run's highest value, mean of the repeats that all arms have",
        }
        for row in watched.means
    ]
    table = pd.DataFrame([*means, *differences, *validated], columns=_MAIN)
    order = {score: number for number, score in enumerate(SCORES)}
    ranked = table.assign(rank=table["score"].map(order).fillna(len(order))).sort_values(
        ["train_size", "rank"], kind="stable"
    )
    tidy = ranked.drop(columns="rank").reset_index(drop=True)
    return tidy.astype({"n_patients": "Int64", "n_undefined": "Int64"})


def savings_table(comparison: Comparison) -> pd.DataFrame:
    """One row per score, arm and size: the studies that the reference arm needs for the arm's score, as a number or as
    the bound that is all that is known of it ("exact", "more than", "at most"), with the ends of its 95 % interval."""
    rows: list[Row] = []
    for one in comparison.savings:
        basis = one.savings
        for saving in basis.savings if basis else ():
            needed, times = saving.needed, saving.multiplier
            rows.append(
                {
                    **{"score": one.score, "arm": one.arm, "reference": one.reference},
                    **{"train_size": int(saving.size), "arm_score": saving.score},
                    **{"needed": needed.estimate.value, "needed_bound": needed.estimate.bound},
                    **{"needed_low": needed.low.value, "needed_low_bound": needed.low.bound},
                    **{"needed_high": needed.high.value, "needed_high_bound": needed.high.bound},
                    **{"saved": saving.saving.estimate.value, "multiplier": times.estimate.value},
                    **{"multiplier_low": times.low.value, "multiplier_high": times.high.value},
                    **_pick(basis, "n_patients", "n_repeats", "note"),
                }
            )
    return pd.DataFrame(rows, columns=_SAVINGS)


def curves_table(comparison: Comparison) -> pd.DataFrame:
    """One row per score, arm and size: the mean with its 95 % interval, the isotonic curve and the power law there, and
    each repeat's mean as ``repeat_0`` and so on."""
    rows: list[Row] = []
    for curve in comparison.curves:
        for place, size in enumerate(curve.sizes):
            repeats = {f"repeat_{repeat}": means[place] for repeat, means in curve.by_repeat.items()}
            fits = {"isotonic": curve.isotonic, "power_law": curve.power_law}
            rows.append(
                {
                    **{"score": curve.score, "arm": curve.arm, "train_size": size, "mean": curve.means[place]},
                    **{"low": curve.low[place], "high": curve.high[place]},
                    **{name: float(fit.at(size)) if fit else nan for name, fit in fits.items()},
                    **repeats,
                }
            )
    return pd.DataFrame(rows)


def froc_table(comparison: Comparison) -> pd.DataFrame:
    """One row per size, arm and number of false positives per study: sensitivity, the lowest and highest repeat; in
    every row the curve's area and operating point."""
    rows: list[Row] = []
    for band in comparison.froc:
        for place, false_positives in enumerate(band.false_positives):
            rows.append(
                {
                    **{"train_size": band.train_size, "arm": band.arm, "false_positives": float(false_positives)},
                    "sensitivity": float(band.sensitivity[place]),
                    "low": nan if band.low is None else float(band.low[place]),
                    "high": nan if band.high is None else float(band.high[place]),
                    **{"area": band.area, "area_up_to": band.area_limit},
                    "operating_false_positives": band.operating_point[0],
                    "operating_sensitivity": band.operating_point[1],
                    "n_repeats": band.n_repeats,
                }
            )
    return pd.DataFrame(rows)


def strata_table(comparison: Comparison) -> pd.DataFrame:
    """One row per size, arm, range of volumes and score (sensitivity, ppv)."""
    place = ("train_size", "arm", "low_mm3", "high_mm3")
    return pd.DataFrame(
        [
            {**{key: getattr(row, key) for key in place}, "score": score, **asdict(getattr(row, score))}
            for row in comparison.strata
            for score in ("sensitivity", "ppv")
        ]
    )


def matched_table(comparison: Comparison) -> pd.DataFrame:
    """One row per size and arm: both arms' PPV at the same sensitivity, and the test of its difference."""
    rows: list[Row] = []
    for row in comparison.matched:
        tested = row.difference
        found = {} if tested is None else {"difference": tested.mean, **_pick(tested, "low", "high", "p")}
        basis = {} if tested is None else _pick(tested, "n_patients", "n_repeats")
        rows.append({**{key: getattr(row, key) for key in _MATCHED[:6]}, **found, **basis, "note": row.note})
    return pd.DataFrame(rows, columns=_MATCHED)


def patients_table(comparison: Comparison) -> pd.DataFrame:
    """One row per size, score, arm and patient."""
    return pd.DataFrame([asdict(row) for row in comparison.results.patients])


def without_lesions_table(comparison: Comparison) -> pd.DataFrame:
    """One row per size and arm: the false positives in the studies without reference lesion."""
    return pd.DataFrame([asdict(row) for row in comparison.results.without_lesions])


TABLES: dict[str, Callable[[Comparison], pd.DataFrame]] = {
    "comparison": main_table,
    "label_savings": savings_table,
    "learning_curves": curves_table,
    "froc": froc_table,
    "by_lesion_size": strata_table,
    "matched_ppv": matched_table,
    "patients": patients_table,
    "without_lesions": without_lesions_table,
}
"""By the name of the file that they are written to."""


def write_tables(comparisons: Sequence[Comparison], folder: Path) -> list[Path]:
    """Write each of `TABLES` as CSV, whole or not at all, with the sweep and its task before the columns of each row; a
    table without a row is not written.

    Args:
        comparisons: one per sweep.
        folder: made if need be.

    Returns:
        What was written.
    """
    written = []
    for name, make in TABLES.items():
        parts = [(one, table) for one in comparisons if not (table := make(one)).empty]
        if not parts:
            continue
        named = [_named(one, table) for one, table in parts]
        path = folder / f"{name}.csv"
        with written_whole(path) as partial:
            pd.concat(named, ignore_index=True).to_csv(partial, index=False)
        written.append(path)
    return written


def _named(comparison: Comparison, table: pd.DataFrame) -> pd.DataFrame:
    table = table.copy()
    table.insert(0, "sweep", comparison.sweep)
    table.insert(1, "task", comparison.task)
    return table


def _difference(row: SizeDifference) -> Row:
    found, mixed = row.difference, row.mixed
    tested = {} if mixed is None else _pick(mixed, "mean", "standard_error", "p")
    return {
        **{"train_size": row.train_size, "score": row.score, "quantity": f"{row.arm} - {row.reference}"},
        **_pick(found, "mean", "standard_error", "low", "high", "p", "df", "n_patients", "n_repeats", "note"),
        **{"holm_p": row.holm_p, "sign_flip_p": row.sign_flip.p, "wilcoxon_p": row.wilcoxon.p},
        "wilcoxon_median": row.wilcoxon.median,
        **{f"mixed_{key}": value for key, value in tested.items()},
    }


def _pooled(ratio: ClusteredRatio | None) -> Row:
    if ratio is None:
        return {}
    names = {"pooled": "ratio", **{f"pooled_{key}": key for key in ("standard_error", "low", "high")}}
    return {name: getattr(ratio, key) for name, key in names.items()}


def _pick(of: Any, *names: str) -> Row:
    return {name: getattr(of, name) for name in names}
