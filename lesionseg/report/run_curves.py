"""One run's lesions at every threshold of its probability maps, as ``froc.csv`` has them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionseg.metrics import Froc

REACHED = 1e-9  # a sum of shares in another order is not always the same


@dataclass(frozen=True, eq=False)
class RunCurves:
    """The thresholds of one run's test studies, all in one table.

    Attributes:
        arm: value of init.
        train_size: training studies.
        repeat: which repeat.
        threshold: that the run's masks were made with.
        subjects: of each study, shape (S,).
        n_reference: reference lesions of each study, shape (S,).
        study: of each row, its place among the studies; rows of a study lie together; shape (R,).
        thresholds: where a count of the study changes, descending within a study; shape (R,).
        counts: detected reference lesions, predicted lesions and false positives from there on; shape (R, 3).
    """

    arm: str
    train_size: int
    repeat: int
    threshold: float
    subjects: NDArray[np.object_]
    n_reference: NDArray[np.int64]
    study: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    counts: NDArray[np.int64]

    def froc(self) -> Froc:
        """All studies cut at the same threshold, as `lesionseg.metrics.pool_curves` has it."""
        n_reference, with_lesions = int(self.n_reference.sum()), self.n_reference > 0
        weights = np.where(with_lesions, 1 / np.maximum(self.n_reference, 1) / max(with_lesions.sum(), 1), np.nan)
        changes = self._changes
        thresholds, sums = self._summed(np.column_stack([changes, changes[:, 0] * np.nan_to_num(weights[self.study])]))
        nothing = np.full(thresholds.size, np.nan)
        return Froc(
            thresholds=thresholds,
            sensitivity=sums[:, 0] / n_reference if n_reference else nothing,
            mean_sensitivity=sums[:, 3] if n_reference else nothing,
            false_positives_per_study=sums[:, 2] / self.n_reference.size,
            n_studies=self.n_reference.size,
            n_reference=n_reference,
        )

    @cached_property
    def sensitivity(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Thresholds, descending, and the mean of the patients' sensitivity there: of those with reference lesions,
        each the mean of their sessions."""
        with_lesions = self.n_reference > 0
        patients, sessions = np.unique(self.subjects[with_lesions], return_counts=True)
        n_sessions = dict(zip(patients, sessions, strict=True))
        weights = [
            1 / (n * n_sessions[subject] * patients.size) if n else 0.0
            for subject, n in zip(self.subjects, self.n_reference, strict=True)
        ]
        thresholds, sums = self._summed(self._changes[:, :1] * np.array(weights)[self.study, None])
        return thresholds, sums[:, 0]

    def sensitivity_at(self, threshold: float) -> float:
        """`sensitivity` where the prediction is {p ≥ threshold}."""
        thresholds, values = self.sensitivity
        n_above = int(np.searchsorted(-thresholds, -threshold, side="right"))
        return float(values[n_above - 1]) if n_above else 0.0

    def threshold_at(self, sensitivity: float) -> float | None:
        """The highest threshold that has this `sensitivity` or a higher one; None if none has."""
        thresholds, values = self.sensitivity
        (reached,) = np.nonzero(values >= sensitivity - REACHED)
        return float(thresholds[reached[0]]) if reached.size else None

    def patient_ppv(self, threshold: float) -> "pd.Series[float]":
        """PPV of each patient (index) with reference lesions where the prediction is {p ≥ threshold}, the mean of their
        sessions; 0 where nothing is predicted."""
        n_studies, nothing = self.n_reference.size, len(self.counts)
        n_above = np.bincount(self.study[self.thresholds >= threshold], minlength=n_studies)
        last = np.searchsorted(self.study, np.arange(n_studies)) + n_above - 1
        counts = np.vstack([self.counts, np.zeros((1, 3), dtype=np.int64)])[np.where(n_above > 0, last, nothing)]
        n_prediction, n_false = counts[:, 1], counts[:, 2]
        ppv = np.where(n_prediction > 0, (n_prediction - n_false) / np.maximum(n_prediction, 1), 0.0)
        with_lesions = self.n_reference > 0
        return pd.Series(ppv[with_lesions]).groupby(self.subjects[with_lesions]).mean()

    @cached_property
    def _changes(self) -> NDArray[np.int64]:
        """By how much each row's counts are more than the row's before, of the same study."""
        before = np.roll(self.counts, 1, axis=0)
        before[np.diff(self.study, prepend=-1) != 0] = 0
        return self.counts - before

    def _summed(self, changes: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The thresholds of all studies, descending, each once, and the sum of the changes down to each."""
        order, last = self._order
        return self.thresholds[order][last], np.cumsum(changes[order], axis=0, dtype=np.float64)[last]

    @cached_property
    def _order(self) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The rows by threshold, descending, and of these the last one of each threshold."""
        order = np.argsort(-self.thresholds, kind="stable")
        return order, np.diff(self.thresholds[order], append=-np.inf) != 0


def run_curves(table: pd.DataFrame, cases: pd.DataFrame, threshold: float) -> RunCurves:
    """The curves of one run.

    Args:
        table: of ``froc.csv``: study, n_reference, threshold, detected_reference, n_prediction, false_positives.
        cases: the run's rows of the table of cases, with init, train_size, repeat, study, subject and n_reference; a
            study without a row in `table` has no threshold at which anything is predicted.
        threshold: that the run's masks were made with; maps are of single precision, so it is rounded to that.
    """
    places = {study: place for place, study in enumerate(cases["study"])}
    study = place_of(table["study"], places)
    if (study < 0).any():
        table, study = table[study >= 0], study[study >= 0]
    thresholds = table["threshold"].to_numpy(np.float64)
    order = np.lexsort((-thresholds, study))
    n_reference = cases["n_reference"].to_numpy(np.int64).copy()
    n_reference[study] = table["n_reference"].to_numpy(np.int64)
    first = cases.iloc[0]
    return RunCurves(
        arm=str(first["init"]),
        train_size=int(first["train_size"]),
        repeat=int(first["repeat"]),
        threshold=float(np.float32(threshold)),
        subjects=cases["subject"].to_numpy(object),
        n_reference=n_reference,
        study=study[order],
        thresholds=thresholds[order],
        counts=table[["detected_reference", "n_prediction", "false_positives"]].to_numpy(np.int64)[order],
    )


def place_of(names: "pd.Series[Any]", places: Mapping[str, int]) -> NDArray[np.int64]:
    """The place of each name, −1 where it has none; quick where the names are categories, as in a long table."""
    categorical = pd.Categorical(names)
    of_category = np.array([places.get(name, -1) for name in categorical.categories], dtype=np.int64)
    found: NDArray[np.int64] = np.append(of_category, -1)[categorical.codes]
    return found
