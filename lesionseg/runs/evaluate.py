"""Score a trained model on labelled studies. The story of ``lesionseg evaluate``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from lesionseg.config.schema import EvaluateConfig
from lesionseg.data.files import write_json
from lesionseg.metrics import LesionCurve, average
from lesionseg.runs.apply import labelled_or_not, load_source
from lesionseg.runs.measured import criterion_metrics, froc_metrics, test_metrics
from lesionseg.runs.scoring import (
    case_row,
    criterion_rows,
    curve_rows,
    lesion_rows,
    score,
    segment,
    write_csv,
)


def evaluate(config: EvaluateConfig) -> int:
    """Segment every study that has the model's channels and its target's mask, score it, write and print it.

    With ``sweep`` in place of ``checkpoint`` the stored predictions of a sweep are scored: see `rescore`.

    Returns:
        0.

    Raises:
        InputError: no such checkpoint, or no study that can be scored.
    """
    source = load_source(config)
    card = source.card
    studies = labelled_or_not(config, card, labelled=True)
    if config.min_volume is not None:
        card = replace(card, min_lesion_volume=config.min_volume)
    threshold = config.threshold if config.threshold is not None else card.threshold
    tables: dict[str, list[dict[str, Any]]] = {"cases": [], "lesions": [], "criteria": [], "froc": []}
    curves: list[LesionCurve] = []
    segmentations = segment(
        source.network(),
        card,
        studies,
        threshold=threshold,
        overlap=config.trainer.window_overlap,
        accelerator=config.trainer.accelerator,
        precision=config.trainer.precision,
    )
    for segmentation in tqdm(segmentations, total=len(studies), unit="study", leave=False, delay=3):
        scores, curve = score(segmentation, card, config.metrics)
        curves.append(curve)
        tables["cases"].append(case_row(segmentation.study, scores))
        tables["lesions"] += lesion_rows(segmentation.study, scores)
        tables["criteria"] += criterion_rows(segmentation.study, scores)
        tables["froc"] += curve_rows(segmentation.study, curve)
    output = Path(config.output).expanduser().resolve()
    for name, rows in tables.items():
        write_csv(output / f"{name}.csv", rows)
    averages = average(tables["cases"])
    by_criterion = criterion_metrics(tables["criteria"])
    record = {"checkpoint": source.origin, "weights": source.digest, "threshold": threshold}
    write_json(
        output / "scores.json",
        {**record, **test_metrics(averages), **by_criterion, **froc_metrics(curves, config.metrics)},
    )
    columns = ["study", "n_reference", "n_prediction", "lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice"]
    print(tabulate([[case[name] for name in columns] for case in tables["cases"]], headers=columns, floatfmt=".2f"))
    means = [
        [name, *(by_criterion[f"criteria/{name}/lesion_{score_name}"] for score_name in ("sensitivity", "ppv", "f1"))]
        for name in config.metrics.criteria
    ]
    print("\nMeans under other criteria\n" + tabulate(means, ["criterion", "sensitivity", "PPV", "F1"], floatfmt=".2f"))
    print(
        f"\nA lesion counts from {card.min_lesion_volume} mm³ ({card.criterion.connectivity}-connected) and is "
        f"{card.criterion.describe()}; threshold {threshold:g}. Means over "
        f"{averages.lesion_sensitivity.n} studies with lesions: sensitivity {averages.lesion_sensitivity.mean:.2f}, "
        f"PPV {averages.lesion_ppv.mean:.2f}, F1 {averages.lesion_f1.mean:.2f}, Dice {averages.dice.mean:.2f}."
    )
    print(f"Written to {output}")
    return 0
