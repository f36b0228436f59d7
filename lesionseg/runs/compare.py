"""What the second arm of a sweep gains over the first. The story of ``lesionseg compare``."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lesionseg.config.schema import CompareConfig
from lesionseg.data.files import written_whole
from lesionseg.errors import InputError
from lesionseg.report import (
    Comparison,
    format_table,
    format_without_lesions,
    write_csv,
    write_figure,
)
from lesionseg.report import compare as compare_cases
from lesionseg.runs.plan import store_of
from lesionseg.runs.preflight import check_writable
from lesionseg.tracking import HASH_TAG, Run, Store, fetch_artifact, sweep_children, sweep_parent


def compare(config: CompareConfig) -> int:
    """Read a sweep's finished runs from MLflow, print the table, write and log it with the figure.

    Returns:
        0.

    Raises:
        InputError: no such sweep, or none of its runs is finished.
    """
    output = Path(config.output).expanduser().resolve()
    check_writable("output", output)
    store = store_of(config.tracking, config.paths, create=False)
    children = sweep_children(store, config.sweep)
    if not children:
        raise InputError(f"sweep={config.sweep}: there is no run of that name in {store.uri}; see lesionseg ui")
    finished = [child for child in children if child.info.status == "FINISHED"]
    tasks = sorted({child.data.params["task"] for child in finished})
    if len(tasks) > 1:
        raise InputError(f"sweep={config.sweep}: holds several tasks ({', '.join(tasks)}); give each its own sweep")
    if not finished:
        raise InputError(f"sweep={config.sweep}: none of its {len(children)} runs is finished; start it again first")
    comparison = compare_cases(_cases(store, _one_per_cell(config.sweep, finished)), config.arms)
    unfinished = [_unfinished(child) for child in children if child.info.status != "FINISHED"]
    markdown = _in_markdown(config.sweep, comparison, unfinished)
    print(_on_terminal(comparison, unfinished))
    _write(output, comparison, markdown)
    parent = Run(store, sweep_parent(store, config.sweep))
    for file in sorted(output.glob("comparison.*")):
        parent.log_file(file, "comparison")
    parent.set_tag("mlflow.note.content", markdown)
    print(f"\nWritten to {output} and to the sweep's parent run in MLflow (lesionseg ui sweep={config.sweep})")
    return 0


def _one_per_cell(sweep: str, runs: Sequence[Any]) -> list[Any]:
    """Of runs with the same configuration, repeated by force, the latest.

    Raises:
        InputError: several configurations share arm, size and repeat.
    """
    cells: dict[tuple[str, str, str], dict[str, Any]] = {}
    for run in runs:
        params = run.data.params
        cell = (params["init"], params["train_size"], params["repeat"])
        cells.setdefault(cell, {})[run.data.tags[HASH_TAG]] = run
    faults = []
    for cell, found in cells.items():
        if len(found) > 1:
            keys = {key for run in found.values() for key in run.data.params}
            differing = sorted(key for key in keys if len({run.data.params.get(key) for run in found.values()}) > 1)
            faults.append(
                f"sweep={sweep}: holds {len(found)} different finished runs of init={cell[0]}, train_size={cell[1]}, "
                f"repeat={cell[2]} (they differ in {', '.join(differing) or 'their config.yaml'}); give each "
                "configuration a sweep of its own, or delete the runs that do not belong"
            )
    if faults:
        raise InputError(faults)
    return [run for found in cells.values() for run in found.values()]


def _cases(store: Store, runs: Sequence[Any]) -> pd.DataFrame:
    """Every finished run's ``cases.csv``, with the run's place in the grid."""
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for run in runs:
            file = fetch_artifact(store, run.info.run_id, "cases.csv", Path(folder) / run.info.run_id)
            if file is None:
                raise InputError(f"run {run.info.run_id} ({run.info.run_name}) is finished but has no cases.csv")
            table = pd.read_csv(file, dtype={"subject": str, "session": str}, keep_default_na=False, na_values=[""])
            table["session"] = table["session"].fillna("")
            params = run.data.params
            tables.append(
                table.assign(init=params["init"], train_size=int(params["train_size"]), repeat=int(params["repeat"]))
            )
    return pd.concat(tables, ignore_index=True)


def _unfinished(run: Any) -> str:
    return f"{run.info.run_name} is {run.info.status.lower()} and not in the table"


def _on_terminal(comparison: Comparison, unfinished: Sequence[str]) -> str:
    blocks = [
        format_table(comparison.results),
        format_without_lesions(comparison.results),
        "\n".join(comparison.answer),
        _listed("What these numbers can and cannot carry", [*comparison.caveats, *unfinished]),
    ]
    return "\n\n".join(block for block in blocks if block)


def _in_markdown(sweep: str, comparison: Comparison, unfinished: Sequence[str]) -> str:
    blocks = [
        f"# {sweep}: {' and '.join(comparison.results.arms)}",
        "\n".join(comparison.answer),
        format_table(comparison.results, "markdown"),
        format_without_lesions(comparison.results, "markdown"),
        _listed("What these numbers can and cannot carry", [*comparison.caveats, *unfinished]),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _listed(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{heading}:", "", *(f"- {line}" for line in lines)]) if lines else ""


def _write(output: Path, comparison: Comparison, markdown: str) -> None:
    write_csv(comparison.results, output / "comparison.csv")
    write_figure(comparison.results, output / "comparison.png")
    with written_whole(output / "comparison.md") as partial:
        partial.write_text(markdown, encoding="utf-8")
