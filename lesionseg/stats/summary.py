"""Mean and standard error over patients."""

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Summary:
    """What a column of values, one per patient, comes to.

    Attributes:
        mean: NaN where n is 0.
        standard_error: standard deviation (ddof = 1) over √n, NaN where n is below 2.
        n: patients with a value.
        n_undefined: patients whose value is NaN.
    """

    mean: float
    standard_error: float
    n: int
    n_undefined: int


def summarise(values: ArrayLike) -> Summary:
    """Mean and standard error of the mean over patients; NaN values are counted and left out.

    Source: any textbook; e.g. Altman & Bland, doi 10.1136/bmj.331.7521.903.

    Args:
        values: shape (P,), one per patient.

    Raises:
        ValueError: if the values are not one-dimensional.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"A summary takes one value per patient, found an array of shape {array.shape}.")
    defined = array[~np.isnan(array)]
    n = defined.size
    return Summary(
        mean=float(defined.mean()) if n else nan,
        standard_error=float(defined.std(ddof=1)) / sqrt(n) if n > 1 else nan,
        n=n,
        n_undefined=array.size - n,
    )
