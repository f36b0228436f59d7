"""What a synthetic cohort is drawn from: every number of ``conf/pathology``, with its unit and range.

The models judge themselves (pydantic, strict), so that the configuration and a subject's JSON file hold the very
same thing. An :data:`Interval` is drawn from uniformly. Contrasts are named as their BIDS files end: ``FLAIR``,
``T1w``, ``ce-gadolinium_T1w``, ``T2w``. Signals are relative to white matter (1), what lesions and their mimics add
is in standard deviations of the brain without them.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

ENHANCED = "ce-gadolinium_T1w"
Zone = Literal["periventricular", "juxtacortical", "deep", "infratentorial", "cortical", "deep_grey"]


def uniform(rng: np.random.Generator, interval: Sequence[float]) -> float:
    """A number from an interval [low, high]."""
    low, high = interval
    return float(rng.uniform(low, high))


def _ascending(values: list[float]) -> list[float]:
    if any(first > second for first, second in itertools.pairwise(values)):
        raise ValueError("write the lower number first")
    return values


Interval = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
Positive = Annotated[float, Field(gt=0)]
PositiveInterval = Annotated[list[Positive], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
Share = Annotated[float, Field(ge=0, le=1)]
Contrast = Annotated[str, Field(pattern="^[A-Za-z0-9]+([-_][A-Za-z0-9]+)*$")]
ByContrast = dict[Contrast, Interval]
_MOST_VOXELS = 512


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Quantiles(_Parameters):
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


class Elastic(_Parameters):
    """Random displacement: its smoothness and its standard deviation along each axis, both in mm."""

    width_mm: Positive
    amount_mm: float = Field(ge=0)


class AnatomyParameters(_Parameters):
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
        sharpness: exponent on the template's tissue probabilities, which are an average of many brains.
        folding: standard deviation of the log odds of grey against white matter, over ``folding_mm``.
        outline_mm: how much of the brain's outline the skull-stripping takes off.
        outline_roughness_mm: standard deviation of the same over the surface.
        skull: whether fluid, bone and scalp remain around the brain.
    """

    labels: str | None
    tissues: dict[Literal["white", "cortex", "deep_grey", "fluid", "ventricle", "infratentorial"], list[int]]
    scale: PositiveInterval
    aspect: float = Field(ge=0)
    rotation_deg: float = Field(ge=0)
    flip: Share
    elastic: list[Elastic]
    ventricle_mm: Interval
    atrophy: Interval
    cortex_mm: Positive
    sulci: float = Field(ge=0)
    sharpness: Positive
    folding: float = Field(ge=0)
    folding_mm: Positive
    outline_mm: Annotated[
        list[Annotated[float, Field(ge=0)]], Field(min_length=2, max_length=2), AfterValidator(_ascending)
    ]
    outline_roughness_mm: float = Field(ge=0)
    skull: bool


class ContrastSignals(_Parameters):
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
    noise: float = Field(ge=0)


class Site(_Parameters):
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
    noise: float = Field(ge=0)
    bias: float = Field(ge=0)
    blur_mm: float = Field(ge=0)
    slice_mm: Positive
    slice_axis: Literal[0, 1, 2]


class ScanParameters(_Parameters):
    """How scans of one site differ.

    Args:
        gain_log_sd, noise_log_sd, grey_white_log_sd: scatter of a scan around its site.
        bias_mm: smoothness of the bias field.
        ghost: strength of the ghost that motion leaves, white matter being 1.
        ghost_share: share of the scans with one.
        shift_mm, tilt_deg: standard deviation of what remains of the earlier session's displacement.
    """

    gain_log_sd: float = Field(ge=0)
    noise_log_sd: float = Field(ge=0)
    grey_white_log_sd: float = Field(ge=0)
    bias_mm: Positive
    ghost: Interval
    ghost_share: Share
    shift_mm: float = Field(ge=0)
    tilt_deg: float = Field(ge=0)


class MimicParameters(_Parameters):
    """What is bright (or dark) and no lesion, by contrast, in SD of the brain; an empty entry leaves it out.

    Args:
        caps: at the horns of the lateral ventricles.
        rim: a thin line all around them.
        septum: between them.
        choroid_plexus: within them.
        flow: fluid that moves and so escapes FLAIR's inversion; another one in every scan.
        bright_cortex: patches of it.
        dirty_white: diffuse unevenness of the white matter around the ventricles.
        perivascular_spaces: short thin tubes in white matter and deep grey matter.
        perivascular_count: how many of these.
        vessels: on the surface and in the sulci.
        sinuses: along the midline and the outer surface.
    """

    caps: ByContrast
    rim: ByContrast
    septum: ByContrast
    choroid_plexus: ByContrast
    flow: ByContrast
    bright_cortex: ByContrast
    dirty_white: ByContrast
    perivascular_spaces: ByContrast
    perivascular_count: Interval
    vessels: ByContrast
    sinuses: ByContrast


class Volumes(_Parameters):
    """Log-normal volumes in mm³, drawn again where they fall outside of ``low`` and ``high``."""

    median: Positive
    log_sd: float = Field(ge=0)
    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _can_be_drawn(self) -> "Volumes":
        if not self.low < self.median < self.high:
            raise ValueError(f"median {self.median} must lie between low {self.low} and high {self.high}")
        return self


