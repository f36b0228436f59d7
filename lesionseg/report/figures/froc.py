"""The FROC: sensitivity over false positives per study, a panel for each training-set size."""

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lesionseg.report.figures.look import (
    WIDTH,
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
from lesionseg.report.froc import FrocBand
from lesionseg.report.words import training_studies

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SIZES = 6
_LINEAR = 0.25  # false positives per study up to which the axis is linear, so that none at all has a place
_TICKS = (0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256)


@plain_text()
def draw_froc(bands: Sequence[FrocBand], arms: Sequence[str]) -> Figure:
    """Draw each arm's FROC, the repeats' range as a band, and the operating point as a marker.

    The axis of false positives is logarithmic, but linear near zero. Of more than six sizes six are shown.

    Args:
        bands: per arm and size.
        arms: all of them, in the order of their looks.

    Raises:
        NothingToDrawError: if there is no curve.
    """
    if not bands:
        raise NothingToDrawError("No FROC: the runs left no table of thresholds.")
    looks = looks_of(arms)
    sizes = spread(sorted({band.train_size for band in bands}), MOST_SIZES)
    columns = min(3, len(sizes)) if len(sizes) != 4 else 2
    rows = -(-len(sizes) // columns)
    figure = new_figure(2.3 * rows + 0.9 + 0.2 * (len(arms) // 5), 5.2 if columns == 1 else WIDTH)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    furthest = max(_furthest(band) for band in bands if band.train_size in sizes)
    for number, axes in enumerate(panels.ravel()):
        if number >= len(sizes):
            axes.set_axis_off()
            continue
        style(axes, "both")
        share_axis(axes)
        _false_positive_axis(axes, furthest)
        axes.set_title(training_studies(sizes[number]))
        for band in bands:
            if band.train_size == sizes[number]:
                _draw_band(axes, band, looks[band.arm])
        if number % columns == 0:
            axes.set_ylabel("sensitivity")
        if number + columns >= len(sizes):
            axes.set_xlabel("false positives per study")
            axes.tick_params(labelbottom=True)
    legend(figure, looks)
    several = any(band.low is not None for band in bands)
    caption(
        figure, "marker: the operating point" + ("; band: from the lowest to the highest repeat" if several else "")
    )
    return figure


def _draw_band(axes: "Axes", band: FrocBand, look: Look) -> None:
    if band.low is not None and band.high is not None:
        axes.fill_between(
            band.false_positives,
            band.low,
            band.high,
            step="post",
            color=look.color,
            alpha=0.12,
            linewidth=0,
            zorder=1,
            gid=f"{band.arm} band",
        )
    axes.plot(
        band.false_positives,
        band.sensitivity,
        color=look.color,
        linestyle=look.dash,
        drawstyle="steps-post",
        linewidth=1.6,
        zorder=2,
        gid=f"{band.arm} curve",
    )
    false_positives, sensitivity = band.operating_point
    if isfinite(false_positives) and isfinite(sensitivity):
        axes.plot(
            [false_positives],
            [sensitivity],
            **{**look.line, "linestyle": ""},
            markersize=8,
            zorder=3,
            clip_on=False,
            gid=f"{band.arm} operating point",
        )


def _furthest(band: FrocBand) -> float:
    at = band.operating_point[0]
    return max(float(band.false_positives[-1]), at if isfinite(at) else 0.0, 1.0)


def _false_positive_axis(axes: "Axes", furthest: float) -> None:
    axes.set_xscale("symlog", base=2, linthresh=_LINEAR, linscale=0.5)
    axes.set_xlim(0, furthest)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in _TICKS if tick <= furthest]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: {0.25: "¼", 0.5: "½"}.get(value, f"{value:g}")))
