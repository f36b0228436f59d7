"""Sensitivity and PPV by the volume of the lesions."""

from collections.abc import Sequence
from math import isfinite, isinf, nan
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from lesionseg.report.figures.look import (
    Look,
    NothingToDrawError,
    caption,
    legend,
    looks_of,
    new_figure,
    plain_text,
    share_axis,
    spread,
    style,
)
from lesionseg.report.strata import Share, SizeStratum
from lesionseg.report.words import training_studies

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SIZES = 2
_SPREAD = 0.6  # of the distance between two bins: what the arms of one take


@plain_text()
def draw_lesion_size(strata: Sequence[SizeStratum], arms: Sequence[str]) -> Figure:
    """Draw sensitivity and PPV by lesion volume at the smallest and the largest training-set size.

    Each is a mean ± standard error. Below the volumes stands how many reference lesions there are; predicted ones
    depend on arm and size.

    Args:
        strata: per arm, size and range of volumes.
        arms: all of them, in the order of their looks.

    Raises:
        NothingToDrawError: if there is none.
    """
    if not strata:
        raise NothingToDrawError("Nothing by lesion volume: the runs left no table of lesions.")
    looks = looks_of(arms)
    sizes = spread(sorted({row.train_size for row in strata}), MOST_SIZES)
    edges = sorted({(row.low_mm3, row.high_mm3) for row in strata})
    figure = new_figure(2.3 * len(sizes) + 0.9 + 0.2 * (len(arms) // 5))
    panels = figure.subplots(len(sizes), 2, squeeze=False, sharey=True)
    for row, size in zip(panels, sizes, strict=True):
        for axes, (side, title) in zip(row, (("sensitivity", "Sensitivity"), ("ppv", "PPV")), strict=True):
            style(axes)
            share_axis(axes)
            axes.set_title(f"{title}, {training_studies(size)}")
            for arm in arms:
                of_arm = {(s.low_mm3, s.high_mm3): s for s in strata if (s.arm, s.train_size) == (arm, size)}
                shares = [getattr(of_arm[edge], side) if edge in of_arm else None for edge in edges]
                aside = _SPREAD * ((arms.index(arm) + 0.5) / len(arms) - 0.5)
                _draw_arm(axes, f"{arm} {side}", shares, looks[arm], aside)
            counts = _counts(strata, edges, size) if side == "sensitivity" else None
            _volume_axis(axes, edges, counts)
            if size == sizes[-1]:
                axes.set_xlabel("lesion volume in mm³")
    legend(figure, looks)
    caption(figure, "mean ± standard error over patients; n: reference lesions of all test patients")
    return figure


def _draw_arm(axes: "Axes", name: str, shares: Sequence[Share | None], look: Look, aside: float) -> None:
    means = np.array([nan if share is None else share.mean for share in shares])
    errors = np.array(
        [0.0 if share is None or not isfinite(share.standard_error) else share.standard_error for share in shares]
    )
    there = np.isfinite(means)
    bars = axes.errorbar(
        np.flatnonzero(there) + aside,
        means[there],
        yerr=errors[there],
        **look.line,
        markersize=6,
        linewidth=0.9,
        elinewidth=1.2,
        zorder=3,
    )
    bars.lines[0].set_gid(name)


def _counts(strata: Sequence[SizeStratum], edges: Sequence[tuple[float, float]], size: int) -> list[float]:
    """Reference lesions of each range, as any arm has them."""
    return [
        max(
            (s.sensitivity.n_lesions for s in strata if (s.low_mm3, s.high_mm3, s.train_size) == (*edge, size)),
            default=0,
        )
        for edge in edges
    ]


def _volume_axis(axes: "Axes", edges: Sequence[tuple[float, float]], counts: Sequence[float] | None) -> None:
    names = [_range_name(*edge) for edge in edges]
    if counts is not None:
        names = [f"{name}\nn = {count:.0f}" for name, count in zip(names, counts, strict=True)]
    axes.set_xticks(range(len(edges)), names)
    axes.set_xlim(-0.6, len(edges) - 0.4)
    axes.tick_params(axis="x", length=0)
    for between in range(1, len(edges)):
        axes.axvline(between - 0.5, color="#F1F1F1", linewidth=0.8, zorder=0)


def _range_name(low: float, high: float) -> str:
    """``< 10``, ``10–100``, ``≥ 100``."""
    if isinf(high):
        return f"≥ {low:g}" if low else "all"
    return f"{low:g}–{high:g}" if low else f"< {high:g}"
