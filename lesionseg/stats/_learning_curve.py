"""What is refused as a learning curve, and how it is read between its sizes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def as_sizes(sizes: ArrayLike) -> NDArray[np.float64]:
    """Training-set sizes as floats, shape (S,), in ascending order.

    Raises:
        ValueError: if they are not one-dimensional, not above 0 and finite, or not ascending.
    """
    array = np.asarray(sizes, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"Sizes must be one-dimensional, found shape {array.shape}.")
    if not (np.isfinite(array) & (array > 0)).all():
        raise ValueError(f"Sizes must be above 0 and finite, found {array.tolist()}.")
    if (np.diff(array) <= 0).any():
        raise ValueError(f"Sizes must ascend, each one once, found {array.tolist()}.")
    return array


def as_curve(sizes: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sizes and their scores as floats, shape (S,) both; NaN scores stay.

    Raises:
        ValueError: if the sizes are wrong, the shapes differ, or a score is infinite.
    """
    array, values = as_sizes(sizes), np.asarray(scores, dtype=np.float64)
    if values.shape != array.shape:
        raise ValueError(f"A curve takes one score per size, found {values.shape} scores for {array.shape} sizes.")
    if np.isinf(values).any():
        raise ValueError("Scores must be finite or NaN (missing), found an infinite one.")
    return array, values


def interpolate(at: ArrayLike, sizes: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values linear in log n between the sizes, NaN outside of them; the shape of `at`."""
    asked = np.asarray(at, dtype=np.float64)
    result = np.full(asked.shape, np.nan)
    if sizes.size:
        inside = (asked >= sizes[0]) & (asked <= sizes[-1])
        result[inside] = np.interp(np.log(asked[inside]), np.log(sizes), values)
    return result
