"""``lesionseg predict``: segment studies with a trained model."""

from pathlib import Path

import numpy as np

from lesionseg.commands.evaluate import load_checkpoint, prepare_studies
from lesionseg.commands.scoring import segment
from lesionseg.config.schema import PredictConfig
from lesionseg.data.nifti import write_volume
from lesionseg.io import progress_bar, write_csv
from lesionseg.metrics import lesion_table


def predict(config: PredictConfig) -> int:
    """Write per study a mask, a probability map and a table of lesions, on the grid of its first image."""
    source = load_checkpoint(config)
    card = source.card
    studies = prepare_studies(config, card, labelled=False)
    output = Path(config.output).expanduser().resolve()
    threshold = config.threshold if config.threshold is not None else card.threshold
    with progress_bar("Segmenting", "study", len(studies)) as shown:
        for found in segment(source.network(), card, studies, config.trainer, threshold=threshold):
            name, native = f"{found.study.name}_label-{card.target}", found.study.native
            lesions = lesion_table(
                np.zeros_like(found.mask),
                found.mask,
                native.affine,
                card.criterion,
                probability=found.probability,
                min_volume_mm3=card.min_lesion_volume,
            )
            # Nothing to compare them with.
            left_out = ("side", "verdict", "dice", "touches")
            rows = [{k: value for k, value in one.as_row().items() if k not in left_out} for one in lesions]
            write_volume(output / f"{name}_prob.nii.gz", found.probability, native)
            write_csv(output / f"{name}_lesions.csv", rows)
            write_volume(output / f"{name}_mask.nii.gz", found.mask, native)
            volume = sum(lesion.volume_mm3 for lesion in lesions) / 1000
            shown.write(f"{found.study.name}: {len(lesions)} lesions, {volume:.2f} ml")
            shown.update()
    print(f"Written to {output}")
    return 0
