"""What a synthetic cohort is drawn from: every number of ``conf/pathology``, with its unit and range.

An interval [low, high] is drawn from uniformly. Contrasts are named as their BIDS files end (``FLAIR``,
``ce-gadolinium_T1w``). Signals are relative to white matter (1); what lesions and their mimics add is in standard
deviations (SD) of the brain without them. The smoothness of a random field is the SD in mm of the bumps it is made of.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lesionseg.synthetic.distributions import (
    Interval,
    NotNegative,
    NotNegativeInterval,
    Parameters,
    Positive,
    PositiveInterval,
    Quantiles,
    Share,
    ShareInterval,
    Volumes,
)

ENHANCED = "ce-gadolinium_T1w"
_MOST_VOXELS = 512

Contrast = Annotated[str, Field(pattern="^[A-Za-z0-9]+([-_][A-Za-z0-9]+)*$")]
ByContrast = dict[Contrast, Interval]


class ContrastSignals(Parameters):
    """What a contrast shows without lesions."""

    fluid: PositiveInterval
    cortex: PositiveInterval
    deep_grey: PositiveInterval
    bone: PositiveInterval
    scalp: PositiveInterval
    structure: float  # factor on the template's own T1 signal beyond its tissues
    texture: Interval  # unevenness of the tissue, in SD of the brain
    noise: NotNegative  # factor on the site's noise


class Site(Parameters):
    """A scanner with its protocol; subjects and scans of a site scatter around it."""

    name: str = Field(pattern="^[A-Za-z0-9]+$")
    gain: Positive  # int16 value of white matter
    grey_white: Positive  # factor on the difference of grey and white matter
    noise: NotNegative  # SD in an acquired voxel, white matter being 1
    bias: NotNegative  # SD of the logarithm of the bias field
    blur_mm: NotNegative  # SD of the point spread within a slice
    slice_mm: Positive  # slice thickness; below the grid's spacing it has no effect
    slice_axis: Literal[0, 1, 2]  # the axis across the slices: 0 sagittal, 1 coronal, 2 axial


class ScanParameters(Parameters):
    """How the scans of one site differ."""

    gain_log_sd: NotNegative  # scatter of a scan around its site, as of the next two
    noise_log_sd: NotNegative
    grey_white_log_sd: NotNegative
    bias_mm: Positive  # smoothness of the bias field
    ghost: Interval  # strength of the ghost that motion leaves, white matter being 1
    ghost_share: Share  # of the scans with one
    ghost_shift: ShareInterval  # its displacement, as a share of the field of view from back to front
    shift_mm: NotNegative  # SD of what registration leaves of an earlier session's displacement
    tilt_deg: NotNegative


class Elastic(Parameters):
    """A random displacement."""

    width_mm: Positive  # smoothness
    amount_mm: NotNegative  # SD along each axis


class SkullLayers(Parameters):
    """What lies around the brain where the skull is kept; each layer ends so many mm from the brain's outline."""

    fluid_mm: Positive
    bone_mm: Positive
    scalp_mm: Positive
    thickness_log_sd: NotNegative  # SD of the logarithm of the layers' thickness over the head
    width_mm: Positive  # smoothness of that

    @model_validator(mode="after")
    def _in_order(self) -> "SkullLayers":
        if not self.fluid_mm < self.bone_mm < self.scalp_mm:
            raise ValueError(
                f"fluid_mm {self.fluid_mm}, bone_mm {self.bone_mm} and scalp_mm {self.scalp_mm} must go up: each says "
                "where a layer ends, from the brain's outline"
            )
        return self


