"""Pictures of a run's test studies: a slice of each, and the best, the median and the worst as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lesionseg.data.grid import Grid, resample
from lesionseg.data.volumes import read_volume
from lesionseg.report.slices import StudySlice, busiest_slice, cut_slice, verdict_map
from lesionseg.runs.scoring import Segmentation, reference_of
from lesionseg.weights import ModelCard


def picture_study(segmentation: Segmentation, card: ModelCard, case: Mapping[str, Any]) -> StudySlice:
    """The slice of a segmented study with the most lesion, each lesion judged as in the scores.

    Args:
        segmentation: of a study with a reference mask, on that mask's grid.
        card: of the model; its criterion and smallest lesion decide.
        case: the study's row of ``cases.csv``.
    """
    reference, grid = reference_of(segmentation.study)
    judged = verdict_map(reference, segmentation.mask, grid.spacing, card.criterion, card.min_lesion_volume)
    upright = grid.canonical()
    verdict = resample(judged, grid, upright).astype(judged.dtype)  # flips and swaps alone
    z = busiest_slice(verdict)
    image, image_grid = read_volume(segmentation.study.study.sources[0][1])
    plane = resample(image, image_grid, _plane(upright, z))[:, :, 0]
    return cut_slice(segmentation.study.name, _facts(case), plane, verdict, upright.spacing, z)


def picture_cases(cases: Sequence[Mapping[str, Any]], slices: Sequence[StudySlice], path: Path) -> None:
    """Draw the studies with the highest, the median and the lowest lesionwise F1; those without one come last.

    Args:
        cases: rows of ``cases.csv``.
        slices: of these studies.
        path: PNG to write.
    """
    from lesionseg.report.figures import write_slices  # half a second, and only this needs it

    ranked = sorted(cases, key=lambda case: -case["lesion_f1"] if case["lesion_f1"] == case["lesion_f1"] else 1.0)
    by_name = {one.study: one for one in slices}
    chosen = dict.fromkeys(case["study"] for case in (ranked[0], ranked[len(ranked) // 2], ranked[-1]))
    write_slices([by_name[name] for name in chosen], path)


def _facts(case: Mapping[str, Any]) -> str:
    """``F1 0.62: 5 of 8 found, 2 false``."""
    f1 = case["lesion_f1"]
    score = f"F1 {f1:.2f}" if f1 == f1 else "no F1"
    found = f"{case['detected_reference']} of {case['n_reference']} found" if case["n_reference"] else "no lesion"
    return f"{score}: {found}, {case['false_positives']} false"


def _plane(grid: Grid, z: int) -> Grid:
    """One axial slice of a grid."""
    x, y, _ = grid.shape
    return grid.crop((slice(0, x), slice(0, y), slice(z, z + 1)))
