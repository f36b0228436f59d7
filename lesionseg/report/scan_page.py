"""A page of one scan that was segmented: slices through every lesion, outlined and numbered, and a table of lesions."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionseg.data.nifti import Grid, read_volume, resample
from lesionseg.report import write_html
from lesionseg.report.slices import DARK, box_around, windowed

_PX_PER_MM = 1.6  # on the screen
_IN_SIGHT = 0.5  # of a lesion's largest section: what shows it


def write_scan_page(
    path: Path, image: Path, labels: NDArray[Any], grid: Grid, lesions: Sequence[Mapping[str, Any]], record: Any
) -> None:
    """Write the page, with all pictures inside.

    Args:
        path: of the page.
        image: the scan that is shown.
        labels: (X, Y, Z) the number of the lesion of each voxel, 0 outside.
        grid: of the labels.
        lesions: a row for each, as in the table of lesions.
        record: what the prediction rests on: ``study``, ``models``, ``threshold``, ``warnings``.
    """
    upright = grid.canonical()
    numbers = resample(labels, grid, upright).astype(np.int32)  # flips and swaps alone
    voxels, image_grid = read_volume(image)
    grey = windowed(resample(voxels, image_grid, upright))
    chosen = slices_through_all(numbers)
    shown: Any = ((grey[:, :, chosen] > DARK) | (numbers[:, :, chosen] > 0)).any(axis=2)
    x, y = box_around(shown) if shown.any() else (slice(None), slice(None))
    pictures = [_picture(grey[x, y, z], numbers[x, y, z], upright, z) for z in chosen]
    total = sum(row["volume_mm3"] for row in lesions) / 1000
    write_html("scan_page.html.j2", path, record=record, lesions=lesions, pictures=pictures, total=total)


def slices_through_all(numbers: NDArray[Any]) -> list[int]:
    """Return few axial slices that together show every lesion, from bottom to top; the middle one where there is none.

    Each time the slice that shows most of those not shown yet is taken; it shows a lesion where it cuts at least half
    of that lesion's largest section.
    """
    count = int(numbers.max(initial=0))
    area = np.stack([np.bincount(plane.ravel(), minlength=count + 1)[1:] for plane in np.moveaxis(numbers, 2, 0)])
    shows = (area > 0) & (area >= _IN_SIGHT * area.max(axis=0, initial=0))
    left, chosen = np.ones(count, bool), list[int]()
    while left.any():
        chosen.append(int((shows & left).sum(axis=1).argmax()))
        left &= ~shows[chosen[-1]]
    return sorted(chosen) or [numbers.shape[2] // 2]


def _picture(grey: NDArray[Any], numbers: NDArray[Any], grid: Grid, z: int) -> dict[str, Any]:
    """Return what the template draws of a slice: a JPEG, the patient's right to the left, and outlines over it."""
    from contourpy import contour_generator
    from PIL import Image

    plane, own, mm = grey[::-1, ::-1].T, numbers[::-1, ::-1].T, grid.spacing[:2]
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(plane)).save(stream, "JPEG", quality=82)
    outlines = []
    for number in np.unique(own[own > 0]).tolist():
        lines: Any = contour_generator(z=np.pad(own == number, 1).astype(float)).lines(0.5)
        lines = [(line - 0.5) * mm for line in lines]
        drawn = ["M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line) + "Z" for line in lines]
        x, y = np.concatenate(lines).max(axis=0).round(1).tolist()
        outlines.append({"number": number, "path": "".join(drawn), "x": x + 1, "y": y})
    height, width = (round(size * edge, 1) for size, edge in zip(own.shape, mm[::-1], strict=True))
    return {
        "src": f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}",
        "outlines": outlines,
        "width": width,
        "height": height,
        "screen": round(width * _PX_PER_MM),
        "z": z,
        "mm": round(float((grid.affine @ [grid.shape[0] / 2, grid.shape[1] / 2, z, 1])[2]), 1),
    }
