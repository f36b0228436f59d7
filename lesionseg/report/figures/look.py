"""How arms look, the same in every figure, and what all figures share."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from lesionseg.report.cases import SCORE_NAMES, Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 9.4  # inches: a page column of 900 pixels, of 96 to an inch
TEXT, SMALL = 9.5, 8.5  # points: 13 and 11 pixels there, 7 and 6 points on A4
GREY, FAINT = "#555555", "#E2E2E2"

Size = TypeVar("Size", int, float)

_LONGEST_NAME = 11  # letters of an arm that fit beside a line
_LETTERS_PER_INCH = 14  # of small text
_LEAST_APART = 0.075  # of an axis: the height of a name


class NothingToDrawError(ValueError):
    """There is no number to draw; the text is a sentence for the reader of the report."""


@dataclass(frozen=True)
class Look:
    """Arms differ in colour, lightness, marker and dash, so that a grey print and the colour-blind tell them apart."""

    color: str
    marker: str
    filled: bool
    dash: Any

    @property
    def line(self) -> dict[str, Any]:
        """What matplotlib's lines take."""
        face = self.color if self.filled else "white"
        return {"color": self.color, "marker": self.marker, "markerfacecolor": face, "linestyle": self.dash}


# The colours of Okabe and Ito (https://jfly.uni-koeln.de/color/), blue and yellow darker, so that names can be written
# in them; one after another as different in lightness as may be.
_LOOKS = (
    Look("#D55E00", "s", False, "--"),
    Look("#00496F", "o", True, "-"),
    Look("#009E73", "^", True, (0, (5, 1, 1, 1))),
    Look("#CC79A7", "D", False, "-"),
    Look("#000000", "X", True, ":"),
    Look("#56A4D9", "v", False, (0, (8, 2))),
    Look("#8F7700", "P", True, "-."),
    Look("#E69F00", "p", False, "-"),
)


def looks_of(arms: Sequence[str]) -> dict[str, Look]:
    """A look for each arm, in order; from the ninth arm on they are used again, hollow ones filled and the reverse."""
    found = {}
    for number, arm in enumerate(arms):
        look = _LOOKS[number % len(_LOOKS)]
        turned = (number // len(_LOOKS)) % 2 == 1
        found[arm] = Look(look.color, look.marker, look.filled is not turned, look.dash)
    return found


@contextmanager
def plain_text() -> Iterator[None]:
    """What every figure is drawn within: its text sizes, and a dollar in an arm's name is a dollar and no formula."""
    sizes = {"axes.titlesize": TEXT, "axes.labelsize": TEXT, "xtick.labelsize": SMALL, "ytick.labelsize": SMALL}
    with matplotlib.rc_context({"text.parse_math": False, "axes.titleweight": "bold", **sizes}):
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """A figure that no window and no pyplot state knows of.

    Args:
        height: inches.
        width: inches.
    """
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05, wspace=0.03))
    FigureCanvasAgg(figure)
    return figure


def panel_title(score: Score) -> str:
    """``Sensitivity``, ``PPV``."""
    name = SCORE_NAMES[score]
    return name[0].upper() + name[1:]


