"""How long runs take: a table that finished runs leave, and what it says of runs to come."""

import hashlib
import json
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from lesionseg.commands.plan import RunSpec, outputs
from lesionseg.io import write_json

_START = 3.0  # seconds to read the data, open the store and start workers, per run


def note_seconds(spec: RunSpec, fit_seconds: float, test_seconds: float, steps_done: int) -> None:
    """Note what a step and the segmentation of a volume took in a run that was not interrupted."""
    _, volumes = work_of(spec)
    n_test = len(spec.studies["test"])
    volume = test_seconds / max(1, n_test)
    step = max(0.0, fit_seconds - (volumes - n_test) * volume) / max(1, steps_done)
    file = _file(spec)
    with suppress(OSError), FileLock(file.with_suffix(".lock")):
        write_json(file, {**_read(file), _kind(spec): {"step": step, "volume": volume}})


def expected_seconds(spec: RunSpec) -> float | None:
    """Return the seconds that a run will take; None where no run of its kind was finished on this machine."""
    known = _read(_file(spec)).get(_kind(spec))
    if known is None:
        return None
    steps, volumes = work_of(spec)
    return float(_START + steps * known["step"] + volumes * known["volume"])


def work_of(spec: RunSpec) -> tuple[int, int]:
    """Return the optimiser steps of a run and the volumes that it segments, those of its searches included."""
    config = spec.config
    steps = config.trainer.steps if config.init.train else 0
    validations = max(1, -(-steps // config.trainer.validate_every))
    validations += config.metrics.threshold_criterion is not None  # the threshold is chosen in one more
    candidates = len(config.candidate_rates)  # each is validated once
    volumes = (validations + candidates) * len(spec.studies["validation"]) + len(spec.studies["test"])
    return steps + candidates * config.optim.search_steps, volumes


def _kind(spec: RunSpec) -> str:
    """Return what the time of a step and of a volume depends on."""
    config = spec.config
    trainer = config.trainer.model_dump(
        include={"batch_size", "window_overlap", "precision", "accelerator", "devices", "num_workers", "threads"}
    )
    content: dict[str, Any] = {
        "network": config.model.network,
        "inputs": config.task.inputs,
        "patch_size": config.task.patch_size,
        "spacing": config.task.spacing,
        "dataset": config.dataset.name,
        "augment": config.augment.model_dump(),
        "trainer": trainer,
        "machine": [platform.node(), platform.processor()],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _file(spec: RunSpec) -> Path:
    return outputs(spec.config.paths) / "cache" / "timings.json"


def _read(file: Path) -> dict[str, Any]:
    with suppress(OSError, json.JSONDecodeError):
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return content
    return {}
