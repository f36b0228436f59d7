"""Score a trained model on labelled studies. The story of ``lesionseg evaluate``."""

from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from lesionseg.config.schema import EvaluateConfig
from lesionseg.data.files import write_json
from lesionseg.metrics import average
from lesionseg.runs.apply import labelled_or_not, load_source
from lesionseg.runs.scoring import case_row, lesion_rows, score, segment, write_csv
from lesionseg.runs.train import test_metrics


def evaluate(config: EvaluateConfig) -> int:
    """Segment every study that has the model's channels and its target's mask, score it, write and print it.

    Returns:
        0.

    Raises:
        InputError: no such checkpoint, or no study that can be scored.
    """
    source = load_source(config)
    studies = labelled_or_not(config, source.card, labelled=True)
    threshold = config.threshold if config.threshold is not None else source.card.threshold
    cases: list[dict[str, Any]] = []
    lesions: list[dict[str, Any]] = []
    segmentations = segment(
        source.network(),
        source.card,
        studies,
        threshold=threshold,
        overlap=config.trainer.window_overlap,
        accelerator=config.trainer.accelerator,
        precision=config.trainer.precision,
    )
    for segmentation in tqdm(segmentations, total=len(studies), unit="study", leave=False, delay=3):
        scores = score(segmentation, source.card)
        cases.append(case_row(segmentation.study, scores))
        lesions += lesion_rows(segmentation.study, scores)
    output = Path(config.output).expanduser().resolve()
    write_csv(output / "cases.csv", cases)
    write_csv(output / "lesions.csv", lesions)
    averages = average(cases)
    record = {"checkpoint": source.origin, "weights": source.digest, "threshold": threshold}
    write_json(output / "scores.json", {**record, **test_metrics(averages)})
    columns = [
        "study",
        "n_reference",
        "n_prediction",
        "lesion_sensitivity",
        "lesion_ppv",
        "lesion_f1",
        "dice",
    ]
    print(tabulate([[case[name] for name in columns] for case in cases], headers=columns, floatfmt=".2f"))
    print(
        f"\nA lesion counts from {source.card.min_lesion_volume} mm³ ({source.card.connectivity}-connected) and is "
        f"found where one voxel overlaps; threshold {threshold}. Means over "
        f"{averages.lesion_sensitivity.n} studies with lesions: sensitivity {averages.lesion_sensitivity.mean:.2f}, "
        f"PPV {averages.lesion_ppv.mean:.2f}, F1 {averages.lesion_f1.mean:.2f}, Dice {averages.dice.mean:.2f}."
    )
    print(f"Written to {output}")
    return 0
