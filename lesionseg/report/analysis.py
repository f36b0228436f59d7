"""Arms compared over training-set sizes: from the table of test cases to the frames that a report shows.

Every frame is also a CSV file of the report. The first arm is the reference that the others are compared with.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import inf, isfinite, nan
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from lesionseg.metrics import coverage
from lesionseg.stats import (
    clustered_ratio,
    crossed_difference,
    holm,
    isotonic_curve,
    label_savings,
    patients_needed,
    power_law_curve,
    sign_flip_test,
    summarise,
    wilcoxon_test,
)

Score = Literal["lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice"]
SCORES: dict[Score, str] = {
    "lesion_sensitivity": "sensitivity",
    "lesion_ppv": "PPV",
    "lesion_f1": "F1",
    "dice": "Dice",
}
"""Each score by its column and by its name in a text."""
PRIMARY: tuple[Score, ...] = ("lesion_sensitivity", "lesion_ppv", "lesion_f1")
"""The scores that the comparison turns on: Holm's adjustment is over their tests, label savings are read from them."""
RUN = ["init", "train_size", "repeat"]
STUDY = ["subject", "session"]
RunKey = tuple[str, int, int]
"""init, train_size and repeat of a run."""
Tables = Mapping[tuple[str, int, str], pd.DataFrame]
"""By arm, size and score: a table of patients (index) and repeats (columns)."""

_COUNTS: Mapping[str, tuple[str, str]] = {
    "lesion_sensitivity": ("detected_reference", "n_reference"),
    "lesion_ppv": ("true_prediction", "n_prediction"),
}
_MANY_TESTS = 50  # above, a sign-flip test that draws its patterns draws a tenth of them
_ESTIMATES = [
    *("train_size", "score", "quantity", "arm", "reference", "mean", "standard_error", "low", "high", "p", "holm_p"),
    *("df", "n_patients", "n_repeats", "n_undefined", "pooled", "pooled_standard_error", "pooled_low", "pooled_high"),
    *("sign_flip_p", "wilcoxon_p", "wilcoxon_median", "note"),
]
PLANNED_REPEATS = (3, 5, 10, 20)
DIFFERENCE = 0.05
"""What `Analysis.power` plans to show, in which numbers of repeats."""
_SAVINGS = [
    *("score", "arm", "reference", "train_size", "arm_score", "needed", "needed_bound", "needed_low"),
    *("needed_low_bound", "needed_high", "needed_high_bound", "saved", "multiplier", "multiplier_low"),
    *("multiplier_high", "claimed", "n_patients", "n_repeats", "note"),
]


@dataclass(frozen=True)
class Basis:
    """What a comparison rests on."""

    arms: tuple[str, ...]  # with a finished run, in the order asked for
    sizes: tuple[int, ...]  # training studies, ascending
    repeats: tuple[int, ...]  # that any run has, ascending
    n_patients: int  # test patients
    n_patients_with_lesions: int  # those of them with a reference lesion in at least one session
    n_studies: int  # test studies
    n_inconsistent: int  # test studies whose number of reference lesions is not the same in every run
    n_tests: int  # how many tests Holm's p is adjusted for


