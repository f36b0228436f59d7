"""Sensitivity and PPV by lesion volume."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import inf

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionseg.report.run_curves import place_of
from lesionseg.stats import summarise


@dataclass(frozen=True)
class Share:
    """A share of lesions: each patient's own first, then the mean over patients.

    Attributes:
        mean: over the patients with such a lesion, each patient's counts summed over sessions and repeats; 0 … 1, NaN
            without any.
        standard_error: over patients (ddof = 1); NaN below two patients.
        n_patients: patients with such a lesion.
        n_lesions: such lesions of all patients in one repeat; a mean over repeats, so it need not be whole.
    """

    mean: float
    standard_error: float
    n_patients: int
    n_lesions: float


@dataclass(frozen=True)
class SizeStratum:
    """The lesions of one range of volumes, of one arm at one size.

    A predicted lesion counts by its own volume, not by that of the lesion it meets.

    Attributes:
        arm: value of init.
        train_size: training studies.
        low_mm3: lower edge in mm³, belongs to the range; 0 for the first.
        high_mm3: upper edge, does not; infinite for the last.
        sensitivity: of the reference lesions of that volume, those detected.
        ppv: of the predicted lesions of that volume, those true.
    """

    arm: str
    train_size: int
    low_mm3: float
    high_mm3: float
    sensitivity: Share
    ppv: Share


@dataclass(frozen=True, eq=False)
class VolumeCounts:
    """One run's lesions by patient and range of volumes, of the studies with a reference lesion.

    Attributes:
        arm: value of init.
        train_size: training studies.
        repeat: which repeat.
        subjects: the patients, P of them.
        counts: reference lesions, of these detected, predicted lesions, of these true; whole numbers, shape
            (P, S ranges, 4).
    """

    arm: str
    train_size: int
    repeat: int
    subjects: tuple[str, ...]
    counts: NDArray[np.int64]


def count_by_volume(lesions: pd.DataFrame, cases: pd.DataFrame, edges_mm3: Sequence[float]) -> VolumeCounts:
    """Count the lesions of one run.

    Args:
        lesions: a row per lesion, with the columns study, side, verdict and volume_mm3 of ``lesions.csv``.
        cases: the run's rows of the table of cases, with init, train_size, repeat, study, subject and n_reference.
        edges_mm3: where one range ends and the next begins, in mm³, ascending; the first begins at 0 and the last has
            no end, as in `lesionseg.metrics.stratify`.
    """
    with_lesions = cases[cases["n_reference"] > 0]
    subjects = sorted({*with_lesions["subject"]})
    places = {name: place for place, name in enumerate(subjects)}
    of_study = {study: places[name] for study, name in zip(with_lesions["study"], with_lesions["subject"], strict=True)}
    place = place_of(lesions["study"], of_study)
    counted = place >= 0
    # As in `stratify` a volume within a billionth of an edge counts as on it.
    cuts = np.asarray(edges_mm3, dtype=np.float64) * (1 - 1e-9)
    stratum = np.searchsorted(cuts, lesions["volume_mm3"].to_numpy(np.float64)[counted], side="right")
    predicted = 2 * place_of(lesions["side"], {"reference": 0, "prediction": 1})[counted]
    hit = place_of(lesions["verdict"], {"detected": 1, "true": 1})[counted] > 0
    shape = (len(subjects), cuts.size + 1, 4)
    cell = np.ravel_multi_index((place[counted], stratum, predicted), shape)
    n_cells = len(subjects) * (cuts.size + 1) * 4
    counts = np.bincount(cell, minlength=n_cells) + np.bincount(cell[hit] + 1, minlength=n_cells)
    first = cases.iloc[0]
    return VolumeCounts(
        str(first["init"]), int(first["train_size"]), int(first["repeat"]), tuple(subjects), counts.reshape(shape)
    )


def size_strata(
    runs: Sequence[VolumeCounts], arms: Sequence[str], edges_mm3: Sequence[float]
) -> tuple[SizeStratum, ...]:
    """Sensitivity and PPV by lesion volume, per size, arm and range, in that order.

    Args:
        runs: counted with the same edges.
        arms: in the order that is wanted.
        edges_mm3: between the ranges.
    """
    ranges = list(zip([0.0, *edges_mm3], [*edges_mm3, inf], strict=True))
    strata = []
    for size, arm in product(sorted({run.train_size for run in runs}), arms):
        own = [run for run in runs if (run.arm, run.train_size) == (arm, size)]
        if not own:
            continue
        counts = _by_patient(own)
        for (low, high), of_range in zip(ranges, counts.transpose(1, 0, 2), strict=True):
            shares = [_share(of_range[:, hit], of_range[:, every], len(own)) for every, hit in ((0, 1), (2, 3))]
            strata.append(SizeStratum(arm, size, float(low), float(high), *shares))
    return tuple(strata)


def _by_patient(runs: Sequence[VolumeCounts]) -> NDArray[np.int64]:
    """Summed over the repeats, shape (P, S, 4)."""
    total: dict[str, NDArray[np.int64]] = {}
    for run in runs:
        for subject, counts in zip(run.subjects, run.counts, strict=True):
            total[subject] = total.get(subject, 0) + counts
    return np.stack(list(total.values())) if total else np.zeros((0, runs[0].counts.shape[1], 4), dtype=np.int64)


def _share(hits: NDArray[np.int64], every: NDArray[np.int64], n_repeats: int) -> Share:
    there = every > 0
    summary = summarise(hits[there] / every[there])
    return Share(summary.mean, summary.standard_error, summary.n, float(every.sum()) / n_repeats)
