"""What the second arm of a sweep gains over the first. The story of ``lesionseg compare``."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lesionseg.config.schema import CompareConfig
from lesionseg.data.files import written_whole
from lesionseg.report import (
    Comparison,
    format_table,
    format_without_lesions,
    write_csv,
    write_figure,
)
from lesionseg.report import compare as compare_cases
from lesionseg.runs.plan import store_of
from lesionseg.runs.recorded import cases_of, recorded_run
from lesionseg.runs.sweep import finished_runs
from lesionseg.runs.writable import check_writable
from lesionseg.tracking import Run, sweep_parent


def compare(config: CompareConfig) -> int:
    """Read a sweep's finished runs from MLflow, print the table, write and log it with the figure.

    Returns:
        0.

    Raises:
        InputError: no such sweep, or none of its runs is finished; see `finished_runs`.
    """
    output = Path(config.output).expanduser().resolve()
    check_writable("output", output)
    store = store_of(config.tracking, config.paths, create=False)
    runs = finished_runs(store, config.sweep)
    unfinished = runs.unfinished
    cases = pd.concat([cases_of(store, run) for run in runs.finished], ignore_index=True)
    recorded = [recorded_run(store, run) for run in runs.finished if run.data.params["init"] in config.arms]
    comparison = compare_cases(cases, config.arms, recorded)
    markdown = _in_markdown(config.sweep, comparison, unfinished)
    _write(output, comparison, markdown)
    parent = Run(store, sweep_parent(store, config.sweep))
    for file in sorted(output.glob("comparison.*")):
        parent.log_file(file, "comparison")
    parent.set_tag("mlflow.note.content", markdown)
    print(_on_terminal(comparison, unfinished))  # last: whoever reads it may stop reading
    print(f"\nWritten to {output} and to the sweep's parent run in MLflow (lesionseg ui sweep={config.sweep})")
    return 0


def _on_terminal(comparison: Comparison, unfinished: Sequence[str]) -> str:
    blocks = [
        format_table(comparison.results),
        format_without_lesions(comparison.results),
        "\n".join(comparison.answer),
        "\n".join(comparison.validation.sentences),
        _listed("What was compared", comparison.compared),
        _listed("What these numbers can and cannot carry", [*comparison.caveats, *unfinished]),
    ]
    return "\n\n".join(block for block in blocks if block)


def _in_markdown(sweep: str, comparison: Comparison, unfinished: Sequence[str]) -> str:
    blocks = [
        f"# {sweep}: {' and '.join(comparison.results.arms)}",
        "\n".join(comparison.answer),
        "\n".join(comparison.validation.sentences),
        format_table(comparison.results, "markdown"),
        format_without_lesions(comparison.results, "markdown"),
        _listed("What was compared", comparison.compared),
        _listed("What these numbers can and cannot carry", [*comparison.caveats, *unfinished]),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _listed(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{heading}:", "", *(f"- {line}" for line in lines)]) if lines else ""


def _write(output: Path, comparison: Comparison, markdown: str) -> None:
    write_csv(comparison.results, output / "comparison.csv", comparison.validation)
    write_figure(comparison.results, output / "comparison.png")
    with written_whole(output / "comparison.md") as partial:
        partial.write_text(markdown, encoding="utf-8")
