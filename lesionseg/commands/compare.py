"""``lesionseg compare``: what the arms of a sweep gain over the first of them."""

import json
import os
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

from lesionseg.commands.plan import outputs, store_of
from lesionseg.commands.sweep_runs import (
    RunFiles,
    SweepRuns,
    best_validation,
    finished_runs,
    read_cases,
    read_record,
    read_rows,
    run_key,
    sections_of,
    stored_predictions,
)
from lesionseg.config.schema import CompareConfig
from lesionseg.errors import InputError
from lesionseg.instantiate import build
from lesionseg.io import check_writable, progress_bar, written_whole
from lesionseg.metrics import Criterion, MaskPair
from lesionseg.metrics.lesionwise import JudgedLesions, judge_lesions
from lesionseg.metrics.study import lesion_columns
from lesionseg.report.comparison import Comparison, Evidence, write_tables
from lesionseg.report.comparison import compare as compare_cases
from lesionseg.report.operating_points import RunCurves, count_by_volume, match_repeat, run_curves, run_froc
from lesionseg.report.provenance import provenance_of
from lesionseg.report.slices import StudySlice, load_slices
from lesionseg.report.tables import markdown, note, terminal, write_page
from lesionseg.tracking.mlflow_store import COMMAND_TAG, NOTE_TAG, VERSIONS_TAG, Run, Store, fault_of
from lesionseg.tracking.sweep import find_parent

OWN = "task"  # how the criterion of the runs themselves is called
_LONGEST_NOTE = 8000  # characters: MLflow cuts a longer tag
_MANY_RUNS = 300  # from here on further processes are worth their start, two seconds or so
_LESIONS = ("study", "side", "verdict", "volume_mm3")
_THRESHOLDS = ("study", "n_reference", "threshold", "detected_reference", "n_prediction", "false_positives")

Rescored = Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]
"""By run id: the table of cases and that of lesions under another rule than the runs' own."""
Gathered = Mapping[str, list[Any]]
"""What is kept of some runs: ``records``, and the frames ``cases``, ``volumes``, ``froc`` and ``matched``."""


@dataclass(frozen=True)
class _Sweep:
    """A sweep that is to be compared: its name, its parent's run id, its runs, and its arms, the reference first."""

    name: str
    parent: str
    runs: SweepRuns
    arms: tuple[str, ...]


def compare(config: CompareConfig) -> int:
    """Read the sweeps' finished runs from MLflow, write and log the report, and print the answer and the table."""
    comparisons, output = make_report(config)
    print("\n\n".join(terminal(comparison, named=len(comparisons) > 1) for comparison in comparisons))
    print(f"\nWritten to {output} (report.html is all of it)")
    return 0


def make_report(config: CompareConfig) -> tuple[list[Comparison], Path]:
    """Compare the sweeps' finished runs, write the report, and log it to each sweep's parent run."""
    folder = outputs(config.paths) / "comparisons" / "+".join(config.sweep)
    output = folder if config.output is None else Path(config.output).expanduser().resolve()
    check_writable("output", output)
    store = store_of(config.tracking, config.paths, create=False)
    sweeps = _sweeps(store, config)
    comparisons = [_comparison(store, sweep, config) for sweep in sweeps]
    files = _write(output, comparisons)

    def log() -> None:
        for sweep, comparison in zip(sweeps, comparisons, strict=True):
            parent = Run(store, sweep.parent)
            for file in files:
                parent.log_file(file, (Path("comparison") / file.parent.relative_to(output)).as_posix())
            parent.set_tag(NOTE_TAG, note(comparison, _LONGEST_NOTE))

    fault = fault_of(log)
    if fault is not None:  # somebody else's outputs, which are only read
        print(f"The report is not logged to MLflow ({fault}).")
    return comparisons, output


def _sweeps(store: Store, config: CompareConfig) -> list[_Sweep]:
    """Return every sweep with its arms; all that is wrong is said at once."""
    found: list[_Sweep] = []
    faults: list[str] = []
    for name in config.sweep:
        try:
            runs = finished_runs(store, config.paths, name)
        except InputError as error:
            faults += error.faults
            continue
        there = _scratch_first(store, runs)
        unknown = [arm for arm in config.arms or () if arm not in there]
        finished = {run_key(run)[0] for run in runs.finished}
        arms = tuple(config.arms or there)
        if unknown:
            faults.append(f"arms: sweep={name} has no {', '.join(unknown)}; its arms: {', '.join(there)}")
        elif not finished & set(arms):
            has = f"has no finished run of {', '.join(arms)} yet"
            faults.append(f"arms: sweep={name} {has}; arms with one: {', '.join(sorted(finished))}")
        else:
            parent = find_parent(store, name)
            assert parent is not None, "its runs have one"
            found.append(_Sweep(name, parent, runs, arms))
    if faults:
        raise InputError(faults)
    return found


