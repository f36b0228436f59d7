"""How many studies the reference arm needs for what another arm has with fewer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator

from lesionseg.report.figures.look import (
    GREY,
    SMALL,
    Look,
    NothingToDrawError,
    caption,
    looks_of,
    new_figure,
    octaves,
    panel_title,
    plain_text,
    size_axis,
    spread,
    style,
)
from lesionseg.report.savings import ArmSavings
from lesionseg.stats import Censored, LabelSaving, LabelSavings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BEYOND = 0.16  # of the axis: where what is "more than" the largest size is drawn
_ROW = 0.26  # inches
_MOST_ROWS = 30  # that fit on a page


@plain_text()
def draw_label_savings(savings: Sequence[ArmSavings], arms: Sequence[str]) -> Figure:
    """Draw an arrow for every size of each arm: from its studies to those with which the reference arm has as much.

    With many arms only some of their sizes are shown. The bar is the 95 % interval. Whatever is beyond the reference
    arm's largest size ends as an open arrow in the shaded part, as nothing is known of it but "more than"; below its
    smallest size likewise.

    Args:
        savings: per score and arm; a panel for each score.
        arms: all of them, the reference first, in the order of their looks.

    Raises:
        NothingToDrawError: if there is nothing to draw.
    """
    drawn = [(one, one.savings) for one in savings if one.savings is not None and _rows(one.savings)]
    if not drawn:
        raise NothingToDrawError("No label savings: they take two arms, and two sizes of the reference arm.")
    looks = looks_of(arms)
    scores = list(dict.fromkeys(one.score for one, _ in drawn))
    heights = _heights(drawn)
    lowest = min(heights.values())
    figure = new_figure(_ROW * (1 - lowest) + 1.5)
    panels = figure.subplots(1, len(scores), squeeze=False, sharey=True)[0]
    for axes, score in zip(panels, scores, strict=True):
        of_score = [(one, found) for one, found in drawn if one.score == score]
        sizes = _set_axes(axes, [found for _, found in of_score])
        axes.set_title(panel_title(score))
        for one, found in of_score:
            for saving in _rows(found):
                if (one.arm, saving.size) in heights:
                    _draw_row(axes, one.arm, saving, sizes, looks[one.arm], heights[one.arm, saving.size])
    first = panels[0]
    first.set_ylim(lowest - 0.7, 0.5)
    first.set_yticks(list(heights.values()), [f"{size:g}" for _, size in heights])
    first.set_ylabel("trained with")
    for axes in panels:
        for arm in dict.fromkeys(arm for arm, _ in heights):
            top = max(height for (other, _), height in heights.items() if other == arm)
            axes.text(
                0.01,
                top + 0.85,
                arm,
                transform=axes.get_yaxis_transform(),
                color=looks[arm].color,
                fontsize=SMALL,
                fontweight="bold",
                va="center",
            )
    caption(
        figure,
        f"arrow: to the studies with which {arms[0]} has as much, and how many times as many these are; "
        "bar: 95 % interval",
    )
    return figure


def _rows(savings: LabelSavings) -> list[LabelSaving]:
    """Those that have an answer: none where the reference arm has a single size."""
    if savings.de_novo.sizes.size < 2:
        return []
    return [saving for saving in savings.savings if np.isfinite(saving.needed.estimate.value)]


def _heights(drawn: Sequence[tuple[ArmSavings, LabelSavings]]) -> dict[tuple[str, float], float]:
    """Where each arm's sizes are drawn, from the top down, a row left free above every arm for its name."""
    heights: dict[tuple[str, float], float] = {}
    height = 0.0
    arms = dict.fromkeys(one.arm for one, _ in drawn)
    for arm in arms:
        height -= 1
        sizes = {saving.size for one, found in drawn if one.arm == arm for saving in _rows(found)}
        for size in spread(sorted(sizes), max(2, _MOST_ROWS // len(arms))):
            heights[arm, size] = height
            height -= 1
    return heights


def _set_axes(axes: "Axes", savings: Sequence[LabelSavings]) -> list[float]:
    """The axis of sizes, with what is beyond the reference arm's shaded; returns the sizes."""
    style(axes, "x")
    axes.tick_params(axis="y", length=0)
    own = {saving.size for found in savings for saving in _rows(found)}
    sizes = sorted(own.union(*(found.de_novo.sizes.tolist() for found in savings)))
    size_axis(axes, sizes, margin=2 * _BEYOND)
    ticks = {size: f"{size:g}" for size in sizes}
    left, right = axes.get_xlim()
    smallest = {Censored(float(found.de_novo.sizes[0]), "at most") for found in savings}
    largest = {Censored(float(found.de_novo.sizes[-1]), "more than") for found in savings}
    for beyond, end, sign in ((smallest, left, "≤"), (largest, right, ">")):
        for bound in beyond:
            axes.axvspan(*sorted((_place(bound, sizes, 0.5), end)), color="#F1F1F1", zorder=0)
            ticks[_place(bound, sizes)] = f"{sign} {bound.value:g}"
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_major_formatter(FixedFormatter(list(ticks.values())))
    return sizes


def _draw_row(axes: "Axes", arm: str, saving: LabelSaving, sizes: Sequence[float], look: Look, height: float) -> None:
    start, needed = saving.size, saving.needed
    end = _end(needed.estimate, start, sizes)
    if np.isfinite(needed.low.value):
        axes.plot(
            [_place(needed.low, sizes, far=2), _place(needed.high, sizes, far=2)],
            [height, height],
            color=look.color,
            alpha=0.25,
            linewidth=6,
            solid_capstyle="butt",
            zorder=2,
            gid=f"{arm} {start:g} interval",
        )
    exact = needed.estimate.bound == "exact"
    axes.annotate(
        "",
        (end, height),
        (start, height),
        arrowprops={
            "arrowstyle": "-|>" if exact else "->",
            "color": look.color,
            "linestyle": "-" if exact else (0, (3, 2)),
            "linewidth": 1.4,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 10,
        },
        zorder=3,
        gid=f"{arm} {start:g} arrow",
    )
    axes.plot([start], [height], **{**look.line, "linestyle": ""}, markersize=6, zorder=4, gid=f"{arm} {start:g}")
    axes.annotate(
        _times(saving.multiplier.estimate),
        (1.0, height),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
        color=GREY,
        zorder=5,
    )


def _place(number: Censored, sizes: Sequence[float], far: float = 1.2) -> float:
    """Where a number is drawn: a bound within the shaded part beyond it, or with ``far`` = 2 at its very end."""
    reach = far * _BEYOND * octaves(sizes)
    shift = {"exact": 0.0, "more than": reach, "at most": -reach}[number.bound]
    return float(number.value * 2**shift)


def _end(needed: Censored, start: float, sizes: Sequence[float]) -> float:
    """Where the arrow ends: a bound points away from the start, even where the start lies beyond it."""
    end = _place(needed, sizes)
    if needed.bound == "exact":
        return end
    least = start * 2 ** (0.5 * _BEYOND * octaves(sizes) * (1 if needed.bound == "more than" else -1))
    return max(end, least) if needed.bound == "more than" else min(end, least)


def _times(multiplier: Censored) -> str:
    """``2.8×``, ``> 2×``, ``≤ 1×``."""
    sign = {"exact": "", "more than": "> ", "at most": "≤ "}[multiplier.bound]
    return f"{sign}{multiplier.value:.2g}×"
