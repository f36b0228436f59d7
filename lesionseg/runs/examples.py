"""Which test studies a report shows: of each arm the median and the worst one."""

from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from lesionseg.report import Results, StudyPicture, StudySlice, load_slices
from lesionseg.tracking import Store
from lesionseg.tracking.artifacts import artifacts_of

SLICES = "slices.npz"


def pictures_of(store: Store, runs: Sequence[Any], cases: pd.DataFrame, results: Results) -> tuple[StudyPicture, ...]:
    """Each arm's median and worst test study at its largest size, by the mean lesionwise F1 over repeats.

    Of the repeats the one is shown whose F1 of that study is nearest to that mean.

    Args:
        store: where the runs are.
        runs: of these arms, as MLflow's entities.
        cases: a row per run and test study, as `cases_of` gives it.
        results: the numbers of these cases.

    Returns:
        Two pictures an arm, one where it has a single study with an F1; none where its runs left no slices.
    """
    by_place = {
        (run.data.params["init"], int(run.data.params["train_size"]), int(run.data.params["repeat"])): run
        for run in runs
    }
    pictures = []
    for arm in results.arms:
        own = cases[(cases["init"] == arm) & cases["lesion_f1"].notna()]
        own = own[own["train_size"] == own["train_size"].max()]
        for which, study in _chosen(own):
            found = _slice(store, by_place, own[own["study"] == study])
            if found is not None:
                parts = (found.facts, found.image, found.verdict, found.spacing)
                pictures.append(StudyPicture(arm, which, study, *parts))
    return tuple(pictures)


def _chosen(cases: pd.DataFrame) -> list[tuple[Literal["median", "worst"], str]]:
    """Names of the median and the worst study; the latter alone where they are the same."""
    means = cases.groupby("study")["lesion_f1"].mean().sort_index().sort_values(ascending=False, kind="stable")
    if means.empty:
        return []
    median, worst = str(means.index[(len(means) - 1) // 2]), str(means.index[-1])
    return [("worst", worst)] if median == worst else [("median", median), ("worst", worst)]


def _slice(store: Store, by_place: dict[tuple[str, int, int], Any], cases: pd.DataFrame) -> StudySlice | None:
    """The study's picture from the repeat nearest to their mean; None where none has one."""
    distance = (cases["lesion_f1"] - cases["lesion_f1"].mean()).abs().round(9)  # of two repeats both are as near
    nearest = distance.sort_values(kind="stable").index
    for case in cases.loc[nearest].to_dict("records"):
        run = by_place[str(case["init"]), int(case["train_size"]), int(case["repeat"])]
        with artifacts_of(store, run).open(SLICES) as file:
            found = () if file is None else load_slices(file, [str(case["study"])])
        if found:
            return found[0]
    return None
