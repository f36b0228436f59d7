"""What grown lesions leave on a scan: their masks, and what they add to each contrast."""

from collections.abc import Sequence

import numpy as np

from lesionseg.data.synthetic.fields import Grid, Mask, Volume
from lesionseg.data.synthetic.lesion_growth import PlacedLesion
from lesionseg.data.synthetic.parameters import ENHANCED, LesionParameters


def lesion_mask(grid: Grid, lesions: Sequence[PlacedLesion], session: int) -> Mask:
    """All voxels of the lesions in that session, counted from 0."""
    mask = np.zeros(grid.shape, dtype=bool)
    for one in lesions:
        mask[one.where] |= one.masks[session]
    return mask


def enhancing_mask(grid: Grid, lesions: Sequence[PlacedLesion], session: int, depth: float) -> Mask:
    """What enhances in that session, counted from 0, and what a ring encloses; ``depth``: where it begins."""
    mask = np.zeros(grid.shape, dtype=bool)
    for one in lesions:
        if session + 1 in one.lesion.enhancing:
            mask[one.where] |= one.masks[session] & (one.depth(session) >= depth)
    return mask


def lesion_signal(
    grid: Grid,
    lesions: Sequence[PlacedLesion],
    parameters: LesionParameters,
    session: int,
    contrast: str,
    unevenness: Volume,
) -> Volume:
    """What the lesions add to a contrast in that session, counted from 0, in SD of the brain.

    Args:
        unevenness: a field of mean 0 and SD 1 that makes the inside of lesions uneven.
    """
    signal = np.zeros(grid.shape, dtype=np.float32)
    for one in lesions:
        if one.masks[session].any():
            depth = one.depth(session)
            added = _strength(parameters, one, session) * _level(parameters, one, contrast, depth)
            added = added * (1 + np.float32(parameters.signal_scatter) * unevenness[one.where])
            if contrast == ENHANCED and parameters.enhancement and session + 1 in one.lesion.enhancing:
                added = added + _uptake(parameters.enhancement.depth, one, depth)
            signal[one.where] += one.profile(session) * added
    return signal


def _strength(parameters: LesionParameters, one: PlacedLesion, session: int) -> np.float32:
    """Factor on the signal of a lesion, by its volume in that session."""
    volume = one.lesion.volumes_mm3[session]
    return np.float32(np.interp(np.log(volume), np.log(parameters.small_mm3), (parameters.small_signal, 1)))


def _level(parameters: LesionParameters, one: PlacedLesion, contrast: str, depth: Volume) -> Volume | np.float32:
    """What the layer at each depth adds to the contrast; one number where there is one layer."""
    levels = np.array([layer.get(contrast, 0.0) for layer in one.lesion.signals], dtype=np.float32)
    if len(levels) == 1:
        return np.float32(levels[0])
    ends = np.array([layer.until for layer in parameters.layers])
    layered: Volume = levels[np.minimum(np.searchsorted(ends, depth), len(ends) - 1)]
    return layered


def _uptake(begin: float, one: PlacedLesion, depth: Volume) -> Volume:
    """What the contrast agent adds, from the depth ``begin`` inwards, in a ring as far as that reaches."""
    where = depth >= begin
    if one.lesion.ring_depth is not None:
        where &= depth < one.lesion.ring_depth
    uptake: Volume = np.float32(one.lesion.enhancement) * where
    return uptake
