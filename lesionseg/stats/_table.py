"""A table of paired differences: what is refused, what is left out, and how the reader is told."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

ONE_REPEAT = "One repeat: how much the result varies from training to training is unknown."
TOO_FEW = "Fewer than two patients have every repeat: no standard error and no test."
NO_TEST = "Fewer than two patients have every repeat: no test."
NO_SPREAD = "Every difference is the same: there is no spread to test against."


def as_table(differences: ArrayLike) -> NDArray[np.float64]:
    """The differences as floats, shape (patients, repeats).

    Raises:
        ValueError: if they are not a table, or one of them is infinite.
    """
    table = np.asarray(differences, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"Differences must be a table (patients, repeats), found shape {table.shape}.")
    if np.isinf(table).any():
        raise ValueError("Differences must be finite or NaN (missing), found an infinite one.")
    return table


def complete_cases(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[str]]:
    """The table without repeats that have no value, then without patients that lack one; and what was left out."""
    present = ~np.isnan(table)
    repeats = present.any(axis=0)
    kept = table[:, repeats]
    patients = ~np.isnan(kept).any(axis=1) & bool(repeats.any())
    notes = []
    if not repeats.all():
        notes.append(f"{(~repeats).sum()} of {repeats.size} repeats have no difference and are left out.")
    if not patients.all():
        notes.append(f"{(~patients).sum()} of {patients.size} patients lack a repeat and are left out.")
    return kept[patients], notes


def patient_means(differences: ArrayLike) -> tuple[NDArray[np.float64], int, list[str]]:
    """One mean per complete patient, shape (P,), over how many repeats, and what was left out.

    Args:
        differences: shape (patients,), which counts as one repeat, or (patients, repeats); NaN is missing.

    Raises:
        ValueError: if they are neither, or one of them is infinite.
    """
    array = np.asarray(differences, dtype=np.float64)
    complete, notes = complete_cases(as_table(array[:, None] if array.ndim == 1 else array))
    n_repeats = complete.shape[1]
    means = complete.mean(axis=1) if n_repeats else np.empty(0)
    return means, n_repeats, notes


def is_constant(values: NDArray[np.float64]) -> bool:
    """Whether all values are the same but for rounding; there must be one."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def few_patients(n_different: int) -> list[str]:
    """A sentence where a test of signs or ranks cannot reach 0.05, whatever the differences."""
    smallest = 2.0 ** (1 - n_different)
    if smallest <= 0.05:
        return []
    return [f"Only {n_different} patients differ between the arms: p cannot fall below {min(smallest, 1):g}."]
