"""Everything that can be wrong with a sweep, said before its first run starts; each run's plan and expected time."""

import contextlib
import hashlib
import json
import math
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from pydantic import BaseModel
from torch import nn

from lesionseg.commands.initialise import check_network, initialise, model_card, source_model
from lesionseg.commands.plan import (
    PARTS,
    RunSpec,
    cache_of,
    choose_studies,
    load_dataset,
    outputs,
    store_of,
    triple,
)
from lesionseg.config.schema import TrainConfig
from lesionseg.data.cache import Cache
from lesionseg.data.dataset import Dataset, TaskStudy, select_studies
from lesionseg.data.patches import Augmentation
from lesionseg.data.quality_control import audit
from lesionseg.errors import InputError
from lesionseg.instantiate import build
from lesionseg.io import check_writable, progress_bar, read_json, write_json
from lesionseg.tracking.mlflow_store import check_reachable
from lesionseg.tracking.run_dir import try_lock
from lesionseg.training.trainer import Machine, check_machine

_MOST_NAMED = 5  # subjects in a message
_START = 1.0  # seconds from one run to the next


def preflight(jobs: Sequence[TrainConfig]) -> list[RunSpec]:
    """Try all that the runs need, short of training: folders, store, scans, split, weights, network. Then prepare every
    study that is not in the cache.
    """
    faults: list[str] = []
    first = jobs[0]
    with _collected(faults):
        check_writable("paths.outputs", outputs(first.paths))
    if not (faults and first.tracking.uri.startswith("sqlite:")):  # it lies there, and has the same fault
        with _collected(faults):
            check_reachable(first.tracking.uri)
    datasets: dict[str, Dataset] = {}
    for job in _distinct(jobs, "dataset"):
        with _collected(faults):
            datasets[_text(job.dataset)] = load_dataset(job.dataset)
    checked: list[tuple[TrainConfig, TaskStudy]] = []
    plans = []
    readable = [job for job in jobs if _text(job.dataset) in datasets]
    for job in _distinct(readable, "dataset", "task"):
        with _collected(faults):
            checked += [(job, study) for study in _check_scans(job, datasets[_text(job.dataset)])]
    for job in readable:
        with _collected(faults):
            plans.append((job, *choose_studies(job, datasets[_text(job.dataset)])))
    checks: Sequence[tuple[Sequence[str], Callable[[TrainConfig], object]]] = (
        (("trainer",), lambda job: check_machine(machine_of(job))),
        (("trainer", "task"), _check_shared_memory),
        (("augment",), _check_augmentation),
        (("loss",), _check_loss),
        (("model", "task"), check_network),
        (("model", "task", "init"), _check_weights),
    )
    for sections, check in checks:
        for job in _distinct(jobs, *sections):
            with _collected(faults):
                check(job)
    if faults:
        raise InputError(list(dict.fromkeys(faults)))
    outputs(first.paths).mkdir(parents=True, exist_ok=True)
    with try_lock(outputs(first.paths) / ".lock"):
        pass  # raises where the file system has no locks
    store_of(first.tracking, first.paths)  # made now, since all else is well
    _fill_cache(plans)
    _remember(checked)
    specs = [
        RunSpec(
            job,
            str(datasets[_text(job.dataset)].root),
            split,
            {
                part: tuple(cache_of(job.paths).get(study, triple(job.task.spacing)) for study in studies[part])
                for part in PARTS
            },
        )
        for job, split, studies in plans
    ]
    if without := dict.fromkeys(fault for spec in specs for fault in _lesion_faults(spec)):
        raise InputError(without)
    return specs


def announce(sources: Sequence[RunSpec], specs: Sequence[RunSpec], at_once: int = 1) -> None:
    """Print how many runs there will be and, where runs on this machine tell, about how long they take."""
    seconds = [expected_seconds(spec) for spec in [*sources, *specs]]
    what = f"{len(seconds)} runs" if len(seconds) > 1 else "1 run"
    what += " (one of them the source model)" if sources else ""
    known = [one for one in seconds if one is not None]
    if len(known) == len(seconds):
        last = sum(known[len(sources) :])
        total = timedelta(seconds=round(sum(known[: len(sources)]) + last / max(1, min(at_once, len(specs)))))
        several = f", {at_once} at once" if at_once > 1 else ""
        what += f", about {total} on this machine{several}, less what is finished already"
    elif len(seconds) > 1:
        first = "source model is trained" if sources else "first of them is under way"
        what += f"; how long they take is told once the {first}"
    print(f"{what}.", flush=True)


def machine_of(config: TrainConfig) -> Machine:
    """Return what Lightning trains on."""
    trainer = config.trainer
    return Machine(trainer.accelerator, trainer.devices, trainer.strategy, trainer.precision)


