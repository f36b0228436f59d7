"""What a synthetic cohort is drawn from: every number of ``conf/pathology``, with its unit and range.

The models judge themselves (pydantic, strict), so that the configuration and a subject's JSON file hold the very
same thing. An interval [low, high] is drawn from uniformly. Contrasts are named as their BIDS files end: ``FLAIR``,
``T1w``, ``ce-gadolinium_T1w``, ``T2w``. Signals are relative to white matter (1), what lesions and their mimics add
is in standard deviations of the brain without them. The smoothness of a random field is the standard deviation, in mm,
of the bumps that it is made of (:func:`~lesionseg.data.synthetic.fields.smooth_field`).
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class Parameters(BaseModel):
    """Parameters that are frozen, know their keys, and take no number that is none."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _ascending(values: list[float]) -> list[float]:
    if any(first > second for first, second in itertools.pairwise(values)):
        raise ValueError("write the lower number first")
    return values


Positive = Annotated[float, Field(gt=0)]

NotNegative = Annotated[float, Field(ge=0)]

Share = Annotated[float, Field(ge=0, le=1)]

Interval = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_ascending)]

PositiveInterval = Annotated[list[Positive], Field(min_length=2, max_length=2), AfterValidator(_ascending)]

NotNegativeInterval = Annotated[list[NotNegative], Field(min_length=2, max_length=2), AfterValidator(_ascending)]

ShareInterval = Annotated[list[Share], Field(min_length=2, max_length=2), AfterValidator(_ascending)]


def uniform(rng: np.random.Generator, interval: Sequence[float]) -> float:
    """A number from an interval [low, high]."""
    low, high = interval
    return float(rng.uniform(low, high))


class Quantiles(Parameters):
    """A distribution by its quantiles, logarithmic between them: shares from 0 to 1 and the values there."""

    shares: list[Share] = Field(min_length=2)
    values: list[Positive] = Field(min_length=2)

    @model_validator(mode="after")
    def _is_a_distribution(self) -> "Quantiles":
        if len(self.shares) != len(self.values):
            raise ValueError(f"{len(self.shares)} shares and {len(self.values)} values: there must be one of each")
        if self.shares[0] != 0 or self.shares[-1] != 1 or sorted(set(self.shares)) != self.shares:
            raise ValueError(f"shares must go up from 0 to 1, found {self.shares}")
        if sorted(self.values) != self.values:
            raise ValueError(f"values must not go down, found {self.values}")
        return self

    def at(self, share: float) -> float:
        """The value that this share (0 to 1) of the distribution lies below."""
        return float(np.exp(np.interp(share, self.shares, np.log(self.values))))


class Volumes(Parameters):
    """Log-normal volumes in mm³, of which none is smaller than ``low`` or larger than ``high``."""

    median: Positive
    log_sd: NotNegative
    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _can_be_drawn(self) -> "Volumes":
        if not self.low < self.median < self.high:
            raise ValueError(f"median {self.median} must lie between low {self.low} and high {self.high}")
        return self


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


Zone = Literal["periventricular", "juxtacortical", "deep", "infratentorial", "cortical", "deep_grey"]


class ZoneLimits(Parameters):
    """Where the zones of white matter end.

    Args:
        periventricular_mm: farthest from the lateral ventricles.
        beyond_horns: how far that zone goes on before and behind them, as a share of their length.
        juxtacortical_mm: farthest from the cortex; what lies deeper and is not periventricular is deep.
        infratentorial_mm: nearest to the brain's outline.
    """

    periventricular_mm: Positive
    beyond_horns: NotNegative
    juxtacortical_mm: Positive
    infratentorial_mm: NotNegative


class Layer(Parameters):
    """One shell of a lesion.

    Args:
        until: it ends at this depth: 0 the lesion's border, 1 its centre.
        signal: what it adds.
    """

    until: Share
    signal: ByContrast


class Enhancement(Parameters):
    """Uptake of contrast agent, seen on T1 after gadolinium only.

    Args:
        subjects: share of the subjects who have an enhancing lesion (at least one then).
        lesions: share of those lesions that are there in the first session; of these subjects.
        new_lesions: share of the lesions that are new in the session; of these subjects.
        largest_mm3: larger lesions do not enhance.
        depth: it begins at this depth (0 border, 1 centre); what lies deeper is in the mask.
        ring: share of enhancing lesions in which only a shell enhances.
        ring_mm3: lesions of this volume and smaller ones enhance as a whole.
        ring_depth: that shell ends at this depth.
        signal: what it adds.
    """

    subjects: Share
    lesions: Share
    new_lesions: Share
    largest_mm3: Positive
    depth: Share
    ring: Share
    ring_mm3: NotNegative
    ring_depth: Interval
    signal: Interval


class Evolution(Parameters):
    """What the second session brings.

    Args:
        nothing_new: share of subjects without a new lesion.
        new: number of new lesions of the others.
        new_volume_mm3: their volumes.
        growing, shrinking: share of the lesions.
        factor: by which their volume grows or is divided.
        largest_mm3: larger lesions stay as they are.
    """

    nothing_new: Share
    new: Quantiles
    new_volume_mm3: Volumes
    growing: Share
    shrinking: Share
    factor: PositiveInterval
    largest_mm3: Positive


