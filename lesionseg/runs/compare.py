"""What the arms of a sweep gain over the first. The story of ``lesionseg compare``."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lesionseg.config.schema import CompareConfig
from lesionseg.data.files import written_whole
from lesionseg.errors import InputError
from lesionseg.metrics import Criterion
from lesionseg.report import (
    Chapter,
    Comparison,
    as_note,
    in_markdown,
    methods_paragraph,
    on_terminal,
    write_page,
    write_tables,
)
from lesionseg.report import compare as compare_cases
from lesionseg.runs.conduct import conduct_of
from lesionseg.runs.evidence import gather
from lesionseg.runs.examples import pictures_of
from lesionseg.runs.plan import outputs, store_of
from lesionseg.runs.recorded import files_of, read_record
from lesionseg.runs.rescored import Tables, rescored_tables, rule_of
from lesionseg.runs.sweep import SweepRuns, finished_runs
from lesionseg.runs.versions import versions
from lesionseg.runs.writable import check_writable
from lesionseg.tracking import COMMAND_TAG, NOTE_TAG, VERSIONS_TAG, Run, Store, sweep_parent

_LONGEST_NOTE = 8000  # characters: MLflow cuts a longer tag


@dataclass(frozen=True)
class _Sweep:
    """A sweep that is to be compared, and what there is of it.

    Attributes:
        name: of the sweep.
        parent: run id of its parent.
        runs: its runs.
        arms: the reference first.
    """

    name: str
    parent: str
    runs: SweepRuns
    arms: tuple[str, ...]


def compare(config: CompareConfig) -> int:
    """Read the sweeps' finished runs from MLflow, write and log the report, and print the answer and the table.

    Returns:
        0.

    Raises:
        InputError: as `make_report` does.
    """
    comparisons, output = make_report(config)
    print("\n\n".join(on_terminal(comparison, named=len(comparisons) > 1) for comparison in comparisons))
    others = f" (lesionseg ui sweep={config.sweep[0]})" if len(comparisons) == 1 else "s"
    print(f"\nWritten to {output} (report.html is all of it) and to the parent run in MLflow{others}")
    return 0


def make_report(config: CompareConfig) -> tuple[list[Comparison], Path]:
    """Compare the sweeps' finished runs, write the report, and log it to each sweep's parent run.

    Returns:
        A comparison for each sweep, and the folder of the report.

    Raises:
        InputError: no such sweep, or none of its runs is finished (see `finished_runs`); no such arm; or a rule that
            the stored predictions cannot be scored by.
    """
    folder = outputs(config.paths) / "comparisons" / "+".join(config.sweep)
    output = folder if config.output is None else Path(config.output).expanduser().resolve()
    check_writable("output", output)
    store = store_of(config.tracking, config.paths, create=False)
    sweeps = _sweeps(store, config)
    chapters = [_chapter(store, sweep, config) for sweep in sweeps]
    comparisons = [chapter.comparison for chapter in chapters]
    markdown = "\n".join(in_markdown(comparison) for comparison in comparisons)
    files = _write(output, chapters, markdown)
    for sweep, comparison in zip(sweeps, comparisons, strict=True):
        _log(Run(store, sweep.parent), output, files, as_note(comparison, _LONGEST_NOTE))
    return comparisons, output


def _sweeps(store: Store, config: CompareConfig) -> list[_Sweep]:
    """Every sweep with its arms; all that is wrong is said at once."""
    found: list[_Sweep] = []
    faults: list[str] = []
    for name in config.sweep:
        try:
            runs = finished_runs(store, name)
        except InputError as error:
            faults += error.faults
            continue
        there = _scratch_first(store, runs)
        unknown = [arm for arm in config.arms or () if arm not in there]
        finished = {run.data.params["init"] for run in runs.finished}
        arms = tuple(config.arms or there)
        if unknown:
            faults.append(f"arms: sweep={name} has no {', '.join(unknown)}; its arms: {', '.join(there)}")
        elif not finished & set(arms):
            has = f"has no finished run of {', '.join(arms)} yet"
            faults.append(f"arms: sweep={name} {has}; arms with one: {', '.join(sorted(finished))}")
        else:
            found.append(_Sweep(name, sweep_parent(store, name), runs, arms))
    if faults:
        raise InputError(faults)
    return found


def _scratch_first(store: Store, runs: SweepRuns) -> tuple[str, ...]:
    """The arms by name, after those whose weights come from no source; of these ``scratch`` before others."""
    first = {run.data.params["init"]: run for run in reversed(runs.finished)}
    found = {arm: bool(read_record(files_of(store, run)).report["source"]) for arm, run in first.items()}
    sources = {arm: found.get(arm, arm != "scratch") for arm in (*runs.arms, *found)}
    return tuple(sorted(sources, key=lambda arm: (sources[arm], arm != "scratch", arm)))


def _chapter(store: Store, sweep: _Sweep, config: CompareConfig) -> Chapter:
    """One sweep's numbers, sentences and pictures."""
    wanted = [run for run in sweep.runs.finished if run.data.params["init"] in sweep.arms]
    rule: Criterion | None = None
    rescored: Tables | None = None
    remarks: list[str] = []
    if config.criterion is not None or config.min_volume is not None:
        rule = rule_of(store, wanted[0], config.criterion)
        rescored, remarks = rescored_tables(store, wanted, rule, config.min_volume, config.dataset)
    # The thresholds were counted with the runs' own smallest lesion, which nobody can change afterwards.
    known = gather(store, sweep.runs, sweep.arms, rescored, thresholds=config.min_volume is None)
    evidence = replace(known.evidence, notes=[*known.evidence.notes, *remarks, *_of_rule(config)])
    task = str(wanted[0].data.params["task"])
    comparison = compare_cases(known.cases, sweep.arms, evidence, sweep=sweep.name, task=task)
    conduct = conduct_of(
        sweep.name,
        known.records,
        evidence.runs,
        arms=comparison.results.arms,
        rule=rule,
        min_volume=config.min_volume,
        command=_command(config),
        train_command=store.client.get_run(sweep.parent).data.tags.get(COMMAND_TAG, ""),
        versions=json.loads(wanted[0].data.tags.get(VERSIONS_TAG, "null")) or versions(),
    )
    methods = methods_paragraph(conduct, comparison.results)
    return Chapter(
        replace(comparison, conduct=conduct, methods=methods),
        pictures_of(store, wanted, known.cases, comparison.results),
    )