class AnatomyParameters(Parameters):
    """The brain and how subjects differ."""

    labels: str | None  # a label map (NIfTI) to draw brains from; None takes nilearn's MNI152 template
    tissues: dict[Literal["white", "cortex", "deep_grey", "fluid", "ventricle", "infratentorial"], list[int]]  # of it
    scale: PositiveInterval  # size relative to the template
    aspect: NotNegative  # SD of the logarithm of each axis' own scale
    rotation_deg: NotNegative  # SD of the head's tilt about each axis
    flip: Share  # of subjects mirrored left to right; the MNI152 template is symmetric as it is
    elastic: list[Elastic]  # displacements that are added up
    ventricle_mm: Interval  # how far the ventricles' walls lie outwards of the template's
    atrophy: Interval  # log odds added to the fluid of the sulci
    cortex_mm: Positive  # thickness of the cortex
    sulci: NotNegative  # log odds of fluid that every mm beyond that thickness adds
    sulci_range_mm: Interval  # from how far below that thickness to how far beyond it they are added
    sulcus_mm: NotNegative  # how far from white matter a sulcus may begin; the template's own are grey
    sulcus_fluid: Share  # least share of fluid there
    narrow_sulci: NotNegative  # odds of fluid where the cortex of two gyri meets; 0 leaves it closed
    sharpness: Positive  # exponent on the template's tissue probabilities, an average of many brains
    folding: NotNegative  # SD of the log odds of grey against white matter
    folding_mm: Positive  # smoothness of that
    outline_mm: NotNegativeInterval  # how much of the brain's outline the skull-stripping takes off
    outline_roughness_mm: NotNegative  # SD of the same over the surface
    outline_width_mm: Positive  # smoothness of that
    skull: bool  # whether fluid, bone and scalp remain around the brain
    skull_layers: SkullLayers


Zone = Literal["periventricular", "juxtacortical", "deep", "infratentorial", "cortical", "deep_grey"]


class ZoneLimits(Parameters):
    """Where the zones of white matter end."""

    periventricular_mm: Positive  # farthest from the lateral ventricles
    beyond_horns: NotNegative  # how far that zone goes on before and behind them, as a share of their length
    juxtacortical_mm: Positive  # farthest from the cortex; what is deeper and not periventricular is deep
    infratentorial_mm: NotNegative  # nearest to the brain's outline


class Layer(Parameters):
    """One shell of a lesion."""

    until: Share  # it ends at this depth: 0 the lesion's border, 1 its centre
    signal: ByContrast  # what it adds


class Enhancement(Parameters):
    """Uptake of contrast agent, seen on T1 after gadolinium only."""

    subjects: Share  # who have an enhancing lesion, at least one
    lesions: Share  # of these subjects' first lesions that enhance
    new_lesions: Share  # of these subjects' new lesions that enhance
    largest_mm3: Positive  # larger lesions do not enhance
    depth: Share  # it begins at this depth (0 border, 1 centre); what lies deeper is in the mask
    ring: Share  # of enhancing lesions in which only a shell enhances
    ring_mm3: NotNegative  # lesions up to this volume enhance as a whole
    ring_depth: Interval  # that shell ends at this depth
    signal: Interval  # what it adds


class Evolution(Parameters):
    """What the second session brings."""

    nothing_new: Share  # of subjects without a new lesion
    new: Quantiles  # number of new lesions of the others
    new_volume_mm3: Volumes
    growing: Share  # of the lesions
    shrinking: Share
    factor: PositiveInterval  # by which their volume grows or is divided
    largest_mm3: Positive  # larger lesions stay as they are


