"""Segment studies with a trained model. The story of ``lesionseg predict``."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from lesionseg.config.schema import PredictConfig
from lesionseg.data.volumes import write_volume
from lesionseg.metrics import lesion_table
from lesionseg.runs.apply import labelled_or_not, load_source
from lesionseg.runs.scoring import segment, write_csv


def predict(config: PredictConfig) -> int:
    """Write per study a mask, a probability map and a table of lesions, on the grid of its first image.

    Returns:
        0.

    Raises:
        InputError: no such checkpoint, faulty scans, or no study with the model's channels.
    """
    source = load_source(config)
    studies = labelled_or_not(config, source.card, labelled=False)
    output = Path(config.output).expanduser().resolve()
    segmentations = segment(
        source.network(),
        source.card,
        studies,
        threshold=config.threshold if config.threshold is not None else source.card.threshold,
        overlap=config.trainer.window_overlap,
        accelerator=config.trainer.accelerator,
        precision=config.trainer.precision,
    )
    for segmentation in tqdm(segmentations, total=len(studies), unit="study", leave=False, delay=3):
        name = f"{segmentation.study.name}_label-{source.card.target}"
        native = segmentation.study.native
        write_volume(output / f"{name}_prob.nii.gz", segmentation.probability, native)
        lesions = lesion_table(
            np.zeros_like(segmentation.mask),
            segmentation.mask,
            native.affine,
            source.card.criterion,
            probability=segmentation.probability,
            min_volume_mm3=source.card.min_lesion_volume,
        )
        columns = [lesion.as_row() for lesion in lesions]
        for row in columns:  # nothing to hold them against
            for key in ("side", "verdict", "dice", "touches"):
                row.pop(key)
        write_csv(output / f"{name}_lesions.csv", columns)
        write_volume(output / f"{name}_mask.nii.gz", segmentation.mask, native)
        volume = sum(lesion.volume_mm3 for lesion in lesions) / 1000
        print(f"{segmentation.study.name}: {len(lesions)} lesions, {volume:.2f} ml", flush=True)
    print(f"Written to {output}")
    return 0
