"""A pathology: everything that a cohort is drawn from, and what of it must fit together."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lesionseg.data.synthetic.parameters.acquisition import ScanParameters, Site
from lesionseg.data.synthetic.parameters.anatomy import AnatomyParameters
from lesionseg.data.synthetic.parameters.contrasts import Contrast, ContrastSignals
from lesionseg.data.synthetic.parameters.distributions import Parameters, Positive
from lesionseg.data.synthetic.parameters.lesions import LesionParameters
from lesionseg.data.synthetic.parameters.mimics import MimicParameters

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
