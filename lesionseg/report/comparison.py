"""The comparison of arms: its numbers and what they say."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lesionseg.report.cases import Cell
from lesionseg.report.conduct import Conduct
from lesionseg.report.curves import LearningCurve, learning_curves
from lesionseg.report.froc import FrocBand, RunFroc, froc_bands
from lesionseg.report.learning_rates import describe_rates
from lesionseg.report.matched import MatchedPpv, MatchedRepeat, matched_ppv
from lesionseg.report.measure import measure
from lesionseg.report.recorded import RecordedRun
from lesionseg.report.results import Results
from lesionseg.report.savings import ArmSavings, arm_savings
from lesionseg.report.sentences import answer, caveats
from lesionseg.report.settings import describe_settings
from lesionseg.report.strata import SizeStratum, VolumeCounts, size_strata
from lesionseg.report.validation import Validation, judge_validation


@dataclass(frozen=True)
class Comparison:
    """Everything that a report says of one sweep.

    Attributes:
        sweep: its name; empty where only cases are known.
        task: its name, likewise.
        results: the numbers.
        curves: a curve per score and arm.
        savings: per score (sensitivity, PPV, F1) and arm but the first; empty with one arm.
        strata: per size, arm and range of volumes; empty where the runs' tables of lesions are not known.
        froc: per size and arm; empty where the runs' tables of thresholds are not known.
        matched: per size and arm but the first; likewise.
        answer: what the numbers say at the smallest and the largest size and of the labels saved: at most three plain
            sentences.
        validation: whether an arm is behind on validation.
        compared: what the arms differ in, and whether their learning rates were chosen alike, an item each; empty where
            nothing is known of the runs but their cases.
        caveats: what the numbers can and cannot carry, an item each.
        unfinished: runs that are not in the numbers, a sentence each; the sweep may still be running.
        conduct: what was run; None where nothing is known of the runs but their cases.
        methods: a paragraph for a paper; empty without `conduct`.
    """

    sweep: str
    task: str
    results: Results
    curves: tuple[LearningCurve, ...]
    savings: tuple[ArmSavings, ...]
    strata: tuple[SizeStratum, ...]
    froc: tuple[FrocBand, ...]
    matched: tuple[MatchedPpv, ...]
    answer: tuple[str, ...]
    validation: Validation
    compared: tuple[str, ...]
    caveats: tuple[str, ...]
    unfinished: tuple[str, ...] = ()
    conduct: Conduct | None = None
    methods: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """What a full grid of arms, sizes and repeats would hold and the table lacks, a sentence each."""
        return self.results.missing


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of a sweep's runs beside their table of cases; each part may be empty.

    Attributes:
        runs: what each run tells of itself.
        volumes: each run's lesions by volume, all with `volume_edges_mm3`.
        volume_edges_mm3: between the ranges of volumes.
        frocs: of each run.
        matched: of each size, repeat and arm but the first.
        grid: init, train_size and repeat of every run that was asked for; None: not known.
        unfinished: runs that are not in the table, a sentence each.
        notes: what else the reader has to know, a sentence each.
    """

    runs: Sequence[RecordedRun] = ()
    volumes: Sequence[VolumeCounts] = ()
    volume_edges_mm3: Sequence[float] = ()
    frocs: Sequence[RunFroc] = ()
    matched: Sequence[MatchedRepeat] = ()
    grid: Sequence[Cell] | None = None
    unfinished: Sequence[str] = ()
    notes: Sequence[str] = ()


def compare(
    cases: pd.DataFrame, arms: Sequence[str], evidence: Evidence | None = None, *, sweep: str = "", task: str = ""
) -> Comparison:
    """Compare arms over training-set sizes, patient by patient, each with the first.

    A patient's sessions are averaged first, then their repeats; means and standard errors are over patients.
    Differences are an arm minus the first one, paired by patient and repeat, tested for new patients and new
    trainings at once (`lesionseg.stats.crossed_difference`), and adjusted for each other by Holm's method. Studies
    without reference lesion are apart.

    Args:
        cases: a row per run and test study: init, train_size, repeat, subject, session (empty where there is one
            only) and the columns of `lesionseg.metrics.CaseScores`.
        arms: values of init, such as ("scratch", "pretrained"), the reference first. One arm, or others without any
            run: its means, and no differences.
        evidence: what else is known of the runs; without it nothing is said of validation, settings, lesion sizes and
            thresholds.
        sweep: its name, to be told.
        task: likewise.

    Returns:
        All but `Comparison.conduct` and `Comparison.methods`.

    Raises:
        ValueError: if a column is missing, no arm has a row, train_size or repeat is no whole number, or a study
            is there twice in one run.
    """
    known = evidence or Evidence()
    results, tables = measure(cases, arms, known.grid)
    comparable = arms[0] == results.reference
    savings = arm_savings(tables, results.arms) if comparable else ()
    matched = matched_ppv(known.matched, results.others) if comparable else ()
    runs = [run for run in known.runs if run.arm in results.arms]
    compared = (*describe_settings(runs, results.arms), *describe_rates(runs, results.arms)) if runs else ()
    return Comparison(
        sweep=sweep,
        task=task,
        results=results,
        curves=learning_curves(results),
        savings=savings,
        strata=size_strata(known.volumes, results.arms, known.volume_edges_mm3),
        froc=froc_bands(known.frocs, results.arms),
        matched=matched,
        answer=answer(results, savings),
        validation=judge_validation(runs, results.arms),
        compared=compared,
        caveats=(*caveats(results, matched), *known.notes),
        unfinished=tuple(known.unfinished),
    )
