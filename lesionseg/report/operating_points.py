"""Scores beyond one threshold and one lesion size: FROC, PPV at matched sensitivity, scores by lesion volume.

A run's tables of thresholds (``froc.csv``) and of lesions (``lesions.csv``) are large. They are reduced run by run to
frames of a few rows (`run_froc`, `match_repeat`, `count_by_volume`), which are then averaged over the repeats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, nan
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionseg.metrics import Froc, froc_area
from lesionseg.report.analysis import pair_tables, tested_difference
from lesionseg.stats import summarise

FALSE_POSITIVES: NDArray[np.float64] = np.concatenate([[0.0], np.geomspace(1 / 16, 64, 81)])
"""Where the FROC is read, per study: 0, and eight a doubling from 1/16 to 64."""
_REACHED = 1e-9  # a sum of shares in another order is not always the same
_MATCHED = [
    *("train_size", "arm", "reference", "sensitivity", "ppv", "reference_ppv", "difference", "low", "high", "p"),
    *("n_patients", "n_repeats", "n_unmatched", "note"),
]
_PPV = ("ppv", "reference_ppv")


@dataclass(frozen=True, eq=False)
class RunCurves:
    """The thresholds of one run's test studies, all in one table."""

    arm: str  # value of init
    train_size: int  # training studies
    repeat: int  # which repeat
    threshold: float  # that the run's masks were made with
    subjects: NDArray[np.object_]  # of each study, shape (S,)
    n_reference: NDArray[np.int64]  # reference lesions of each study, shape (S,)
    study: NDArray[np.int64]  # of each row, its place among the studies; rows of a study lie together; shape (R,)
    thresholds: NDArray[np.float64]  # where a count of the study changes, descending within a study; shape (R,)
    # detected reference lesions, predicted lesions and false positives from there on; shape (R, 3)
    counts: NDArray[np.int64]

    def froc(self) -> Froc:
        """Return the FROC of all studies cut at the same threshold, as `lesionseg.metrics.pool_curves` has it."""
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
        """Thresholds, descending, and the mean of the patients' sensitivity there, each the mean of their sessions."""
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
        """Return `sensitivity` where the prediction is {p ≥ threshold}."""
        thresholds, values = self.sensitivity
        n_above = int(np.searchsorted(-thresholds, -threshold, side="right"))
        return float(values[n_above - 1]) if n_above else 0.0

    def threshold_at(self, sensitivity: float) -> float | None:
        """Return the highest threshold that has this `sensitivity` or a higher one; None if none has."""
        thresholds, values = self.sensitivity
        (reached,) = np.nonzero(values >= sensitivity - _REACHED)
        return float(thresholds[reached[0]]) if reached.size else None

    def patient_ppv(self, threshold: float) -> "pd.Series[float]":
        """Return the PPV of each patient (index) with reference lesions where the prediction is {p ≥ threshold}."""
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
        """By how much each row's counts exceed those of the row before, of the same study."""
        before = np.roll(self.counts, 1, axis=0)
        before[np.diff(self.study, prepend=-1) != 0] = 0
        return self.counts - before

    def _summed(self, changes: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the thresholds of all studies, descending, each once, and the sum of the changes down to each."""
        order, last = self._order
        return self.thresholds[order][last], np.cumsum(changes[order], axis=0, dtype=np.float64)[last]

    @cached_property
    def _order(self) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The rows by threshold, descending, and of these the last one of each threshold."""
        order = np.argsort(-self.thresholds, kind="stable")
        return order, np.diff(self.thresholds[order], append=-np.inf) != 0


def run_curves(table: pd.DataFrame, cases: pd.DataFrame, threshold: float) -> RunCurves:
    """Return the curves of one run."""
    study = _place_of(table["study"], {study: place for place, study in enumerate(cases["study"])})
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


def run_froc(curves: RunCurves, area_limit: float) -> pd.DataFrame:
    """Return one run's FROC: a row for each of `FALSE_POSITIVES`, with the area and the operating point in each.

    Lesions of all test studies are pooled, and a found lesion is one that a predicted one touches, whatever the task's
    criterion: the operating point under that criterion may lie beside the curve.
    """
    froc = curves.froc()
    met = np.maximum.accumulate(froc.false_positives_per_study)
    best = np.concatenate([[0.0], np.maximum.accumulate(froc.sensitivity)])
    read = best[np.searchsorted(met, FALSE_POSITIVES, side="right")]
    n_above = int(np.searchsorted(-froc.thresholds, -curves.threshold, side="right"))
    point = (0.0, 0.0 if froc.n_reference else nan)
    if n_above:
        point = (float(froc.false_positives_per_study[n_above - 1]), float(froc.sensitivity[n_above - 1]))
    return pd.DataFrame(
        {
            **{"train_size": curves.train_size, "arm": curves.arm, "repeat": curves.repeat},
            "false_positives": FALSE_POSITIVES,
            "sensitivity": read if froc.n_reference else nan,
            **{"area": froc_area(froc, area_limit), "area_up_to": area_limit},
            **{"operating_false_positives": point[0], "operating_sensitivity": point[1]},
        }
    )


def froc_bands(runs: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return mean, lowest and highest of the repeats, per size, arm and number of false positives."""
    if runs.empty:
        return pd.DataFrame()
    keys = ["train_size", "arm", "false_positives"]
    runs = runs[runs["arm"].isin(arms)]
    grouped = runs.assign(arm=pd.Categorical(runs["arm"], list(arms))).groupby(keys, observed=True)
    bands = grouped.agg(
        sensitivity=("sensitivity", "mean"),
        low=("sensitivity", "min"),
        high=("sensitivity", "max"),
        area=("area", "mean"),
        area_up_to=("area_up_to", "first"),
        operating_false_positives=("operating_false_positives", "mean"),
        operating_sensitivity=("operating_sensitivity", "mean"),
        n_repeats=("repeat", "nunique"),
    )
    bands.loc[bands["n_repeats"] < 2, ["low", "high"]] = nan
    return bands.reset_index().astype({"arm": str})


def match_repeat(reference: RunCurves, other: RunCurves) -> pd.DataFrame:
    """Cut two models of the same size and repeat where both have the sensitivity of the lower one.

    The target is the lower of the two models' mean sensitivities over patients, each at its own threshold; each is then
    cut at the highest threshold that reaches it.
    """
    target = min(run.sensitivity_at(run.threshold) for run in (reference, other))
    place = {"train_size": other.train_size, "arm": other.arm, "reference": reference.arm, "repeat": other.repeat}
    cuts = [run.threshold_at(target) for run in (reference, other)]
    if target <= 0 or cuts[0] is None or cuts[1] is None:
        return pd.DataFrame([{**place, "sensitivity": nan, "subject": "", "ppv": nan, "reference_ppv": nan}])
    both = pd.DataFrame({"ppv": other.patient_ppv(cuts[1]), "reference_ppv": reference.patient_ppv(cuts[0])})
    return both.rename_axis("subject").reset_index().assign(**{**place, "sensitivity": target})  # type: ignore[arg-type]


def matched_ppv(repeats: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return PPV at matched sensitivity, per size and arm, with the crossed test of the difference."""
    rows = []
    repeats = repeats[repeats["arm"].isin(arms)] if len(repeats) else repeats
    arranged = repeats.assign(arm=pd.Categorical(repeats.get("arm", []), list(arms))) if len(repeats) else repeats
    for key, own in arranged.groupby(["train_size", "arm"], observed=True) if len(repeats) else ():
        there = own[own["sensitivity"].notna()]
        matched = there.drop_duplicates("repeat")
        row: dict[str, Any] = {"train_size": key[0], "arm": key[1], "reference": own["reference"].iloc[0]}
        row |= {"n_unmatched": own["repeat"].nunique() - len(matched), "note": ""}
        if len(there):
            tables = {name: there.pivot(index="subject", columns="repeat", values=name) for name in _PPV}
            found = tested_difference(pair_tables(tables["reference_ppv"], tables["ppv"]))
            row |= {name: float(table.mean(axis=1).mean()) for name, table in tables.items()}
            row |= {"sensitivity": matched["sensitivity"].mean(), "difference": found["mean"]}
            row |= {name: found[name] for name in ("low", "high", "p", "n_patients", "n_repeats")}
        rows.append(row)
    return pd.DataFrame(rows, columns=_MATCHED)


def count_by_volume(lesions: pd.DataFrame, cases: pd.DataFrame, edges_mm3: Sequence[float]) -> pd.DataFrame:
    """Count the lesions of one run by patient, side and range of volumes, in the studies with a reference lesion.

    A predicted lesion counts by its own volume, not by that of the lesion it meets.
    """
    with_lesions = cases[cases["n_reference"] > 0]
    subjects = sorted({*with_lesions["subject"]})
    places = {name: place for place, name in enumerate(subjects)}
    of_study = {study: places[name] for study, name in zip(with_lesions["study"], with_lesions["subject"], strict=True)}
    place = _place_of(lesions["study"], of_study)
    counted = place >= 0
    # As in `stratify` a volume within a billionth of an edge counts as on it.
    cuts = np.asarray(edges_mm3, dtype=np.float64) * (1 - 1e-9)
    stratum = np.searchsorted(cuts, lesions["volume_mm3"].to_numpy(np.float64)[counted], side="right")
    predicted = _place_of(lesions["side"], {"reference": 0, "prediction": 1})[counted]
    hit = _place_of(lesions["verdict"], {"detected": 1, "true": 1})[counted] > 0
    shape = (len(subjects), cuts.size + 1, 2)
    flat = np.ravel_multi_index((place[counted], stratum, predicted), shape)
    n_cells = int(np.prod(shape))
    first = cases.iloc[0]
    index = pd.MultiIndex.from_product([subjects, range(cuts.size + 1), ["sensitivity", "ppv"]])
    frame = pd.DataFrame(
        {"hits": np.bincount(flat[hit], minlength=n_cells), "lesions": np.bincount(flat, minlength=n_cells)},
        index=index.set_names(["subject", "range", "score"]),
    )
    return frame.reset_index().assign(arm=first["init"], train_size=first["train_size"], repeat=first["repeat"])


def scores_by_volume(counts: pd.DataFrame, arms: Sequence[str], edges_mm3: Sequence[float]) -> pd.DataFrame:
    """Return sensitivity and PPV by lesion volume: each patient's share first, then the mean over patients."""
    if counts.empty:
        return pd.DataFrame()
    counts = counts[counts["arm"].isin(arms)]
    arranged = counts.assign(
        arm=pd.Categorical(counts["arm"], list(arms)), score=pd.Categorical(counts["score"], ["sensitivity", "ppv"])
    )
    n_repeats = arranged.groupby(["train_size", "arm"], observed=True)["repeat"].nunique()
    keys = ["train_size", "arm", "range", "score"]
    summed = arranged.groupby([*keys, "subject"], observed=True)[["hits", "lesions"]].sum()
    bounds = list(zip([0.0, *edges_mm3], [*edges_mm3, inf], strict=True))
    rows = []
    groups: Any = summed.groupby(level=keys, observed=True)
    for (size, arm, number, score), own in groups:
        there = own[own["lesions"] > 0]
        summary = summarise(there["hits"] / there["lesions"])
        low, high = bounds[int(number)]
        rows.append(
            {
                **{"train_size": size, "arm": str(arm), "low_mm3": float(low), "high_mm3": float(high)},
                **{"score": str(score), "mean": summary.mean, "standard_error": summary.standard_error},
                **{"n_patients": summary.n, "n_lesions": float(own["lesions"].sum()) / n_repeats[size, arm]},
            }
        )
    return pd.DataFrame(rows)


def _place_of(names: "pd.Series[Any]", places: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the place of each name, −1 where it has none; quick where the names are categories."""
    categorical = pd.Categorical(names)
    of_category = np.array([places.get(name, -1) for name in categorical.categories], dtype=np.int64)
    found: NDArray[np.int64] = np.append(of_category, -1)[categorical.codes]
    return found
