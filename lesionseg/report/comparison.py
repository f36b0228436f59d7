"""The comparison of a sweep's arms: every frame and sentence of its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lesionseg.io import written_whole
from lesionseg.report.analysis import Analysis, RunKey, analyse
from lesionseg.report.methods import (
    caveat_sentences,
    comparability_sentences,
    methods_paragraph,
    missing_sentences,
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
from lesionseg.report.text import answer_sentences, validation_sentences

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
    """Everything that a report says of one sweep."""

    sweep: str  # its name; empty where only cases are known
    task: str  # its name, likewise
    analysis: Analysis  # means, differences, curves, savings
    froc: pd.DataFrame  # per size, arm and false positives; empty where the runs' tables of thresholds are not known
    matched: pd.DataFrame  # PPV at matched sensitivity per size and arm but the first; likewise
    # per size, arm, range and score; empty where the runs' tables of lesions are not known
    by_lesion_size: pd.DataFrame
    settings: pd.DataFrame  # what differs between the arms; empty where nothing is known of the runs
    rates: pd.DataFrame  # learning rates of each arm, likewise
    answer: Sequence[str]  # at most three sentences
    validation: Sequence[str]  # whether an arm is behind on validation, in sentences
    compared: Sequence[str]  # what the arms differ in, in sentences
    caveats: Sequence[str]  # what the numbers can and cannot carry, in sentences
    unfinished: Sequence[str] = ()  # runs that are not in the numbers, in sentences
    provenance: Provenance | None = None  # what was run; None where nothing is known of the runs
    # slices of test studies with their arm and rank; empty where the runs left none
    pictures: Sequence[tuple[str, str, StudySlice]] = ()

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms with a finished run, the reference first."""
        return self.analysis.arms

    @property
    def incomplete(self) -> list[str]:
        """What is missing from a full grid, and which runs are not finished."""
        missing = missing_sentences(self.analysis.missing, self.analysis.basis.n_studies)
        return list(dict.fromkeys((*missing, *self.unfinished)))

    @property
    def methods(self) -> str:
        """A paragraph for a paper; empty where nothing is known of the runs."""
        return methods_paragraph(self.provenance, self.analysis, self.rates) if self.provenance else ""

    def frames(self) -> Mapping[str, pd.DataFrame]:
        """Return each table by the name of its CSV file."""
        analysis = self.analysis
        return {
            "comparison": analysis.estimates.drop(columns=["arm", "reference"]),
            "label_savings": analysis.savings,
            "learning_curves": analysis.curves,
            "froc": self.froc,
            "by_lesion_size": self.by_lesion_size,
            "matched_ppv": self.matched,
            "patients": analysis.patients,
            "without_lesions": analysis.without_lesions,
        }


def compare(
    cases: pd.DataFrame,
    arms: Sequence[str],
    evidence: Evidence | None = None,
    *,
    grid: Sequence[RunKey] | None = None,
    sweep: str = "",
    task: str = "",
    notes: Sequence[str] = (),
    unfinished: Sequence[str] = (),
) -> Comparison:
    """Compare arms over training-set sizes, patient by patient, each with the first."""
    known = evidence or Evidence()
    analysis = analyse(cases, arms, grid)
    runs = [run for run in known.runs if run.arm in analysis.arms]
    settings, rates = differing_settings(runs, analysis.arms), learning_rates(runs, analysis.arms)
    matched = matched_ppv(known.matched, analysis.arms[1:] if arms[0] == analysis.arms[0] else ())
    behind = behind_on_validation(runs, analysis.arms)
    return Comparison(
        sweep=sweep,
        task=task,
        analysis=with_validation(analysis, validation_means(runs, analysis.arms)),
        froc=froc_bands(known.froc, analysis.arms),
        matched=matched,
        by_lesion_size=scores_by_volume(known.volumes, analysis.arms, known.volume_edges_mm3),
        settings=settings,
        rates=rates,
        answer=answer_sentences(analysis),
        validation=validation_sentences(behind, sorted({run.monitor for run in runs})) if runs else (),
        compared=comparability_sentences(settings, rates, len(analysis.arms)) if runs else (),
        caveats=[*caveat_sentences(analysis, matched), *notes],
        unfinished=unfinished,
    )


def with_validation(analysis: Analysis, means: pd.DataFrame) -> Analysis:
    """Add the arms' means on validation to the estimates, each after the scores of its size."""
    if means.empty:
        return analysis
    added = means.assign(quantity=means["arm"], reference="", note=_NOTE)
    parts = []
    for size, own in analysis.estimates.groupby("train_size"):
        parts += [own, added[added["train_size"] == size].reindex(columns=own.columns).astype(own.dtypes)]
    estimates = pd.concat(parts, ignore_index=True)
    return Analysis(**{**vars(analysis), "estimates": estimates})


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
