"""Each test patient under the reference arm and under another one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from lesionseg.report.cases import Score
from lesionseg.report.figures.look import (
    GREY,
    SMALL,
    Look,
    NothingToDrawError,
    caption,
    legend,
    looks_of,
    names_fit,
    new_figure,
    panel_title,
    plain_text,
    share_axis,
    short,
    spread,
    style,
)
from lesionseg.report.results import PatientScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SIZES = 5
MOST_TOGETHER = 3
"""Arms beside the reference of which the dots of one panel can still be told apart."""
_SCORES: tuple[Score, ...] = ("lesion_sensitivity", "lesion_ppv", "lesion_f1")
_COLUMNS = 4  # where each arm has panels of its own
_SAME = 1e-9

Pairs = list[tuple[float, float]]


@dataclass(frozen=True)
class _Panel:
    """What one panel shows."""

    title: str
    pairs: dict[str, Pairs]  # by arm


@plain_text()
def draw_patients(patients: Sequence[PatientScore], arms: Sequence[str]) -> Figure:
    """Draw a dot per patient: the reference arm's score across, the other arm's upwards, a panel per score and size.

    A dot above the diagonal is a patient whom the other arm served better; where a panel has one arm, it says how many
    are above, on and below it. With more than three other arms each has two panels of its own: F1 at the smallest and
    at the largest size.

    Args:
        patients: per arm, size, score and patient.
        arms: all of them, the reference first, in the order of their looks.

    Raises:
        NothingToDrawError: if no patient has a score of the reference and of another arm at one size.
    """
    reference, *others = arms
    looks = looks_of(arms)
    pairs = _all_pairs(patients, reference, others)
    grid = _panels_of_arms(pairs, others) if len(others) > MOST_TOGETHER else _panels_of_scores(pairs)
    if not grid:
        raise NothingToDrawError("No paired dots: no test patient has a score under two arms at one size.")
    rows, columns = len(grid), max(map(len, grid))
    side = min(2.6, 9.0 / columns)
    together = len(others) <= MOST_TOGETHER
    several = together and (len(others) > 1 or not names_fit(others))
    height = (side if together else side + 0.2) * rows + (1.3 if several else 0.9)
    figure = new_figure(height, side * columns + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, panel in zip(panels.ravel(), (panel for row in grid for panel in row), strict=False):
        _draw_panel(axes, panel, looks)
    for axes in panels.ravel()[sum(map(len, grid)) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel(others[0] if len(others) == 1 and not several else "other arm")
    for axes in panels[-1]:
        axes.set_xlabel(short(reference))
    if several:
        legend(figure, {arm: looks[arm] for arm in others})
    n_patients = len({row.patient for row in patients if isfinite(row.value)})
    whom = f"a dot: one of {n_patients} test patients, mean of the repeats"
    caption(figure, f"{whom}; n: training studies; above the diagonal: better than under {short(reference)}")
    return figure


def _all_pairs(
    patients: Sequence[PatientScore], reference: str, others: Sequence[str]
) -> dict[tuple[Score, int, str], Pairs]:
    """Each patient's score under the reference arm and under another one, by score, size and other arm."""
    cells: dict[tuple[Score, int, str], dict[str, float]] = {}
    for row in patients:
        if isfinite(row.value):
            cells.setdefault((row.score, row.train_size, row.arm), {})[row.patient] = row.value
    found = {}
    for score, size in dict.fromkeys((score, size) for score, size, _ in cells):
        across = cells.get((score, size, reference), {})
        for arm in others:
            up = cells.get((score, size, arm), {})
            found[score, size, arm] = [(value, up[patient]) for patient, value in across.items() if patient in up]
    return {cell: pairs for cell, pairs in found.items() if pairs}


def _panels_of_scores(pairs: dict[tuple[Score, int, str], Pairs]) -> list[list[_Panel]]:
    """A panel for each score and size with all arms, as wide as may be."""
    scores = [score for score in _SCORES if any(score == other for other, _, _ in pairs)]
    sizes = spread(sorted({size for _, size, _ in pairs}), MOST_SIZES)
    grid = [[(score, size) for size in sizes] for score in scores]
    if len(sizes) < len(scores):
        grid = [[(score, size) for score in scores] for size in sizes]
    return [
        [
            _Panel(
                f"{panel_title(score)}, n = {size}",
                {arm: found for (other, at, arm), found in pairs.items() if (other, at) == (score, size)},
            )
            for score, size in row
        ]
        for row in grid
    ]


def _panels_of_arms(pairs: dict[tuple[Score, int, str], Pairs], others: Sequence[str]) -> list[list[_Panel]]:
    """F1 of each arm at its smallest and its largest size, two arms in a row."""
    panels = []
    for arm in others:
        sizes = sorted(size for score, size, other in pairs if (score, other) == ("lesion_f1", arm))
        for size in spread(sizes, 2):
            panels.append(_Panel(f"{short(arm)}\nF1, n = {size}", {arm: pairs["lesion_f1", size, arm]}))
    return [panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)]


def _draw_panel(axes: "Axes", panel: _Panel, looks: Mapping[str, Look]) -> None:
    _set_axes(axes)
    axes.set_title(panel.title)
    for arm, found in panel.pairs.items():
        _draw_dots(axes, arm, found, looks[arm])
    if len(panel.pairs) == 1:
        _count(axes, next(iter(panel.pairs.values())))


def _set_axes(axes: "Axes") -> None:
    style(axes, "both")
    share_axis(axes, "y", margin=0.05)
    share_axis(axes, "x", margin=0.05)
    axes.set_aspect("equal")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, zorder=1, gid="diagonal")


def _draw_dots(axes: "Axes", arm: str, pairs: Pairs, look: Look) -> None:
    across, up = np.array(pairs).T
    axes.plot(
        across,
        up,
        **{**look.line, "linestyle": ""},
        markersize=5,
        alpha=0.65,
        zorder=2,
        gid=f"{arm} patients",
    )


def _count(axes: "Axes", pairs: Pairs) -> None:
    """How many patients are above, on and below the diagonal."""
    gains = np.diff(np.array(pairs), axis=1)
    above, below = int((gains > _SAME).sum()), int((gains < -_SAME).sum())
    for x, y, text, ha, va in (
        (0.04, 0.96, f"{above} above", "left", "top"),
        (0.96, 0.04, f"{below} below, {len(pairs) - above - below} on it", "right", "bottom"),
    ):
        axes.text(x, y, text, transform=axes.transAxes, ha=ha, va=va, fontsize=SMALL - 1, color=GREY, zorder=3)