class LesionParameters(Parameters):
    """The lesions of a pathology."""

    count: Quantiles  # lesions of the first session
    load_ml: Quantiles | None  # total volume; what volume_mm3 leaves of it goes to confluent ones; None: no target
    load_correlation: float = Field(ge=-1, le=1)  # Spearman's, of count and load
    volume_mm3: Volumes  # of one lesion
    confluent_share: Share  # of the lesions, where load remains
    confluent_evenness: Positive  # concentration of the Dirichlet distribution that shares out the remaining load
    confluent_mm3: Positive  # a lesion that is larger in any session counts as confluent
    minimum_voxels: int = Field(ge=1)  # smaller ones are drawn at this size
    zones: dict[Zone, NotNegative] = Field(min_length=1)  # how likely a lesion's centre lies in which zone
    zone_limits: ZoneLimits
    axis_ratios: Annotated[list[Annotated[float, Field(ge=1)]], Field(min_length=2, max_length=2)]  # 1st:2nd, 2nd:3rd
    axis_log_sd: NotNegative  # scatter of the logarithm of both
    vein_scatter: NotNegative  # SD of the tangent of a periventricular lesion's long axis to the veins, on each axis
    roughness: NotNegative  # SD of the logarithm of the radius over the surface
    roughness_mm: Positive  # smoothness of that
    hugging: NotNegative  # how much nearer to the ventricle than across confluent lesions grow
    hugging_mm: NotNegative  # distance to the ventricle from which on that counts
    spares_grey: NotNegative  # how much harder cortex (deep grey: half) is to grow into than white matter
    border_mm: PositiveInterval  # width of the soft border
    small_signal: Positive  # factor on the signal of the smallest lesions
    small_mm3: PositiveInterval  # it holds up to the first volume and is 1 from the second on; logarithmic between
    signal_scatter: NotNegative  # SD of the signal within a lesion, as a factor
    signal_scatter_mm: Positive  # smoothness of that
    layers: list[Layer] = Field(min_length=1)  # from the border to the centre; the last one ends at 1
    enhancement: Enhancement | None
    evolution: Evolution | None

    @model_validator(mode="after")
    def _whole(self) -> "LesionParameters":
        ends = [layer.until for layer in self.layers]
        if ends != sorted(set(ends)) or ends[-1] != 1:
            raise ValueError(f"layers must end one after the other, the last at 1.0; found {ends}")
        if not sum(self.zones.values()) > 0:
            raise ValueError("zones: at least one must be likelier than 0")
        return self


class Caps(Parameters):
    """Caps at the horns of the lateral ventricles."""

    width_mm: Positive  # distance outwards of the wall at which a factor of e is lost (a Gaussian)
    length: Share  # of the ventricles' length, at either end, that has a cap
    fade: Positive  # share over which they grow to their full strength


class Rim(Parameters):
    """The line all around the lateral ventricles."""

    distance_mm: float  # of its middle from their wall, outwards
    half_width_mm: Positive
    beyond: NotNegative  # how far it goes on before and behind them, as a share of their length


class Septum(Parameters):
    """The septum between the lateral ventricles."""

    half_width_mm: Positive
    reach_mm: Positive  # farthest from the ventricles
    extent: ShareInterval  # along them


class ChoroidPlexus(Parameters):
    """Clumps of choroid plexus in the lateral ventricles."""

    position: float  # along the ventricles, where it is likeliest
    spread: Positive  # distance along them at which a factor of e of that preference is lost (a Gaussian)
    preference: NotNegative  # added to the clumps there, in their SD
    threshold: float
    clump_mm: Positive  # smoothness
    wall_mm: float  # how far beyond the ventricles' wall it may lie, in what is fluid there


class BrightCortex(Parameters):
    """Patches of cortex."""

    threshold: float


class CorticalSpots(Parameters):
    """Small bright spots of cortex."""

    threshold: float
    spot_mm: Positive  # smoothness


class DirtyWhite(Parameters):
    """Diffuse unevenness of the white matter."""

    fade_mm: Positive  # distance from the ventricles over which it loses a factor of e
    patch_mm: Positive  # smoothness


class PerivascularSpaces(Parameters):
    """Straight tubes."""

    length_mm: PositiveInterval
    radius_mm: PositiveInterval  # SD of the soft cross-section


class Vessels(Parameters):
    """Tubes that wind along where two random fields are both zero."""

    winding_mm: Positive  # smoothness of the fields: the larger, the straighter, wider and rarer the vessels
    thinness: Positive  # across, a vessel's SD is about winding_mm / sqrt(thinness)
    outside_fluid: NotNegative  # strength where there is no fluid; in pure fluid it is larger by 1
    surface: NotNegative  # factor on that at the brain's outline, though never more than 1
    fade_mm: Positive  # every so many mm below the outline that factor is less by 1
    least: Share  # what is left of it in the depth


