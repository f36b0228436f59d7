"""Parameters of the brain, and of how subjects differ in it."""

from typing import Literal

from pydantic import model_validator

from lesionseg.data.synthetic.parameters.distributions import (
    Interval,
    NotNegative,
    NotNegativeInterval,
    Parameters,
    Positive,
    PositiveInterval,
    Share,
)


class Elastic(Parameters):
    """Random displacement: its smoothness and its standard deviation along each axis, both in mm."""

    width_mm: Positive
    amount_mm: NotNegative


class SkullLayers(Parameters):
    """What lies around the brain where the skull is kept.

    Args:
        fluid_mm, bone_mm, scalp_mm: where each ends, from the brain's outline; the next begins there.
        thickness_log_sd: standard deviation of the logarithm of the layers' thickness over the head.
        width_mm: smoothness of that.
    """

    fluid_mm: Positive
    bone_mm: Positive
    scalp_mm: Positive
    thickness_log_sd: NotNegative
    width_mm: Positive

    @model_validator(mode="after")
    def _in_order(self) -> "SkullLayers":
        if not self.fluid_mm < self.bone_mm < self.scalp_mm:
            raise ValueError(
                f"fluid_mm {self.fluid_mm}, bone_mm {self.bone_mm} and scalp_mm {self.scalp_mm} must go up: each says "
                "where a layer ends, from the brain's outline"
            )
        return self


class AnatomyParameters(Parameters):
    """The brain and how subjects differ.

    Args:
        labels: a label map (NIfTI) to draw brains from; None takes the MNI152 template of nilearn.
        tissues: which labels of that map are which tissue.
        scale: size relative to the template.
        aspect: standard deviation of the logarithm of each axis' own scale.
        rotation_deg: standard deviation of the head's tilt about each axis.
        flip: share of subjects that are mirrored left to right; the MNI152 template is symmetric as it is.
        elastic: smooth displacements that are added up.
        ventricle_mm: how far the ventricles' walls lie outwards of the template's.
        atrophy: log odds that are added to the fluid of the sulci.
        cortex_mm: thickness of the cortex.
        sulci: log odds of fluid that every mm beyond the cortex' thickness adds.
        sulci_range_mm: from how far below that thickness to how far beyond it they are added.
        sulcus_mm: how far from white matter a sulcus may begin; the template's own are grey.
        sulcus_fluid: share of fluid that is taken to be there at least.
        narrow_sulci: odds of fluid where the cortex of two gyri meets; 0 leaves it closed.
        sharpness: exponent on the template's tissue probabilities, which are an average of many brains.
        folding: standard deviation of the log odds of grey against white matter.
        folding_mm: smoothness of that.
        outline_mm: how much of the brain's outline the skull-stripping takes off.
        outline_roughness_mm: standard deviation of the same over the surface.
        outline_width_mm: smoothness of that.
        skull: whether fluid, bone and scalp remain around the brain.
        skull_layers: how thick they are then.
    """

    labels: str | None
    tissues: dict[Literal["white", "cortex", "deep_grey", "fluid", "ventricle", "infratentorial"], list[int]]
    scale: PositiveInterval
    aspect: NotNegative
    rotation_deg: NotNegative
    flip: Share
    elastic: list[Elastic]
    ventricle_mm: Interval
    atrophy: Interval
    cortex_mm: Positive
    sulci: NotNegative
    sulci_range_mm: Interval
    sulcus_mm: NotNegative
    sulcus_fluid: Share
    narrow_sulci: NotNegative
    sharpness: Positive
    folding: NotNegative
    folding_mm: Positive
    outline_mm: NotNegativeInterval
    outline_roughness_mm: NotNegative
    outline_width_mm: Positive
    skull: bool
    skull_layers: SkullLayers
