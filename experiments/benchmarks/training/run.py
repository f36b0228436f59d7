"""How fast lesionseg trains and segments beside a bare loop, TorchIO's queue, nnU-Net's loader and MONAI's inference,
and what it costs to start, to sweep and to hold many studies: `make bench`, see README.md.

    python run.py [--only patches loop inference start sweep memory manifest]
"""

import argparse
import copy
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torchio as tio
from tabulate import tabulate

from lesionseg.commands.initialise import model_card
from lesionseg.commands.plan import RunSpec, choose_studies, load_dataset
from lesionseg.commands.preflight import preflight
from lesionseg.commands.selection import build_modules
from lesionseg.config.compose import Request, compose_jobs
from lesionseg.data.cache import CachedStudy
from lesionseg.inference import sliding_window
from lesionseg.models import UNet3D, channels_last, fold_norms
from lesionseg.training.trainer import Machine, choose_precision, fit
from lesionseg.transfer.loading import from_scratch

COHORT = ("dataset=synthetic", "dataset.synthetic.subjects=12", "dataset.synthetic.pathology.contrasts=[FLAIR]")
FEW = ("dataset.synthetic.pathology.sessions=1", "split.test=2", "split.validation=2", "train_size=8")
PATCH, ROUNDS = (32, 32, 32), 5
LIGHT = [4, 16, 32, 64]
Row = tuple[str, str, str, str, str]
"""What, ours, beside it, ratio, goal."""


def spec_of(outputs: Path, *overrides: str) -> RunSpec:
    """Return a run of the light recipe on twelve synthetic subjects, prepared."""
    request = Request("train", (*COHORT, *FEW, f"paths.outputs={outputs}", *overrides))
    (job,), _ = compose_jobs(request)
    (spec,) = preflight([job.config])
    return spec


def timed(work: Any) -> float:
    """Return the seconds of wall time that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def paired(*works: Any, rounds: int = ROUNDS) -> list[float]:
    """Return the median seconds of each of some works, done in turn."""
    times = [[timed(work) for work in works] for _ in range(rounds)]
    return np.median(times, axis=0).tolist()


def bench_patches(spec: RunSpec, outputs: Path) -> Iterator[Row]:
    """Patches per second, mirrored at random, half of them on a lesion."""
    count = 200
    network, card = UNet3D(1, widths=LIGHT), model_card(spec.config, [])
    _, data = build_modules(spec, spec.config, network, card, from_scratch(network, card.inputs))
    data.steps = data.validate_every = data.checkpoint_every = count // data.batch_size

    def ours() -> None:
        for _ in data.train_dataloader():
            pass

    studies = spec.studies["train"]
    subjects = [
        tio.Subject(
            image=tio.ScalarImage(tensor=torch.from_numpy(study.images.astype(np.float32))),
            mask=tio.LabelMap(tensor=torch.from_numpy(np.asarray(study.mask)[None])),
        )
        for study in studies
    ]
    flips = tio.RandomFlip(axes=(0, 1, 2))

    def queue() -> None:
        sampler = tio.data.LabelSampler(PATCH, "mask", {0: 1, 1: 1})
        patches = tio.Queue(tio.SubjectsDataset(subjects, transform=flips), 100, count // len(subjects), sampler)
        loader = torch.utils.data.DataLoader(patches, batch_size=2, num_workers=0)
        for _ in loader:
            pass

    works = [("TorchIO's Queue (volumes in memory)", queue)]
    if nnunet := nnunet_loader(studies, outputs):
        works.append(("nnU-Net's loader (blosc2)", lambda: [next(nnunet) for _ in range(count // 2)]))
    mine, *others = paired(ours, *(work for _, work in works), rounds=3)
    for (name, _), seconds in zip(works, others, strict=True):
        yield (
            "patches of 32³ a second",
            f"{count / mine:.0f}",
            f"{count / seconds:.0f} {name}",
            f"{seconds / mine:.1f}",
            "3",
        )


def nnunet_loader(studies: tuple[CachedStudy, ...], outputs: Path) -> Any:
    """Return nnU-Net's loader with random mirrors on the same studies; None where it is not installed."""
    try:
        from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
        from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
        from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
    except ImportError as error:
        print(f"nnU-Net's loader is left out: {error}", file=sys.stderr)
        return None
    folder = outputs / "nnunet"
    folder.mkdir()
    for study in studies:
        mask = np.asarray(study.mask)
        places = np.argwhere(mask[None])
        properties = {"class_locations": {1: places[:10000]}}
        nnUNetDatasetBlosc2.save_case(
            np.asarray(study.images, np.float32), mask[None].astype(np.int8), properties, str(folder / study.name)
        )
    labels = SimpleNamespace(
        has_ignore_label=False, foreground_labels=[1], annotated_classes_key=(1,), all_labels=[0, 1], has_regions=False
    )
    dataset = nnUNetDatasetBlosc2(str(folder))
    return nnUNetDataLoader(dataset, 2, PATCH, PATCH, labels, 0.5, transforms=MirrorTransform((0, 1, 2)))


