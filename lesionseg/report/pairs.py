"""Two tables of patients and repeats, one minus the other."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def paired(reference: pd.DataFrame, other: pd.DataFrame) -> NDArray[np.float64]:
    """`other` minus `reference`, shape (patients, repeats): the patients of either and the repeats of both.

    A patient who is undefined in both arms, such as one without reference lesion, is no missing cell and left out.

    Args:
        reference, other: tables of patients (index) and repeats (columns).
    """
    repeats = reference.columns.intersection(other.columns)
    difference = other[repeats] - reference[repeats]
    undefined = reference.isna().all(axis=1).reindex(difference.index, fill_value=False)
    undefined &= other.isna().all(axis=1).reindex(difference.index, fill_value=False)
    return difference[~undefined].to_numpy(np.float64)
