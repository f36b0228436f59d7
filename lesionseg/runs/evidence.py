"""Everything that a comparison rests on, gathered from a sweep's runs and made small run by run."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import joblib
import pandas as pd
from joblib.externals.loky import get_reusable_executor

from lesionseg.report import Evidence, RecordedRun
from lesionseg.report.cases import Cell
from lesionseg.report.froc import RunFroc, run_froc
from lesionseg.report.matched import MatchedRepeat, match_repeat
from lesionseg.report.run_curves import RunCurves, run_curves
from lesionseg.report.strata import VolumeCounts, count_by_volume
from lesionseg.runs.progress import bar
from lesionseg.runs.recorded import RunFiles, RunRecord, cases_of, files_of, read_record, recorded_run, table_of
from lesionseg.runs.rescored import Tables
from lesionseg.runs.sweep import SweepRuns
from lesionseg.tracking import Store, metric_maximum

_LESIONS = ("study", "side", "verdict", "volume_mm3")
_THRESHOLDS = ("study", "n_reference", "threshold", "detected_reference", "n_prediction", "false_positives")
_MANY_RUNS = 300  # from here on further processes are worth their start, two seconds or so
_MOST_PROCESSES = 4


@dataclass(frozen=True, eq=False)
class SweepEvidence:
    """What a sweep's runs left.

    Attributes:
        cases: the table of cases of all runs.
        evidence: all else that the comparison takes.
        records: the small files of each run, by init, train_size and repeat.
    """

    cases: pd.DataFrame
    evidence: Evidence
    records: Mapping[Cell, RunRecord]


@dataclass(frozen=True)
class _Gathered:
    """What is kept of some runs: their small files, and what was made of their large tables."""

    cases: list[pd.DataFrame] = field(default_factory=list)
    recorded: list[RecordedRun] = field(default_factory=list)
    records: dict[Cell, RunRecord] = field(default_factory=dict)
    volumes: list[VolumeCounts] = field(default_factory=list)
    frocs: list[RunFroc] = field(default_factory=list)
    matched: list[MatchedRepeat] = field(default_factory=list)

    def add(self, other: "_Gathered") -> None:
        """Take in other runs."""
        for key in ("cases", "recorded", "volumes", "frocs", "matched"):
            getattr(self, key).extend(getattr(other, key))
        self.records.update(other.records)


def gather(
    store: Store, runs: SweepRuns, arms: Sequence[str], rescored: Tables | None = None, *, thresholds: bool = True
) -> SweepEvidence:
    """Read the finished runs of some arms.

    The tables of lesions and of thresholds are the large ones. Those of one size and repeat are read together, since
    these runs are held against each other, and only what is needed of them is kept: a few kB a run.

    Args:
        store: where they are.
        runs: of the sweep.
        arms: the first one is the reference; one at least has a finished run.
        rescored: by run id its cases and lesions under another rule than the runs' own; None: as they are.
        thresholds: whether to read the tables of thresholds.

    Raises:
        InputError: a run lacks a file that every run has.
    """
    wanted = [run for run in runs.finished if run.data.params["init"] in arms]
    groups = _by_place([files_of(store, run) for run in wanted], arms)
    edges = read_record(groups[0][0]).config["metrics"]["volume_edges"]
    found = _Gathered()
    with bar("Reading runs", "run", len(wanted)) as shown:
        for group in _read_groups(groups, arms[0], edges, rescored, thresholds):
            found.add(group)
            shown.update(len(group.cases))
    lacking = {"lesions.csv": len(wanted) - len(found.volumes), "froc.csv": len(wanted) - len(found.frocs)}
    if not thresholds:
        lacking.pop("froc.csv")
    evidence = Evidence(
        runs=_validated(store, wanted, found.recorded),
        volumes=found.volumes,
        volume_edges_mm3=edges,
        frocs=found.frocs,
        matched=found.matched,
        grid=None if runs.grid is None else [cell for cell in runs.grid if cell[0] in arms],
        unfinished=runs.unfinished,
        notes=[_lacks(name, count, len(wanted)) for name, count in lacking.items() if count],
    )
    return SweepEvidence(pd.concat(found.cases, ignore_index=True), evidence, found.records)


def _by_place(files: Sequence[RunFiles], arms: Sequence[str]) -> list[list[RunFiles]]:
    """The runs of one size and repeat together, in the order of the arms."""
    groups: dict[tuple[int, int], list[RunFiles]] = {}
    for one in sorted(files, key=lambda one: arms.index(one.cell[0])):
        groups.setdefault(one.cell[1:], []).append(one)
    return [groups[place] for place in sorted(groups)]


def _read_groups(groups: Sequence[Sequence[RunFiles]], *how: Any) -> Iterator[_Gathered]:
    """Each group as it is read; by several processes where there are many runs and all lie on this machine."""
    everyone = [files for group in groups for files in group]
    here = all(files.artifacts.folder is not None for files in everyone)
    processes = min(os.cpu_count() or 1, _MOST_PROCESSES)
    if len(everyone) < _MANY_RUNS or processes == 1 or not here or how[2] is not None:
        yield from (_read_group(group, *how) for group in groups)
        return
    parallel = joblib.Parallel(
        n_jobs=processes, backend="loky", return_as="generator", batch_size=max(1, len(groups) // 40)
    )
    try:
        yield from parallel(joblib.delayed(_read_group)(group, *how) for group in groups)
    finally:
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def _read_group(
    group: Sequence[RunFiles], reference: str, edges: Sequence[float], rescored: Tables | None, thresholds: bool
) -> _Gathered:
    """The runs of one size and repeat, at most one of an arm."""
    found = _Gathered()
    curves: dict[str, RunCurves] = {}
    for files in group:
        record = read_record(files)
        found.records[files.cell] = record
        found.recorded.append(recorded_run(files, record))
        if rescored is None:
            cases, lesions = cases_of(files), table_of(files, "lesions.csv", _LESIONS)
        else:
            cases, lesions = rescored[files.artifacts.run_id]
        found.cases.append(cases)
        if lesions is not None:
            found.volumes.append(count_by_volume(lesions, cases, edges))
        if thresholds and (table := table_of(files, "froc.csv", _THRESHOLDS)) is not None:
            own = run_curves(table, cases, record.threshold)
            curves[own.arm] = own
            found.frocs.append(run_froc(own, float(record.config["metrics"]["false_positives"][-1])))
    held_against = curves.pop(reference, None)
    if held_against is not None:
        found.matched.extend(match_repeat(held_against, other) for other in curves.values())
    return found


def _validated(store: Store, runs: Sequence[Any], recorded: Sequence[RecordedRun]) -> list[RecordedRun]:
    """With the highest value that each one had on validation."""
    ids = {files_of(store, run).cell: run.info.run_id for run in runs}
    return [
        replace(one, best_validation=metric_maximum(store, ids[one.arm, one.train_size, one.repeat], one.monitor))
        for one in recorded
    ]


def _lacks(name: str, count: int, n_runs: int) -> str:
    what = {"lesions.csv": "scores by lesion volume", "froc.csv": "FROC and PPV at matched sensitivity"}[name]
    if count == n_runs:
        return f"No run has a {name}: {what} cannot be told."
    return f"{count} of {n_runs} runs {'has' if count == 1 else 'have'} no {name}: {what} rest on the others."
