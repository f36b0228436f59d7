"""Everything that can be wrong with a sweep, said before its first run starts."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from pydantic import BaseModel
from torch import nn

from lesionseg.build import build
from lesionseg.config.schema import TrainConfig
from lesionseg.config.sections import PathsSection, TaskSection
from lesionseg.data.audit import audit
from lesionseg.data.augmentation import Augmentation
from lesionseg.data.cache import Cache
from lesionseg.data.selection import TaskStudy, select_studies
from lesionseg.data.study import Cohort
from lesionseg.errors import InputError
from lesionseg.runs.assemble import machine_of
from lesionseg.runs.cohort import load_cohort
from lesionseg.runs.initialise import check_network, initialise, model_card, source_model
from lesionseg.runs.plan import cache_of, make_plan, outputs, run_seed, store_of, triple
from lesionseg.runs.progress import bar
from lesionseg.runs.writable import check_writable
from lesionseg.tracking import check_reachable
from lesionseg.training import check_machine

Result = TypeVar("Result")


def preflight(jobs: Sequence[TrainConfig]) -> None:
    """Try all that a sweep needs, short of training: folders, store, scans, split, weights, network. Then prepare
    every study that is not in the cache.

    Raises:
        InputError: all faults of all jobs, each once.
    """
    faults: list[str] = []
    first = jobs[0]
    _collect(faults, check_writable, "paths.outputs", outputs(first.paths))
    if not (faults and first.tracking.uri.startswith("sqlite:")):  # it lies there, and has the same fault
        _collect(faults, check_reachable, first.tracking.uri)
    datasets = {_text(job.dataset): job.dataset for job in jobs}
    cohorts = {text: _collect(faults, load_cohort, dataset) for text, dataset in datasets.items()}
    studies: dict[str, tuple[TaskStudy, TaskSection]] = {}
    audited: set[tuple[str, str]] = set()
    for job in jobs:
        cohort = cohorts[_text(job.dataset)]
        plan = _collect(faults, make_plan, job, cohort) if cohort else None
        for study in plan.used if plan else ():
            studies[f"{job.dataset.name} {job.task.name} {study.name}"] = (study, job.task)
        if cohort and (_text(job.task), _text(job.dataset)) not in audited:
            audited.add((_text(job.task), _text(job.dataset)))
            _collect(faults, _audit, job, cohort)
    for parts in ("trainer", "augment", "loss"):
        for job in {_text(getattr(job, parts)): job for job in jobs}.values():
            _collect(faults, _TRIALS[parts], job)
    for job in {(_text(job.model), _text(job.task), _text(job.init)): job for job in jobs}.values():
        _collect(faults, _try_weights, job)
    if faults:
        raise InputError(list(dict.fromkeys(faults)))
    store_of(first.tracking, first.paths)  # made now, since all else is well
    _fill_cache(first.paths, list(studies.values()))


def _audit(job: TrainConfig, cohort: Cohort) -> None:
    """Read the scans that are not in the cache yet: what is in it was read before."""
    cache, spacing = cache_of(job.paths), triple(job.task.spacing)
    studies = select_studies(cohort, job.task.channels, job.task.target, job.task.sessions)
    if not all(_in_cache(cache, study, spacing) for study in studies):
        with bar(f"Checking {cohort.name}", "study") as shown:

            def tell(done: int, total: int) -> None:
                shown.total = total
                shown.update(done - shown.n)

            result = audit(cohort, job.task.channels, job.task.target, progress=tell)
        if result.faults:
            raise InputError(result.faults)


def _in_cache(cache: Cache, study: TaskStudy, spacing: tuple[float, float, float]) -> bool:
    try:
        return cache.has(study, spacing)
    except OSError:  # a file that is gone: the audit says so
        return False


def _try_trainer(job: TrainConfig) -> None:
    check_machine(machine_of(job.trainer))


def _try_augment(job: TrainConfig) -> None:
    try:
        Augmentation(job.augment.transforms)
    except ValueError as error:
        raise InputError(f"augment.transforms: {error}") from error


def _try_loss(job: TrainConfig) -> None:
    logits = torch.zeros(2, 1, 8, 8, 8)
    try:
        shape = tuple(build(job.loss.function, nn.Module)(logits, torch.zeros_like(logits)).shape)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"loss.function: cannot be taken of logits and a mask ({error})") from error
    if shape:
        raise InputError(f"loss.function: gives values of shape {shape}, wanted is one number")


_TRIALS = {"trainer": _try_trainer, "augment": _try_augment, "loss": _try_loss}


def _try_weights(job: TrainConfig) -> None:
    check_network(job)
    folder = outputs(job.paths)
    named = (job.init.checkpoint or "").startswith("runs:/") and not job.init.from_scratch
    store = store_of(job.tracking, job.paths, create=False) if named else None
    source = source_model(job, store, folder / "cache" / "models")
    initialise(job, model_card(job, []), run_seed(job), source)


def _fill_cache(paths: PathsSection, studies: Sequence[tuple[TaskStudy, TaskSection]]) -> None:
    cache = cache_of(paths)
    missing = [(study, task) for study, task in studies if not cache.has(study, triple(task.spacing))]
    with bar("Preparing studies", "study", len(missing)) as shown:
        for study, task in missing:
            cache.get(study, triple(task.spacing))
            shown.update()


def _text(section: BaseModel) -> str:
    return section.model_dump_json()


def _collect(faults: list[str], attempt: Callable[..., Result], *arguments: Any) -> Result | None:
    try:
        return attempt(*arguments)
    except InputError as error:
        faults += error.faults
        return None