class LesionParameters(Parameters):
    """The lesions of a pathology.

    Args:
        count: lesions of the first session.
        load_ml: their total volume; what the lesions drawn from ``volume_mm3`` leave of it goes to few confluent
            ones. None: the load is what ``volume_mm3`` gives.
        load_correlation: Spearman's rank correlation of count and load.
        volume_mm3: volume of one lesion.
        confluent_share: share of the lesions that are confluent, where load remains.
        confluent_evenness: how evenly they share what remains: concentration of a Dirichlet distribution, the larger
            the more alike they are.
        confluent_mm3: a lesion that is larger in any session counts as confluent.
        minimum_voxels: smaller ones are drawn at this size; below it nobody outlines a lesion.
        zones: how likely a lesion's centre lies in which zone.
        zone_limits: where these end.
        axis_ratios: first to second and second to third axis, on average.
        axis_log_sd: scatter of the logarithm of both.
        vein_scatter: how far the longest axis of a periventricular lesion strays from the veins' direction, straight
            away from the ventricle: standard deviation of its tangent along each axis.
        roughness: standard deviation of the logarithm of the radius over the surface.
        roughness_mm: smoothness of that.
        hugging: how much nearer to the ventricle than across confluent lesions grow; 0 not at all.
        hugging_mm: distance to the ventricle from which on that counts.
        spares_grey: how much harder than white matter cortex (and half of that deep grey matter) is to grow into.
        border_mm: width of the soft border.
        small_signal: factor on the signal of the smallest lesions.
        small_mm3: up to the first of these volumes that factor holds, from the second on it is 1; logarithmic between.
        signal_scatter: standard deviation of the signal within a lesion, as a factor.
        signal_scatter_mm: smoothness of that.
        layers: from the border to the centre; the last one ends at 1.
    """

    count: Quantiles
    load_ml: Quantiles | None
    load_correlation: float = Field(ge=-1, le=1)
    volume_mm3: Volumes
    confluent_share: Share
    confluent_evenness: Positive
    confluent_mm3: Positive
    minimum_voxels: int = Field(ge=1)
    zones: dict[Zone, NotNegative] = Field(min_length=1)
    zone_limits: ZoneLimits
    axis_ratios: Annotated[list[Annotated[float, Field(ge=1)]], Field(min_length=2, max_length=2)]
    axis_log_sd: NotNegative
    vein_scatter: NotNegative
    roughness: NotNegative
    roughness_mm: Positive
    hugging: NotNegative
    hugging_mm: NotNegative
    spares_grey: NotNegative
    border_mm: PositiveInterval
    small_signal: Positive
    small_mm3: PositiveInterval
    signal_scatter: NotNegative
    signal_scatter_mm: Positive
    layers: list[Layer] = Field(min_length=1)
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


_MOST_VOXELS = 512


class Pathology(Parameters):
    """Everything a cohort of one pathology is drawn from.

    Args:
        name: for folders and labels.
        spacing: voxel size in mm along right, anterior, superior.
        field_of_view_mm: the grid's extent along the same axes.
        sessions: 1, or 2 where lesions evolve.
        contrasts: which are scanned.
        signals: what each contrast shows without lesions.
        texture_mm: smoothness of the fields that make the tissue uneven, each with the same share of the variance.
    """

    name: str = Field(pattern="^[a-z][a-z0-9_]*$")
    spacing: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    field_of_view_mm: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    sessions: Literal[1, 2]
    contrasts: list[Contrast] = Field(min_length=1)
    signals: dict[Contrast, ContrastSignals]
    texture_mm: list[Positive] = Field(min_length=1)
    anatomy: AnatomyParameters
    sites: list[Site] = Field(min_length=1)
    scan: ScanParameters
    mimics: MimicParameters
    lesions: LesionParameters

    @model_validator(mode="after")
    def _fits_together(self) -> "Pathology":
        faults = [*self._session_faults(), *self._grid_faults(), *self._contrast_faults(), *self._site_faults()]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _session_faults(self) -> Iterator[str]:
        if self.sessions == 2 and self.lesions.evolution is None:
            yield "sessions is 2, but lesions.evolution is null: say what the second session brings"

    def _grid_faults(self) -> Iterator[str]:
        shape = [round(extent / step) for extent, step in zip(self.field_of_view_mm, self.spacing, strict=True)]
        if min(shape) < 32 or max(shape) > _MOST_VOXELS:
            yield f"field_of_view_mm and spacing give {shape} voxels: 32 to {_MOST_VOXELS} are possible along each axis"

    def _contrast_faults(self) -> Iterator[str]:
        if len(set(self.contrasts)) < len(self.contrasts):
            yield f"contrasts names one twice: {', '.join(self.contrasts)}"
        known = ", ".join(self.signals)
        for key, names in self._named_contrasts():
            unknown = [name for name in names if name not in self.signals]
            if unknown:
                yield f"{key} names {', '.join(unknown)}, of which signals tells nothing; it knows {known}"

    def _site_faults(self) -> Iterator[str]:
        names = [site.name for site in self.sites]
        if len(set(names)) < len(names):
            yield f"sites must have different names, found {', '.join(names)}"

    def _named_contrasts(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Every key that names contrasts, and which."""
        yield "contrasts", self.contrasts
        for kind, strengths in self.mimics.strengths().items():
            yield f"mimics.{kind}", list(strengths)
        for number, layer in enumerate(self.lesions.layers):
            yield f"lesions.layers.{number}.signal", list(layer.signal)
