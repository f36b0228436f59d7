"""The report as one HTML file that needs nothing beside it: no network, no script, no other file."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lesionseg.io import written_whole
from lesionseg.report import tables
from lesionseg.report.comparison import Comparison
from lesionseg.report.text import savings_sentences

if TYPE_CHECKING:
    from lesionseg.report.figures import Drawing


def write_page(comparisons: Sequence[Comparison], drawings: Sequence[Sequence["Drawing"]], path: Path) -> None:
    """Write the report of one sweep or several with their figures, whole or not at all."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("lesionseg.report").joinpath("report.html.j2").read_text(encoding="utf-8"))
    both = enumerate(zip(comparisons, drawings, strict=True), start=1)
    chapters = [_chapter(comparison, drawn, f"c{number}") for number, (comparison, drawn) in both]
    names = dict.fromkeys(comparison.sweep for comparison in comparisons if comparison.sweep)
    title = f"Comparison: {', '.join(names)}" if names else "Comparison of arms"
    with written_whole(path) as partial:
        partial.write_text(template.render(title=title, chapters=chapters, keys=_keys()), encoding="utf-8")


def _chapter(comparison: Comparison, drawings: Sequence["Drawing"], name: str) -> dict[str, Any]:
    """Return everything that the template says of one sweep."""
    from lesionseg.report.figures import as_data_uri
    from lesionseg.report.slices import slice_as_data_uri

    analysis, provenance = comparison.analysis, comparison.provenance
    reference, n_tests = comparison.arms[0], analysis.basis.n_tests
    against = (
        f", and the difference from {reference}, paired by patient and repeat, with its 95 % interval. p is "
        f"that of the crossed test of patients and repeats; Holm's p is adjusted for the {n_tests} tests of "
        "sensitivity, PPV and F1."
    )
    scores = f"Mean ± standard error over test patients{against if len(comparison.arms) > 1 else '.'}"
    further = {
        "tests": (
            tables.other_tests_table(analysis),
            "Differences by other tests. Sign flip and Wilcoxon take the trainings as they are. No p here is adjusted.",
        ),
        "pooled": (
            tables.pooled_table(analysis),
            "Mean over patients, and the ratio of all patients' lesions together, where patients with many lesions "
            "count more; its standard error is over patients, too.",
        ),
        "matched": (
            tables.matched_table(comparison),
            f"PPV at the same sensitivity as {reference}: each model is cut at the threshold at which it finds as much "
            "as the weaker of the two.",
        ),
        "without-lesions": (
            tables.without_lesions_table(analysis),
            "Test studies without a reference lesion, which enter no mean above.",
        ),
    }
    behind = {
        "froc": (tables.froc_table(comparison), "FROC: its area as a share of what is possible; operating point."),
        "volumes": (tables.volume_table(comparison), "By lesion volume: mean ± standard error over patients."),
        "savings": (tables.savings_table(analysis), "Label savings with their 95 % intervals."),
    }
    run = {}
    if provenance is not None:
        run["run"] = (tables.run_table(provenance, comparison.rates), "What was run.")
        run["transfer"] = (tables.transfer_table(provenance), "First weights of each arm, of its first run.")
    splits = provenance.splits.set_index(["train_size", "repeat"]) if provenance is not None else pd.DataFrame()
    return {
        "id": name,
        "title": comparison.task or comparison.sweep or "comparison",
        "comparison": comparison,
        "scores": tables.as_html(tables.score_table(analysis), f"{name}-scores", scores),
        "further": _as_html(further, name),
        "behind": _as_html(behind, name),
        "run": _as_html(run, name),
        "splits": _as_html({"splits": (splits, "SHA-256 of the subjects of each size and repeat.")}, name),
        "savings": savings_sentences(analysis.savings),
        "figures": [{**vars(one), "src": as_data_uri(one.figure) if one.figure else ""} for one in drawings],
        "pictures": [
            {"arm": arm, "which": which, "slice": one, "src": slice_as_data_uri(one)}
            for arm, which, one in comparison.pictures
        ],
    }


def _as_html(found: dict[str, tuple[pd.DataFrame, str]], name: str) -> list[str]:
    return [tables.as_html(table, f"{name}-{key}", text) for key, (table, text) in found.items() if not table.empty]


def _keys() -> list[dict[str, str]]:
    """Return what the outlines of the pictures mean, and how they look."""
    from lesionseg.report.slices import OUTLINES

    styles = {"-": "solid", ":": "dotted", "--": "dashed"}
    return [
        {"name": name, "color": look["color"], "style": styles[look["linestyle"]]} for name, look in OUTLINES.values()
    ]
