"""Scores over training-set size, all arms: means with intervals, each repeat, and the curves through the means."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lesionseg.report.cases import Score
from lesionseg.report.curves import LearningCurve
from lesionseg.report.figures.look import (
    Look,
    NothingToDrawError,
    caption,
    dodge,
    legend,
    looks_of,
    name_lines,
    names_fit,
    new_figure,
    panel_title,
    plain_text,
    share_axis,
    size_axis,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS: tuple[Score, ...] = ("lesion_sensitivity", "lesion_ppv", "lesion_f1")
MOST_FITTED = 2
"""With more arms the fitted curves would hide the means."""
MOST_WITH_REPEATS = 4
"""With more arms the repeats would."""


@plain_text()
def draw_learning_curves(curves: Sequence[LearningCurve], arms: Sequence[str]) -> Figure:
    """Draw sensitivity, PPV and F1 over training-set size on a logarithmic axis, a panel each.

    Every arm has its mean with the 95 % interval over patients at each size; with up to four arms a faint line per
    repeat, and with up to two the isotonic fit as a thin line and the power law as fine dashes, both within the sizes
    only.

    Args:
        curves: per score and arm; scores that none has get no panel.
        arms: all of them, in the order of their looks.

    Raises:
        NothingToDrawError: if there is no curve.
    """
    scores = [score for score in PANELS if any(curve.score == score for curve in curves)]
    if not scores:
        raise NothingToDrawError("No learning curves: no arm has a score.")
    looks = looks_of(arms)
    sizes = sorted({size for curve in curves for size in curve.sizes})
    direct = names_fit(arms)
    figure = new_figure(3.4 if direct else 3.7, (4.8, 7.0, 9.4)[len(scores) - 1])
    for axes, score in zip(figure.subplots(1, len(scores), squeeze=False, sharey=True)[0], scores, strict=True):
        style(axes)
        size_axis(axes, sizes)
        share_axis(axes)
        axes.set_title(panel_title(score))
        drawn = [curve for curve in curves if curve.score == score]
        for curve in drawn:
            _draw_arm(axes, curve, looks[curve.arm], dodge(sizes, arms.index(curve.arm), len(arms)), len(arms))
        if direct:
            ends = {curve.arm: _last(curve) for curve in drawn}
            name_lines(axes, {arm: end for arm, end in ends.items() if np.isfinite(end)}, looks)
    if not direct:
        legend(figure, looks)
    caption(figure, _explanation(curves, len(arms)))
    return figure


def _draw_arm(axes: "Axes", curve: LearningCurve, look: Look, aside: float, arms: int) -> None:
    sizes, means = np.asarray(curve.sizes) * aside, np.asarray(curve.means)
    if len(curve.by_repeat) > 1 and arms <= MOST_WITH_REPEATS:
        _draw_repeats(axes, curve, look, sizes)
    if arms <= MOST_FITTED:
        _draw_fits(axes, curve, look)
    ends = np.array([curve.low, curve.high])
    reach = np.where(np.isfinite(ends), np.abs(ends - means), 0.0)
    there = np.isfinite(means)
    bars = axes.errorbar(
        sizes[there],
        means[there],
        yerr=reach[:, there],
        **look.line,
        markersize=6,
        linewidth=1.8,
        elinewidth=1.2,
        zorder=3,
    )
    bars.lines[0].set_gid(f"{curve.arm} mean")


def _draw_repeats(axes: "Axes", curve: LearningCurve, look: Look, sizes: NDArray[np.float64]) -> None:
    for repeat, values in curve.by_repeat.items():
        alone = np.isfinite(values).sum() == 1
        axes.plot(
            sizes,
            values,
            color=look.color,
            alpha=0.3,
            linewidth=0.9,
            marker="." if alone else "",
            zorder=2,
            gid=f"{curve.arm} repeat {repeat}",
        )


def _draw_fits(axes: "Axes", curve: LearningCurve, look: Look) -> None:
    """The curves, each only between the sizes that it was fitted to."""
    for name, fit, dash in (("isotonic", curve.isotonic, "-"), ("power law", curve.power_law, (0, (1.5, 1.5)))):
        if fit is None or fit.sizes.size < 2:
            continue
        fine = np.geomspace(fit.sizes[0], fit.sizes[-1], 101)
        # The ends are rounded by a hair, and outside of its sizes a fit is NaN.
        fine[[0, -1]] = fit.sizes[[0, -1]]
        axes.plot(
            fine,
            fit.at(fine),
            color=look.color,
            linewidth=0.9,
            linestyle=dash,
            zorder=2.5,
            gid=f"{curve.arm} {name}",
        )


def _last(curve: LearningCurve) -> float:
    finite = [mean for mean in curve.means if np.isfinite(mean)]
    return finite[-1] if finite else float("nan")


def _explanation(curves: Sequence[LearningCurve], arms: int) -> str:
    repeats = {repeat for curve in curves for repeat in curve.by_repeat}
    parts = ["mean with its 95 % interval over test patients"]
    if len(repeats) == 1:
        parts.append("one repeat")
    elif arms <= MOST_WITH_REPEATS:
        parts.append(f"faint: each of {len(repeats)} repeats")
    if arms <= MOST_FITTED and any(curve.isotonic is not None for curve in curves):
        parts.append("thin: isotonic fit")
        if any(curve.power_law is not None for curve in curves):
            parts.append("fine dashes: power law")
    return "; ".join(parts)
