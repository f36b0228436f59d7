"""Parameters of scanners, and of how their scans differ."""

from typing import Literal

from pydantic import Field

from lesionseg.data.synthetic.parameters.distributions import (
    Interval,
    NotNegative,
    Parameters,
    Positive,
    Share,
    ShareInterval,
)


class Site(Parameters):
    """A scanner with its protocol; subjects and scans of a site scatter around it.

    Args:
        gain: int16 value of white matter.
        grey_white: factor on the difference of grey and white matter.
        noise: standard deviation of the noise in an acquired voxel, white matter being 1.
        bias: standard deviation of the logarithm of the bias field.
        blur_mm: standard deviation of the point spread within a slice.
        slice_mm: slice thickness; below the grid's spacing it does nothing.
        slice_axis: the axis across the slices: 0 sagittal, 1 coronal, 2 axial.
    """

    name: str = Field(pattern="^[A-Za-z0-9]+$")
    gain: Positive
    grey_white: Positive
    noise: NotNegative
    bias: NotNegative
    blur_mm: NotNegative
    slice_mm: Positive
    slice_axis: Literal[0, 1, 2]


class ScanParameters(Parameters):
    """How scans of one site differ.

    Args:
        gain_log_sd, noise_log_sd, grey_white_log_sd: scatter of a scan around its site.
        bias_mm: smoothness of the bias field.
        ghost: strength of the ghost that motion leaves, white matter being 1.
        ghost_share: share of the scans with one.
        ghost_shift: how far it is displaced, as a share of the field of view from back to front.
        shift_mm, tilt_deg: standard deviation of what remains of the earlier session's displacement.
    """

    gain_log_sd: NotNegative
    noise_log_sd: NotNegative
    grey_white_log_sd: NotNegative
    bias_mm: Positive
    ghost: Interval
    ghost_share: Share
    ghost_shift: ShareInterval
    shift_mm: NotNegative
    tilt_deg: NotNegative
