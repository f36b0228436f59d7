"""How long a sweep will take, from a few steps on this machine."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import torch
from torch import nn

from lesionseg.build import build
from lesionseg.config.schema import TrainConfig
from lesionseg.data.augmentation import Augmentation
from lesionseg.data.patches import PatchDataset
from lesionseg.inference import sliding_window
from lesionseg.models import channels_last
from lesionseg.runs.cohort import load_cohort
from lesionseg.runs.plan import cache_of, make_plan, triple
from lesionseg.training import choose_precision

_STEPS = 4
_START = 3.0  # seconds to read the data, open the store and start workers, per run


def announce(sources: Sequence[TrainConfig], jobs: Sequence[TrainConfig]) -> None:
    """Print how many runs there will be and about how long they take, if that is worth a line."""
    jobs = [*sources, *jobs]
    seconds: dict[str, float] = {}
    total = 0.0
    for job in jobs:
        work = steps_and_validations(job)
        kind = f"{work} {job.model.name} {job.trainer.model_dump_json()} {job.task.name} {job.dataset.name}"
        if kind not in seconds:
            seconds[kind] = run_seconds(job)
        total += seconds[kind]
    what = f"{len(jobs)} runs" if len(jobs) > 1 else "1 run"
    if sources:
        what += " (one of them the source model)"
    print(
        f"{what}, about {timedelta(seconds=round(total))} one after the other on this machine, less what is finished "
        "already.",
        flush=True,
    )


def run_seconds(job: TrainConfig) -> float:
    """Seconds that one run takes: measured steps and one measured volume, times how many of each there are."""
    if job.trainer.threads:
        torch.set_num_threads(job.trainer.threads)
    plan = make_plan(job, load_cohort(job.dataset))
    cache, spacing, size = cache_of(job.paths), triple(job.task.spacing), triple(job.task.patch_size)
    train = cache.get_all(plan.part(plan.split.train[:2]), spacing)
    patches = PatchDataset(
        train,
        job.task.channels,
        size,
        seed=0,
        length=_STEPS * job.trainer.batch_size,
        lesion_share=job.trainer.lesion_share,
        augment=Augmentation(job.augment.transforms) if job.augment.transforms else None,
    )
    device = torch.device("cuda" if torch.cuda.is_available() and job.trainer.accelerator != "cpu" else "cpu")
    bf16 = choose_precision(job.trainer.precision, job.trainer.accelerator) == "bf16-mixed"
    network: nn.Module = build(job.model.network, nn.Module)
    network = channels_last(network).to(device)
    images = [patches[index]["image"] for index in range(len(patches))]
    batch = torch.stack(images[: job.trainer.batch_size]).to(device)
    volume = torch.from_numpy(train[0].channels(job.task.channels)).to(device)

    def cut() -> None:
        for index in range(len(patches)):
            patches[index]

    def learn() -> None:
        for _ in range(_STEPS):
            network(batch).float().mean().backward()

    def segment() -> None:
        sliding_window(network, volume, size, overlap=job.trainer.window_overlap)

    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        cutting, learning = _second_time(cut) / _STEPS, _second_time(learn) / _STEPS
        network.eval()
        segmenting = _second_time(segment)
    workers = min(job.trainer.num_workers, max(1, (torch.get_num_threads() or 1)))
    step = learning + cutting if workers == 0 else max(learning + 0.5 * cutting, cutting / workers)
    steps, validations = steps_and_validations(job)
    volumes = validations * len(plan.part(plan.split.validation)) + 2 * len(plan.part(plan.split.test))
    return _START + steps * step + volumes * segmenting


def steps_and_validations(job: TrainConfig) -> tuple[int, int]:
    """Optimiser steps of a run, and how often all its validation studies are segmented, its choices counted in."""
    steps = job.trainer.steps if job.init.train else 0
    validations = max(1, -(-steps // job.trainer.validate_every))
    validations += job.metrics.threshold_criterion is not None  # the threshold is chosen in one more
    candidates = len(job.candidate_rates)  # each is validated once
    return steps + candidates * job.optim.search_steps, validations + candidates


def _second_time(work: Callable[[], None]) -> float:
    """Seconds that something takes once it has been done before."""
    work()
    began = time.monotonic()
    work()
    return time.monotonic() - began
