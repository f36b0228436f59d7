"""Score a trained model on labelled studies. The story of ``lesionseg evaluate``."""

from dataclasses import replace
from pathlib import Path
from textwrap import fill

from tabulate import tabulate
from tqdm import tqdm

from lesionseg.config.schema import EvaluateConfig
from lesionseg.data.files import write_json
from lesionseg.metrics import UNDEFINED_POLICY
from lesionseg.runs.apply import labelled_or_not, load_source
from lesionseg.runs.score_tables import ScoreTables
from lesionseg.runs.scoring import segment


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
    tables = ScoreTables(config.metrics)
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
        tables.add(segmentation, card)
    output = Path(config.output).expanduser().resolve()
    tables.write(output)
    averages, metrics = tables.averages, tables.metrics()
    record = {"checkpoint": source.origin, "weights": source.digest, "threshold": threshold}
    write_json(output / "scores.json", {**record, **metrics})
    columns = ["study", "n_reference", "n_prediction", "lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice"]
    print(tabulate([[case[name] for name in columns] for case in tables.cases], headers=columns, floatfmt=".2f"))
    scores = ("sensitivity", "ppv", "f1")
    means = [
        [name, *(metrics[f"verdict/{name}/lesion_{score}"] for score in scores)] for name in config.metrics.criteria
    ]
    print("\nMeans under other criteria\n" + tabulate(means, ["criterion", "sensitivity", "PPV", "F1"], floatfmt=".2f"))
    print(
        f"\nA lesion counts from {card.min_lesion_volume} mm³ ({card.criterion.connectivity}-connected) and is "
        f"{card.criterion.describe()}; threshold {threshold:g}. Means over "
        f"{averages.lesion_sensitivity.n} studies with lesions: sensitivity {averages.lesion_sensitivity.mean:.2f}, "
        f"PPV {averages.lesion_ppv.mean:.2f}, F1 {averages.lesion_f1.mean:.2f}, Dice {averages.dice.mean:.2f}."
    )
    print(f"\n{fill(UNDEFINED_POLICY, 110)}\n\nWritten to {output}")
    return 0
