"""nnU-Net v2 for a budget of CPU seconds: prepare a dataset once, then train on a list of cases and segment others.

    python nnunet_arm.py prepare WORK
    python nnunet_arm.py train WORK NAME --train A B ... --validation C ... --test D ... --seconds 600

WORK holds nnUNet_raw/Dataset001_MS. The network is nnU-Net's plain U-Net with fewer features and smaller patches than
it plans for a GPU; its preprocessing, augmentation, loss, deep supervision, oversampling, optimiser and polynomial
learning rate are its own. Runs in an environment of its own (README.md).
"""

import argparse
import json
import os
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("action", choices=["prepare", "train"])
parser.add_argument("work", type=Path)
parser.add_argument("name", nargs="?", default="run")
parser.add_argument("--train", nargs="*", default=[])
parser.add_argument("--validation", nargs="*", default=[])
parser.add_argument("--test", nargs="*", default=[])
parser.add_argument("--seconds", type=float, default=600.0)
parser.add_argument("--patch", type=int, default=64)
parser.add_argument("--features", type=int, nargs="+", default=[8, 16, 32, 64, 128])
parser.add_argument("--mirroring", action="store_true", help="at inference: eight times the time")
parser.add_argument("--seed", type=int, default=0)
OPTIONS = parser.parse_args()
WORK = OPTIONS.work.resolve()
for variable in ("raw", "preprocessed", "results"):
    os.environ[f"nnUNet_{variable}"] = str(WORK / f"nnUNet_{variable}")
os.environ["nnUNet_n_proc_DA"] = "1"  # noqa: SIM112  # 0 crashes the planner
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
import psutil  # noqa: E402
import torch  # noqa: E402
from nnunetv2.experiment_planning.plan_and_preprocess_api import (  # noqa: E402
    extract_fingerprints,
    plan_experiments,
    preprocess,
)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: E402
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: E402

DATASET = "Dataset001_MS"


def main() -> None:
    """Prepare, or train and segment."""
    torch.set_num_threads(1)
    if OPTIONS.action == "prepare":
        extract_fingerprints([1], num_processes=1)
        plan_experiments([1])
        preprocess([1], configurations=["3d_fullres"], num_processes=[1])
    else:
        train()


def train() -> None:
    """Train until the seconds are spent, write the masks of the test cases and how long each part took."""
    np.random.seed(OPTIONS.seed)  # noqa: NPY002  # which its loaders draw from
    torch.manual_seed(OPTIONS.seed)
    folder = WORK / "nnUNet_preprocessed" / DATASET
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    plans["continue_training"] = False
    plans["configurations"]["small"] = small(plans["configurations"]["3d_fullres"])
    dataset = json.loads((folder / "dataset.json").read_text())
    trainer = nnUNetTrainer(plans, "small", 0, dataset, torch.device("cpu"))
    trainer.disable_checkpointing = True
    trainer.do_split = lambda: (OPTIONS.train, OPTIONS.validation)
    trainer.initialize()
    begun, steps = cpu_seconds(), 0
    trainer.on_train_start()
    trainer.network.train()
    while (spent := cpu_seconds() - begun) < OPTIONS.seconds:
        for group in trainer.optimizer.param_groups:  # its schedule, over seconds in place of epochs
            group["lr"] = trainer.initial_lr * (1 - spent / OPTIONS.seconds) ** 0.9
        loss = trainer.train_step(next(trainer.dataloader_train))["loss"]
        steps += 1
        if steps % 100 == 0:
            print(f"step {steps}, {spent:.0f} s, loss {float(loss):.3f}", flush=True)
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        loader._finish()
    trained, wall = cpu_seconds() - begun, time.perf_counter()
    begun = cpu_seconds()
    segment(trainer)
    seconds = {"steps": steps, "training": spent, "until_stopped": trained, "predicting": cpu_seconds() - begun}
    seconds |= {"predicting_wall": time.perf_counter() - wall}
    (WORK / "predictions" / OPTIONS.name / "seconds.json").write_text(json.dumps(seconds, indent=1))


def small(configuration: dict) -> dict:
    """Return nnU-Net's configuration with another patch size and other features."""
    stages = len(OPTIONS.features)
    arguments = configuration["architecture"]["arch_kwargs"] | {
        "n_stages": stages,
        "features_per_stage": OPTIONS.features,
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
    }
    architecture = configuration["architecture"] | {"arch_kwargs": arguments}
    return configuration | {"patch_size": [OPTIONS.patch] * 3, "batch_size": 2, "architecture": architecture}


def segment(trainer: nnUNetTrainer) -> None:
    """Write a mask for each test case."""
    predictor = nnUNetPredictor(
        use_mirroring=OPTIONS.mirroring,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        "nnUNetTrainer",
        trainer.inference_allowed_mirroring_axes,
    )
    output = WORK / "predictions" / OPTIONS.name
    output.mkdir(parents=True, exist_ok=True)
    images = {file.name: file for file in (WORK / "nnUNet_raw" / DATASET).glob("images??/*.nii.gz")}
    predictor.predict_from_files_sequential(
        [[str(images[f"{case}_0000.nii.gz"])] for case in OPTIONS.test],
        [str(output / case) for case in OPTIONS.test],
        save_probabilities=False,
    )


def cpu_seconds() -> float:
    """Return the CPU seconds, user and system, of this process and its workers."""
    own = psutil.Process()
    times = [own.cpu_times(), *(child.cpu_times() for child in own.children(recursive=True))]
    return sum(one.user + one.system for one in times)


if __name__ == "__main__":
    main()
