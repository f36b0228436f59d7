"""A reference mask, a probability map and the mask it gives, drawn from a seed, with the faults of a real study."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

SHAPE = (182, 218, 182)
SPACING = (1.0, 1.0, 1.0)
N_LESIONS = 60
MEDIAN_MM3, LOG_SD = 45.0, 1.3
N_PAIRS = 10  # neighbours a few voxels apart, half of which the prediction merges
N_SPLIT = 6
N_MISSED = 14
N_FALSE = 30  # of which more than half reach a probability of 0.5
BRAIN = (68.0, 84.0, 66.0)  # semi-axes, voxels
EDGE = 0.6  # mm over which the probability falls from 0.5 to 0.27
TAIL = 0.008  # highest probability of the brain elsewhere: a sigmoid is never 0

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DrawnPair:
    """One study, every array of shape `SHAPE`, C-ordered.

    Attributes:
        reference: uint8 mask with `N_LESIONS` 26-connected lesions.
        prediction: uint8 mask, where the probability is 0.5 or more.
        probability: float32, 0 … 1.
    """

    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    probability: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Blob:
    """An ellipsoid: its centre, the turn and stretch (determinant 1) that make it a ball, and the ball's radius."""

    centre: Vector
    to_ball: Vector
    radius: float

    def depth(self, reach: float) -> tuple[NDArray[np.int64], Vector]:
        """Voxels as far as `reach` mm outside of the ellipsoid, shape (N, 3), and how deep each lies inside, in mm."""
        margin = 2 * (self.radius + reach)
        low = np.maximum(np.floor(self.centre - margin), 0).astype(int)
        high = np.minimum(np.ceil(self.centre + margin) + 1, SHAPE).astype(int)
        voxels = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1).reshape(-1, 3)
        depth = self.radius - np.linalg.norm((voxels - self.centre) @ self.to_ball, axis=1)
        return voxels[depth > -reach], depth[depth > -reach]

    def moved(self, rng: np.random.Generator) -> "_Blob":
        """As somebody else would have drawn it."""
        return _Blob(self.centre + rng.normal(0, 0.4, 3), self.to_ball, self.radius * rng.uniform(0.85, 1.2))


def draw_pair(seed: int = 0) -> DrawnPair:
    """Draw lesions of log-normal volumes, and a prediction that misses, splits, merges and invents some."""
    rng = np.random.default_rng(seed)
    reference = np.zeros(SHAPE, dtype=np.uint8)
    volumes = np.exp(np.log(MEDIAN_MM3) + LOG_SD * ndtri((np.arange(N_LESIONS) + 0.5) / N_LESIONS))
    lesions: list[_Blob] = []
    for number, volume in enumerate(rng.permutation(volumes)):
        beside = lesions[-1] if number < 2 * N_PAIRS and number % 2 else None
        lesions.append(_place(reference, max(2, round(volume)), beside, rng))

    probability = _tail(rng)
    single = rng.permutation(np.arange(2 * N_PAIRS, N_LESIONS)).tolist()
    missed = set(single[:N_MISSED])
    large = sorted(set(single) - missed, key=lambda number: lesions[number].radius)
    split = set(large[-N_SPLIT:])
    for number, lesion in enumerate(lesions):
        confidence = rng.uniform(0.05, 0.45) if number in missed else rng.uniform(0.7, 1.0)
        _predict(probability, lesion.moved(rng), confidence, split=number in split)
    for number in range(0, N_PAIRS, 2):
        first, second = lesions[number], lesions[number + 1]
        gap = float(np.linalg.norm(first.centre - second.centre)) / 2
        _predict(probability, _Blob((first.centre + second.centre) / 2, np.eye(3), max(1.5, gap / 2)), 1.0)
    for _ in range(N_FALSE):
        _predict(probability, _blob(_anywhere(rng), rng.lognormal(np.log(20), 1), rng), rng.uniform(0.35, 0.9))
    return DrawnPair(reference, (probability >= 0.5).astype(np.uint8), probability)


def _place(reference: NDArray[np.uint8], n_voxels: int, beside: _Blob | None, rng: np.random.Generator) -> _Blob:
    """Draw a lesion of so many voxels into the mask where it touches none, next to another one if that is asked."""
    away = 2.0
    while True:
        centre = _anywhere(rng)
        if beside is not None:
            radius = (3 * n_voxels / (4 * np.pi)) ** (1 / 3)
            direction = rng.normal(size=3)
            centre = beside.centre + direction / np.linalg.norm(direction) * (beside.radius + radius + away)
            away += 0.1
        blob = _blob(centre, n_voxels, rng)
        voxels, depth = blob.depth(2.0)
        i, j, k = voxels[np.argsort(-depth, kind="stable")[:n_voxels]].T
        around = tuple(slice(max(axis.min() - 1, 0), axis.max() + 2) for axis in (i, j, k))
        if not reference[around].any():
            reference[i, j, k] = 1
            return blob


def _blob(centre: Vector, volume: float, rng: np.random.Generator) -> _Blob:
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    stretch = np.exp(rng.uniform(-0.3, 0.3, 3))
    return _Blob(centre, turn * (stretch / np.prod(stretch) ** (1 / 3)), (3 * volume / (4 * np.pi)) ** (1 / 3))


def _anywhere(rng: np.random.Generator) -> Vector:
    """A point of the brain."""
    direction = rng.normal(size=3)
    centre = (np.array(SHAPE) - 1) / 2
    return centre + direction / np.linalg.norm(direction) * 0.9 * rng.random() ** (1 / 3) * np.array(BRAIN)


def _tail(rng: np.random.Generator) -> NDArray[np.float32]:
    """What a network says of the rest of the brain."""
    axes = ((np.arange(side) - (side - 1) / 2) / semi for side, semi in zip(SHAPE, BRAIN, strict=True))
    i, j, k = np.meshgrid(*axes, indexing="ij", sparse=True)
    return np.float32(TAIL) * rng.random(SHAPE, dtype=np.float32) * (i**2 + j**2 + k**2 <= 1)


def _predict(probability: NDArray[np.float32], blob: _Blob, confidence: float, *, split: bool = False) -> None:
    """Raise the map to a lesion with soft edges, cut in two along its middle if it is split."""
    voxels, depth = blob.depth(6 * EDGE)
    value = confidence * expit(depth / EDGE)
    if split:
        value *= 1 - 0.9 * np.exp(-((voxels - blob.centre)[:, 0] ** 2))
    at = tuple(voxels.T)
    probability[at] = np.maximum(probability[at], value.astype(np.float32))
