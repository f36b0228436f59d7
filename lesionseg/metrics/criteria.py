"""When a lesion counts as found: one table of which lesions share voxels, and the criteria that read it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.components import Box, Connectivity, SparseMask, bounding_box, stays, voxel_volume

Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]
Side = Literal["reference", "prediction"]


@dataclass(frozen=True, eq=False)
class Overlaps:
    """The contingency table of the lesions of two masks, without its zeros."""

    reference_sizes: Counts  # voxels of each reference lesion, shape (R,)
    prediction_sizes: Counts  # voxels of each predicted lesion, shape (Q,)
    pairs: Counts  # reference and predicted lesion that share a voxel, numbered from 0, shape (M, 2), sorted
    shared: Counts  # voxels that each pair shares, shape (M,), all at least 1
    voxel_volume: float  # mm³

    @cached_property
    def reference_covered(self) -> Counts:
        """Voxels of each reference lesion that lie in any predicted one, shape (R,)."""
        return _sum_by(self.pairs[:, 0], self.shared, self.reference_sizes.size)

    @cached_property
    def prediction_covered(self) -> Counts:
        """Voxels of each predicted lesion that lie in any reference one, shape (Q,)."""
        return _sum_by(self.pairs[:, 1], self.shared, self.prediction_sizes.size)

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair, shape (M,), 0 … 1."""
        first, second = self.reference_sizes[self.pairs[:, 0]], self.prediction_sizes[self.pairs[:, 1]]
        return np.asarray(self.shared / (first + second - self.shared))

    def swapped(self) -> "Overlaps":
        """The same table with reference and prediction in each other's place."""
        turned = self.pairs[:, ::-1]
        order = np.lexsort((turned[:, 1], turned[:, 0]))
        return Overlaps(
            self.prediction_sizes, self.reference_sizes, turned[order], self.shared[order], self.voxel_volume
        )

    def kept(self, min_volume_mm3: float, *, exclusive: bool = False) -> "tuple[Overlaps, Flags, Flags]":
        """The table without the lesions that are too small to count, on either side; they become background.

        Args:
            min_volume_mm3: smallest lesion that counts, in mm³.
            exclusive: whether a lesion of exactly that volume goes, too.

        Returns:
            The table of those that stay, and for each reference and each predicted lesion whether it stays.
        """
        sides = [
            stays(sizes, min_volume_mm3, self.voxel_volume, exclusive=exclusive)
            for sizes in (self.reference_sizes, self.prediction_sizes)
        ]
        if sides[0].all() and sides[1].all():
            return self, sides[0], sides[1]
        rows = sides[0][self.pairs[:, 0]] & sides[1][self.pairs[:, 1]]
        numbers = [np.cumsum(side) - 1 for side in sides]
        pairs = np.stack([numbers[side][self.pairs[rows, side]] for side in (0, 1)], axis=1)
        table = Overlaps(
            self.reference_sizes[sides[0]],
            self.prediction_sizes[sides[1]],
            pairs,
            self.shared[rows],
            self.voxel_volume,
        )
        return table, sides[0], sides[1]


