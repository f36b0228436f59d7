"""Which patients of a cohort are shown, and their scans as they are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from lesionseg.data.dataset import Dataset, Study
from lesionseg.data.nifti import read_mask
from lesionseg.data.preprocessing import bounding_box, brain_mask
from lesionseg.errors import InputError
from lesionseg.metrics import label_components

Array = NDArray[Any]
PRIOR = "prior."  # before a contrast: of the session before
BRIGHTEST = {"t1_post": 98.0}  # percentile of the brain that is white; vessels with contrast agent may be whiter
BRIGHTEST_ELSEWHERE = 99.7
MARGIN = 3  # voxels around the brain


@dataclass(frozen=True, eq=False)
class Example:
    """One session's scans and masks in one orientation, cut to the brain.

    Attributes:
        name: whose they are, and where they are from.
        images: by contrast, shape (X, Y, Z), axes towards right, anterior and superior.
        masks: by target, bool, same shape.
        brain: bool, same shape.
        spacing: edge lengths of a voxel in mm.
    """

    name: str
    images: Mapping[str, Array]
    masks: Mapping[str, Array]
    brain: Array
    spacing: tuple[float, float, float]

    def window(self, contrast: str) -> tuple[float, float]:
        """Black at 0, or the brain's lowest value if that is less; white at a percentile of the brain."""
        inside = self.images[contrast][self.brain]
        white = np.percentile(inside, BRIGHTEST.get(contrast, BRIGHTEST_ELSEWHERE))
        return min(0.0, float(inside.min())), float(white)

    def describe(self, target: str) -> str:
        """Number and volume of the lesions of a mask."""
        mask = self.masks[target]
        count, ml = label_components(mask)[1], mask.sum() * np.prod(self.spacing) / 1000
        return f"{count} {target.replace('_', ' ')}{'' if count == 1 else 's'}, {ml:.2g} ml"


def choose(cohort: Dataset, inputs: Sequence[str], target: str, count: int) -> list[Study]:
    """At most so many subjects of different sites and, from the first to the last, of little load to much.

    Of each subject, the session with most of the target; sessions without the inputs or without any of the target
    do not count. Where there are fewer sites than places, or none, they are gone through again.

    Args:
        cohort: where to choose from.
        inputs: contrasts, as ``flair`` or ``prior.flair``.
        target: whose volume is the load.
        count: how many.
    """
    able = [study for study in cohort.studies if target in study.masks and has_inputs(cohort, study, inputs)]
    table = pd.DataFrame(
        {
            "study": np.arange(len(able)),
            "subject": [study.subject for study in able],
            "site": [study.site or "" for study in able],
            "voxels": [int(read_mask(study.masks[target])[0].sum()) for study in able],
        }
    )
    table = table.query("voxels > 0").sort_values("voxels", kind="stable").drop_duplicates("subject", keep="last")
    sites, chosen = sorted(table["site"].unique()), list[Study]()
    for place in range(min(count, len(table))):
        here = table[table["site"] == sites[place % len(sites)]]
        pool = table if here.empty else here
        rank = round((place + 1) / (count + 1) * (len(pool) - 1))
        chosen.append(able[int(pool["study"].iloc[rank])])
        table = table.drop(index=pool.index[rank])
    return chosen


def has_inputs(cohort: Dataset, study: Study, inputs: Sequence[str]) -> bool:
    """Whether a session has these contrasts, and the session before it those with ``prior.``."""
    return all(_path(cohort, study, name) is not None for name in inputs)


def load(cohort: Dataset, study: Study, inputs: Sequence[str], targets: Sequence[str]) -> Example:
    """Read the contrasts and those of the masks that there are, and cut them to the brain of the first contrast.

    Raises:
        InputError: they are not on one grid.
    """
    paths = {name: _path(cohort, study, name) for name in inputs}
    paths |= {target: study.masks[target].path for target in targets if target in study.masks}
    volumes = {name: nib.as_closest_canonical(nib.load(path)) for name, path in paths.items()}
    first = next(iter(volumes.values()))
    for name, volume in volumes.items():
        if volume.shape != first.shape or not np.allclose(volume.affine, first.affine, atol=0.05):
            raise InputError(f"{study.name}: {paths[name]} is not on the grid of {paths[inputs[0]]}")
    arrays = {name: np.asarray(volume.dataobj, dtype=np.float32) for name, volume in volumes.items()}
    brain = ndimage.binary_fill_holes(brain_mask(arrays[inputs[0]]))  # fluid may be as black as what is outside
    box = bounding_box(brain, MARGIN)
    x, y, z = (float(edge) for edge in voxel_sizes(first.affine))
    return Example(
        name=f"{cohort.name} sub-{study.subject}" + (f", site {study.site}" if study.site else ""),
        images={name: arrays[name][box] for name in inputs},
        masks={target: arrays[target][box] > 0 for target in targets if target in arrays},
        brain=brain[box],
        spacing=(x, y, z),
    )


def _path(cohort: Dataset, study: Study, name: str) -> Any:
    """The file of a contrast, of the session before where the name says so; None if there is none."""
    session = cohort.prior_of(study) if name.startswith(PRIOR) else study
    return None if session is None else session.images.get(name.removeprefix(PRIOR))
