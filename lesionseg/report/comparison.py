"""The comparison of a sweep's arms: every frame and sentence of its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from math import isnan
from pathlib import Path

import pandas as pd

from lesionseg.io import written_whole
from lesionseg.report import methods
from lesionseg.report.analysis import (
    PRIMARY,
    Analysis,
    RunKey,
    analyse,
    pair_tables,
    patient_tables,
    tested_difference,
    tidy_cases,
)
from lesionseg.report.operating_points import froc_bands, matched_ppv, scores_by_volume
from lesionseg.report.provenance import (
    Provenance,
    RunRecord,
    behind_on_validation,
    differing_settings,
    learning_rates,
    validation_means,
)
from lesionseg.report.slices import StudySlice
from lesionseg.report.text import answer_sentences, baseline_sentence, control_sentences, validation_sentences

_AGAINST = [
    *("train_size", "score", "arm", "other", "other_mean", "difference", "low", "high", "p"),
    *("n_patients", "n_repeats"),
]
_NOTE = "validation: each run's highest value, mean of the repeats that all arms have"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a sweep's runs left beside their table of cases; each part may be empty."""

    runs: Sequence[RunRecord] = ()  # what each run tells of itself
    froc: pd.DataFrame = field(default_factory=pd.DataFrame)  # frames of `run_froc`
    matched: pd.DataFrame = field(default_factory=pd.DataFrame)  # frames of `match_repeat`
    volumes: pd.DataFrame = field(default_factory=pd.DataFrame)  # frames of `count_by_volume`
    volume_edges_mm3: Sequence[float] = ()  # between the ranges of volumes


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that a report says of one sweep. Frames are empty, and texts too, where the runs left nothing."""

    sweep: str  # its name; empty where only cases are known
    task: str  # its name, likewise
    analysis: Analysis  # means, differences, curves, savings
    runs: Sequence[RunRecord]  # of the arms that are compared
    froc: pd.DataFrame  # per size, arm and false positives
    matched: pd.DataFrame  # PPV at matched sensitivity per size and arm but the first
    by_lesion_size: pd.DataFrame  # per size, arm, range and score
    baseline: pd.DataFrame  # per size, score and arm: what it gains over no learning
    control: pd.DataFrame  # likewise: what a pretrained arm gains over the same weights shuffled
    notes: Sequence[str] = ()  # further limits, in sentences
    unfinished: Sequence[str] = ()  # runs that are not in the numbers, in sentences
    everyone: Sequence[str] = ()  # all arms of the sweep, whose colours are theirs whatever is compared
    provenance: Provenance | None = None  # what was run
    pictures: Sequence[tuple[str, str, StudySlice]] = ()  # slices of test studies with their arm and rank

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms with a finished run, the reference first."""
        return self.analysis.arms

    @cached_property
    def rates(self) -> pd.DataFrame:
        """The learning rates of each arm."""
        return learning_rates(self.runs, self.arms)

    @cached_property
    def answer(self) -> list[str]:
        """A few sentences; that an arm is not ahead of no learning comes first."""
        said = answer_sentences(self.analysis)
        if len(self.control):
            said += control_sentences(self.control)
        if self.baseline.empty:
            return said
        beaten, sentence = baseline_sentence(self.baseline)
        return [*said, sentence] if beaten else [sentence, *said]

    @cached_property
    def validation(self) -> list[str]:
        """Whether an arm is behind on validation."""
        return validation_sentences(behind_on_validation(self.runs, self.arms), sorted({r.monitor for r in self.runs}))

    @cached_property
    def compared(self) -> list[str]:
        """What the arms differ in."""
        settings = differing_settings(self.runs, self.arms)
        return methods.comparability_sentences(settings, self.rates, len(self.arms)) if self.runs else []

    @cached_property
    def caveats(self) -> list[str]:
        """What the numbers can and cannot carry."""
        return [*methods.caveat_sentences(self.analysis, self.matched), *self.notes]

    @cached_property
    def incomplete(self) -> list[str]:
        """What is missing from a full grid, and which runs are not finished."""
        missing = methods.missing_sentences(self.analysis.missing, self.analysis.basis.n_studies)
        return list(dict.fromkeys((*missing, *self.unfinished)))

    @cached_property
    def methods(self) -> str:
        """A paragraph for a paper."""
        return methods.methods_paragraph(self.provenance, self.analysis, self.rates) if self.provenance else ""

    def frames(self) -> Mapping[str, pd.DataFrame]:
        """Return each table by the name of its CSV file."""
        analysis = self.analysis
        return {
            "comparison": analysis.estimates.drop(columns=["arm", "reference"]),
            "label_savings": analysis.savings,
            "learning_curves": analysis.curves,
            "froc": self.froc,
            "by_lesion_size": self.by_lesion_size,
            "baseline": self.baseline,
            "control": self.control,
            "power": analysis.power,
            "coverage": analysis.coverage,
            "matched_ppv": self.matched,
            "patients": analysis.patients,
            "without_lesions": analysis.without_lesions,
        }


