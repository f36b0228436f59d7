"""What is drawn of a subject's lesions: how many, how large, of which shape, how bright, and how they evolve."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from lesionseg.data.synthetic.parameters import (
    Enhancement,
    Evolution,
    LesionParameters,
    Volumes,
    Zone,
    uniform,
)

_TRIES = 20


@dataclass(frozen=True)
class Lesion:
    """What was drawn of one lesion.

    Args:
        zone: where its centre lies.
        volumes_mm3: in each session; 0 where it is not there.
        axis_ratios: of the three axes; their product is 1.
        border_mm: width of the soft border.
        signals: for each layer, what it adds to each contrast, in SD of the brain.
        enhancing: the sessions, from 1, in which it takes up contrast agent.
        enhancement: what that adds to T1 after contrast, in SD of the brain.
        ring_depth: how deep a ring of enhancement reaches (0 border, 1 centre); None: it enhances as a whole.
        centre: voxel; None until it is placed.
        voxels: in each session's mask; likewise.
    """

    zone: Zone
    volumes_mm3: tuple[float, ...]
    axis_ratios: tuple[float, ...]
    border_mm: float
    signals: tuple[dict[str, float], ...]
    enhancing: tuple[int, ...] = ()
    enhancement: float = 0.0
    ring_depth: float | None = None
    centre: tuple[int, ...] | None = None
    voxels: tuple[int, ...] = ()


def draw_lesions(rng: np.random.Generator, parameters: LesionParameters, sessions: int) -> list[Lesion]:
    """Draw all lesions of a subject, not yet where they lie.

    Args:
        rng: of the lesions alone.
        parameters: what they are drawn from.
        sessions: 1 or 2; without ``parameters.evolution`` all lesions are of one session.

    Returns:
        Those of the first session, then those that are new in the second.
    """
    first = _volumes(rng, parameters)
    volumes: list[tuple[float, ...]] = [(volume,) for volume in first]
    if sessions == 2 and parameters.evolution:
        volumes = _evolve(rng, parameters.evolution, first)
    lesions = [_draw_lesion(rng, parameters, over_time) for over_time in volumes]
    return _enhance(rng, parameters.enhancement, lesions) if parameters.enhancement else lesions


def hugs_ventricles(parameters: LesionParameters, lesion: Lesion) -> bool:
    """Whether a lesion is of those that spread along the ventricles: confluent ones beside them."""
    confluent = _is_confluent(parameters, lesion.volumes_mm3)
    return bool(parameters.hugging) and confluent and lesion.zone == "periventricular"


def _volumes(rng: np.random.Generator, parameters: LesionParameters) -> list[float]:
    """Volumes in mm³ of the first session's lesions."""
    count_share, load_share = _correlated_shares(rng, parameters.load_correlation)
    count = max(1, round(parameters.count.at(count_share)))
    if parameters.load_ml is None:
        return _draw_volumes(rng, parameters.volume_mm3, count)
    load = 1000 * parameters.load_ml.at(load_share)
    confluent = min(max(1, int(rng.binomial(count, parameters.confluent_share))), count - 1)
    for _ in range(_TRIES):
        small = np.array(_draw_volumes(rng, parameters.volume_mm3, count - confluent))
        if small.sum() < load:
            break
    else:  # too many lesions for confluent ones among them
        small, confluent = np.array(_draw_volumes(rng, parameters.volume_mm3, count)), 0
        small = np.maximum(small * load / small.sum(), parameters.volume_mm3.low)
    evenness = np.full(confluent, parameters.confluent_evenness)
    large = (load - small.sum()) * rng.dirichlet(evenness) if confluent else np.zeros(0)
    return [float(volume) for volume in (*small, *np.maximum(large, parameters.volume_mm3.low))]


def _correlated_shares(rng: np.random.Generator, rank_correlation: float) -> tuple[float, float]:
    """Two numbers from 0 to 1 with this Spearman correlation (Gaussian copula: r = 2 sin(pi/6 · rho))."""
    correlation = 2 * np.sin(np.pi / 6 * rank_correlation)
    first, second = rng.standard_normal(2)
    return float(special.ndtr(first)), float(special.ndtr(correlation * first + np.sqrt(1 - correlation**2) * second))