@dataclass(frozen=True, eq=False)
class Analysis:
    """The numbers of a comparison."""

    basis: Basis  # what they rest on
    estimates: pd.DataFrame  # a row per size, score and quantity: an arm's mean, or a difference, with a reference
    patients: pd.DataFrame  # a row per size, score, arm and patient: the mean over sessions, then repeats
    # a row per score, arm and size: mean, interval, fits, and each repeat's mean as ``repeat_0`` and so on
    curves: pd.DataFrame
    savings: pd.DataFrame  # a row per score, arm and size: studies that the reference arm needs for the same score
    # a row per size, arm and planned number of repeats: test patients that would show a difference of 0.05 in F1
    power: pd.DataFrame
    coverage: pd.DataFrame  # a row per size and arm: how much the predictions cover; empty where the runs do not tell
    without_lesions: pd.DataFrame  # a row per size and arm: false positives in the studies without reference lesion
    # a row per run or study that a full grid would hold: arm, train_size, repeat, lacking (studies)
    missing: pd.DataFrame

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms with a finished run, the reference first."""
        return self.basis.arms


def analyse(cases: pd.DataFrame, arms: Sequence[str], grid: Sequence[RunKey] | None = None) -> Analysis:
    """Compare arms over training-set sizes, patient by patient, each with the first.

    A patient's sessions are averaged first, then their repeats; means and standard errors are over patients.
    Differences are an arm minus the first one, paired by patient and repeat, tested for new patients and new
    trainings at once (`lesionseg.stats.crossed_difference`), and adjusted for each other by Holm's method. Studies
    without reference lesion are reported apart.
    """
    if not arms or len(set(arms)) != len(arms):
        raise ValueError(f"arms must be one or several different ones (got {', '.join(arms) or 'none'})")
    kept = tidy_cases(cases, arms)
    tables = patient_tables(kept)
    present = tuple(arm for arm in arms if (kept["init"] == arm).any())
    sizes = tuple(int(size) for size in sorted(kept["train_size"].unique()))
    means = _means(kept, tables, present, sizes)
    compared = present[1:] if present[0] == arms[0] else ()
    differences = _differences(tables, arms[0], compared, sizes)
    columns = ["arm", "train_size", "score", "patient", "value"]
    patients = pd.DataFrame(
        [
            (arm, size, score, str(patient), float(value))
            for size, score, arm in product(sizes, SCORES, present)
            if (arm, size, score) in tables
            for patient, value in tables[arm, size, score].mean(axis=1).items()
        ],
        columns=columns,
    )
    with_lesions = kept[kept["n_reference"] > 0]
    basis = Basis(
        arms=present,
        sizes=sizes,
        repeats=tuple(int(repeat) for repeat in sorted(kept["repeat"].unique())),
        n_patients=kept["subject"].nunique(),
        n_patients_with_lesions=with_lesions["subject"].nunique(),
        n_studies=len(kept[STUDY].drop_duplicates()),
        n_inconsistent=int((kept.groupby(STUDY)["n_reference"].nunique(dropna=False) > 1).sum()),
        n_tests=int(differences["holm_p"].notna().sum()),
    )
    return Analysis(
        basis=basis,
        estimates=_sorted(pd.concat([means, differences], ignore_index=True).reindex(columns=_ESTIMATES)),
        patients=patients,
        curves=_curves(means, tables),
        savings=_savings(tables, arms[0], compared),
        power=_power(tables, arms[0], compared, sizes),
        coverage=_coverage(kept, present, sizes),
        without_lesions=_without_lesions(kept, present),
        missing=_missing(kept, arms, grid),
    )


def tested_difference(table: NDArray[np.float64]) -> dict[str, Any]:
    """Return the fields of `lesionseg.stats.crossed_difference` of scores, its interval cut at −1 and 1."""
    found = crossed_difference(table)
    return {**vars(found), "low": max(found.low, -1.0), "high": min(found.high, 1.0)}


def tidy_cases(cases: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return the rows of the arms that are compared, checked and with one type per column."""
    needed = [*RUN, *STUDY, "n_reference", *SCORES, "false_positives", "false_positive_volume_ml"]
    lacking = [column for column in needed if column not in cases.columns]
    if lacking:
        raise ValueError(f"cases: lacks the columns {', '.join(lacking)}")
    kept = cases[cases["init"].isin(list(arms))].copy()
    if kept.empty:
        there = ", ".join(sorted(map(str, cases["init"].unique()))) or "none"
        raise ValueError(f"arms: no case of {', '.join(arms)} (got {there})")
    for column in ("train_size", "repeat"):
        numbers = pd.to_numeric(kept[column], errors="coerce")
        wrong = kept[column][numbers.isna() | (numbers % 1 != 0)]
        if not wrong.empty:
            raise ValueError(f"cases: {column} must hold whole numbers (got {wrong.iloc[0]!r})")
        kept[column] = numbers.astype(np.int64)
    for column in STUDY:
        kept[column] = kept[column].astype(object).where(kept[column].notna(), "").astype(str)
    twice = kept[kept.duplicated([*RUN, *STUDY])]
    if not twice.empty:
        first = " ".join(map(str, twice.iloc[0][[*RUN, *STUDY]]))
        raise ValueError(f"cases: {len(twice)} rows repeat a study of the same run (got {first})")
    return kept.reset_index(drop=True)


