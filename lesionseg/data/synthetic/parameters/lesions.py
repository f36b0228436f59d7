"""Parameters of lesions: number, volume, place, shape, signal, enhancement, evolution."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lesionseg.data.synthetic.parameters.contrasts import ByContrast
from lesionseg.data.synthetic.parameters.distributions import (
    Interval,
    NotNegative,
    Parameters,
    Positive,
    PositiveInterval,
    Quantiles,
    Share,
    Volumes,
)

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