def _draw_volumes(rng: np.random.Generator, volumes: Volumes, count: int) -> list[float]:
    """Log-normal, cut off at ``low`` and ``high``."""
    middle, spread = np.log(volumes.median), max(volumes.log_sd, 1e-9)
    low, high = (special.ndtr((np.log(limit) - middle) / spread) for limit in (volumes.low, volumes.high))
    drawn = np.exp(middle + spread * special.ndtri(rng.uniform(low, high, count)))
    return [float(volume) for volume in np.clip(drawn, volumes.low, volumes.high)]


def _evolve(rng: np.random.Generator, evolution: Evolution, volumes: Sequence[float]) -> list[tuple[float, ...]]:
    """Each lesion's volumes in both sessions; the new ones come last."""
    both: list[tuple[float, ...]] = []
    for volume in volumes:
        fate, factor = rng.random(), uniform(rng, evolution.factor)
        if volume > evolution.largest_mm3 or fate > evolution.growing + evolution.shrinking:
            factor = 1.0
        elif fate > evolution.growing:
            factor = 1 / factor
        both.append((volume, volume * factor))
    if rng.random() < evolution.nothing_new:
        return both
    count = max(1, round(evolution.new.at(float(rng.random()))))
    return both + [(0.0, volume) for volume in _draw_volumes(rng, evolution.new_volume_mm3, count)]


def _draw_lesion(rng: np.random.Generator, parameters: LesionParameters, volumes: tuple[float, ...]) -> Lesion:
    weights = np.array(list(parameters.zones.values()))
    zone = list(parameters.zones)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    if _is_confluent(parameters, volumes) and parameters.hugging and parameters.zones.get("periventricular"):
        zone = "periventricular"
    first, second = np.maximum(
        1, np.exp(np.log(parameters.axis_ratios) + parameters.axis_log_sd * rng.standard_normal(2))
    )
    axes = np.array([first * second, second, 1.0])
    quantile = {name: float(rng.random()) for layer in parameters.layers for name in layer.signal}
    return Lesion(
        zone=zone,
        volumes_mm3=volumes,
        axis_ratios=tuple(float(axis) for axis in axes / axes.prod() ** (1 / 3)),
        border_mm=uniform(rng, parameters.border_mm),
        signals=tuple(
            {name: low + quantile[name] * (high - low) for name, (low, high) in layer.signal.items()}
            for layer in parameters.layers
        ),
    )


def _is_confluent(parameters: LesionParameters, volumes_mm3: Sequence[float]) -> bool:
    """Whether a lesion of these volumes, one for each session, is larger than a single focus becomes."""
    return max(volumes_mm3) > parameters.confluent_mm3


def _enhance(rng: np.random.Generator, enhancement: Enhancement, lesions: Sequence[Lesion]) -> list[Lesion]:
    """Let some take up contrast agent: in the session in which they are seen first."""
    active = rng.random() < enhancement.subjects
    draws = rng.random((2, len(lesions)))
    signals = [uniform(rng, enhancement.signal) for _ in lesions]
    rings = [uniform(rng, enhancement.ring_depth) for _ in lesions]
    able = [number for number, one in enumerate(lesions) if max(one.volumes_mm3) <= enhancement.largest_mm3]
    chosen = {
        number
        for number in able
        if draws[0, number] < (enhancement.lesions if lesions[number].volumes_mm3[0] else enhancement.new_lesions)
    }
    if not active or not able:
        return list(lesions)
    chosen = chosen or {able[int(np.argmin(draws[0, able]))]}
    return [
        _enhancing(enhancement, one, signals[number], rings[number], draws[1, number]) if number in chosen else one
        for number, one in enumerate(lesions)
    ]


def _enhancing(enhancement: Enhancement, lesion: Lesion, signal: float, ring_depth: float, draw: float) -> Lesion:
    """The lesion, taking up contrast agent; as a ring if it is large enough and the draw (0 to 1) says so."""
    ring = draw < enhancement.ring and max(lesion.volumes_mm3) > enhancement.ring_mm3
    seen_first = 1 + next(session for session, volume in enumerate(lesion.volumes_mm3) if volume)
    return replace(lesion, enhancing=(seen_first,), enhancement=signal, ring_depth=ring_depth if ring else None)
