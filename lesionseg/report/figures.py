"""The report's figures: each a function from a frame of the comparison to a matplotlib figure.

An arm has the same look in every figure; see ``lesionseg.mplstyle``.
"""

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lesionseg.io import written_whole
from lesionseg.report.analysis import PRIMARY, SCORES, arm_order
from lesionseg.report.comparison import Comparison
from lesionseg.report.text import training_studies, volume_range
from lesionseg.stats import power_law_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Styles = dict[str, dict[str, Any]]
"""How each arm is drawn, in order, the reference first."""
WIDTH, GREY, SHADE = 9.4, "#555555", "#F1F1F1"
_FALSE_POSITIVE_TICKS = (0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Drawing:
    """One figure of a comparison."""

    name: str  # of its file, without a suffix
    title: str  # what it shows
    reading: str  # how it is to be read, in sentences
    figure: Figure | None  # None where there is nothing to draw


def draw_comparison(comparison: Comparison) -> list[Drawing]:
    """Draw learning curves, label savings, FROC, scores by lesion volume and patients, in this order."""
    analysis = comparison.analysis
    drawn: list[tuple[str, str, str, Callable[[pd.DataFrame, Styles], Figure | None], pd.DataFrame]] = [
        (
            "learning_curves",
            "Scores over training-set size",
            "Arms stand side by side at each size so that their intervals can be seen. An interval is over patients, "
            "for these trained models; whether arms differ is for the paired tests of the table.",
            lambda curves, styles: draw_learning_curves(curves, styles, comparison.baseline),
            analysis.curves,
        ),
        (
            "label_savings",
            "Label savings",
            "Read from the reference arm's curve, which is made to never fall. Nothing is extrapolated: what lies in a "
            "shaded part is only known to be more, or at most, so many.",
            draw_label_savings,
            analysis.savings,
        ),
        (
            "froc",
            "FROC by training-set size",
            "Lesions of all test studies pooled, a lesion found if a predicted one touches it. The operating point is "
            "judged by the task's own criterion, and may lie beside the curve.",
            draw_froc,
            comparison.froc,
        ),
        (
            "lesion_size",
            "Scores by lesion volume",
            "A predicted lesion counts by its own volume, not by that of the lesion it meets.",
            draw_lesion_size,
            comparison.by_lesion_size,
        ),
        (
            "patients",
            "Patient by patient",
            "The arm's score upwards, that of the reference arm across.",
            draw_patients,
            analysis.patients,
        ),
    ]
    with look():
        styles = arm_styles(comparison.arms, comparison.everyone)
        found = [Drawing(name, title, text, draw(frame, styles)) for name, title, text, draw, frame in drawn]
        for figure in [one.figure for one in found if one.figure is not None]:
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once, written as SVG, PNG and PDF
    return found


def write_figures(drawings: Sequence[Drawing], folder: Path) -> list[Path]:
    """Write each figure that there is as PNG and as PDF; the same numbers give the same bytes."""
    written = []
    for name, figure in [(one.name, one.figure) for one in drawings if one.figure is not None]:
        for suffix in (".png", ".pdf"):
            path = folder / f"{name}{suffix}"
            without_date = {"CreationDate": None} if suffix == ".pdf" else None
            with look(), written_whole(path) as partial:
                figure.savefig(partial, dpi=200, metadata=without_date)
            written.append(path)
    return written


def as_data_uri(figure: Figure) -> str:
    """Return a figure as the ``src`` of an ``<img>``: SVG in base64, the same bytes every time."""
    stream = io.BytesIO()
    with look():
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"


@contextmanager
def look() -> Iterator[None]:
    """Draw within the report's style."""
    style = files("lesionseg.report").joinpath("lesionseg.mplstyle")
    with matplotlib.rc_context():
        matplotlib.style.use(str(style))
        yield


def draw_learning_curves(curves: pd.DataFrame, styles: Styles, baseline: pd.DataFrame) -> Figure | None:
    """Draw sensitivity, PPV and F1 over training-set size, a panel each: means with their 95 % interval over patients,
    the repeats faint (up to four arms), isotonic fit and power law fine (up to two), no learning in grey."""
    scores = [score for score in PRIMARY if (curves["score"] == score).any()]
    if not scores:
        return None
    figure, arms, sizes = _figure(3.7), list(styles), sorted(curves["train_size"].unique())
    repeats = [column for column in curves.columns if str(column).startswith("repeat_")]
    repeats = repeats if len(arms) <= 4 and len(repeats) > 1 else []
    octaves = max(1.0, float(np.log2(sizes[-1] / sizes[0])))
    for axes, score in zip(_panels(figure, 1, len(scores), sharey=True), scores, strict=True):
        _share_axis(axes)
        _size_axis(axes, sizes)
        axes.set_title(_title(score))
        if len(baseline):
            none = baseline[baseline["score"] == score].drop_duplicates("train_size")
            axes.plot(none["train_size"], none["other_mean"], color=GREY, linewidth=0.9, marker="", linestyle="-.")
        for number, arm in enumerate(arms):
            own = curves[(curves["score"] == score) & (curves["arm"] == arm)]
            # Moved apart so that the error bars do not cover each other.
            aside = 2 ** (min(0.012, 0.045 / max(1, len(arms) - 1)) * octaves * (2 * number - (len(arms) - 1)))
            n, mean, color = own["train_size"].to_numpy(float), own["mean"].to_numpy(float), styles[arm]["color"]
            for repeat in repeats:
                axes.plot(n * aside, own[repeat], color=color, alpha=0.3, linewidth=0.9, marker="", linestyle="-")
            if len(arms) <= 2:
                axes.plot(n, own["isotonic"], color=color, linewidth=0.9, marker="", linestyle="-")
                law = power_law_curve(n, mean) if np.isfinite(mean).sum() > 2 else None
                if law is not None and np.isfinite(law.a):
                    fine = np.geomspace(law.sizes[0], law.sizes[-1], 101)[1:-1]
                    axes.plot(fine, law.at(fine), color=color, linewidth=0.9, marker="", linestyle=(0, (1.5, 1.5)))
            reach = np.nan_to_num(np.abs(own[["low", "high"]].to_numpy(float).T - mean))
            axes.errorbar(n * aside, mean, yerr=reach, elinewidth=1.2, zorder=3, **styles[arm])
    _legend(figure, styles)
    faint = "; faint: each repeat" if repeats else ""
    fits = "; thin: isotonic fit, dotted: power law" if len(arms) <= 2 else ""
    grey = "; grey: no learning" if len(baseline) else ""
    _caption(figure, f"mean with its 95 % interval over test patients{faint}{fits}{grey}")
    return figure


def draw_label_savings(savings: pd.DataFrame, styles: Styles) -> Figure | None:
    """Draw an arrow for every size of each arm: from its studies to those with which the reference arm has as much.

    What is only known to be beyond the reference arm's sizes ends as an open arrow in the shaded part."""
    told = savings[savings["needed"].notna()]
    if told.empty:
        return None
    arms, scores = list(styles), [score for score in PRIMARY if (told["score"] == score).any()]
    rows = list(dict.fromkeys(zip(told["arm"], told["train_size"], strict=True)))[:30]
    figure = _figure(0.3 * len(rows) + 1.6)
    sizes = sorted(savings["train_size"].unique())
    octaves = max(1.0, float(np.log2(sizes[-1] / sizes[0])))

    def place(value: float, bound: str, far: float = 0.2) -> float:
        shift = {"exact": 0.0, "more than": far * octaves, "at most": -far * octaves}[bound]
        return float(value * 2**shift)

    for axes, score in zip(_panels(figure, 1, len(scores), sharey=True), scores, strict=True):
        _size_axis(axes, sizes, margin=0.32)
        left, right = axes.get_xlim()
        axes.axvspan(left, place(sizes[0], "at most", 0.08), color=SHADE, zorder=0)
        axes.axvspan(place(sizes[-1], "more than", 0.08), right, color=SHADE, zorder=0)
        axes.set_title(_title(score))
        for height, (arm, size) in enumerate(rows):
            found = told[(told["score"] == score) & (told["arm"] == arm) & (told["train_size"] == size)]
            for row in found.to_dict("records"):
                color = styles[arm]["color"]
                if np.isfinite(row["needed_low"]):
                    ends = [place(row[f"needed_{end}"], row[f"needed_{end}_bound"], 0.32) for end in ("low", "high")]
                    axes.plot(ends, [height] * 2, color=color, alpha=0.25, linewidth=6, marker="", linestyle="-")
                exact = row["needed_bound"] == "exact"
                arrow = {"arrowstyle": "-|>" if exact else "->", "color": color, "linewidth": 1.4}
                end = place(row["needed"], row["needed_bound"])
                axes.annotate("", (end, height), (size, height), arrowprops={**arrow, "shrinkA": 0, "shrinkB": 0})
                axes.plot([size], [height], **{**styles[arm], "linestyle": ""})
                axes.annotate(
                    f"≥ {row['multiplier_low']:.2g}×" if row["claimed"] else "not told",
                    (1.0, height),
                    xycoords=("axes fraction", "data"),
                    xytext=(3, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8.5,
                    color=GREY,
                )
        axes.set_yticks(range(len(rows)), [f"{arm}, {size}" for arm, size in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
    _caption(
        figure,
        f"arrow: from the arm's training studies to those with which {arms[0]} has as much; bar: 95 % interval, and "
        "how many times as many it says these are; shaded: beyond the sizes that were trained",
    )
    return figure


def draw_froc(bands: pd.DataFrame, styles: Styles) -> Figure | None:
    """Draw each arm's FROC at up to six sizes, the range of the repeats as a band, the operating point as a marker."""
    if bands.empty:
        return None
    arms, sizes = list(styles), _some(sorted(bands["train_size"].unique()), 6)
    columns = min(3, len(sizes)) if len(sizes) != 4 else 2
    rows = -(-len(sizes) // columns)
    figure = _figure(2.3 * rows + 1.1, 5.2 if columns == 1 else WIDTH)
    furthest = max(bands["false_positives"].max(), bands["operating_false_positives"].max(), 1.0)
    panels = _panels(figure, rows, columns, sharex=True, sharey=True)
    for axes, size in zip(panels, sizes, strict=False):
        _share_axis(axes)
        axes.set_xscale("symlog", base=2, linthresh=0.25, linscale=0.5)  # linear near 0, so that none has a place
        axes.set_xlim(0, furthest)
        axes.xaxis.set_major_locator(FixedLocator([tick for tick in _FALSE_POSITIVE_TICKS if tick <= furthest]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_title(training_studies(size))
        axes.set(xlabel="false positives per study", ylabel="sensitivity")
        axes.label_outer()
        for arm in arms:
            own = bands[(bands["train_size"] == size) & (bands["arm"] == arm)]
            if own.empty:
                continue
            at, line = own["false_positives"], {**styles[arm], "marker": ""}
            if own["low"].notna().any():
                axes.fill_between(
                    at, own["low"], own["high"], step="post", color=line["color"], alpha=0.12, linewidth=0
                )
            axes.plot(at, own["sensitivity"], drawstyle="steps-post", **line)
            point = own.iloc[0][["operating_false_positives", "operating_sensitivity"]]
            axes.plot(*[[value] for value in point], **{**styles[arm], "linestyle": ""}, markersize=8, clip_on=False)
    for axes in panels[len(sizes) :]:
        axes.set_axis_off()
    _legend(figure, styles)
    _caption(figure, "marker: the operating point; band: from the lowest to the highest repeat")
    return figure


def draw_lesion_size(shares: pd.DataFrame, styles: Styles) -> Figure | None:
    """Draw sensitivity and PPV by lesion volume at the smallest and the largest size: mean ± standard error."""
    if shares.empty:
        return None
    arms, sizes = list(styles), _some(sorted(shares["train_size"].unique()), 2)
    edges = sorted({(row["low_mm3"], row["high_mm3"]) for row in shares.to_dict("records")})
    figure = _figure(2.3 * len(sizes) + 1.1)
    panels = iter(_panels(figure, len(sizes), 2, sharey=True))
    for size in sizes:
        for score, title in (("sensitivity", "Sensitivity"), ("ppv", "PPV")):
            axes = next(panels)
            _share_axis(axes)
            axes.set_title(f"{title}, {training_studies(size)}")
            names = [volume_range(*edge) for edge in edges]
            for number, arm in enumerate(arms):
                own = shares[(shares["train_size"] == size) & (shares["score"] == score) & (shares["arm"] == arm)]
                place = np.array([edges.index(edge) for edge in zip(own["low_mm3"], own["high_mm3"], strict=True)])
                aside = 0.6 * ((number + 0.5) / len(arms) - 0.5)
                error = own["standard_error"].fillna(0)
                axes.errorbar(
                    place + aside, own["mean"], yerr=error, elinewidth=1.2, **{**styles[arm], "linewidth": 0.9}
                )
                if score == "sensitivity" and number == 0:
                    names = [f"{name}\nn = {n:.0f}" for name, n in zip(names, own["n_lesions"], strict=False)]
            axes.set_xticks(range(len(edges)), names)
            axes.set_xlabel("lesion volume in mm³")
            axes.grid(axis="x", visible=False)
    _legend(figure, styles)
    _caption(figure, "mean ± standard error over patients; n: reference lesions of all test patients")
    return figure


def draw_patients(patients: pd.DataFrame, styles: Styles) -> Figure | None:
    """Draw a dot per patient: the reference arm's score across, another arm's upwards; a row per arm and size.

    With more than one other arm, only F1 at the smallest and the largest size."""
    reference, *others = styles
    scores = list(PRIMARY) if len(others) == 1 else ["lesion_f1"]
    sizes = _some(sorted(patients["train_size"].unique()), 2 if len(others) > 1 else 5)
    pairs = []
    for arm in others:
        for score in scores:
            for size in sizes:
                own = patients[(patients["score"] == score) & (patients["train_size"] == size)]
                table = own.pivot(index="patient", columns="arm", values="value")
                if {reference, arm} <= {*table.columns} and len(both := table[[reference, arm]].dropna()):
                    pairs.append((arm, score, size, both.to_numpy()))
    if not pairs:
        return None
    columns = max(2, min(len(sizes) if len(others) == 1 else 4, len(pairs)))
    rows, side = -(-len(pairs) // columns), min(2.4, 9.0 / columns)
    figure = _figure(side * rows + 0.9, side * columns + 0.6)
    panels = _panels(figure, rows, columns, sharex=True, sharey=True)
    for axes, (arm, score, size, paired) in zip(panels, pairs, strict=False):
        _share_axis(axes, "xy")
        axes.set_aspect("equal")
        axes.set_title(f"{_title(score)}, n = {size}")
        axes.set(xlabel=_short(reference), ylabel=_short(arm))
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, marker="", linestyle="-")
        axes.plot(paired[:, 0], paired[:, 1], **{**styles[arm], "linestyle": ""}, markersize=5, alpha=0.65)
        gain = paired[:, 1] - paired[:, 0]
        above, below = int((gain > 1e-9).sum()), int((gain < -1e-9).sum())
        text: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 7.5, "color": GREY}
        axes.text(0.04, 0.96, f"{above} above", va="top", **text)
        axes.text(0.96, 0.04, f"{below} below, {len(gain) - above - below} on it", ha="right", **text)
    for axes in panels[len(pairs) :]:
        axes.set_axis_off()
    _caption(figure, f"a dot: a test patient, mean of the repeats; above the diagonal: better than under {reference}")
    return figure


def arm_styles(arms: Sequence[str], everyone: Sequence[str] = ()) -> Styles:
    """Return colour, marker and dash of each arm, by its place among all arms of its sweep, so that it looks the same
    whatever it is compared with; hollow from the ninth arm on."""
    cycle, order = list(matplotlib.rcParams["axes.prop_cycle"]), arm_order((*arms, *everyone))
    places = {arm: order.index(arm) for arm in arms}
    return {
        arm: {**cycle[place % len(cycle)], "fillstyle": "full" if place < len(cycle) else "none"}
        for arm, place in places.items()
    }


def _figure(height: float, width: float = WIDTH) -> Figure:
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def _panels(figure: Figure, rows: int, columns: int, **share: bool) -> "list[Axes]":
    return list(figure.subplots(rows, columns, squeeze=False, **share).ravel())  # type: ignore[call-overload]


def _share_axis(axes: "Axes", which: str = "y") -> None:
    """Make an axis one of a share, 0 … 1, with room for the markers at its ends."""
    ticks = np.linspace(0, 1, 6)
    if "y" in which:
        axes.set(ylim=(-0.03, 1.03), yticks=ticks)
    if "x" in which:
        axes.set(xlim=(-0.03, 1.03), xticks=ticks)


def _size_axis(axes: "Axes", sizes: Sequence[float], margin: float = 0.08) -> None:
    """Make the horizontal axis one of training-set sizes, logarithmic, with a tick at each."""
    octaves = max(1.0, float(np.log2(sizes[-1] / sizes[0])))
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(sizes[0] * 2 ** (-margin * octaves), sizes[-1] * 2 ** (margin * octaves))
    axes.set_xlabel("training studies (log scale)" if len(sizes) > 1 else "training studies")


def _some(sizes: Sequence[int], most: int) -> list[int]:
    """Return at most so many of the sizes, the first and the last among them."""
    return [
        sizes[place] for place in sorted({*np.linspace(0, len(sizes) - 1, min(most, len(sizes))).round().astype(int)})
    ]


def _legend(figure: Figure, styles: Styles) -> None:
    handles = [Line2D([], [], label=_short(arm, 40), **style) for arm, style in styles.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)))


def _caption(figure: Figure, text: str) -> None:
    figure.supxlabel(fill(text, int(14 * figure.get_figwidth())), fontsize=8.5, color=GREY)


def _title(score: str) -> str:
    name = SCORES[score]  # type: ignore[index]
    return name[0].upper() + name[1:]


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
