"""Slices of test studies with true, missed and false lesions outlined."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray
from scipy import ndimage

from lesionseg.data.files import written_whole
from lesionseg.report.figures.look import SMALL, TEXT, new_figure, plain_text
from lesionseg.report.slices import FALSE, FOUND, MISSED, TRUE, Bytes, StudySlice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours that stand out on grey, as far apart in lightness as in hue.
OUTLINES: dict[int, tuple[str, dict[str, Any]]] = {
    FOUND: ("found", {"color": "#56B4E9", "linestyle": "-", "linewidth": 1.3}),
    MISSED: ("missed (m)", {"color": "#FF6A00", "linestyle": (0, (2, 1)), "linewidth": 1.6}),
    FALSE: ("false (f)", {"color": "#F0E442", "linestyle": "-", "linewidth": 1.3}),
    TRUE: ("predicted beyond what is found", {"color": "#56B4E9", "linestyle": ":", "linewidth": 1.0}),
}
_PICTURE = 3.2  # inches across
_LETTERS = {MISSED: "m", FALSE: "f"}
"""Beside each lesion, for whom colours do not tell apart."""


@plain_text()
def draw_slices(slices: Sequence[StudySlice], columns: int = 3) -> Figure:
    """One panel per slice, the right of the patient to the left and the front on top.

    Args:
        slices: at least one.
        columns: panels in a row.
    """
    columns = min(columns, len(slices))
    rows = -(-len(slices) // columns)
    figure = new_figure(4.3 * rows + 0.5, max(3.1 * columns, 4.4))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, one in zip(panels, slices, strict=False):
        draw_slice(axes, one.image, one.verdict, one.spacing)
        axes.set_title(f"{one.study}\n{one.facts}", fontsize=SMALL)
    figure.legend(
        handles=[Line2D([], [], **look, label=name) for name, look in OUTLINES.values()],
        loc="outside lower center",
        ncols=4 if columns > 1 else 2,
        frameon=False,
        fontsize=TEXT,
    )
    return figure


def draw_slice(axes: "Axes", image: Bytes, verdict: Bytes, spacing: tuple[float, float]) -> None:
    """The picture of one slice.

    Args:
        axes: to draw in.
        image: grey values 0 … 255, shape (X, Y), axes towards right and anterior.
        verdict: as in `StudySlice`.
        spacing: of its pixels, mm.
    """
    shown = image[::-1, ::-1].T
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, aspect=spacing[1] / spacing[0], interpolation="none")
    verdicts = verdict[::-1, ::-1].T
    for value, (_, look) in OUTLINES.items():
        mask = verdicts == value
        if mask.any():
            lines = axes.contour(
                mask.astype(float),
                levels=[0.5],
                colors=[look["color"]],
                linestyles=[look["linestyle"]],
                linewidths=[look["linewidth"]],
            )
            lines.set_gid(OUTLINES[value][0])
        if value in _LETTERS:
            _letter(axes, mask, _LETTERS[value], look["color"])


def _letter(axes: "Axes", mask: NDArray[np.bool_], letter: str, color: str) -> None:
    """A letter right of every lesion of a mask."""
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    for rows, columns in ndimage.find_objects(labels):
        axes.annotate(
            letter,
            (columns.stop - 0.5, (rows.start + rows.stop - 1) / 2),
            xytext=(1.5, 0),
            textcoords="offset points",
            fontsize=SMALL,
            fontweight="bold",
            color=color,
            va="center",
            path_effects=[Stroke(linewidth=1.5, foreground="black"), Normal()],
        )


def write_slices(slices: Sequence[StudySlice], path: Path) -> None:
    """Write `draw_slices` as PNG, whole or not at all."""
    figure = draw_slices(slices)
    with written_whole(path) as partial:
        figure.savefig(partial, dpi=130)


@plain_text()
def draw_picture(image: Bytes, verdict: Bytes, spacing: tuple[float, float]) -> Figure:
    """One slice that fills its figure, without a word; arguments are those of `draw_slice`."""
    x, y = (size * edge for size, edge in zip(image.shape, spacing, strict=True))
    figure = Figure(figsize=(_PICTURE, _PICTURE * y / x))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    draw_slice(axes, image, verdict, spacing)
    return figure