def compare(
    cases: pd.DataFrame,
    arms: Sequence[str],
    evidence: Evidence | None = None,
    *,
    baseline: str | None = None,
    control: str | None = None,
    grid: Sequence[RunKey] | None = None,
    sweep: str = "",
    task: str = "",
    notes: Sequence[str] = (),
    unfinished: Sequence[str] = (),
) -> Comparison:
    """Compare arms over training-set sizes, patient by patient, each with the first.

    ``baseline`` is the arm without learning, which all are held against; ``control`` the one of shuffled weights, which
    those with a source are held against.
    """
    known, analysis = evidence or Evidence(), analyse(cases, arms, grid)
    runs = [run for run in known.runs if run.arm in analysis.arms]
    means = validation_means(runs, analysis.arms)
    taught = [
        arm for arm in analysis.arms if arm != control and any(r.arm == arm and r.transfer["source"] for r in runs)
    ]
    if len(means):  # each after the scores of its size
        added, parts = means.assign(quantity=means["arm"], reference="", note=_NOTE), []
        for size, own in analysis.estimates.groupby("train_size"):
            parts += [own, added[added["train_size"] == size].reindex(columns=own.columns).astype(own.dtypes)]
        analysis = replace(analysis, estimates=pd.concat(parts, ignore_index=True))
    return Comparison(
        sweep=sweep,
        task=task,
        analysis=analysis,
        runs=runs,
        froc=froc_bands(known.froc, analysis.arms),
        matched=matched_ppv(known.matched, analysis.arms[1:] if arms[0] == analysis.arms[0] else ()),
        by_lesion_size=scores_by_volume(known.volumes, analysis.arms, known.volume_edges_mm3),
        baseline=pd.DataFrame() if baseline is None else against(cases, analysis.arms, baseline),
        control=pd.DataFrame() if control is None else against(cases, taught, control),
        notes=notes,
        unfinished=unfinished,
    )


def against(cases: pd.DataFrame, arms: Sequence[str], other: str) -> pd.DataFrame:
    """Return what arms gain over one that is none of those compared, such as no learning: a row per size, score and
    arm.

    ``other_mean`` is the other's mean over patients; difference, interval and p are those of `tested_difference`, not
    adjusted.
    """
    tables = patient_tables(tidy_cases(cases, (*arms, other)))
    rows = []
    for size, score, arm in product(sorted({size for _, size, _ in tables}), PRIMARY, arms):
        if not {(arm, size, score), (other, size, score)} <= tables.keys():
            continue
        own = tables[other, size, score]
        found = tested_difference(pair_tables(own, tables[arm, size, score]))
        if isnan(found["mean"]):  # no patient has a score
            continue
        values = (float(own.mean(axis=1).mean()), *(found[key] for key in ("mean", "low", "high", "p")))
        rows.append((size, score, arm, other, *values, found["n_patients"], found["n_repeats"]))
    return pd.DataFrame(rows, columns=_AGAINST)


def write_tables(comparisons: Sequence[Comparison], folder: Path) -> list[Path]:
    """Write each frame as CSV with sweep and task in front; a frame without a row is not written."""
    written = []
    for name in comparisons[0].frames():
        parts = [(one, frame) for one in comparisons if not (frame := one.frames()[name]).empty]
        if not parts:
            continue
        whole = pd.concat([frame.assign(sweep=one.sweep, task=one.task) for one, frame in parts], ignore_index=True)
        columns = ["sweep", "task", *whole.columns.drop(["sweep", "task"])]
        with written_whole(folder / f"{name}.csv") as partial:
            whole[columns].to_csv(partial, index=False)
        written.append(folder / f"{name}.csv")
    return written
