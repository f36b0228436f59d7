"""What a training run works on: studies, split, and the folders that it writes to."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lesionseg.config.schema import TrainConfig
from lesionseg.config.sections import PathsSection, TrackingSection
from lesionseg.data.cache import Cache, CachedStudy
from lesionseg.data.selection import TaskStudy, select_studies
from lesionseg.data.split import Split, fixed_parts, make_split
from lesionseg.data.study import Cohort
from lesionseg.errors import InputError
from lesionseg.tracking import Store, open_store


@dataclass(frozen=True)
class Plan:
    """The data of one training run.

    Args:
        cohort: where the studies come from.
        studies: those that serve the task, of every subject.
        split: whole subjects.
    """

    cohort: Cohort
    studies: tuple[TaskStudy, ...]
    split: Split

    def part(self, subjects: Sequence[str]) -> list[TaskStudy]:
        """The studies of some subjects."""
        return [study for study in self.studies if study.subject in set(subjects)]

    @property
    def used(self) -> list[TaskStudy]:
        """The studies of this run's training, validation and test subjects."""
        return self.part([*self.split.train, *self.split.validation, *self.split.test])

    def split_record(self, seed: int, repeat: int) -> dict[str, Any]:
        """The content of ``split.json``."""
        names = {study.subject: [s.name for s in self.part([study.subject])] for study in self.studies}
        return {**self.split.to_json(), "seed": seed, "repeat": repeat, "studies": names}


def make_plan(config: TrainConfig, cohort: Cohort) -> Plan:
    """Choose the studies and divide the subjects.

    Raises:
        InputError: no study serves the task, or there are too few subjects.
    """
    task = config.task
    studies = select_studies(cohort, task.channels, task.target, task.sessions)
    if not studies:
        contrasts = sorted({contrast for study in cohort.studies for contrast in study.images})
        targets = sorted({target for study in cohort.studies for target in study.masks})
        raise InputError(
            f"task={task.name}: no study of {cohort.name} ({cohort.root}) has all of inputs={task.inputs} and a mask "
            f"{task.target!r}; it has contrasts {contrasts} and masks {targets} (lesionseg check tells more)"
        )
    subjects = sorted({study.subject for study in studies})
    fixed = {study.subject: study.study.split for study in studies if study.study.split}
    if config.split.file is not None:
        fixed = fixed_parts(_split_file(Path(config.split.file)), subjects, f"split.file={config.split.file}")
    split = make_split(
        subjects,
        train_size=config.train_size,
        repeat=config.repeat,
        test=config.split.test,
        validation=config.split.validation,
        seed=config.split.seed,
        fixed={subject: str(part) for subject, part in fixed.items()},
    )
    return Plan(cohort, studies, split)


def _split_file(path: Path) -> Mapping[str, Sequence[str]]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"split.file={path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"split.file={path}: needs lists of subjects 'test:' and 'validation:'")
    parts = {part: content.get(part) or [] for part in ("test", "validation")}
    for part, names in parts.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"split.file={path}: {part} must be a list of subjects, each in quotes")
    return parts


def run_seed(config: TrainConfig) -> int:
    """The seed of weights, patches and augmentation: the same for every arm and size of a repeat."""
    return int(hashlib.sha256(f"{config.seed}/{config.repeat}".encode()).hexdigest()[:8], 16) % 2**31


_SECTIONS_NOT_COUNTED = ("tracking", "paths", "claim", "sweep", "force")
_KEYS_NOT_COUNTED = {
    "dataset": ("root", "synthetic", "images", "masks"),
    "trainer": ("num_workers", "threads", "log_every", "checkpoint_every", "devices", "accelerator"),
}
_COUNTED_METRICS = ("monitor", "threshold", "save_predictions")


def config_hash(config: TrainConfig, split: Split, studies: Sequence[CachedStudy], weights_digest: str) -> str:
    """What makes a run this run and no other: configuration, split, data and initial weights; hexadecimal.

    Of the configuration it is what `counted` leaves; what stands there for something else, the dataset's folder and the
    checkpoint's path, is hashed by content.
    """
    content = counted(config.model_dump())
    kind = "scratch" if config.init.from_scratch else "pretrained"
    content["init"] = {"name": config.init.name, "strategy": kind, "weights": weights_digest, **config.init.knobs}
    content["split"] = split.digest
    content["data"] = sorted(study.key for study in studies)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def grid_entry(config: TrainConfig) -> dict[str, Any]:
    """A configuration as it is written down in a sweep's grid, before anything is known of its data and weights.

    Its ``key`` tells it from the sweep's others; where the sweep trains its own source model, the checkpoint is left
    out, since there is none yet.
    """
    content = counted(config.model_dump())
    if config.init.source:
        content["init"] = {key: value for key, value in content["init"].items() if key != "checkpoint"}
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    name = run_name(config)
    return {
        "key": key,
        "name": name,
        "init": config.init.name,
        "train_size": config.train_size,
        "repeat": config.repeat,
    }


def run_name(config: TrainConfig) -> str:
    """How a run is called in MLflow."""
    return f"{config.init.name}-n{config.train_size}-r{config.repeat}"


def counted(content: Mapping[str, Any]) -> dict[str, Any]:
    """Of a resolved configuration what can change the result.

    Left out is where things lie, who counts and how, what a finished model is judged by beside the task's own criterion
    (``lesionseg evaluate sweep=...`` judges it again), and the learning rates that are not used.

    Args:
        content: as in ``config.yaml``; of an older version, too.
    """
    kept = {key: value for key, value in content.items() if key not in _SECTIONS_NOT_COUNTED}
    for section, keys in _KEYS_NOT_COUNTED.items():
        kept[section] = _without(content[section], keys)
    if str(content["trainer"].get("devices", 1)) != "1":  # of several, each has the loss of its share of a batch
        kept["trainer"]["devices"] = content["trainer"]["devices"]
    if content["model"].get("parts") is None:  # as in the runs of before there were any
        kept["model"] = _without(content["model"], ("parts",))
    searched = content["optim"].get("learning_rates") is not None
    unused = ("learning_rate",) if searched else ("learning_rates", "search_steps")
    kept["optim"] = _without(content["optim"], unused)
    metrics = content["metrics"]
    kept["metrics"] = {key: metrics[key] for key in _COUNTED_METRICS if key in metrics}
    chooser = metrics.get("threshold_criterion")
    if chooser is not None:
        rule = metrics["criteria"].get(chooser, content["task"]["matching"])
        kept["metrics"]["chosen"] = [metrics["thresholds"], rule]
    return kept


def _without(section: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key not in keys}


def sweep_folder(config: TrainConfig) -> Path:
    """The folder of a sweep's runs, or of the runs of a task that belong to no sweep."""
    return outputs(config.paths) / "runs" / (config.sweep or config.task.name)


def outputs(paths: PathsSection) -> Path:
    """The folder that everything is written below, absolute."""
    return Path(paths.outputs).expanduser().resolve()


def cache_of(paths: PathsSection) -> Cache:
    """The cache of prepared studies."""
    return Cache(outputs(paths) / "cache")


def store_of(tracking: TrackingSection, paths: PathsSection, *, create: bool = True) -> Store:
    """The MLflow store, created if need be unless ``create`` is False.

    Raises:
        InputError: it cannot be reached or opened.
    """
    lock = outputs(paths) / ".mlflow.lock"
    return open_store(tracking.uri, tracking.experiment, tracking.artifacts, lock, create=create)


def triple(values: Sequence[Any]) -> tuple[Any, Any, Any]:
    """A list of three from a configuration as a tuple."""
    x, y, z = values
    return x, y, z
