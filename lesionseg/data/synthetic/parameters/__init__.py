"""What a synthetic cohort is drawn from: every number of ``conf/pathology``, with its unit and range.

The models judge themselves (pydantic, strict), so that the configuration and a subject's JSON file hold the very
same thing. An interval [low, high] is drawn from uniformly. Contrasts are named as their BIDS files end: ``FLAIR``,
``T1w``, ``ce-gadolinium_T1w``, ``T2w``. Signals are relative to white matter (1), what lesions and their mimics add
is in standard deviations of the brain without them. The smoothness of a random field is the standard deviation, in mm,
of the bumps that it is made of (:func:`~lesionseg.data.synthetic.fields.smooth_field`).
"""

from lesionseg.data.synthetic.parameters.acquisition import ScanParameters, Site
from lesionseg.data.synthetic.parameters.anatomy import AnatomyParameters, Elastic, SkullLayers
from lesionseg.data.synthetic.parameters.contrasts import ENHANCED, ContrastSignals
from lesionseg.data.synthetic.parameters.distributions import Quantiles, Volumes, uniform
from lesionseg.data.synthetic.parameters.lesions import (
    Enhancement,
    Evolution,
    Layer,
    LesionParameters,
    Zone,
    ZoneLimits,
)
from lesionseg.data.synthetic.parameters.mimic_shapes import MimicShapes
from lesionseg.data.synthetic.parameters.mimics import MimicParameters
from lesionseg.data.synthetic.parameters.pathology import Pathology

__all__ = [
    "ENHANCED",
    "AnatomyParameters",
    "ContrastSignals",
    "Elastic",
    "Enhancement",
    "Evolution",
    "Layer",
    "LesionParameters",
    "MimicParameters",
    "MimicShapes",
    "Pathology",
    "Quantiles",
    "ScanParameters",
    "Site",
    "SkullLayers",
    "Volumes",
    "Zone",
    "ZoneLimits",
    "uniform",
]