def arm_order(arms: Iterable[str]) -> list[str]:
    """Return arms in the order in which colours are given out: scratch, pretrained, then by name."""
    return sorted(set(arms), key=lambda arm: (arm != "scratch", arm != "pretrained", arm))


def pair_tables(reference: pd.DataFrame, other: pd.DataFrame) -> NDArray[np.float64]:
    """Return `other` minus `reference`, shape (patients, repeats): the patients of either and the repeats of both.

    A patient who is undefined in both arms, such as one without reference lesion, is left out.
    """
    repeats = reference.columns.intersection(other.columns)
    difference = other[repeats] - reference[repeats]
    undefined = reference.isna().all(axis=1).reindex(difference.index, fill_value=False)
    undefined &= other.isna().all(axis=1).reindex(difference.index, fill_value=False)
    return difference[~undefined].to_numpy(np.float64)


def patient_tables(cases: pd.DataFrame) -> Tables:
    """Return each arm's and size's scores; NaN is a patient without a session with reference lesions."""
    values = cases[list(SCORES)].astype(np.float64).where(cases["n_reference"] > 0)
    means = values.groupby([cases[key] for key in ("init", "train_size", "subject", "repeat")], observed=True).mean()
    tables: dict[tuple[str, int, str], pd.DataFrame] = {}
    groups: Any = means.groupby(level=["init", "train_size"], observed=True)
    for (arm, size), rows in groups:
        unstacked = rows.droplevel(["init", "train_size"]).unstack("repeat")
        for score in SCORES:
            tables[str(arm), int(size), score] = unstacked[score]
    return tables


def _means(cases: pd.DataFrame, tables: Tables, arms: Sequence[str], sizes: Sequence[int]) -> pd.DataFrame:
    groups = dict(iter(cases.groupby(["init", "train_size"])))
    rows = []
    for size, score, arm in product(sizes, SCORES, arms):
        if (arm, size, score) not in tables:
            continue
        table = tables[arm, size, score]
        summary = summarise(table.mean(axis=1).to_numpy())
        margin = float(stdtrit(summary.n - 1, 0.975)) * summary.standard_error if summary.n > 1 else nan
        rows.append(
            {
                **{"train_size": size, "score": score, "quantity": arm, "arm": arm, "reference": ""},
                **{"mean": summary.mean, "standard_error": summary.standard_error},
                **{"low": max(summary.mean - margin, 0.0), "high": min(summary.mean + margin, 1.0)},
                **{"n_patients": summary.n, "n_undefined": summary.n_undefined},
                **{"n_repeats": int(table.notna().any(axis=0).sum()), "note": ""},
                **_pooled(groups[arm, size], score),
            }
        )
    return pd.DataFrame(rows)


def _pooled(cases: pd.DataFrame, score: str) -> dict[str, float]:
    """Return the ratio of all patients' lesions together, of the studies with a reference lesion."""
    columns = list(_COUNTS.get(score, ()))
    if not columns or not set(columns) <= set(cases.columns):
        return {}
    with_lesions = cases[cases["n_reference"] > 0]
    counts = with_lesions.groupby(["subject", "repeat"])[columns].sum().groupby("subject").mean()
    ratio = clustered_ratio(*(counts[column].to_numpy(np.float64) for column in columns))
    return {
        "pooled": ratio.ratio,
        "pooled_standard_error": ratio.standard_error,
        "pooled_low": ratio.low,
        "pooled_high": ratio.high,
    }