@dataclass(frozen=True, eq=False)
class MaskPair:
    """Reference and prediction on one grid, each labelled once per connectivity."""

    reference: SparseMask  # its voxels
    prediction: SparseMask  # likewise
    spacing: tuple[float, float, float]  # edge lengths of a voxel in mm
    _overlaps: dict[Connectivity, Overlaps] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, reference: NDArray[Any], prediction: NDArray[Any], spacing: tuple[float, float, float]) -> "MaskPair":
        """List the voxels of both masks.

        Args:
            reference: mask of shape (I, J, K); every voxel other than zero is lesion.
            prediction: mask of the same shape.
            spacing: edge lengths of a voxel in mm.

        Raises:
            ValueError: if the spacing is not three positive lengths.
        """
        voxel_volume(spacing)
        return cls(SparseMask.of(reference), SparseMask.of(prediction), spacing)

    @cached_property
    def box(self) -> Box:
        """The smallest part of the volume that holds both."""
        return bounding_box(self.reference, self.prediction)

    @cached_property
    def masks(self) -> tuple[Flags, Flags]:
        """Reference and prediction within the box."""
        return self.reference.dense(self.box), self.prediction.dense(self.box)

    def overlaps(self, connectivity: Connectivity) -> Overlaps:
        """The contingency table of all lesions, small ones among them; lesion n has label n + 1."""
        if connectivity not in self._overlaps:
            reference, n_reference = self.reference.labels(connectivity)
            prediction, n_prediction = self.prediction.labels(connectivity)
            here, there = self._shared
            # One integer per pair sorts far faster than rows do.
            base = max(n_prediction, 1)
            keys, shared = np.unique((reference[here] - 1) * np.int64(base) + prediction[there] - 1, return_counts=True)
            self._overlaps[connectivity] = Overlaps(
                np.bincount(reference, minlength=n_reference + 1)[1:],
                np.bincount(prediction, minlength=n_prediction + 1)[1:],
                np.stack(np.divmod(keys, base), axis=1),
                shared.astype(np.int64, copy=False),
                voxel_volume(self.spacing),
            )
        return self._overlaps[connectivity]

    @cached_property
    def _shared(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which voxels of the reference are predicted, and which of the prediction these are."""
        return self.reference.places_in(self.prediction)


def _sum_by(groups: Counts, values: Counts, count: int) -> Counts:
    return np.bincount(groups, weights=values, minlength=count).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What a criterion says of every lesion."""

    reference_detected: Flags  # shape (R,)
    prediction_true: Flags  # shape (Q,)
    # rows of `Overlaps.pairs` that are matched one to one, shape (T,); None where a lesion may meet several
    matched: NDArray[np.intp] | None = None


@dataclass(frozen=True, kw_only=True)
class Criterion(ABC):
    """When a lesion counts as found, and which lesions count at all.

    Args:
        connectivity: which neighbouring voxels make one lesion: 6, 18 or 26.
        min_volume_mm3: lesions strictly smaller are background, on either side, before anything is judged. None:
            whatever the task or the caller says.
        exclusive: lesions of exactly that volume are background, too.

    Raises:
        ValueError: if an argument is out of its range.
    """

    connectivity: Connectivity = 26
    min_volume_mm3: float | None = None
    exclusive: bool = False

    true_positives: ClassVar[Side] = "reference"
    """The side on which `LesionScores.f1_counts` counts what was found, as the rule's source does."""

    def __post_init__(self) -> None:
        if self.connectivity not in (6, 18, 26):
            raise ValueError(f"connectivity must be 6, 18 or 26, found {self.connectivity!r}")
        volume = self.min_volume_mm3
        if volume is not None and not (isfinite(volume) and volume >= 0):
            raise ValueError(f"min_volume_mm3 must be 0 or more, found {volume!r}")

    @abstractmethod
    def judge(self, overlaps: Overlaps) -> Verdicts:
        """Judge every lesion of a table whose small lesions are left out already."""

    @abstractmethod
    def describe(self) -> str:
        """The rule in one clause, for the line under a table."""


@dataclass(frozen=True, kw_only=True)
class AnyOverlap(Criterion):
    """Found is what shares enough voxels with the other side, whichever lesions these belong to.

    With the defaults one voxel is enough: the rule of the WMH challenge (doi 10.1109/TMI.2019.2905770) and of ISLES
    (doi 10.1038/s41597-022-01875-5), both with connectivity 26. Each lesion is held against the other mask as a
    whole, so that one prediction may find several lesions, and several predictions one.
    """

    min_voxels: int = 1  # fewest voxels that a lesion shares with the other side
    min_fraction: float = 0.0  # least share of its own voxels that lies in the other side, 0 … 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_voxels < 1:
            raise ValueError(f"min_voxels must be 1 or more, found {self.min_voxels!r}")
        _check_share("min_fraction", self.min_fraction)

    def judge(self, overlaps: Overlaps) -> Verdicts:
        """See `Criterion.judge`."""
        return Verdicts(
            self._enough(overlaps.reference_covered, overlaps.reference_sizes),
            self._enough(overlaps.prediction_covered, overlaps.prediction_sizes),
        )

    def describe(self) -> str:
        """See `Criterion.describe`."""
        if self.min_fraction == 0 and self.min_voxels == 1:
            return "found where one voxel of it overlaps the other side"
        asked = [f"{self.min_fraction:.0%}"] if self.min_fraction else []
        asked += [f"{self.min_voxels} voxels"] if self.min_voxels > 1 else []
        return f"found where at least {' and '.join(asked)} of it overlap the other side"

    def _enough(self, covered: Counts, sizes: Counts) -> Flags:
        return (covered >= self.min_voxels) & (covered / sizes >= self.min_fraction)


@dataclass(frozen=True, kw_only=True)
class BestIoU(Criterion):
    """Found is what reaches an intersection over union with one single lesion of the other side.

    The rule of the Shifts challenge (Malinin et al. 2022, arXiv 2206.15407), with connectivity 6: every predicted
    lesion is counted, so that two may find the same reference lesion.
    """

    min_iou: float  # above 0, up to 1
    connectivity: Connectivity = 6

    true_positives: ClassVar[Side] = "prediction"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_iou(self.min_iou)

    def judge(self, overlaps: Overlaps) -> Verdicts:
        """See `Criterion.judge`."""
        good = overlaps.pairs[overlaps.iou >= self.min_iou]
        return Verdicts(
            _among(good[:, 0], overlaps.reference_sizes.size), _among(good[:, 1], overlaps.prediction_sizes.size)
        )

    def describe(self) -> str:
        """See `Criterion.describe`."""
        return f"found where its IoU with one lesion of the other side is {self.min_iou:g} or more"


@dataclass(frozen=True, kw_only=True)
class OneToOneIoU(Criterion):
    """Found is what is paired with one lesion of the other side, each lesion at most once.

    Pairs are taken greedily from the highest intersection over union down (panoptica's naive matching, Kofler et al.
    2023, arXiv 2312.02608); of equal ones the first in label order. F1 is then the recognition quality, the mean IoU
    of the pairs the segmentation quality, their product the panoptic quality (Kirillov et al. 2019,
    doi 10.1109/CVPR.2019.00963).
    """

    min_iou: float  # above 0, up to 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_iou(self.min_iou)

    def judge(self, overlaps: Overlaps) -> Verdicts:
        """See `Criterion.judge`."""
        reference = np.zeros(overlaps.reference_sizes.size, dtype=bool)
        prediction = np.zeros(overlaps.prediction_sizes.size, dtype=bool)
        matched: list[int] = []
        rows = np.flatnonzero(overlaps.iou >= self.min_iou)
        for row in rows[np.argsort(-overlaps.iou[rows], kind="stable")].tolist():
            first, second = overlaps.pairs[row].tolist()
            if not (reference[first] or prediction[second]):
                reference[first] = prediction[second] = True
                matched.append(row)
        return Verdicts(reference, prediction, np.array(matched, dtype=np.intp))

    def describe(self) -> str:
        """See `Criterion.describe`."""
        return f"found where it is paired, one to one, at an IoU of {self.min_iou:g} or more"


@dataclass(frozen=True, kw_only=True)
class Anima(Criterion):
    """The rule of the MSSEG challenges (Commowick et al. 2018, doi 10.1038/s41598-018-31911-7).

    A lesion is found when more than `alpha` of it is covered by lesions of the other side, and when those that cover
    most of it, taken in turn until they make up `gamma` of what is covered, lie outside of all lesions of this side
    with no more than `beta` of their voxels. Both sides are judged so, each by the other. As in Anima's
    ``animaSegPerfAnalyzer``, lesions are 6-connected and strictly larger than 3 mm³. Of lesions that cover the same
    number of voxels the first in label order comes first; Anima leaves that order open.
    """

    alpha: float = 0.10  # 0 … 1
    beta: float = 0.70  # 0 … 1
    gamma: float = 0.65  # 0 … 1
    connectivity: Connectivity = 6
    min_volume_mm3: float | None = 3.0
    exclusive: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alpha", "beta", "gamma"):
            _check_share(name, getattr(self, name))

    def judge(self, overlaps: Overlaps) -> Verdicts:
        """See `Criterion.judge`."""
        return Verdicts(self._detected(overlaps), self._detected(overlaps.swapped()))

    def describe(self) -> str:
        """See `Criterion.describe`."""
        return f"found by the MSSEG challenges' rule (alpha {self.alpha:g}, beta {self.beta:g}, gamma {self.gamma:g})"

    def _detected(self, overlaps: Overlaps) -> Flags:
        """Whether each reference lesion is found; the table is swapped to ask the same of the predicted ones."""
        covered, lesion, other = overlaps.reference_covered, overlaps.pairs[:, 0], overlaps.pairs[:, 1]
        detected = np.asarray(covered / overlaps.reference_sizes > self.alpha)
        outside = (overlaps.prediction_sizes - overlaps.prediction_covered) / overlaps.prediction_sizes
        # Within each lesion its partners by falling share; what came before a partner decides whether it is asked.
        order = np.lexsort((other, -overlaps.shared, lesion))
        before = np.cumsum(overlaps.shared[order]) - overlaps.shared[order]
        starts = np.searchsorted(lesion[order], lesion[order])
        asked = (before - before[starts]) / covered[lesion[order]] < self.gamma
        failed = asked & (outside[other[order]] > self.beta)
        detected[lesion[order][failed]] = False
        return detected


def _among(lesions: Counts, count: int) -> Flags:
    return np.bincount(lesions, minlength=count) > 0


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie within 0 … 1, found {value!r}")


def _check_iou(value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"min_iou must be above 0 and at most 1, found {value!r}")
