"""Contrasts: how they are named, and what each shows of a brain without lesions."""

from typing import Annotated

from pydantic import Field

from lesionseg.data.synthetic.parameters.distributions import Interval, NotNegative, Parameters, PositiveInterval

ENHANCED = "ce-gadolinium_T1w"
Contrast = Annotated[str, Field(pattern="^[A-Za-z0-9]+([-_][A-Za-z0-9]+)*$")]
ByContrast = dict[Contrast, Interval]


class ContrastSignals(Parameters):
    """What a contrast shows without lesions.

    Args:
        fluid, cortex, deep_grey, bone, scalp: their signal, that of white matter being 1.
        structure: how much of the template's own T1 signal beyond its tissues shows, as a factor.
        texture: unevenness of the tissue, in SD of the brain.
        noise: factor on the site's noise.
    """

    fluid: PositiveInterval
    cortex: PositiveInterval
    deep_grey: PositiveInterval
    bone: PositiveInterval
    scalp: PositiveInterval
    structure: float
    texture: Interval
    noise: NotNegative
