"""A reference mask and a prediction read from disk, fit to be held against each other."""

from dataclasses import dataclass

import numpy as np

from lesionseg.data._scan import Scan, UnreadableScanError, read_scan
from lesionseg.data.grid import Array, Grid
from lesionseg.data.pairing import FilePair
from lesionseg.errors import InputError

_ROUNDING = 1e-5  # a map that was resampled, or stored as scaled integers, ends a little outside of 0 … 1


@dataclass(frozen=True, eq=False)
class JudgedPair:
    """One case on one grid.

    Args:
        name: the case.
        reference: (X, Y, Z) bool.
        prediction: (X, Y, Z) bool.
        probability: (X, Y, Z), 0 to 1; None where the prediction is a mask.
        grid: of all three.
    """

    name: str
    reference: Array
    prediction: Array
    probability: Array | None
    grid: Grid


def read_pair(
    pair: FilePair, *, threshold: float | None, reference_label: int | None, prediction_label: int | None
) -> JudgedPair:
    """Read both files and see that they can be compared.

    Args:
        pair: the files.
        threshold: probability from which a voxel is lesion; None: the prediction is a mask.
        reference_label: the value that is lesion in the reference; None: it holds nothing but 0 and 1.
        prediction_label: likewise in a predicted mask; without meaning for a probability map.

    Raises:
        InputError: everything that is wrong with the two files.
    """
    faults: list[str] = []
    scans: list[Scan] = []
    for path in (pair.reference, pair.prediction):
        try:
            scans.append(read_scan(path))
        except UnreadableScanError as error:
            faults.append(f"{path}: {error}")
    if faults:
        raise InputError(faults)
    reference, prediction = scans
    if not reference.grid.same_as(prediction.grid):
        faults.append(_other_grid(reference, prediction))
    faults += _mask_faults(reference, reference_label, "reference")
    if threshold is None:
        faults += _mask_faults(prediction, prediction_label, "prediction")
    else:
        faults += _probability_faults(prediction)
    if faults:
        raise InputError(faults)
    map_ = None if threshold is None else np.clip(prediction.voxels, 0, 1)
    return JudgedPair(
        pair.name,
        _inside(reference.voxels, reference_label),
        _inside(prediction.voxels, prediction_label) if map_ is None else map_ >= threshold,
        map_,
        reference.grid,
    )


def _inside(voxels: Array, label: int | None) -> Array:
    return np.asarray(voxels != 0 if label is None else voxels == label)


def _mask_faults(scan: Scan, label: int | None, what: str) -> list[str]:
    voxels = scan.voxels
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        return [f"{scan.path}: holds NaN or infinite values; a {what} mask must not: write 0 where there is no lesion"]
    whole = voxels.dtype.kind != "f" or bool((voxels == np.round(voxels)).all())
    if whole if label is not None else ((voxels == 0) | (voxels == 1)).all():
        return []
    values = np.unique(voxels)
    shown = ", ".join(f"{value:g}" for value in values[:6]) + (", …" if values.size > 6 else "")
    if what == "prediction" and values[0] >= 0 and values[-1] <= 1:
        way_out = "for a probability map give threshold=0.5, or another one"
    elif whole:
        way_out = f"name the one that is lesion with {what}_label=..., or save a mask of 0 and 1"
    else:
        way_out = "save a mask of 0 and 1"
    wanted = "0 and 1" if label is None else f"whole numbers, in which {what}_label={label} could be looked up"
    return [f"{scan.path}: is no mask of {wanted}, found the values {shown}; {way_out}"]


def _probability_faults(scan: Scan) -> list[str]:
    voxels = scan.voxels
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        return [f"{scan.path}: holds NaN or infinite values; a probability map must not: write 0 outside of the brain"]
    low, high = float(voxels.min()), float(voxels.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        return [
            f"{scan.path}: probabilities lie within 0 … 1, found {low:g} … {high:g}; for logits apply a sigmoid, for "
            "per cent or 0 … 255 divide first, and for a mask leave threshold out"
        ]
    return []


def _other_grid(reference: Scan, prediction: Scan) -> str:
    shapes = (reference.grid.shape, prediction.grid.shape)
    if shapes[0] != shapes[1]:
        found = f"shape {shapes[1]}, the reference's is {shapes[0]}"
    elif reference.axes != prediction.axes:
        found = f"axes towards {prediction.axes}, the reference's towards {reference.axes}"
    elif not np.allclose(reference.grid.spacing, prediction.grid.spacing, rtol=1e-3):
        sizes = [" × ".join(f"{edge:g}" for edge in scan.grid.spacing) for scan in (prediction, reference)]
        found = f"voxels of {sizes[0]} mm, the reference's are {sizes[1]} mm"
    else:
        shift = np.abs(reference.grid.affine - prediction.grid.affine).max()
        found = f"another place or angle in space (the affines differ by up to {shift:.3g})"
    return (
        f"{prediction.path}: lies on another grid than {reference.path} ({found}); resample the prediction to the "
        "reference's grid first, a mask with nearest neighbours"
    )