def _of_rule(config: CompareConfig) -> list[str]:
    if config.min_volume is not None:
        return [
            "With another smallest lesion there is no FROC: it was counted with the runs' own; pictures are of theirs."
        ]
    if config.criterion is not None:
        return ["FROC, PPV at matched sensitivity and pictures are of the rule of the runs themselves."]
    return []


def _command(config: CompareConfig) -> str:
    """That makes the report again."""
    sweep = config.sweep[0] if len(config.sweep) == 1 else f"[{','.join(config.sweep)}]"
    words = [f"sweep={sweep}", *([f"arms=[{','.join(config.arms)}]"] if config.arms else [])]
    if isinstance(config.criterion, dict):
        words.append("criterion={" + ",".join(f"{key}:{value}" for key, value in config.criterion.items()) + "}")
    elif config.criterion is not None:
        words.append(f"criterion={config.criterion}")
    words += [] if config.min_volume is None else [f"min_volume={config.min_volume:g}"]
    return " ".join(shlex.quote(word) for word in ("lesionseg", "compare", *words))


def _write(output: Path, chapters: Sequence[Chapter], markdown: str) -> list[Path]:
    """Every file of the report."""
    from lesionseg.report.figures import write_figures  # half a second for matplotlib

    comparisons = [chapter.comparison for chapter in chapters]
    page, text = output / "report.html", output / "comparison.md"
    write_page(chapters, page)
    with written_whole(text) as partial:
        partial.write_text(markdown, encoding="utf-8")
    figures = output / "figures"
    folders = [figures if len(comparisons) == 1 else figures / one.sweep for one in comparisons]
    drawn = [file for one, folder in zip(comparisons, folders, strict=True) for file in write_figures(one, folder)]
    return [page, text, *write_tables(comparisons, output), *drawn]


def _log(parent: Run, output: Path, files: Sequence[Path], note: str) -> None:
    for file in files:
        inside = file.parent.relative_to(output)
        parent.log_file(file, (Path("comparison") / inside).as_posix())
    parent.set_tag(NOTE_TAG, note)
