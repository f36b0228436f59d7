"""What a training recipe reaches on the quickstart's cohort: lesion F1 and seconds of one core a run.

    python experiments/recipe/run.py outputs [RECIPE ...]

Each recipe is the quickstart's configuration with 450 steps and a few keys changed, trained from scratch on 12
subjects in three repeats. Runs that are finished are not made again.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

STUDY = Path(__file__).parents[1] / "quickstart"
RECIPES: dict[str, list[str]] = {
    "quickstart": [],
    "half the steps": ["trainer.steps=225"],
    "twice the steps": ["trainer.steps=900"],
    "20 times the steps": ["trainer.steps=9000"],
    "Dice with cross-entropy": ["loss=dice_ce", "metrics.threshold=0.5"],
    "instance norm": ["model.network.norm=instance"],
    "no head bias": ["model.network.head_bias=null"],
    "all augmentations": ["augment=standard"],
    "learning rate 0.01": ["optim.learning_rate=0.01"],
    "learning rate 0.002": ["optim.learning_rate=0.002"],
    "patches of 48": ["task.patch_size=[48,48,48]", "trainer.steps=150"],
    "patches of 24": ["task.patch_size=[24,24,24]", "trainer.batch_size=4"],
    "residual pairs of convolutions": ["model=tiny_unet", "trainer.steps=150"],
    "that of before": [
        *("model=tiny_unet", "loss=dice_ce", "augment=standard", "task.patch_size=[48,48,48]", "trainer.steps=45"),
        *("metrics.threshold=0.5", "metrics.threshold_criterion=null"),
    ],
    "no learning": ["init=threshold"],
}


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("recipes", nargs="*", default=[name for name in RECIPES if "20 times" not in name])
    options = parser.parse_args()
    rows = []
    for name in options.recipes:
        sweep = "recipe-" + re.sub(r"\W+", "-", name)
        budget = ["trainer.steps=450", "trainer.validate_every=450"]
        own = ["init=scratch", "train_size=12", *budget, *RECIPES[name], f"sweep={sweep}"]
        own.append(f"paths.outputs={options.outputs}")
        command = [sys.executable, "-m", "lesionseg", "train", "--config-dir", STUDY, "--config-name", "study", *own]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for file in sorted((options.outputs / "runs" / sweep).glob("*/status.json")):
            cases = pd.read_csv(file.with_name("cases.csv")).query("n_reference > 0")
            status = json.loads(file.read_text(encoding="utf-8"))
            seconds = float(status["tags"].get("lesionseg.seconds", "nan"))
            rows.append({"recipe": name, "seconds": seconds, **cases[["lesion_f1", "dice"]].mean()})
        table = pd.DataFrame(rows).groupby("recipe", sort=False)
        means, spread = table.mean(), table["lesion_f1"].agg(["min", "max"])
        print(means.assign(lowest=spread["min"], highest=spread["max"]).round(3).to_markdown(), flush=True)


if __name__ == "__main__":
    main()