def style(axes: "Axes", grid: Literal["x", "y", "both"] = "y") -> None:
    """What every panel shares: a faint grid and no box.

    Args:
        axes: the panel.
        grid: which grid lines there are: x, y or both.
    """
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def share_axis(axes: "Axes", which: Literal["x", "y"] = "y", margin: float = 0.03) -> None:
    """An axis of a share, 0 … 1, with room for the markers at its ends."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    (axes.set_ylim if which == "y" else axes.set_xlim)(-margin, 1 + margin)
    axis.set_major_locator(FixedLocator(np.linspace(0, 1, 6).tolist()))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.1f}" if 0 < value < 1 else f"{value:.0f}"))


def size_axis(axes: "Axes", sizes: Sequence[float], margin: float = 0.08) -> None:
    """A logarithmic axis of training-set sizes with a tick at each, those too near the one before without a number.

    Args:
        axes: the panel.
        sizes: ascending, at least one.
        margin: room on either side, as a share of the axis.
    """
    axes.set_xscale("log", base=2)
    span = octaves(sizes)
    numbered: list[float] = []
    for size in sizes:
        # An axis of less than three inches has room for a number of three digits about every eighth of it.
        if not numbered or np.log2(size / numbered[-1]) >= span / 8:
            numbered.append(size)
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if _near(value, numbered) else ""))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(sizes[0] * 2 ** (-margin * span), sizes[-1] * 2 ** (margin * span))
    axes.set_xlabel("training studies (log scale)" if len(sizes) > 1 else "training studies")


def spread(sizes: Sequence[Size], most: int) -> tuple[Size, ...]:
    """At most so many of the sizes, the first and the last among them, the others evenly between."""
    if len(sizes) <= most:
        return tuple(sizes)
    return tuple(sizes[number] for number in np.linspace(0, len(sizes) - 1, most).round().astype(int))


def octaves(sizes: Sequence[float]) -> float:
    """Doublings from the smallest to the largest size, at least one."""
    return max(1.0, float(np.log2(sizes[-1] / sizes[0])))


def dodge(sizes: Sequence[float], number: int, arms: int) -> float:
    """A factor on the size that keeps the error bars of several arms from covering each other.

    Args:
        sizes: ascending.
        number: of the arm, from 0.
        arms: how many there are.
    """
    return float(2 ** (min(0.012, 0.045 / max(1, arms - 1)) * octaves(sizes) * (2 * number - (arms - 1))))


def names_fit(arms: Iterable[str]) -> bool:
    """Whether the arms' names are short enough to stand beside their lines."""
    return max(map(len, arms)) <= _LONGEST_NAME


def name_lines(axes: "Axes", heights: Mapping[str, float], looks: Mapping[str, Look]) -> None:
    """Write arms' names right of the axes, at the heights where their lines end, moved apart where these are close.

    Args:
        axes: with a vertical axis of a share.
        heights: of each arm that is named.
        looks: of all arms.
    """
    for arm, height in apart(heights, _LEAST_APART, (0.0, 1.0)).items():
        axes.annotate(
            arm,
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            color=looks[arm].color,
            fontsize=SMALL,
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )


def apart(heights: Mapping[str, float], least: float, within: tuple[float, float]) -> dict[str, float]:
    """Heights moved as little as possible, in the sense of least squares, until they are ``least`` apart.

    Args:
        heights: by name.
        least: distance between neighbours.
        within: what they are kept in; where there are too many, they start at its lower end.
    """
    from scipy.optimize import isotonic_regression

    if not heights:
        return {}
    names = sorted(heights, key=lambda name: heights[name])
    steps = least * np.arange(len(names))
    low, high = within
    moved = isotonic_regression([heights[name] for name in names] - steps).x
    moved = np.clip(moved, low, max(low, high - steps[-1])) + steps
    return dict(zip(names, moved.tolist(), strict=True))


def legend(figure: Figure, looks: Mapping[str, Look], *further: Line2D) -> None:
    """A line per arm above the panels, and whatever else there is to explain."""
    handles = [Line2D([], [], **look.line, markersize=6, linewidth=1.8, label=arm) for arm, look in looks.items()]
    columns = 4 if max(map(len, looks)) <= 20 else 2
    figure.legend(
        handles=[*handles, *further],
        loc="outside upper center",
        ncols=min(columns, len(handles) + len(further)),
        frameon=False,
        fontsize=TEXT,
        handlelength=3.2,
    )


def caption(figure: Figure, text: str) -> None:
    """A text below the panels, in as many lines as it takes."""
    figure.supxlabel(fill(text, int(_LETTERS_PER_INCH * figure.get_figwidth())), fontsize=SMALL, color=GREY)


def short(name: str, most: int = 2 * _LONGEST_NAME) -> str:
    """A name that is too long for an axis, cut off."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def grey_of(color: str) -> float:
    """How light a colour is in a grey print, 0 … 1 (luma of ITU-R BT.601)."""
    from matplotlib.colors import to_rgb

    return float(np.dot(to_rgb(color), (0.299, 0.587, 0.114)))


def _near(value: float, numbers: Sequence[float]) -> bool:
    return any(abs(value / number - 1) < 1e-9 for number in numbers)