def _scratch_first(store: Store, runs: SweepRuns) -> tuple[str, ...]:
    """Return the arms by name: ``scratch``, others without a source, those with one, and last what learned nothing."""
    ranks = {arm: (False, arm != "scratch") for arm in runs.arms}
    for run in {run_key(run)[0]: run for run in runs.finished}.values():
        record = read_record(RunFiles.of(store, run))
        ranks[record.arm] = (bool(record.config["init"].get("baseline")), bool(record.transfer["source"]))
    return tuple(sorted(ranks, key=lambda arm: (*ranks[arm], arm != "scratch", arm)))


def _comparison(store: Store, sweep: _Sweep, config: CompareConfig) -> Comparison:
    """Return one sweep's numbers, sentences and pictures."""
    wanted = [run for run in sweep.runs.finished if run_key(run)[0] in sweep.arms]
    rule: Criterion | None = None
    rescored: Rescored | None = None
    notes: list[str] = []
    if config.criterion is not None or config.min_volume is not None:
        rule = criterion_of(RunFiles.of(store, wanted[0]), config.criterion)
        rescored, notes = rescore(store, wanted, rule, config)
    # The thresholds were counted with the runs' own smallest lesion, which nobody can change afterwards.
    found = _gather(store, wanted, sweep.arms, rescored, thresholds=config.min_volume is None)
    by_key = {run_key(run): run for run in wanted}
    records = [replace(one, best_validation=best_validation(store, by_key[one.key], one)) for one in found["records"]]
    lacking = {"lesions.csv": len(wanted) - len(found["volumes"]), "froc.csv": len(wanted) - len(found["froc"])}
    if config.min_volume is not None:
        lacking.pop("froc.csv")
    what = {"lesions.csv": "scores by lesion volume", "froc.csv": "FROC and PPV at matched sensitivity"}
    notes = [
        f"No run has a {name}: {what[name]} cannot be told."
        if count == len(wanted)
        else f"{count} of {len(wanted)} runs have no {name}: {what[name]} rest on the others."
        for name, count in lacking.items()
        if count
    ] + notes
    cases: pd.DataFrame = pd.concat(found["cases"], ignore_index=True)
    # Unless it is named as an arm, what learned nothing is what all are held against, and no arm among them.
    baseline = None if config.arms else next((run.arm for run in records if run.config["init"].get("baseline")), None)
    arms = [arm for arm in sweep.arms if arm != baseline] or sweep.arms
    comparison = compare_cases(
        cases,
        arms,
        Evidence(
            runs=records,
            froc=_concatenated(found["froc"]),
            matched=_concatenated(found["matched"]),
            volumes=_concatenated(found["volumes"]),
            volume_edges_mm3=records[0].config["metrics"]["volume_edges"],
        ),
        baseline=baseline if baseline not in arms else None,
        control=next((run.arm for run in records if run.config["init"].get("shuffle") and run.arm != arms[0]), None),
        grid=None if sweep.runs.grid is None else [key for key in sweep.runs.grid if key[0] in arms],
        sweep=sweep.name,
        task=str(wanted[0].data.params["task"]),
        notes=notes,
        unfinished=sweep.runs.unfinished,
    )
    provenance = provenance_of(
        records,
        comparison.arms,
        criterion=rule,
        min_volume=config.min_volume,
        versions=json.loads(wanted[0].data.tags.get(VERSIONS_TAG, "{}")),
        command=_command(config),
        train_command=store.client.get_run(sweep.parent).data.tags.get(COMMAND_TAG, ""),
    )
    pictures = _pictures(store, by_key, cases, comparison.arms)
    return replace(comparison, provenance=provenance, pictures=pictures, everyone=sweep.runs.arms)


