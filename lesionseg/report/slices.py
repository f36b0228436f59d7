"""Slices of test studies with reference and prediction outlined."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionseg.data.files import written_whole

if TYPE_CHECKING:  # half a second, and tables need none of it
    from matplotlib.figure import Figure

_REFERENCE, _PREDICTION = "#56B4E9", "#E69F00"  # Okabe and Ito's palette
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Panel:
    """One study.

    Args:
        title: above it.
        image: (X, Y, Z), axes towards right, anterior and superior.
        reference: same shape, non-zero inside.
        prediction: likewise.
        spacing: of the voxels, mm.
    """

    title: str
    image: Array
    reference: Array
    prediction: Array
    spacing: tuple[float, float, float]


def draw_slices(panels: Sequence[Panel]) -> "Figure":
    """The axial slice of each study that holds the most lesion on either side, right of the patient to the left."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(4 * len(panels), 4.6), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        busiest = int(np.argmax(((panel.reference > 0) | (panel.prediction > 0)).sum(axis=(0, 1))))
        slices = [volume[::-1, ::-1, busiest].T for volume in (panel.image, panel.reference, panel.prediction)]
        image, reference, prediction = (np.asarray(part, dtype=float) for part in slices)
        inside = image[image > image.min()]
        low, high = np.percentile(inside, [1, 99.7]) if inside.size else (0.0, 1.0)
        black = low - 0.1 * (high - low)
        axes.imshow(image, cmap="gray", vmin=black, vmax=high, aspect=panel.spacing[1] / panel.spacing[0])
        for mask, colour in ((reference, _REFERENCE), (prediction, _PREDICTION)):
            if mask.any():
                axes.contour(mask, levels=[0.5], colors=[colour], linewidths=0.9)
        axes.set_title(panel.title, fontsize=9)
        axes.set_axis_off()
    lines = [Line2D([], [], color=_REFERENCE), Line2D([], [], color=_PREDICTION)]
    figure.legend(lines, ["reference", "prediction"], loc="outside lower center", ncols=2, frameon=False)
    return figure


def write_slices(panels: Sequence[Panel], path: Path) -> None:
    """Write ``draw_slices`` as PNG, whole or not at all."""
    figure = draw_slices(panels)
    with written_whole(path) as partial:
        figure.savefig(partial, dpi=130)