def _differences(tables: Tables, reference: str, others: Sequence[str], sizes: Sequence[int]) -> pd.DataFrame:
    pairs = {
        (size, score, arm): pair_tables(tables[reference, size, score], tables[arm, size, score])
        for size, score, arm in product(sizes, SCORES, others)
        if (arm, size, score) in tables and (reference, size, score) in tables
    }
    n_resamples = 100_000 if len(pairs) <= _MANY_TESTS else 10_000
    rows = []
    for (size, score, arm), table in pairs.items():
        crossed = tested_difference(table)
        ranks = wilcoxon_test(table)
        keys = ("mean", "standard_error", "low", "high", "p", "df", "n_patients", "n_repeats", "note")
        rows.append(
            {
                **{"train_size": size, "score": score, "quantity": f"{arm} - {reference}"},
                **{"arm": arm, "reference": reference},
                **{key: crossed[key] for key in keys},
                "sign_flip_p": sign_flip_test(table, n_resamples=n_resamples).p,
                **{"wilcoxon_p": ranks.p, "wilcoxon_median": ranks.estimate},
            }
        )
    frame = pd.DataFrame(rows, columns=_ESTIMATES)
    frame["holm_p"] = holm(frame["p"].astype(float).where(frame["score"].isin(PRIMARY)))
    return frame