def _check_scans(job: TrainConfig, dataset: Dataset) -> list[TaskStudy]:
    """Read the scans of a task and list what is wrong; return the studies, none if all were found well before."""
    task = job.task
    studies = list(select_studies(dataset, task.channels, task.target, task.sessions))
    known = _known(job)
    if not studies or (known and known.issuperset(_keys(job, studies))):
        return []
    with progress_bar(f"Checking {dataset.name}", "study") as shown:

        def tell(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        result = audit(dataset, task.channels, task.target, progress=tell)
    if len(result.faults):
        raise InputError(result.faults["text"])
    return studies


def _remember(checked: Sequence[tuple[TrainConfig, TaskStudy]]) -> None:
    """Note by their content that studies were found well, so that they are not read again at the next launch."""
    if checked:
        first = checked[0][0]
        keys = [_keys(job, [study]) for job, study in checked]
        write_json(_record(first), {"checked": sorted(_known(first).union(*keys))})


def _known(job: TrainConfig) -> set[str]:
    return set(read_json(_record(job)).get("checked", ()))


def _record(job: TrainConfig) -> Path:
    return outputs(job.paths) / "cache" / "checked.json"


def _keys(job: TrainConfig, studies: Sequence[TaskStudy]) -> set[str]:
    """Return what identifies the content of studies; empty text for one with a file that is gone."""
    cache, spacing, keys = cache_of(job.paths), triple(job.task.spacing), set()
    for study in studies:
        try:
            keys.add(cache.key(study, spacing))
        except OSError:
            keys.add("")
    return keys


def _lesion_faults(spec: RunSpec) -> Iterator[str]:
    """Find training or test subjects without a lesion that counts: nothing to learn, or no score."""
    task = spec.config.task
    smallest = task.min_lesion_volume / math.prod(task.spacing)
    for part, more in (("train", "train_size"), ("test", "split.test")):
        if not any((np.diff(study.lesions()[1]) >= smallest).any() for study in spec.studies[part]):
            subjects = getattr(spec.split, part)
            named = ", ".join(subjects[:_MOST_NAMED]) + (", ..." if len(subjects) > _MOST_NAMED else "")
            yield (
                f"task={task.name}: none of the {len(subjects)} {part} subjects ({named}) has a lesion of at least "
                f"{task.min_lesion_volume:g} mm³ in its mask {task.target!r}; choose others by split.seed or "
                f"split.file, or a larger {more}"
            )


def _check_shared_memory(job: TrainConfig) -> None:
    """See that the patches of several processes have room where they are handed over; a container has little there."""
    task, trainer, place = job.task, job.trainer, Path("/dev/shm")
    values = (len(task.inputs) + 1) * math.prod(task.patch_size) * trainer.batch_size
    needed = 4 * values * 2 * trainer.num_workers / 1e6  # each has two batches of float32 ready
    free = shutil.disk_usage(place).free / 1e6 if place.is_dir() else needed
    if free < needed:
        raise InputError(
            f"trainer.num_workers={trainer.num_workers}: needs {needed:.0f} MB of shared memory, {place} has "
            f"{free:.0f} MB; start the container with more (--shm-size), or set trainer.num_workers=0"
        )


def _check_augmentation(job: TrainConfig) -> None:
    try:
        Augmentation(job.augment.transforms)
    except ValueError as error:
        raise InputError(f"augment.transforms: {error}") from error


def _check_loss(job: TrainConfig) -> None:
    logits = torch.zeros(2, 1, 8, 8, 8)
    try:
        shape = tuple(build(job.loss.function, nn.Module)(logits, torch.zeros_like(logits)).shape)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"loss.function: cannot be taken of logits and a mask ({error})") from error
    if shape:
        raise InputError(f"loss.function: gives values of shape {shape}, wanted is one number")


def _check_weights(job: TrainConfig) -> None:
    named = (job.init.checkpoint or "").startswith(("runs:/", "models:/")) and not job.init.from_scratch
    store = store_of(job.tracking, job.paths, create=False) if named else None
    source = source_model(job, store, outputs(job.paths) / "cache" / "models")
    initialise(job, model_card(job, []), 0, source)


def _fill_cache(plans: Sequence[tuple[TrainConfig, object, Mapping[str, Sequence[TaskStudy]]]]) -> None:
    missing: dict[str, tuple[Cache, TaskStudy, tuple[float, float, float]]] = {}
    for job, _, studies in plans:
        cache, spacing = cache_of(job.paths), triple(job.task.spacing)
        for study in (study for part in studies.values() for study in part):
            if not cache.has(study, spacing):
                missing[cache.key(study, spacing)] = (cache, study, spacing)
    with progress_bar("Preparing studies", "study", len(missing)) as shown:
        for cache, study, spacing in missing.values():
            cache.get(study, spacing)
            shown.update()


@contextlib.contextmanager
def _collected(faults: list[str]) -> Iterator[None]:
    """Add what an attempt raises to the faults, and go on."""
    try:
        yield
    except InputError as error:
        faults += error.faults


def _distinct(jobs: Sequence[TrainConfig], *sections: str) -> list[TrainConfig]:
    """Return one job for each content of some sections."""
    return list({tuple(_text(getattr(job, name)) for name in sections): job for job in jobs}.values())


def _text(section: BaseModel) -> str:
    return section.model_dump_json()


def note_seconds(spec: RunSpec, fit_seconds: float, test_seconds: float, rest_seconds: float) -> None:
    """Note what a step, a volume's segmentation and scores, and all else took in a run that was not interrupted."""
    steps, volumes = work_of(spec)
    n_test = len(spec.studies["test"])
    volume = test_seconds / max(1, n_test)
    step = max(0.0, fit_seconds - (volumes - n_test) * volume) / max(1, steps)
    file = _file(spec)
    with suppress(OSError), FileLock(file.with_suffix(".lock")):
        write_json(file, {**read_json(file), _kind(spec): {"step": step, "volume": volume, "rest": rest_seconds}})


def expected_seconds(spec: RunSpec) -> float | None:
    """Return the seconds that a run will take; None where no run of its kind was finished on this machine."""
    known = read_json(_file(spec)).get(_kind(spec))
    if known is None:
        return None
    steps, volumes = work_of(spec)
    return float(_START + known.get("rest", 0.0) + steps * known["step"] + volumes * known["volume"])


def work_of(spec: RunSpec) -> tuple[int, int]:
    """Return the optimiser steps of a run and the volumes that it segments, those of its searches included."""
    config = spec.config
    steps = config.trainer.steps if config.init.trains else 0
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
        "augment": config.augment.model_dump(),
        "trainer": trainer,
        "machine": [platform.node(), platform.processor()],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _file(spec: RunSpec) -> Path:
    return outputs(spec.config.paths) / "cache" / "timings.json"
