"""The part of a volume that holds lesions; the empty rest of a brain scan is most of the work."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


def lesion_box(*masks: NDArray[Any]) -> Box:
    """The smallest box that holds every voxel other than zero of all masks; empty where there is none.

    Args:
        masks: of one shape (I, J, K), any memory order.
    """
    union = masks[0] != 0
    for mask in masks[1:]:
        union = union | (mask != 0)
    turned = union.flags.f_contiguous and not union.flags.c_contiguous  # read it in the order it lies in memory
    stored = union.T if turned else union
    found = np.flatnonzero(stored)
    if found.size == 0:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    sides = [slice(int(axis.min()), int(axis.max()) + 1) for axis in np.unravel_index(found, stored.shape)]
    i, j, k = sides[::-1] if turned else sides
    return i, j, k