def _sorted(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return the rows by size, then score, means before differences; scores that are not ours come last."""
    order = {score: number for number, score in enumerate(SCORES)}
    rank = estimates["score"].map(order).fillna(len(order))
    ranked = estimates.assign(rank=rank).sort_values(["train_size", "rank"], kind="stable").drop(columns="rank")
    return ranked.reset_index(drop=True).astype({"n_patients": "Int64", "n_undefined": "Int64"})


def _curves(means: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Return a learning curve for each score and arm."""
    parts = []
    for score in SCORES:
        for _, own in means[means["score"] == score].groupby("arm", sort=False):
            sizes, values = own["train_size"].to_numpy(), own["mean"].to_numpy(np.float64)
            n_scored = int(np.isfinite(values).sum())
            isotonic, law = np.full(values.shape, nan), np.full(values.shape, nan)
            if n_scored > 1:
                isotonic[np.isfinite(values)] = isotonic_curve(sizes, values).fitted
            if n_scored > 2 and isfinite((curve := power_law_curve(sizes, values)).a):
                law = curve.at(sizes)
            repeats = [
                {f"repeat_{repeat}": mean for repeat, mean in tables[arm, size, score].mean().dropna().items()}
                for arm, size in zip(own["arm"], sizes, strict=True)
            ]
            part = own[["score", "arm", "train_size", "mean", "low", "high"]].assign(isotonic=isotonic, power_law=law)
            parts.append(pd.concat([part.reset_index(drop=True), pd.DataFrame(repeats)], axis=1))
    return pd.concat(parts, ignore_index=True)


def _savings(tables: Tables, reference: str, others: Sequence[str]) -> pd.DataFrame:
    frames = []
    for score, arm in product(PRIMARY, others):
        own = {name: {n: t for (a, n, s), t in tables.items() if (a, s) == (name, score)} for name in (reference, arm)}
        sizes = sorted({*own[reference], *own[arm]})
        if len(sizes) < 2:
            continue
        found = [table for by_size in own.values() for table in by_size.values()]
        patients = sorted({patient for table in found for patient in table.dropna(how="all").index})
        repeats = sorted({repeat for table in found for repeat in table.columns})
        missing = pd.DataFrame(np.nan, patients, repeats)
        stacked = [
            np.stack([own[name].get(n, missing).reindex(patients, columns=repeats).to_numpy() for n in sizes])
            for name in (reference, arm)
        ]
        found_savings = label_savings(sizes, *stacked)
        frame = pd.DataFrame({"train_size": sizes, "arm_score": found_savings.scores})
        ends = found_savings.reference.sizes[[0, -1]] if found_savings.n_patients else (nan, nan)
        for name, end in (("needed", ""), ("low", "_low"), ("high", "_high")):
            key, values = f"needed{end}", getattr(found_savings, name)
            frame[key] = np.where(np.isnan(values), nan, np.clip(values, *ends))
            frame[f"{key}_bound"] = np.select([values == inf, values == -inf], ["more than", "at most"], "exact")
            frame[f"multiplier{end}"] = frame[key] / frame["train_size"]
        facts = {key: getattr(found_savings, key) for key in ("n_patients", "n_repeats", "note")}
        for key, value in {"score": score, "arm": arm, "reference": reference, **facts}.items():
            frame[key] = value
        # Only where the whole interval says so: its lower end is above the arm's own size.
        above = frame["needed_low"].gt(frame["train_size"]) & frame["needed_low_bound"].ne("at most")
        above |= frame["needed_low"].ge(frame["train_size"]) & frame["needed_low_bound"].eq("more than")
        frames.append(frame.assign(saved=frame["needed"] - frame["train_size"], claimed=above))
    return pd.concat([pd.DataFrame(columns=_SAVINGS), *frames])[_SAVINGS] if frames else pd.DataFrame(columns=_SAVINGS)


def _power(tables: Tables, reference: str, others: Sequence[str], sizes: Sequence[int]) -> pd.DataFrame:
    """Return from this sweep's own variance components what a difference of 0.05 in F1 would take."""
    rows = []
    for size, arm in product(sizes, others):
        if {(arm, size, "lesion_f1"), (reference, size, "lesion_f1")} <= tables.keys():
            table = pair_tables(tables[reference, size, "lesion_f1"], tables[arm, size, "lesion_f1"])
            wanted = patients_needed(table, PLANNED_REPEATS, DIFFERENCE)
            rows += [(size, arm, *one) for one in zip(PLANNED_REPEATS, wanted, strict=True)]
    return pd.DataFrame(rows, columns=["train_size", "arm", "n_repeats", "n_patients"]).dropna()


def _coverage(cases: pd.DataFrame, arms: Sequence[str], sizes: Sequence[int]) -> pd.DataFrame:
    columns = ["n_reference", "merged_lesions", "volume_reference_ml", "volume_prediction_ml"]
    if not set(columns) <= set(cases.columns) or cases[columns].isna().any(axis=None):
        return pd.DataFrame()
    rows = []
    for size, arm in product(sizes, arms):
        own = cases.loc[(cases["train_size"] == size) & (cases["init"] == arm), columns]
        if len(own):
            found = coverage(own.to_dict("records"))  # type: ignore[arg-type]
            rows.append({"train_size": size, "arm": arm, **vars(found), "warning": found.warning})
    return pd.DataFrame(rows)


def _without_lesions(cases: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return what is marked where there is nothing, the repeats averaged within each study first."""
    rows = cases[~(cases["n_reference"] > 0)]
    columns = ["false_positives", "false_positive_volume_ml", "marked"]
    marked = rows.assign(marked=(rows["false_positives"] > 0).astype(float))
    by_study = marked.groupby(["init", "train_size", *STUDY])[columns].mean()
    cells = by_study.groupby(level=["init", "train_size"])
    found = cells.mean().assign(n_studies=cells.size()).reset_index().rename(columns={"init": "arm"})
    found["order"] = found["arm"].map({arm: number for number, arm in enumerate(arms)})
    found = found.sort_values(["train_size", "order"]).reset_index(drop=True)
    return found[["arm", "train_size", "n_studies", *columns]]


def _missing(cases: pd.DataFrame, arms: Sequence[str], grid: Sequence[RunKey] | None) -> pd.DataFrame:
    """Return the runs that a full grid would hold and that are not there, and those that lack studies of others."""
    groups = {
        key: set(rows[STUDY].itertuples(index=False, name=None)) for key, rows in cases.groupby(RUN, observed=True)
    }
    studies: set[tuple[str, str]] = set().union(*groups.values())
    sizes, repeats = sorted(cases["train_size"].unique()), sorted(cases["repeat"].unique())
    asked = product(arms, sizes, repeats) if grid is None else dict.fromkeys((*grid, *groups))
    rows = []
    for arm, size, repeat in sorted(
        (key for key in asked if key[0] in arms), key=lambda key: (arms.index(key[0]), key)
    ):
        lacking = studies - groups.get((arm, size, repeat), set())
        if lacking:
            there = (arm, size, repeat) in groups
            names = ", ".join(sorted(f"{subject} {session}".strip() for subject, session in lacking)) if there else ""
            rows.append((arm, int(str(size)), int(str(repeat)), names))
    return pd.DataFrame(rows, columns=["arm", "train_size", "repeat", "lacking"])
