"""The audit's table."""

from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING

from tabulate import SEPARATING_LINE, tabulate

if TYPE_CHECKING:
    from lesionseg.data.audit import StudyAudit

WIDTH = 110
"""Columns of text."""

_HEADERS = {
    "study": "left",
    "prior\nsession": "left",
    "shape": "left",
    "spacing\nmm": "left",
    "axes": "left",
    "brain\n%": "right",
    "intensity\nin it": "right",
    "lesions": "right",
    "volume\nml": "right",
    "least\nmm³": "right",
    "largest\nmm³": "right",
    "faults": "right",
}
_GAP = 2
_SHORTEST_NAME = 8


def audit_table(rows: "Sequence[StudyAudit]") -> str:
    """One row a study, at most 110 columns wide; shape, spacing, axes, brain and its lowest and highest
    intensity are the first image's.

    Columns in which nothing stands are left out, and long names are cut at their beginning.
    """
    table = [list(_HEADERS), *(_cells(row) for row in rows)]
    used = [number for number in range(len(_HEADERS)) if any(cells[number] for cells in table[1:])]
    table = [[cells[number] for number in used] for cells in table]
    widths = [max(len(line) for cells in table for line in cells[number].split("\n")) for number in range(len(used))]
    room = WIDTH - sum(widths[1:]) - _GAP * (len(used) - 1)
    lines = [[_shortened(cells[0], max(room, _SHORTEST_NAME)), *cells[1:]] for cells in table]
    return tabulate(
        # Headers as a row of their own: tabulate pads real ones by two columns each.
        [lines[0], SEPARATING_LINE, *lines[1:]],
        tablefmt="simple",
        disable_numparse=True,
        colalign=[list(_HEADERS.values())[number] for number in used],
    )


def _cells(row: "StudyAudit") -> list[str]:
    image = row.images[0] if row.images else None
    mask = row.mask
    return [
        row.study,
        row.prior.rpartition("_ses-")[2] if row.prior else "",
        "×".join(map(str, image.shape)) if image else "",
        "×".join(f"{edge:.2g}" for edge in image.spacing) if image else "",
        image.axes if image else "",
        f"{100 * image.brain_share:.0f}" if image else "",
        f"{_short(image.minimum)}…{_short(image.maximum)}" if image else "",
        str(mask.lesion_count) if mask else "",
        f"{mask.volume_ml:.2f}" if mask else "",
        _volume(mask.smallest_mm3) if mask else "",
        _volume(mask.largest_mm3) if mask else "",
        str(len(row.faults)) if row.faults else "",
    ]


def _short(intensity: float) -> str:
    return "-" if isnan(intensity) else f"{intensity:.4g}"


def _volume(value: float) -> str:
    """A lesion's volume, or a dash where there is no lesion."""
    if isnan(value):
        return "-"
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _shortened(text: str, longest: int) -> str:
    """The text, or its end after an ellipsis: names differ at their ends."""
    return text if len(text) <= longest else f"…{text[1 - longest :]}"
