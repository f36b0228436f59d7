"""How a process begins that works beside others on one computer, before its first job."""

import os
from collections.abc import Sequence
from pathlib import Path

import joblib

from lesionseg.config.launchers import share_of
from lesionseg.runs.orphan import watch_parent
from lesionseg.runs.slots import take_slot


def begin(outputs: str, n_jobs: int, devices: int | str | Sequence[int]) -> None:
    """Take a share of the cores and GPUs, and stop when the process that started this one is gone.

    Must come before anything uses a GPU. conf/hydra/launcher/joblib.yaml has it as the initializer of its processes.

    Args:
        outputs: ``paths.outputs``; which processes are at work is known from locks in ``.slots`` there.
        n_jobs: processes at once, as joblib has it: -1 for one for each core.
        devices: ``trainer.devices`` of every job. Where it names GPUs one by one, every job sees all of them.
    """
    watch_parent()
    import torch

    n_jobs = joblib.effective_n_jobs(n_jobs)
    slot = take_slot(Path(outputs).expanduser() / ".slots")
    gpus = _visible_gpus(torch.cuda.device_count())
    share = share_of(n_jobs, slot, cores=joblib.cpu_count(), gpus=gpus, gpus_per_job=_gpus_per_job(devices))
    torch.set_num_threads(min(torch.get_num_threads(), share.threads))
    if share.gpus and isinstance(devices, int | str):
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(share.gpus)


def _visible_gpus(count: int) -> list[str]:
    """Their names for ``CUDA_VISIBLE_DEVICES``."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return (named or [str(number) for number in range(count)])[:count]


def _gpus_per_job(devices: int | str | Sequence[int]) -> int | None:
    """None, for -1 and auto: as many as there are for each job."""
    text = str(devices)
    return int(text) if text.isdigit() and int(text) > 0 else None
