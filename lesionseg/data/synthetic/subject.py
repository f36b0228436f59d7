"""One subject: anatomy, lesions and every scan, from a seed and a number."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lesionseg.data.synthetic.anatomy import draw_anatomy
from lesionseg.data.synthetic.contrasts import SCANNERS, Contrast, Scanner, acquire, draw_mimics
from lesionseg.data.synthetic.fields import Grid, Mask, smooth_field
from lesionseg.data.synthetic.lesions import (
    INFARCT,
    MS,
    PlacedLesion,
    lesion_mask,
    lesion_signal,
    place_lesions,
)

Pathology = Literal["ms", "infarct"]
PATHOLOGIES: tuple[Pathology, ...] = ("ms", "infarct")
_CONTRASTS: dict[Pathology, tuple[Contrast, ...]] = {
    "ms": ("FLAIR", "T1w", "ce-gadolinium_T1w"),
    "infarct": ("FLAIR",),
}


@dataclass(frozen=True)
class Session:
    """One session's scans by contrast and masks by label (``lesion``, ``newlesion``, ``enhancing``)."""

    images: dict[Contrast, npt.NDArray[np.int16]]
    masks: dict[str, Mask]


@dataclass(frozen=True)
class Subject:
    """All sessions in order, and ``parameters``: what was drawn, ready for JSON."""

    sessions: tuple[Session, ...]
    parameters: dict[str, Any]


def make_subject(seed: int, index: int, pathology: Pathology, grid: Grid) -> Subject:
    """Make subject number ``index`` (from 1) of a cohort; the same arguments give the same subject."""
    rng = np.random.default_rng([seed, index, PATHOLOGIES.index(pathology)])
    scanner = _draw_scanner(rng)
    anatomy = draw_anatomy(rng, grid)
    kind, counts = (MS, _ms_counts(rng)) if pathology == "ms" else (INFARCT, (int(rng.integers(1, 7)),))
    lesions = place_lesions(rng, grid, anatomy, kind, counts)
    if pathology == "ms":
        lesions = _let_enhance(rng, lesions)
    mimics = draw_mimics(rng, grid, anatomy)
    texture = (smooth_field(rng, grid, 2.0) + smooth_field(rng, grid, 8.0)) / np.float32(np.sqrt(2))

    sessions = []
    for number in range(1, len(counts) + 1):
        seen = [one for one in lesions if one.lesion.session <= number]
        images = {}
        for contrast in _CONTRASTS[pathology]:
            added = mimics[contrast] + lesion_signal(grid, seen, _lesion_contrasts(seen, contrast, number))
            images[contrast] = acquire(rng, grid, anatomy, contrast, scanner, added, texture)
        sessions.append(Session(images, _masks(grid, seen, pathology, number)))
    parameters = {
        "seed": seed,
        "index": index,
        "pathology": pathology,
        **asdict(grid),
        "scanner": asdict(scanner),
        "lesions": [{**asdict(one.lesion), "voxels": int(one.mask.sum())} for one in lesions],
    }
    return Subject(tuple(sessions), parameters)


def _draw_scanner(rng: np.random.Generator) -> Scanner:
    """A site's scanner, a little off for each subject."""
    site = SCANNERS[rng.integers(len(SCANNERS))]
    return replace(
        site,
        gain=site.gain * float(rng.lognormal(0, 0.2)),
        grey_white=site.grey_white * float(rng.lognormal(0, 0.1)),
        noise=site.noise * float(rng.lognormal(0, 0.15)),
    )


def _ms_counts(rng: np.random.Generator) -> tuple[int, int]:
    """Lesions of session 1 (heavy-tailed, median 25) and lesions new in session 2 (none in one of five)."""
    first = np.clip(np.rint(rng.lognormal(np.log(25), 0.75)), 5, 120)
    new = np.clip(np.rint(rng.lognormal(np.log(3), 0.8)), 1, 25)
    return int(first), int(new) if rng.random() < 0.8 else 0


def _let_enhance(rng: np.random.Generator, lesions: Sequence[PlacedLesion]) -> list[PlacedLesion]:
    """In half of the subjects a tenth of session 1's lesions enhance there, half of the new in session 2."""
    active = rng.random() < 0.5
    draws = rng.random(len(lesions))
    return [
        replace(one, lesion=replace(one.lesion, enhancing=(one.lesion.session,)))
        if active and (number == 0 or draw < (0.1 if one.lesion.session == 1 else 0.5))
        else one
        for number, (one, draw) in enumerate(zip(lesions, draws, strict=True))
    ]


def _lesion_contrasts(lesions: Sequence[PlacedLesion], contrast: Contrast, session: int) -> list[float]:
    """What each lesion adds to a contrast, in SD of the brain."""
    if contrast == "FLAIR":
        return [one.lesion.flair for one in lesions]
    post = contrast == "ce-gadolinium_T1w"
    return [one.lesion.flair if post and session in one.lesion.enhancing else one.lesion.t1 for one in lesions]


def _masks(grid: Grid, lesions: Sequence[PlacedLesion], pathology: Pathology, session: int) -> dict[str, Mask]:
    """The session's masks by label; all of them also where one is empty."""
    masks = {"lesion": lesion_mask(grid, lesions)}
    if pathology == "ms":
        enhancing = [one for one in lesions if session in one.lesion.enhancing]
        masks["enhancing"] = lesion_mask(grid, enhancing)
        if session > 1:
            masks["newlesion"] = lesion_mask(grid, [one for one in lesions if one.lesion.session == session])
    return masks
