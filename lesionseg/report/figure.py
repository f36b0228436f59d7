"""Sensitivity and PPV over training-set size, both arms."""

from dataclasses import dataclass
from math import isfinite, log2
from pathlib import Path
from typing import TYPE_CHECKING

from lesionseg.data.files import written_whole
from lesionseg.report.cases import Score
from lesionseg.report.results import ArmMean, Results

if TYPE_CHECKING:  # half a second, and tables need none of it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS: tuple[tuple[Score, str], ...] = (
    ("lesion_sensitivity", "Lesion sensitivity"),
    ("lesion_ppv", "Lesion PPV"),
)
_SUFFIXES = (".png", ".svg", ".pdf")
_GREY = "#555555"


@dataclass(frozen=True)
class _Look:
    """Arms differ in lightness, marker and dash too, so that a grey print tells them apart."""

    color: str
    marker: str
    filled: bool
    dash: str


_FIRST = _Look("#D55E00", "s", False, "--")
_SECOND = _Look("#00496F", "o", True, "-")


def draw_figure(results: Results) -> "Figure":
    """Draw mean ± standard error over patients by training-set size, and each repeat as a faint line.

    Args:
        results: the numbers of a comparison of one arm or two.

    Returns:
        A figure of two panels, sensitivity and PPV, that no window and no pyplot state knows of.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # The names of the arms stand right of the axes: the panels keep clear of them.
    figure = Figure(figsize=(8.4, 3.9), layout=ConstrainedLayoutEngine(wspace=0.06))
    FigureCanvasAgg(figure)
    looks = dict(zip(results.arms, (_FIRST, _SECOND), strict=False))
    for axes, (score, title) in zip(figure.subplots(1, 2), _PANELS, strict=True):
        _set_axes(axes, results.sizes, title)
        for number, (arm, look) in enumerate(looks.items()):
            dodge = _dodge(results.sizes, number, len(looks))
            _draw_arm(axes, _means_of(results, arm, score), look, dodge)
        _label_arms(axes, results, score, looks)
    figure.supxlabel(_caption(results), fontsize=8, color=_GREY)
    return figure


def write_figure(results: Results, path: Path) -> None:
    """Write the figure as PNG, SVG or PDF, by the path's suffix; the file appears whole or not at all.

    Raises:
        ValueError: if the suffix is another.
    """
    if path.suffix not in _SUFFIXES:
        raise ValueError(f"A figure is written as {', '.join(_SUFFIXES)}; found {path.name!r}.")
    figure = draw_figure(results)
    with written_whole(path) as partial:
        figure.savefig(partial, dpi=200)


def _means_of(results: Results, arm: str, score: Score) -> list[ArmMean]:
    rows = (results.mean(arm, size, score) for size in results.sizes)
    return [row for row in rows if row is not None and isfinite(row.mean)]


def _set_axes(axes: "Axes", sizes: tuple[int, ...], title: str) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    span = _span(sizes)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    left, right = (0.08 * span, 0.06 * span) if len(sizes) > 1 else (0.5, 0.5)
    axes.set_xlim(sizes[0] * 2**-left, sizes[-1] * 2**right)
    axes.set_ylim(0, 1)
    axes.set_xlabel("Training studies (log scale)" if len(sizes) > 1 else "Training studies")
    axes.set_ylabel(title)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_arm(axes: "Axes", means: list[ArmMean], look: _Look, dodge: float) -> None:
    if not means:
        return
    arm, several = means[0].arm, any(row.n_repeats > 1 for row in means)
    repeats = sorted({repeat for row in means for repeat, _ in row.by_repeat}) if several else []
    for repeat in repeats:
        points = [(row.train_size * dodge, mean) for row in means for at, mean in row.by_repeat if at == repeat]
        (line,) = axes.plot(*zip(*points, strict=True), color=look.color, alpha=0.3, linewidth=0.9, zorder=2)
        line.set_gid(f"{arm} repeat {repeat}")
        line.set_marker("." if len(points) == 1 else "")
    bars = axes.errorbar(
        [row.train_size * dodge for row in means],
        [row.mean for row in means],
        yerr=[row.standard_error if isfinite(row.standard_error) else 0.0 for row in means],
        color=look.color,
        marker=look.marker,
        markersize=6,
        markerfacecolor=look.color if look.filled else "white",
        linestyle=look.dash,
        linewidth=1.8,
        elinewidth=1.4,
        zorder=3,
    )
    bars.lines[0].set_gid(f"{arm} mean")


def _label_arms(axes: "Axes", results: Results, score: Score, looks: dict[str, _Look]) -> None:
    """Write each arm's name beside its last point, the names moved apart where these are close."""
    last = {arm: means[-1] for arm in looks if (means := _means_of(results, arm, score))}
    heights = _apart({arm: row.mean for arm, row in last.items()}, least=0.075)
    for arm, row in last.items():
        axes.annotate(
            arm,
            (row.train_size * 2 ** (0.03 * _span(results.sizes)), heights[arm]),
            xytext=(6, 0),
            textcoords="offset points",
            color=looks[arm].color,
            fontweight="bold",
            va="center",
        )


def _apart(heights: dict[str, float], least: float) -> dict[str, float]:
    """Two heights within 0 … 1 moved symmetrically until they are `least` apart, still within."""
    if len(heights) < 2:
        return heights
    (low_arm, low), (high_arm, high) = sorted(heights.items(), key=lambda item: item[1])
    push = max(0.0, least - (high - low)) / 2
    low, high = low - push, high + push
    shift = max(0.0, least / 2 - low) - max(0.0, high - (1 - least / 2))
    return {low_arm: low + shift, high_arm: high + shift}


def _span(sizes: tuple[int, ...]) -> float:
    """Octaves between the smallest and the largest size, at least one."""
    return max(1.0, log2(sizes[-1] / sizes[0]))


def _dodge(sizes: tuple[int, ...], number: int, arms: int) -> float:
    """A factor on the size that keeps the error bars of two arms from covering each other."""
    return float(2 ** (0.012 * _span(sizes) * (2 * number - (arms - 1))))


def _caption(results: Results) -> str:
    repeats = len(results.repeats)
    caption = f"mean ± standard error over {results.n_patients_with_lesions} test patients with lesions"
    return f"{caption}; faint lines: each of {repeats} repeats" if repeats > 1 else f"{caption}; one repeat"
