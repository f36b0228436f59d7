"""Everything that can be wrong with a sweep, said before its first run starts."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from lesionseg.config.schema import DatasetSection, PathsSection, TaskSection, TrainConfig
from lesionseg.data.audit import audit
from lesionseg.data.cache import Cache
from lesionseg.data.selection import TaskStudy
from lesionseg.data.study import Cohort
from lesionseg.errors import InputError
from lesionseg.runs.cohort import load_cohort
from lesionseg.runs.initialise import initialise, model_card, source_model
from lesionseg.runs.plan import cache_of, make_plan, outputs, run_seed, store_of, triple
from lesionseg.runs.progress import bar
from lesionseg.tracking import check_reachable

Result = TypeVar("Result")


def preflight(jobs: Sequence[TrainConfig]) -> None:
    """Try all that a sweep needs, short of training: folders, store, scans, split, weights, network. Then prepare
    every study that is not in the cache.

    Raises:
        InputError: all faults of all jobs, each once.
    """
    faults: list[str] = []
    first = jobs[0]
    _collect(faults, lambda: check_writable(first.paths))
    _collect(faults, lambda: check_reachable(first.tracking.uri))
    cohorts = {}
    for dataset in _distinct(job.dataset for job in jobs):
        cohorts[dataset.model_dump_json()] = _collect(faults, lambda dataset=dataset: load_cohort(dataset))
    studies: dict[str, tuple[TaskStudy, TaskSection]] = {}
    for job in jobs:
        cohort = cohorts[job.dataset.model_dump_json()]
        plan = _collect(faults, lambda job=job, cohort=cohort: make_plan(job, cohort)) if cohort else None
        for study in plan.used if plan else ():
            studies[f"{job.dataset.name} {job.task.name} {study.name}"] = (study, job.task)
    for task, dataset in {(job.task.model_dump_json(), job.dataset.model_dump_json()) for job in jobs}:
        own = next(job for job in jobs if job.task.model_dump_json() == task)
        found = cohorts[dataset]
        if found is not None:
            _collect(faults, lambda own=own, found=found: _audit(own, found))
    if not faults:
        _weights(faults, jobs)
    if faults:
        raise InputError(list(dict.fromkeys(faults)))
    _fill_cache(first.paths, list(studies.values()))


def check_writable(paths: PathsSection) -> None:
    """See that the outputs folder can be made and written to.

    Raises:
        InputError: it cannot.
    """
    folder = outputs(paths)
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise InputError(f"paths.outputs={folder}: {place} is a file; choose another folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"paths.outputs={folder}: {place} cannot be written to; choose another folder")


def _audit(job: TrainConfig, cohort: Cohort) -> None:
    """Read the scans that are not in the cache yet: what is in it was read before."""
    cache, spacing = cache_of(job.paths), triple(job.task.spacing)
    plan = make_plan(job.model_copy(update={"train_size": 1}), cohort)
    if not all(_in_cache(cache, study, spacing) for study in plan.studies):
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


def _weights(faults: list[str], jobs: Sequence[TrainConfig]) -> None:
    """Build each network once and load each checkpoint once."""
    seen = set()
    for job in jobs:
        what = (job.model.model_dump_json(), job.task.model_dump_json(), job.init.model_dump_json())
        if what in seen:
            continue
        seen.add(what)
        _collect(faults, lambda job=job: _try_weights(job))


def _try_weights(job: TrainConfig) -> None:
    folder = outputs(job.paths)
    named = (job.init.checkpoint or "").startswith("runs:/") and job.init.strategy != "scratch"
    store = store_of(job.tracking, job.paths) if named else None
    source = source_model(job, store, folder / "cache" / "models")
    initialise(job, model_card(job, []), run_seed(job), source)


def _fill_cache(paths: PathsSection, studies: Sequence[tuple[TaskStudy, TaskSection]]) -> None:
    cache = cache_of(paths)
    missing = [(study, task) for study, task in studies if not cache.has(study, triple(task.spacing))]
    with bar("Preparing studies", "study", len(missing)) as shown:
        for study, task in missing:
            cache.get(study, triple(task.spacing))
            shown.update()


def _distinct(datasets: Iterable[DatasetSection]) -> list[DatasetSection]:
    return list({dataset.model_dump_json(): dataset for dataset in datasets}.values())


def _collect(faults: list[str], attempt: Callable[[], Result]) -> Result | None:
    try:
        return attempt()
    except InputError as error:
        faults += error.faults
        return None
