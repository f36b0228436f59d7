"""Where the mimics of lesions lie, and how wide they are.

Positions along the lateral ventricles are shares of their length: 0 at their hind end, 1 at their front end.
Thresholds are in standard deviations of a random field: the higher, the less of it is seen.
"""

from lesionseg.data.synthetic.parameters.distributions import (
    NotNegative,
    Parameters,
    Positive,
    PositiveInterval,
    Share,
    ShareInterval,
)


class Caps(Parameters):
    """Caps at the horns of the lateral ventricles.

    Args:
        width_mm: distance outwards of the ventricles' wall at which a factor of e of them is lost (a Gaussian).
        length: share of the ventricles' length, at either end, that has a cap.
        fade: share over which they grow to their full strength.
    """

    width_mm: Positive
    length: Share
    fade: Positive


class Rim(Parameters):
    """The line all around the lateral ventricles.

    Args:
        distance_mm: of its middle from their wall, outwards.
        half_width_mm: from its middle to either edge.
        beyond: how far it goes on before and behind them, as a share of their length.
    """

    distance_mm: float
    half_width_mm: Positive
    beyond: NotNegative


class Septum(Parameters):
    """The septum between the lateral ventricles.

    Args:
        half_width_mm: from the midline to either edge.
        reach_mm: farthest from the ventricles.
        extent: along them.
    """

    half_width_mm: Positive
    reach_mm: Positive
    extent: ShareInterval


class ChoroidPlexus(Parameters):
    """Clumps of choroid plexus in the lateral ventricles.

    Args:
        position: along the ventricles, where it is likeliest.
        spread: distance along them at which a factor of e of that preference is lost (a Gaussian).
        preference: what is added to the clumps there, in their standard deviations.
        threshold: of the clumps.
        clump_mm: their smoothness.
        wall_mm: how far beyond the ventricles' wall it may still lie, in what is fluid there.
    """

    position: float
    spread: Positive
    preference: NotNegative
    threshold: float
    clump_mm: Positive
    wall_mm: float


class BrightCortex(Parameters):
    """Patches of cortex.

    Args:
        threshold: of the patches.
    """

    threshold: float


class CorticalSpots(Parameters):
    """Small bright spots of cortex.

    Args:
        threshold: of the spots.
        spot_mm: their smoothness.
    """

    threshold: float
    spot_mm: Positive


class DirtyWhite(Parameters):
    """Diffuse unevenness of the white matter.

    Args:
        fade_mm: distance from the ventricles over which it loses a factor of e.
        patch_mm: its smoothness.
    """

    fade_mm: Positive
    patch_mm: Positive


class PerivascularSpaces(Parameters):
    """Straight tubes.

    Args:
        length_mm: of one.
        radius_mm: of one: standard deviation of its soft cross-section.
    """

    length_mm: PositiveInterval
    radius_mm: PositiveInterval


class Vessels(Parameters):
    """Tubes that wind along where two random fields are both zero.

    Args:
        winding_mm: smoothness of these fields: the larger, the straighter, wider and rarer the vessels.
        thinness: the larger, the thinner: across, a vessel's standard deviation is about winding_mm / sqrt(thinness).
        outside_fluid: their strength where there is no fluid; where there is nothing else it is larger by 1.
        surface: factor on that at the brain's outline, though never more than 1.
        fade_mm: every so many mm below the outline that factor is less by 1.
        least: what is left of it in the depth.
    """

    winding_mm: Positive
    thinness: Positive
    outside_fluid: NotNegative
    surface: NotNegative
    fade_mm: Positive
    least: Share


class Sinuses(Parameters):
    """Venous sinuses on the surface.

    Args:
        depth_mm: how far they reach below the surface.
        half_width_mm: from the midline to either edge.
        threshold: of the patches beside the midline.
    """

    depth_mm: Positive
    half_width_mm: Positive
    threshold: float


class Flow(Parameters):
    """Fluid that moves.

    Args:
        depth_mm: below the brain's outline, from which on it does.
        threshold: of the patches of it.
        patch_mm: their smoothness.
    """

    depth_mm: NotNegative
    threshold: float
    patch_mm: Positive


class MimicShapes(Parameters):
    """The shape of every mimic; ``patches_mm`` is the smoothness of caps, bright cortex and sinuses."""

    patches_mm: Positive
    caps: Caps
    rim: Rim
    septum: Septum
    choroid_plexus: ChoroidPlexus
    flow: Flow
    bright_cortex: BrightCortex
    cortical_spots: CorticalSpots
    dirty_white: DirtyWhite
    perivascular_spaces: PerivascularSpaces
    vessels: Vessels
    sinuses: Sinuses
