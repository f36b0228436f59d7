"""Slices of scans side by side, all at one scale in mm, with masks outlined."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

View = Literal["axial", "coronal"]
Array = NDArray[Any]

DPI = 130
CAPTION, GAP, TITLE = 0.21, 0.15, 0.5  # inches: above a strip, between two, above all
OUTLINE = "#E69F00"  # Okabe and Ito's orange
GREYS = 64  # of the file: more than the eye tells apart only make it large
TINT = 12  # difference of red, green and blue, of 255, from which a pixel is none of the greys
_FINE = 4  # parts of a voxel's edge that an outline is drawn with, so that it follows the voxels


@dataclass(frozen=True, eq=False)
class Panel:
    """One slice as it is looked at: rows from inferior or posterior up, columns from the patient's right to his left.

    Attributes:
        pixels: shape (rows, columns).
        outline: mask of the same shape; None draws nothing.
        window: the values that are black and white.
        spacing: height and width of a pixel in mm.
    """

    pixels: Array
    outline: Array | None
    window: tuple[float, float]
    spacing: tuple[float, float]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width."""
        rows, columns = self.pixels.shape
        return rows * self.spacing[0], columns * self.spacing[1]


@dataclass(frozen=True, eq=False)
class Strip:
    """Panels of one patient from left to right, and what is written above them."""

    caption: str
    panels: Sequence[Panel]


def cut(
    volume: Array,
    view: View,
    index: int,
    spacing: tuple[float, float, float],
    window: tuple[float, float],
    mask: Array | None = None,
) -> Panel:
    """One slice of a volume (X, Y, Z) whose axes go right, anterior and superior, voxels of ``spacing`` mm."""
    axis, upwards = (2, 1) if view == "axial" else (1, 2)
    outline = None if mask is None else _slice(mask, axis, index)
    return Panel(_slice(volume, axis, index), outline, window, (spacing[upwards], spacing[0]))


def busiest(mask: Array, view: View) -> int:
    """The slice with most of a mask; the middle one where it is empty."""
    axis = 2 if view == "axial" else 1
    voxels = mask.sum(axis=tuple(other for other in range(3) if other != axis))
    return int(voxels.argmax()) if voxels.any() else mask.shape[axis] // 2


def draw_strips(rows: Sequence[Sequence[Strip | None]], title: str, *, total_width: float = 12.0) -> Figure:
    """Draw rows of strips; those of one column share the widths of their panels, those of a row their height.

    Args:
        rows: strips from left to right, None leaves a place empty.
        title: one or two lines above all.
        total_width: of the figure, in inches.

    Raises:
        ValueError: there is no strip.
    """
    strips = [strip for row in rows for strip in row if strip is not None]
    if not strips:
        raise ValueError(f"Nothing to draw for {title!r}.")
    widths = [
        _panel_widths([row[column] for row in rows if column < len(row)]) for column in range(max(map(len, rows)))
    ]
    heights = [max(panel.size_mm[0] for strip in row if strip is not None for panel in strip.panels) for row in rows]
    scale = (total_width - GAP * (len(widths) - 1)) / sum(map(sum, widths))  # inches per mm
    height = TITLE + sum(heights) * scale + CAPTION * len(rows)
    figure = Figure(figsize=(total_width, height), facecolor="white")
    figure.text(0.003, 1 - 0.08 / height, title, fontsize=9, va="top", linespacing=1.35)
    top = height - TITLE
    for row, row_height in zip(rows, heights, strict=True):
        left = 0.0
        for strip, panel_widths in zip(row, widths, strict=False):
            if strip is not None:
                label = {"fontsize": 8, "va": "top"}
                figure.text((left + 0.03) / total_width, (top - 0.03) / height, strip.caption, **label)
                _draw_strip(figure, strip, panel_widths, row_height, (left, top - CAPTION), scale)
            left += sum(panel_widths) * scale + GAP
        top -= CAPTION + row_height * scale
    return figure


def save_small(figure: Figure, path: Path) -> None:
    """Write a PNG of few colours, greys and the outline's shades over them, which takes a third of the space."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    colours = np.asarray(canvas.buffer_rgba())[..., :3].astype(np.int16)
    palette = _palette()
    indices = np.rint(colours.mean(axis=-1) * (GREYS - 1) / 255).astype(np.uint8)
    tinted = np.ptp(colours, axis=-1) > TINT
    distances = np.abs(colours[tinted][:, None] - palette).sum(axis=-1)
    indices[tinted] = distances.argmin(axis=-1)
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    image.save(path, optimize=True)


def _palette() -> NDArray[np.uint8]:
    """Greys, and the outline's colour at four opacities over every fourth of them; shape (colours, 3)."""
    greys = np.linspace(0, 255, GREYS)[:, None].repeat(3, axis=1)
    colour = 255 * np.asarray(to_rgb(OUTLINE))
    shades = [opacity * colour + (1 - opacity) * greys[::4] for opacity in (0.25, 0.5, 0.75, 1)]
    return np.concatenate([greys, *shades]).round().astype(np.uint8)


def _slice(volume: Array, axis: int, index: int) -> Array:
    """Rows upwards, the patient's right to the left, as radiologists look at it."""
    return np.asarray(np.take(volume, index, axis=axis)[::-1].T)


def _panel_widths(strips: Sequence[Strip | None]) -> list[float]:
    """The widest of each place in a strip, in mm."""
    drawn = [strip for strip in strips if strip is not None]
    places = max((len(strip.panels) for strip in drawn), default=0)
    return [
        max(strip.panels[place].size_mm[1] for strip in drawn if place < len(strip.panels)) for place in range(places)
    ]


def _draw_strip(
    figure: Figure,
    strip: Strip,
    widths_mm: Sequence[float],
    height_mm: float,
    corner: tuple[float, float],
    scale: float,
) -> None:
    """Panels next to each other; the upper left corner is in inches from the lower left one of the figure."""
    left, top = corner
    figure_width, figure_height = figure.get_size_inches()
    for panel, width_mm in zip(strip.panels, widths_mm, strict=False):
        width, height = width_mm * scale, height_mm * scale
        place = left / figure_width, (top - height) / figure_height, width / figure_width, height / figure_height
        axes = figure.add_axes(place, facecolor="black")
        _draw_panel(axes, panel)
        axes.set(xlim=(-width_mm / 2, width_mm / 2), ylim=(-height_mm / 2, height_mm / 2), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        left += width


def _draw_panel(axes: Axes, panel: Panel) -> None:
    height, width = panel.size_mm
    extent = (-width / 2, width / 2, -height / 2, height / 2)
    black, white = panel.window
    axes.imshow(panel.pixels, cmap="gray", vmin=black, vmax=white, extent=extent, origin="lower", aspect="auto")
    if panel.outline is not None and panel.outline.any():
        fine = np.pad(panel.outline.repeat(_FINE, axis=0).repeat(_FINE, axis=1), 1)
        tall, wide = (edge / _FINE for edge in panel.spacing)
        edges = extent[0] - wide, extent[1] + wide, extent[2] - tall, extent[3] + tall
        axes.contour(fine, levels=[0.5], colors=[OUTLINE], linewidths=0.8, extent=edges, origin="lower")