def bench_loop(spec: RunSpec, outputs: Path) -> Iterator[Row]:
    """Steps per second against a bare loop with the same network and patches, and the share that waits for data."""
    steps = 600
    config, waited = spec.config, [0.0]

    def made() -> tuple[Any, Any]:
        network, card = UNet3D(1, widths=LIGHT, block="plain", norm="batch", convolutions=1), model_card(config, [])
        module, data = build_modules(spec, config, network, card, from_scratch(network, card.inputs))
        data.steps = data.validate_every = data.checkpoint_every = steps
        data.validation = []
        return module, data

    def ours() -> None:
        module, data = made()
        with TemporaryDirectory() as folder:
            fit(
                *(module, data),
                folder=Path(folder),
                machine=Machine(precision=config.trainer.precision),
                monitor=config.metrics.monitor,
                gradient_clip=config.optim.gradient_clip,
                log_every=config.trainer.log_every,
                log=lambda metrics, step: None,
                say=lambda text: None,
            )

    def bare() -> None:
        module, data = made()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network, loss = channels_last(module.network).to(device).train(), module.loss.to(device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=0.005, fused=device.type == "cpu" or None)
        bf16 = choose_precision(config.trainer.precision, "auto") == "bf16-mixed"
        waited[0], began = 0.0, time.perf_counter()
        for batch in data.train_dataloader():
            waited[0] += time.perf_counter() - began
            optimiser.zero_grad()
            image, mask = batch["image"].to(device), batch["mask"].to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                found = loss(network(image), mask)
            found.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            began = time.perf_counter()

    mine, theirs = paired(ours, bare, rounds=3)
    yield (
        "training steps a second",
        f"{steps / mine:.1f}",
        f"{steps / theirs:.1f} bare loop",
        f"{theirs / mine:.2f}",
        "0.95",
    )
    yield ("share of a bare loop that waits for patches", f"{waited[0] / theirs:.1%}", "", "", "at most 5 %")


def bench_inference(spec: RunSpec, outputs: Path) -> Iterator[Row]:
    """A head of 182 × 218 × 182 by windows of 96³ that overlap by a quarter, the light network."""
    from monai.inferers import sliding_window_inference

    torch.manual_seed(0)
    network = channels_last(UNet3D(1, widths=LIGHT, block="plain", norm="batch", convolutions=1)).eval()
    image = torch.zeros(1, 182, 218, 182)
    image[:, 26:156, 29:189, 26:156] = torch.randn(1, 130, 160, 130)
    window = (96, 96, 96)
    with torch.no_grad():  # half of the brain is marked: where all is, every two masks are the same
        network.head.bias -= network(image[None, :, 26:122, 29:125, 26:122]).median()
    folded = fold_norms(copy.deepcopy(network))  # as `lesionseg predict` does

    def ours(volume: torch.Tensor = image) -> torch.Tensor:
        return sliding_window(folded, volume, window, overlap=0.25)

    def monai(volume: torch.Tensor = image) -> torch.Tensor:
        with torch.no_grad():
            logits = sliding_window_inference(volume[None], window, 2, network, overlap=0.25, mode="gaussian")
        return torch.sigmoid(logits)[0, 0]

    mine, theirs = paired(ours, monai, rounds=3)
    yield ("segmenting a head, s", f"{mine:.1f}", f"{theirs:.1f} MONAI", f"{theirs / mine:.1f}", "1.5")
    alike = image[:, 14:, 25:193, 14:]  # of a side of 168 voxels both lay the windows alike
    for where, volume in (("where the windows lie alike", alike), ("of the head", image)):
        a, b = ((segment(volume) >= 0.5) & (volume[0] != 0) for segment in (ours, monai))
        dice = 2 * float((a & b).sum()) / float(a.sum() + b.sum())
        yield (f"Dice of both masks {where}", f"{dice:.4f}", "", "", "above 0.999")


