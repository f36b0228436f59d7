"""Parameters of what is no lesion but looks like one."""

from lesionseg.data.synthetic.parameters.contrasts import ByContrast
from lesionseg.data.synthetic.parameters.distributions import Interval, Parameters
from lesionseg.data.synthetic.parameters.mimic_shapes import MimicShapes


class MimicParameters(Parameters):
    """What is bright (or dark) and no lesion, by contrast, in SD of the brain; an empty entry leaves it out.

    Args:
        caps: at the horns of the lateral ventricles.
        rim: a thin line all around them.
        septum: between them.
        choroid_plexus: within them.
        flow: fluid that moves and so escapes FLAIR's inversion; another one in every scan.
        bright_cortex: patches of it.
        cortical_spots: small bright spots of it.
        dirty_white: diffuse unevenness of the white matter around the ventricles.
        perivascular_spaces: short thin tubes in white matter and deep grey matter.
        perivascular_count: how many of these.
        vessels: on the surface and in the sulci.
        sinuses: along the midline and the outer surface.
        shapes: where each of them lies and how wide it is, the same on every contrast.
    """

    caps: ByContrast
    rim: ByContrast
    septum: ByContrast
    choroid_plexus: ByContrast
    flow: ByContrast
    bright_cortex: ByContrast
    cortical_spots: ByContrast
    dirty_white: ByContrast
    perivascular_spaces: ByContrast
    perivascular_count: Interval
    vessels: ByContrast
    sinuses: ByContrast
    shapes: MimicShapes

    def strengths(self) -> dict[str, ByContrast]:
        """Each mimic's interval by contrast, in the order of the fields."""
        return {kind: value for kind, value in self if isinstance(value, dict)}