class Sinuses(Parameters):
    """Venous sinuses on the surface."""

    depth_mm: Positive  # how far they reach below the surface
    half_width_mm: Positive  # from the midline
    threshold: float  # of the patches beside the midline


class Flow(Parameters):
    """Fluid that moves."""

    depth_mm: NotNegative  # below the brain's outline, from which on it does
    threshold: float
    patch_mm: Positive  # smoothness


class MimicShapes(Parameters):
    """Where each mimic lies and how wide it is, the same on every contrast."""

    patches_mm: Positive  # smoothness of caps, bright cortex and sinuses
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


class MimicParameters(Parameters):
    """What is bright (or dark) and no lesion, by contrast, in SD of the brain; an empty entry leaves it out."""

    caps: ByContrast  # at the horns of the lateral ventricles
    rim: ByContrast  # a thin line all around them
    septum: ByContrast  # between them
    choroid_plexus: ByContrast  # within them
    flow: ByContrast  # fluid that moves and so escapes FLAIR's inversion; differs from scan to scan
    bright_cortex: ByContrast
    cortical_spots: ByContrast
    dirty_white: ByContrast  # around the ventricles
    perivascular_spaces: ByContrast  # short thin tubes in white matter and deep grey matter
    perivascular_count: Interval
    vessels: ByContrast  # on the surface and in the sulci
    sinuses: ByContrast  # along the midline and the outer surface
    shapes: MimicShapes

    def strengths(self) -> dict[str, ByContrast]:
        """Return each mimic's interval by contrast, in the order of the fields."""
        return {kind: value for kind, value in self if isinstance(value, dict)}


class Pathology(Parameters):
    """Everything a cohort of one pathology is drawn from."""

    name: str = Field(pattern="^[a-z][a-z0-9_]*$")  # for folders and labels
    spacing: Annotated[list[Positive], Field(min_length=3, max_length=3)]  # mm along right, anterior, superior
    field_of_view_mm: Annotated[list[Positive], Field(min_length=3, max_length=3)]  # along the same axes
    sessions: Literal[1, 2]  # 2 where lesions evolve
    contrasts: list[Contrast] = Field(min_length=1)  # that are scanned
    signals: dict[Contrast, ContrastSignals]
    texture_mm: list[Positive] = Field(min_length=1)  # smoothness of the texture's fields, of equal variance
    anatomy: AnatomyParameters
    sites: list[Site] = Field(min_length=1)
    scan: ScanParameters
    mimics: MimicParameters
    lesions: LesionParameters

    @model_validator(mode="after")
    def _fits_together(self) -> "Pathology":
        if faults := list(self._faults()):
            raise ValueError("; ".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        if self.sessions == 2 and self.lesions.evolution is None:
            yield "sessions is 2, but lesions.evolution is null: say what the second session brings"
        shape = [round(extent / step) for extent, step in zip(self.field_of_view_mm, self.spacing, strict=True)]
        if min(shape) < 32 or max(shape) > _MOST_VOXELS:
            yield f"field_of_view_mm and spacing give {shape} voxels: 32 to {_MOST_VOXELS} are possible along each axis"
        if len(set(self.contrasts)) < len(self.contrasts):
            yield f"contrasts names one twice: {', '.join(self.contrasts)}"
        named: dict[str, Sequence[str]] = {"contrasts": self.contrasts}
        named |= {f"mimics.{kind}": list(strengths) for kind, strengths in self.mimics.strengths().items()}
        named |= {f"lesions.layers.{number}.signal": list(one.signal) for number, one in enumerate(self.lesions.layers)}
        for key, names in named.items():
            if unknown := [name for name in names if name not in self.signals]:
                known = ", ".join(self.signals)
                yield f"{key} names {', '.join(unknown)}, of which signals tells nothing; it knows {known}"
        names = [site.name for site in self.sites]
        if len(set(names)) < len(names):
            yield f"sites must have different names, found {', '.join(names)}"
