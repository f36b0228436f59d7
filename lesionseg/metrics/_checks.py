"""What every score asks of its arrays, said in the words of the one who passed them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_masks(reference: NDArray[Any], prediction: NDArray[Any]) -> None:
    """Raise ValueError unless both are 3D, of one shape, and hold nothing but 0 and 1 (or False and True)."""
    for name, mask in (("reference", reference), ("prediction", prediction)):
        if mask.ndim != 3:
            raise ValueError(f"The {name} must be 3D, found shape {mask.shape}.")
        _check_binary(mask, name)
    if reference.shape != prediction.shape:
        raise ValueError(
            f"Reference and prediction must share one grid, found shapes {reference.shape} and "
            f"{prediction.shape}; resample the prediction to the reference first."
        )


def check_affine(affine: NDArray[Any]) -> None:
    """Raise ValueError unless the voxel-to-world matrix is 4 × 4, finite and invertible."""
    if affine.shape != (4, 4):
        raise ValueError(f"The affine must be 4 × 4, found shape {affine.shape}.")
    if not np.isfinite(affine).all():
        raise ValueError("The affine must be finite, found NaN or infinite entries.")
    if np.linalg.det(affine[:3, :3]) == 0:
        raise ValueError("The affine must be invertible, found one that squeezes the volume flat.")


def check_probability(probability: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the map has the masks' shape and lies within 0 … 1."""
    if probability.shape != shape:
        raise ValueError(f"The probability map must have the masks' shape {shape}, found {probability.shape}.")
    if probability.size == 0:
        return
    low, high = float(probability.min()), float(probability.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("The probability map must be finite, found NaN or infinite values.")
    if low < 0 or high > 1:
        raise ValueError(
            f"Probabilities must lie within 0 … 1, found {low:g} … {high:g}; are these logits? Apply a sigmoid."
        )


def _check_binary(mask: NDArray[Any], name: str) -> None:
    if mask.dtype == np.bool_:
        return
    if np.issubdtype(mask.dtype, np.inexact) and not np.isfinite(mask).all():
        raise ValueError(f"The {name} must be finite, found NaN or infinite values.")
    whole = mask.dtype.kind in "iu" and mask.size > 0
    if whole and mask.max() <= 1 and (mask.dtype.kind == "u" or mask.min() >= 0):  # quick looks, no new arrays
        return
    if not ((mask == 0) | (mask == 1)).all():
        values = np.unique(mask)
        shown = ", ".join(f"{value:g}" for value in values[:6]) + (", …" if values.size > 6 else "")
        raise ValueError(f"The {name} must be a mask of 0 and 1, found the values {shown}.")
