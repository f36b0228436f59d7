"""One subject: anatomy, lesions and every scan, from a seed and a number."""

import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lesionseg.data.synthetic.acquisition import acquire, draw_scan, draw_tissues, healthy_signal
from lesionseg.data.synthetic.anatomy import draw_anatomy, make_anatomy
from lesionseg.data.synthetic.fields import Grid, Mask, Volume, smooth_field
from lesionseg.data.synthetic.lesion_growth import PlacedLesion, place_lesions
from lesionseg.data.synthetic.lesion_sampling import draw_lesions
from lesionseg.data.synthetic.lesion_signal import enhancing_mask, lesion_mask, lesion_signal
from lesionseg.data.synthetic.mimics import draw_mimics, flow, mimic_signals
from lesionseg.data.synthetic.parameters import ENHANCED, Pathology
from lesionseg.data.synthetic.template import load_template

_STREAMS = ("site", "anatomy", "tissues", "lesions", "mimics", "texture", "sessions")


@dataclass(frozen=True)
class Session:
    """One session's scans by contrast and masks by label (``lesion``, ``newlesion``, ``enhancing``)."""

    images: dict[str, npt.NDArray[np.int16]]
    masks: dict[str, Mask]


@dataclass(frozen=True)
class Subject:
    """All sessions in order, and ``parameters``: what was drawn and from what, ready for JSON."""

    sessions: tuple[Session, ...]
    parameters: dict[str, Any]


def grid_of(pathology: Pathology) -> Grid:
    """The voxels of every scan of a cohort."""
    i, j, k = (round(extent / step) for extent, step in zip(pathology.field_of_view_mm, pathology.spacing, strict=True))
    x, y, z = pathology.spacing
    return Grid((i, j, k), (x, y, z))


def make_subject(seed: int, index: int, pathology: Pathology) -> Subject:
    """Make subject number ``index`` (from 1) of a cohort; the same arguments give the same subject.

    What is drawn comes from separate streams, so that another choice of contrasts leaves a subject's brain and lesions
    as they are, and another number of sessions the brain.

    Raises:
        InputError: the label map of ``pathology.anatomy`` cannot be used.
    """
    streams = dict(zip(_STREAMS, _generators(seed, index, pathology.name), strict=True))
    grid, template = grid_of(pathology), load_template(pathology.anatomy)
    site = pathology.sites[int(streams["site"].integers(len(pathology.sites)))]
    brain = draw_anatomy(streams["anatomy"], grid, template, pathology.anatomy)
    anatomy = make_anatomy(streams["anatomy"], grid, template, pathology.anatomy, brain)
    tissues = draw_tissues(streams["tissues"], pathology.signals)
    lesions = draw_lesions(streams["lesions"], pathology.lesions, pathology.sessions)
    placed = place_lesions(streams["lesions"], grid, anatomy, pathology.lesions, lesions)
    mimics = draw_mimics(streams["mimics"], pathology.mimics)
    shapes = pathology.mimics.shapes
    extra = mimic_signals(streams["mimics"], grid, anatomy, shapes, mimics, pathology.contrasts)
    texture = _texture(streams["texture"], grid, pathology.texture_mm)
    unevenness = smooth_field(streams["texture"], grid, pathology.lesions.signal_scatter_mm)

    sessions, scans = [], []
    for number, rng in enumerate(streams["sessions"].spawn(pathology.sessions)):
        displacement = _displacement(rng, pathology) if number < pathology.sessions - 1 else None
        images, drawn = {}, {}
        for contrast, own in zip(pathology.signals, rng.spawn(len(pathology.signals)), strict=True):
            if contrast not in pathology.contrasts:
                continue
            signals = pathology.signals[contrast]
            flowing = pathology.mimics.flow.get(contrast, [0.0, 0.0])
            scan = draw_scan(own, site, pathology.scan, signals, (flowing[0], flowing[1]), displacement)
            signal, sd = healthy_signal(anatomy, tissues[contrast], scan.grey_white, signals.structure)
            added = lesion_signal(grid, placed, pathology.lesions, number, contrast, unevenness)
            added += extra[contrast]
            added += np.float32(tissues[contrast].texture) * texture
            if scan.flow:
                added += np.float32(scan.flow) * flow(own, grid, anatomy, shapes.flow)
            signal += np.float32(sd) * added * (anatomy.depth_mm > 0)
            images[contrast] = acquire(own, grid, anatomy.brain, signal, scan, pathology.scan.bias_mm)
            drawn[contrast] = scan
        sessions.append(Session(images, _masks(grid, placed, pathology, number)))
        scans.append(drawn)
    return Subject(
        tuple(sessions),
        {
            "seed": seed,
            "index": index,
            "pathology": pathology.model_dump(),
            "site": site.name,
            "slice_mm": site.slice_mm,
            "anatomy": asdict(brain),
            "tissues": {contrast: asdict(tissues[contrast]) for contrast in pathology.contrasts},
            "mimics": asdict(mimics),
            "scans": [{contrast: asdict(scan) for contrast, scan in drawn.items()} for drawn in scans],
            "lesions": [_described(one) for one in placed],
        },
    )


def _generators(seed: int, index: int, name: str) -> list[np.random.Generator]:
    return np.random.default_rng([seed, index, zlib.crc32(name.encode())]).spawn(len(_STREAMS))


def _texture(rng: np.random.Generator, grid: Grid, widths_mm: list[float]) -> Volume:
    """A field of mean 0 and SD 1: the sum of one of each smoothness, all with the same share of its variance."""
    first, *others = widths_mm
    texture = smooth_field(rng, grid, first)
    for width in others:
        texture = texture + smooth_field(rng, grid, width)
    texture *= np.float32(np.sqrt(1 / len(widths_mm)))
    return texture


def _displacement(rng: np.random.Generator, pathology: Pathology) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What registration to the last session leaves: shift in mm, tilt in degrees."""
    shift, tilt = rng.standard_normal((2, 3)) * [[pathology.scan.shift_mm], [pathology.scan.tilt_deg]]
    return tuple(float(part) for part in shift), tuple(float(part) for part in tilt)


def _masks(grid: Grid, placed: list[PlacedLesion], pathology: Pathology, session: int) -> dict[str, Mask]:
    """The session's masks by label; all of them also where one is empty."""
    masks = {"lesion": lesion_mask(grid, placed, session)}
    if pathology.lesions.enhancement and ENHANCED in pathology.contrasts:
        masks["enhancing"] = enhancing_mask(grid, placed, session, pathology.lesions.enhancement.depth)
    if session:
        masks["newlesion"] = lesion_mask(
            grid, [one for one in placed if not one.lesion.volumes_mm3[session - 1]], session
        )
    return masks


def _described(placed: PlacedLesion) -> dict[str, Any]:
    """A lesion for JSON, with the first session that shows it, from 1."""
    first = 1 + next(number for number, volume in enumerate(placed.lesion.volumes_mm3) if volume)
    return {"session": first, **asdict(placed.lesion)}