def _gather(
    store: Store, runs: Sequence[Any], arms: Sequence[str], rescored: Rescored | None, *, thresholds: bool
) -> Gathered:
    """Read the runs, by several processes where there are many and all lie on this machine.

    The tables of lesions and of thresholds are the large ones: those of one size and repeat are read together, since
    these runs are compared with each other, and only what is needed of them is kept.
    """
    groups: dict[tuple[int, int], list[RunFiles]] = {}
    for one in sorted((RunFiles.of(store, run) for run in runs), key=lambda one: arms.index(one.key[0])):
        groups.setdefault(one.key[1:], []).append(one)
    arguments = [(groups[place], arms[0], rescored, thresholds) for place in sorted(groups)]
    here = all(files.artifacts.folder is not None for group in groups.values() for files in group)
    processes = min(os.cpu_count() or 1, 4) if len(runs) >= _MANY_RUNS and here and rescored is None else 1
    parallel = joblib.Parallel(n_jobs=processes, return_as="generator", batch_size=max(1, len(arguments) // 40))
    found: dict[str, list[Any]] = defaultdict(list)
    with progress_bar("Reading runs", "run", len(runs)) as shown:
        for group in parallel(joblib.delayed(_read_group)(*one) for one in arguments):
            for kind, own in group.items():
                found[kind] += own
            shown.update(len(group["cases"]))
    return found


def _read_group(group: Sequence[RunFiles], reference: str, rescored: Rescored | None, thresholds: bool) -> Gathered:
    """Read the runs of one size and repeat, at most one of an arm."""
    found: dict[str, list[Any]] = defaultdict(list)
    curves: dict[str, RunCurves] = {}
    for files in group:
        record = read_record(files)
        metrics = record.config["metrics"]
        if rescored is None:
            cases, lesions = read_cases(files), read_rows(files, "lesions.csv", _LESIONS)
        else:
            cases, lesions = rescored[files.artifacts.run_id]
        found["records"].append(record)
        found["cases"].append(cases)
        if lesions is not None:
            found["volumes"].append(count_by_volume(lesions, cases, metrics["volume_edges"]))
        if thresholds and (table := read_rows(files, "froc.csv", _THRESHOLDS)) is not None:
            own = run_curves(table, cases, record.threshold)
            curves[own.arm] = own
            found["froc"].append(run_froc(own, float(metrics["false_positives"][-1])))
    first = curves.pop(reference, None)
    if first is not None:
        found["matched"] += [match_repeat(first, other) for other in curves.values()]
    return found


def criterion_of(files: RunFiles, criterion: str | Mapping[str, Any] | None) -> Criterion:
    """Return the criterion that is asked for: described, or named among those of a run, or the run's own."""
    config = read_record(files).config
    known = {OWN: config["task"]["matching"], **config["metrics"]["criteria"]}
    name = OWN if criterion is None else criterion
    if isinstance(name, str) and name not in known:
        raise InputError(
            f"criterion={criterion}: the runs know {', '.join(known)}; name one of these, or describe another, "
            "as criterion={_target_:lesionseg.metrics.AnyOverlap,min_fraction:0.5}"
        )
    try:
        found: Criterion = build(known[name] if isinstance(name, str) else name, Criterion)
    except ValueError as error:
        raise InputError(f"criterion: {error}") from error
    return found


def rescore(store: Store, runs: Sequence[Any], rule: Criterion, config: CompareConfig) -> tuple[Rescored, list[str]]:
    """Score the runs' stored predictions by another rule; voxelwise scores stay as they were."""
    _, task = sections_of(RunFiles.of(store, runs[0]))
    smallest = task.min_lesion_volume if config.min_volume is None else config.min_volume
    cases: dict[str, list[dict[str, Any]]] = {}
    lesions: dict[str, list[pd.DataFrame]] = {}
    changed: list[str] = []
    for one in stored_predictions(store, runs, config.dataset, changed):
        found = judge_lesions(MaskPair.of(one.reference, one.prediction, one.spacing), rule, smallest)
        cases.setdefault(one.run_id, []).append({**one.case, **lesion_columns(found.scores())})
        lesions.setdefault(one.run_id, []).append(_lesion_rows(str(one.case["study"]), found))
    notes = [changed_note(changed)] if changed else []
    if smallest < task.min_lesion_volume:
        notes.append(
            f"The stored masks were made without components below {task.min_lesion_volume:g} mm³: smaller predicted "
            "lesions are not in them."
        )
    if config.min_volume is not None:
        notes.append(
            "With another smallest lesion there is no FROC: it was counted with the runs' own; pictures are of theirs."
        )
    else:
        notes.append("FROC, PPV at matched sensitivity and pictures are of the rule of the runs themselves.")
    return {run_id: (pd.DataFrame(rows), pd.concat(lesions[run_id])) for run_id, rows in cases.items()}, notes


def changed_note(studies: Sequence[str]) -> str:
    """Say which reference masks are not those that the runs were scored against."""
    return (
        f"The reference masks of {', '.join(studies)} have another volume than those that the runs were scored "
        "against: these scores are of the masks as they are now."
    )


def _lesion_rows(study: str, found: JudgedLesions) -> pd.DataFrame:
    overlaps, verdicts = found.overlaps, found.verdicts
    sides = (
        ("reference", overlaps.reference_sizes, verdicts.reference_detected, ("missed", "detected")),
        ("prediction", overlaps.prediction_sizes, verdicts.prediction_true, ("false", "true")),
    )
    parts = []
    for side, sizes, hits, words in sides:
        rows = {"verdict": [words[int(hit)] for hit in hits], "volume_mm3": sizes * overlaps.voxel_volume}
        parts.append(pd.DataFrame({"study": study, "side": side, **rows}))
    return pd.concat(parts)


def _pictures(
    store: Store, runs: Mapping[Any, Any], cases: pd.DataFrame, arms: Sequence[str]
) -> list[tuple[str, str, StudySlice]]:
    """Return the same two test studies of every arm, the median and the worst by F1: the mean over arms and repeats at
    each arm's largest size. Of the repeats the one whose F1 of that study is nearest to the mean of the arm's."""
    scored = cases[cases["init"].isin(arms) & cases["lesion_f1"].notna()]
    scored = scored[scored["train_size"] == scored.groupby("init")["train_size"].transform("max")]
    means = scored.groupby("study")["lesion_f1"].mean().sort_index().sort_values(ascending=False, kind="stable")
    ranks = {"median": (len(means) - 1) // 2, "worst": len(means) - 1} if len(means) else {}
    found = []
    for arm in arms:
        own = scored[scored["init"] == arm]
        for study, which in {str(means.index[place]): which for which, place in ranks.items()}.items():
            rows = own[own["study"] == study]
            distance = (rows["lesion_f1"] - rows["lesion_f1"].mean()).abs().round(9)  # of two repeats both are as near
            for place in distance.sort_values(kind="stable").index:
                row = rows.loc[place]
                run = runs[row["init"], int(row["train_size"]), int(row["repeat"])]
                slices = RunFiles.of(store, run).read("slices.npz", partial(load_slices, studies=[study]))
                if slices:
                    found.append((arm, which, slices[0]))
                    break
    return found


def _command(config: CompareConfig) -> str:
    """Return the command that makes the report again."""
    sweep = config.sweep[0] if len(config.sweep) == 1 else f"[{','.join(config.sweep)}]"
    words = [f"sweep={sweep}", *([f"arms=[{','.join(config.arms)}]"] if config.arms else [])]
    if isinstance(config.criterion, dict):
        words.append("criterion={" + ",".join(f"{key}:{value}" for key, value in config.criterion.items()) + "}")
    elif config.criterion is not None:
        words.append(f"criterion={config.criterion}")
    words += [] if config.min_volume is None else [f"min_volume={config.min_volume:g}"]
    return " ".join(shlex.quote(word) for word in ("lesionseg", "compare", *words))


def _write(output: Path, comparisons: Sequence[Comparison]) -> list[Path]:
    """Write every file of the report."""
    from lesionseg.report.figures import draw_comparison, write_figures  # half a second for matplotlib

    page, text = output / "report.html", output / "comparison.md"
    drawings = [draw_comparison(comparison) for comparison in comparisons]
    write_page(comparisons, drawings, page)
    with written_whole(text) as partial:
        partial.write_text("\n".join(markdown(comparison) for comparison in comparisons), encoding="utf-8")
    files = [page, text, *write_tables(comparisons, output)]
    for one, drawn in zip(comparisons, drawings, strict=True):
        files += write_figures(drawn, output / "figures" / (one.sweep if len(comparisons) > 1 else ""))
    return files


def _concatenated(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