class Layer(_Parameters):
    """One shell of a lesion.

    Args:
        until: it ends at this depth: 0 the lesion's border, 1 its centre.
        signal: what it adds.
    """

    until: Share
    signal: ByContrast


class Enhancement(_Parameters):
    """Uptake of contrast agent, seen on T1 after gadolinium only.

    Args:
        subjects: share of the subjects who have an enhancing lesion (at least one then).
        lesions: share of those lesions that are there in the first session; of these subjects.
        new_lesions: share of the lesions that are new in the session; of these subjects.
        largest_mm3: larger lesions do not enhance.
        depth: it begins at this depth (0 border, 1 centre); what lies deeper is in the mask.
        ring: share of enhancing lesions in which only a shell enhances.
        ring_depth: that shell ends at this depth.
        signal: what it adds.
    """

    subjects: Share
    lesions: Share
    new_lesions: Share
    largest_mm3: Positive
    depth: Share
    ring: Share
    ring_depth: Interval
    signal: Interval


class Evolution(_Parameters):
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


class LesionParameters(_Parameters):
    """The lesions of a pathology.

    Args:
        count: lesions of the first session.
        load_ml: their total volume; what the lesions drawn from ``volume_mm3`` leave of it goes to few confluent
            ones. None: the load is what ``volume_mm3`` gives.
        load_correlation: Spearman's rank correlation of count and load.
        volume_mm3: volume of one lesion.
        confluent_share: share of the lesions that are confluent, where load remains.
        minimum_voxels: smaller ones are drawn at this size; below it nobody outlines a lesion.
        zones: how likely a lesion's centre lies in which zone.
        axis_ratios: first to second and second to third axis, on average.
        axis_log_sd: scatter of the logarithm of both.
        roughness: standard deviation of the logarithm of the radius over the surface.
        hugging: how much nearer to the ventricle than across confluent lesions grow; 0 not at all.
        spares_grey: how much harder than white matter cortex (and half of that deep grey matter) is to grow into.
        border_mm: width of the soft border.
        small_signal: factor on the signal of lesions of 10 mm³ or less; it is 1 from 300 mm³ on.
        signal_scatter: standard deviation of the signal within a lesion, as a factor.
        layers: from the border to the centre; the last one ends at 1.
    """

    count: Quantiles
    load_ml: Quantiles | None
    load_correlation: float = Field(ge=-1, le=1)
    volume_mm3: Volumes
    confluent_share: Share
    minimum_voxels: int = Field(ge=1)
    zones: dict[Zone, Annotated[float, Field(ge=0)]] = Field(min_length=1)
    axis_ratios: Annotated[list[Annotated[float, Field(ge=1)]], Field(min_length=2, max_length=2)]
    axis_log_sd: float = Field(ge=0)
    roughness: float = Field(ge=0)
    hugging: float = Field(ge=0)
    spares_grey: float = Field(ge=0)
    border_mm: PositiveInterval
    small_signal: Positive
    signal_scatter: float = Field(ge=0)
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


class Pathology(_Parameters):
    """Everything a cohort of one pathology is drawn from.

    Args:
        name: for folders and labels.
        spacing: voxel size in mm along right, anterior, superior.
        field_of_view_mm: the grid's extent along the same axes.
        sessions: 1, or 2 where lesions evolve.
        contrasts: which are scanned.
        signals: what each contrast shows without lesions.
    """

    name: str = Field(pattern="^[a-z][a-z0-9_]*$")
    spacing: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]
    field_of_view_mm: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]
    sessions: Literal[1, 2]
    contrasts: list[Contrast] = Field(min_length=1)
    signals: dict[Contrast, ContrastSignals]
    anatomy: AnatomyParameters
    sites: list[Site] = Field(min_length=1)
    scan: ScanParameters
    mimics: MimicParameters
    lesions: LesionParameters

    @model_validator(mode="after")
    def _fits_together(self) -> "Pathology":
        faults = []
        if self.sessions == 2 and self.lesions.evolution is None:
            faults.append("sessions is 2, but lesions.evolution is null: say what the second session brings")
        shape = [round(extent / step) for extent, step in zip(self.field_of_view_mm, self.spacing, strict=True)]
        if min(shape) < 32 or max(shape) > _MOST_VOXELS:
            faults.append(
                f"field_of_view_mm and spacing give {shape} voxels: 32 to {_MOST_VOXELS} are possible along each axis"
            )
        if len(set(self.contrasts)) < len(self.contrasts):
            faults.append(f"contrasts names one twice: {', '.join(self.contrasts)}")
        known = ", ".join(self.signals)
        for key, names in self._named_contrasts():
            unknown = [name for name in names if name not in self.signals]
            if unknown:
                faults.append(f"{key} names {', '.join(unknown)}, of which signals tells nothing; it knows {known}")
        names = [site.name for site in self.sites]
        if len(set(names)) < len(names):
            faults.append(f"sites must have different names, found {', '.join(names)}")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _named_contrasts(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Every key that names contrasts, and which."""
        yield "contrasts", self.contrasts
        for kind, strengths in self.mimics:
            if isinstance(strengths, dict):
                yield f"mimics.{kind}", list(strengths)
        for number, layer in enumerate(self.lesions.layers):
            yield f"lesions.layers.{number}.signal", list(layer.signal)
