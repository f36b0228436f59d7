"""Pictures of a run's best, median and worst test study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lesionseg.data.cache import CachedStudy
from lesionseg.data.grid import resample
from lesionseg.data.study import MaskFile
from lesionseg.data.volumes import read_mask, read_volume
from lesionseg.report import Panel, write_slices


def picture_cases(
    cases: Sequence[dict[str, Any]], studies: Sequence[CachedStudy], predictions: Path, target: str, path: Path
) -> None:
    """Draw the studies with the highest, the median and the lowest lesionwise F1; those without one come last.

    Args:
        cases: rows of ``cases.csv``.
        studies: the test studies.
        predictions: folder of the stored masks.
        target: name of the mask.
        path: PNG to write.
    """
    ranked = sorted(cases, key=lambda case: -case["lesion_f1"] if case["lesion_f1"] == case["lesion_f1"] else 1.0)
    chosen = {case["study"]: case for case in (ranked[0], ranked[len(ranked) // 2], ranked[-1])}
    panels = []
    for name, case in chosen.items():
        study = next(study for study in studies if study.name == name)
        mask = study.study.mask
        assert mask is not None
        reference, grid = read_mask(mask)
        prediction, _ = read_mask(MaskFile(predictions / f"{name}_label-{target}_pred.nii.gz"))
        image, image_grid = read_volume(study.study.sources[0][1])
        upright = grid.canonical()
        title = (
            f"{name}: F1 {case['lesion_f1']:.2f}\n{case['detected_reference']} of {case['n_reference']} found, "
            f"{case['false_positives']} false"
        )
        arrays = (resample(image, image_grid, upright), resample(reference, grid, upright))
        panels.append(Panel(title, *arrays, resample(prediction, grid, upright), upright.spacing))
    write_slices(panels, path)