def bench_start(spec: RunSpec, outputs: Path) -> Iterator[Row]:
    """From the command to its first step, everything prepared."""
    settings = ("trainer.steps=20", "trainer.validate_every=20", "trainer.log_every=1", "force=true", "sweep=start")
    command = [sys.executable, "-m", "lesionseg", "train", *COHORT, *FEW, f"paths.outputs={outputs}", *settings]
    seconds = []
    for _ in range(3):
        began = time.time()
        subprocess.run(command, check=True, capture_output=True)
        (metrics,) = (outputs / "runs" / "start").glob("*/metrics.csv")
        first = min(int(line.split(",")[1]) for line in metrics.read_text().splitlines() if ",train/loss," in line)
        seconds.append(first / 1000 - began)
    yield ("command to first step, s", f"{np.median(seconds[1:]):.1f}", "", "", "at most 10")


def bench_sweep(spec: RunSpec, outputs: Path) -> Iterator[Row]:
    """A sweep of six runs over the sum of what these took."""
    settings = ("trainer.steps=300", "trainer.validate_every=300", "sweep=six", "tracking.system_metrics=false")
    axes = ("--multirun", "train_size=2,4,8", "repeat=0,1")
    command = [sys.executable, "-m", "lesionseg", "train", *COHORT, *FEW[:-1], *axes, *settings]
    wall = timed(lambda: subprocess.run([*command, f"paths.outputs={outputs}"], check=True, capture_output=True))
    runs = (outputs / "runs" / "six").glob("*/status.json")
    total = sum(float(json.loads(run.read_text())["tags"]["lesionseg.seconds"]) for run in runs)
    yield (
        "a sweep of 6 runs, s",
        f"{wall:.0f}",
        f"{total:.0f} its runs together",
        f"{wall / total:.2f}",
        "at most 1.05",
    )


def bench_memory(spec: RunSpec, outputs: Path) -> Iterator[Row]:
    """Memory of a process that draws 500 patches of 10, 100 and 1,000 studies."""
    found = []
    for count in (10, 100, 1000):
        command = [sys.executable, __file__, "--draw", str(count), str(outputs)]
        found.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]))
    shown = ", ".join(f"{kilobytes / 1024:.0f}" for kilobytes in found)
    yield ("memory over 10, 100, 1,000 studies, MB", shown, "", f"{found[-1] / found[0]:.2f}", "flat")


def draw(count: int, outputs: Path) -> None:
    """Draw patches of so many studies, copies of a few under names of their own, and print the most memory used."""
    import shutil
    from dataclasses import replace

    from lesionseg.data.patches import PatchDataset

    spec = spec_of(outputs)
    few, studies = spec.studies["train"], []
    for number in range(count):
        folder = outputs / "copies" / str(number)
        if not folder.exists():
            shutil.copytree(few[number % len(few)].folder, folder)
        studies.append(replace(few[number % len(few)], folder=folder))
    patches = PatchDataset(studies, spec.config.task.channels, PATCH, seed=0, length=500, lesion_share=0.5)
    for index in range(len(patches)):
        patches[index]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def bench_manifest(spec: RunSpec, outputs: Path) -> Iterator[Row]:
    """Finding and dividing the studies of a table of 100,000."""
    folder, (_, scan) = outputs / "many", spec.studies["train"][0].study.sources[0]
    mask = spec.studies["train"][0].study.mask
    assert mask is not None
    folder.mkdir()
    lines = ["subject,session,flair,lesion"]
    for number in range(100_000):
        os.symlink(scan, folder / f"{number}.nii.gz")
        os.symlink(mask.path, folder / f"{number}_mask.nii.gz")
        lines.append(f"{number // 2:05d},{number % 2},{number}.nii.gz,{number}_mask.nii.gz")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    settings = ("dataset=manifest", f"dataset.root={folder / 'table.csv'}", "train_size=50", "split.test=30")

    def find() -> None:
        (job,), _ = compose_jobs(Request("train", (*settings, "split.validation=10")))
        choose_studies(job.config, load_dataset(job.config.dataset))

    yield ("finding and dividing 100,000 studies, s", f"{timed(find):.1f}", "", "", "at most 20")


BENCHES = {
    **{"patches": bench_patches, "loop": bench_loop, "inference": bench_inference, "start": bench_start},
    **{"sweep": bench_sweep, "memory": bench_memory, "manifest": bench_manifest},
}


def main() -> None:
    """Measure what is asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(BENCHES), default=list(BENCHES))
    parser.add_argument("--draw", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.draw:
        draw(int(options.draw[0]), Path(options.draw[1]))
        return
    rows: list[Row] = []
    with TemporaryDirectory() as folder:
        outputs = Path(folder)
        spec = spec_of(outputs)
        for name in options.only:
            print(name, file=sys.stderr, flush=True)
            rows += BENCHES[name](spec, outputs)
    print(tabulate(rows, ["", "lesionseg", "beside", "ratio", "goal"], "github", disable_numparse=True))
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")


if __name__ == "__main__":
    main()
