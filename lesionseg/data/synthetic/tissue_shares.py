"""Shares of the tissues in every voxel of one brain: the average brain's, sharpened and refolded."""

from dataclasses import dataclass

import numpy as np

from lesionseg.data.synthetic.fields import Volume, ramp
from lesionseg.data.synthetic.parameters import AnatomyParameters

_WALL_MM = 1.2  # over which the ventricles' fluid gives way to their wall
_BLURRED_MM = 1.5  # so far beyond its ventricles an average brain is part fluid
_SULCUS_MM = 2.0  # over which sulci become possible


@dataclass(frozen=True)
class BrainMaps:
    """Maps of the template where the voxels of one brain come from, one entry for each voxel.

    Args:
        side_mm: distance to the midline.
        length: along the lateral ventricles: 0 at their hind end, 1 at their front end.
        white and the others: see :class:`~lesionseg.data.synthetic.template.Template`.
    """

    white: Volume
    cortex: Volume
    deep_grey: Volume
    ventricle_mm: Volume
    cortex_mm: Volume
    white_mm: Volume
    banks: Volume
    infratentorial: Volume
    structure: Volume
    side_mm: Volume
    length: Volume


@dataclass(frozen=True)
class TissueShares:
    """Shares of the voxels of one brain, one entry for each, that sum to 1."""

    fluid: Volume
    cortex: Volume
    deep_grey: Volume
    white: Volume


def tissue_shares(
    maps: BrainMaps, folding: Volume, parameters: AnatomyParameters, *, ventricle_mm: float, atrophy: float
) -> TissueShares:
    """Sharper shares, folds of the subject's own, and ventricles of its own width.

    Args:
        maps: of N voxels.
        folding: log odds of grey against white matter outside of cerebellum and brainstem, shape (N,).
        parameters: how sharp, and what makes sulci.
        ventricle_mm: how far the ventricles' walls lie outwards of the template's.
        atrophy: log odds that are added to the fluid of the sulci.
    """
    ventricle = ramp(ventricle_mm - maps.ventricle_mm, _WALL_MM)
    white, fluid = _with_wall(maps, ventricle, ventricle_mm)
    sulcus, opening = _sulci(maps, parameters)
    folding = folding * (1 - maps.infratentorial)
    odds = [
        np.power(np.maximum(share, 0), np.float32(parameters.sharpness)) * factor
        for share, factor in (
            (maps.cortex, np.exp(folding)),
            (maps.deep_grey, np.float32(1)),
            (white, np.exp(-folding)),
            (np.maximum(fluid, parameters.sulcus_fluid * sulcus), np.exp(np.float32(atrophy) + opening)),
        )
    ]
    odds[-1] = odds[-1] + np.float32(parameters.narrow_sulci) * maps.banks**2 * (1 - maps.infratentorial)
    total = sum(odds) + np.float32(1e-6)
    cortex, deep_grey, white, _ = (share / total * (1 - ventricle) for share in odds)
    return TissueShares(fluid=1 - cortex - deep_grey - white, cortex=cortex, deep_grey=deep_grey, white=white)


def _with_wall(maps: BrainMaps, ventricle: Volume, ventricle_mm: float) -> tuple[Volume, Volume]:
    """White matter and fluid, where what is the average brain's ventricle but not this subject's is wall."""
    near = maps.ventricle_mm < max(_BLURRED_MM, _BLURRED_MM - ventricle_mm)
    wall = (1 - ventricle) * near
    fluid = np.clip(1 - maps.cortex - maps.deep_grey - maps.white, 0, 1)
    return maps.white + wall * fluid, fluid * (1 - wall)


def _sulci(maps: BrainMaps, parameters: AnatomyParameters) -> tuple[Volume, Volume]:
    """Where sulci may be, from 0 to 1, and the log odds that they are open.

    An average brain's sulci are grey: what lies farther from white matter than the cortex is thick is their fluid.
    """
    white_mm = np.where(maps.infratentorial > 0.5, 0, maps.white_mm)
    sulcus = ramp(white_mm - parameters.sulcus_mm, _SULCUS_MM) * (maps.cortex < 0.97)
    low, high = parameters.sulci_range_mm
    opening = np.float32(parameters.sulci) * np.clip(white_mm - np.float32(parameters.cortex_mm), low, high)
    return sulcus, opening
