"""All figures of a comparison: for the page, and as files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from lesionseg.data.files import written_whole
from lesionseg.report.comparison import Comparison
from lesionseg.report.figures.froc import draw_froc
from lesionseg.report.figures.label_savings import draw_label_savings
from lesionseg.report.figures.learning_curves import draw_learning_curves
from lesionseg.report.figures.lesion_size import draw_lesion_size
from lesionseg.report.figures.look import NothingToDrawError
from lesionseg.report.figures.patients import draw_patients

SUFFIXES = (".png", ".pdf")


@dataclass(frozen=True)
class Drawing:
    """One figure of a comparison.

    Attributes:
        name: of its file, without a suffix.
        title: what it shows.
        reading: how it is to be read, in sentences.
        figure: None where there is nothing to draw.
        absent: why there is none, a sentence.
    """

    name: str
    title: str
    reading: str
    figure: Figure | None
    absent: str = ""


def draw_comparison(comparison: Comparison) -> tuple[Drawing, ...]:
    """Draw learning curves, label savings, FROC, scores by lesion volume and paired dots, in this order."""
    arms = comparison.results.arms
    drawn = (
        ("learning_curves", lambda: draw_learning_curves(comparison.curves, arms)),
        ("label_savings", lambda: draw_label_savings(comparison.savings, arms)),
        ("froc", lambda: draw_froc(comparison.froc, arms)),
        ("lesion_size", lambda: draw_lesion_size(comparison.strata, arms)),
        ("patients", lambda: draw_patients(comparison.results.patients, arms)),
    )
    return tuple(_draw(name, draw) for name, draw in drawn)


def write_figures(comparison: Comparison, folder: Path) -> list[Path]:
    """Write each figure that there is as PNG, to look at, and as PDF, to print; each file whole or not at all.

    Returns:
        The files.
    """
    written = []
    for drawing in draw_comparison(comparison):
        if drawing.figure is None:
            continue
        for suffix in SUFFIXES:
            path = folder / f"{drawing.name}{suffix}"
            # Without a date the same numbers give the same file.
            without_date = {"CreationDate": None} if suffix == ".pdf" else None
            with written_whole(path) as partial:
                drawing.figure.savefig(partial, dpi=200, metadata=without_date)
            written.append(path)
    return written


def _draw(name: str, draw: Callable[[], Figure]) -> Drawing:
    try:
        return Drawing(name, *_TEXTS[name], draw())
    except NothingToDrawError as nothing:
        return Drawing(name, *_TEXTS[name], None, str(nothing))


_TEXTS = {
    "learning_curves": (
        "Scores over training-set size",
        "Arms stand side by side at each size so that their intervals can be seen. An interval is over patients, for "
        "these trained models; whether arms differ is for the paired tests of the table.",
    ),
    "label_savings": (
        "Label savings",
        "Read from the reference arm's curve, which is made to never fall. Nothing is extrapolated: what lies in a "
        "shaded part is only known to be more, or at most, so many.",
    ),
    "froc": (
        "FROC by training-set size",
        "Lesions of all test studies pooled, a lesion found if a predicted one touches it. The operating point is "
        "judged by the task's own criterion, and may lie beside the curve.",
    ),
    "lesion_size": (
        "Scores by lesion volume",
        "A predicted lesion counts by its own volume, not by that of the lesion it meets.",
    ),
    "patients": (
        "Patient by patient",
        "The arm's score upwards, that of the reference arm across.",
    ),
}
