"""What a run works on: configuration, split and studies; and what tells it from every other run."""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from lesionseg.config.compose import quoted
from lesionseg.config.schema import TrainConfig
from lesionseg.config.sections import DatasetSection, PathsSection, TrackingSection
from lesionseg.data.cache import Cache, CachedStudy
from lesionseg.data.dataset import Dataset, MaskFile, Study, TaskStudy, parse_channel, select_studies, select_subjects
from lesionseg.data.nifti import dicom_fault
from lesionseg.data.readers import read_bids, read_nnunet, read_table
from lesionseg.data.splits import Split, fixed_parts, make_split
from lesionseg.errors import InputError
from lesionseg.io import write_json
from lesionseg.tracking.mlflow_store import Store, open_store

PARTS = ("train", "validation", "test")
_SECTIONS_NOT_COUNTED = ("tracking", "paths", "sweep", "force")
_KEYS_NOT_COUNTED = {
    "dataset": ("root", "synthetic", "images", "masks"),
    "trainer": ("num_workers", "threads", "log_every", "checkpoint_every", "devices", "accelerator"),
}
_COUNTED_METRICS = ("monitor", "threshold", "save_predictions")


@dataclass(frozen=True)
class RunSpec:
    """A run before anything of it is done."""

    config: TrainConfig  # of the run
    root: str  # where its dataset was read from
    split: Split  # whole subjects, by part
    studies: Mapping[str, tuple[CachedStudy, ...]]  # prepared, by part: train, validation, test
    also: str = ""  # what tells it from runs of the same arm, size and repeat

    @property
    def name(self) -> str:
        """How the run's folder is called, before its identity."""
        return run_name(self.config)

    @property
    def title(self) -> str:
        """How the run is called in MLflow."""
        return f"{self.name} {self.also}".strip()

    @property
    def seed(self) -> int:
        """The seed of weights, patches and augmentation: the same for every arm and size of a repeat."""
        text = f"{self.config.seed}/{self.config.repeat}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 2**31

    @property
    def params(self) -> dict[str, str]:
        """What MLflow shows of it."""
        config = self.config
        found = {
            "task": config.task.name,
            "dataset": config.dataset.name,
            "model": config.model.name,
            "init": config.init.name,
            "train_size": config.train_size,
            "repeat": config.repeat,
            "seed": self.seed,
            "steps": config.trainer.steps if config.init.trains else 0,
            "batch_size": config.trainer.batch_size,
            "learning_rate": list(config.candidate_rates) or config.optim.learning_rate,
        }
        return {key: str(value) for key, value in found.items()}

    def split_record(self) -> dict[str, Any]:
        """Return the content of ``split.json``."""
        studies: dict[str, list[str]] = {}
        for study in (study for part in PARTS for study in self.studies[part]):
            studies.setdefault(study.subject, []).append(study.name)
        return {**self.split.to_json(), "seed": self.seed, "repeat": self.config.repeat, "studies": studies}

    def identity(self, weights_digest: str) -> str:
        """Return what makes the run this one and no other: configuration, split, data and first weights;
        hexadecimal."""
        config = self.config
        content = counted_settings(config.model_dump())
        kind = "scratch" if config.init.from_scratch else "pretrained"
        content["init"] = {"name": config.init.name, "strategy": kind, "weights": weights_digest, **config.init.knobs}
        content["split"] = self.split.digest
        content["data"] = sorted(study.key for part in self.studies.values() for study in part)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def with_checkpoint(self, checkpoint: str) -> "RunSpec":
        """Return the same run from another checkpoint."""
        init = self.config.init.model_copy(update={"checkpoint": checkpoint})
        return replace(self, config=self.config.model_copy(update={"init": init}))

    def save(self) -> None:
        """Write the plan for the job of a sweep that makes this run, in whichever process that will be."""
        parts = {part: [_study_record(study) for study in found] for part, found in self.studies.items()}
        plan = {"root": self.root, "split": asdict(self.split), "studies": parts, "also": self.also}
        write_json(_plan_file(self.config), plan)

    @classmethod
    def load(cls, config: TrainConfig) -> "RunSpec":
        """Read the plan of a job."""
        content = json.loads(_plan_file(config).read_text(encoding="utf-8"))
        split = Split(**{name: tuple(subjects) for name, subjects in content["split"].items()})
        cache = cache_of(config.paths)
        parts = {part: tuple(_read_study(one, cache) for one in found) for part, found in content["studies"].items()}
        return cls(config, content["root"], split, parts, content["also"])


def load_dataset(section: DatasetSection, subjects: Sequence[str] | None = None) -> Dataset:
    """Find all studies of a dataset; no scan is read. A synthetic one is made on first use."""
    root = Path(section.root).expanduser().resolve()
    try:
        return _read_dataset(section, root, subjects)
    except InputError as error:
        fault = dicom_fault(root)
        raise InputError([fault] if fault else error.faults) from error


def _read_dataset(section: DatasetSection, root: Path, subjects: Sequence[str] | None) -> Dataset:
    if section.synthetic is not None:
        from lesionseg.commands.synthesize import write_cohort

        write_cohort(root, section.synthetic, f"Making {section.name}")
    files: dict[str, Any] = {"name": section.name, "images": section.images, "masks": section.masks}
    if section.format == "bids":
        dataset = read_bids(root, **files)
    elif section.format == "manifest":
        columns = {key: getattr(section, key) for key in ("subject", "session", "site", "split")}
        dataset = read_table(root, **files, **columns)
    else:
        dataset = read_nnunet(root, **files, case=section.case)
    return select_subjects(select_subjects(dataset, section.subjects), subjects)


def choose_studies(config: TrainConfig, dataset: Dataset) -> tuple[Split, dict[str, list[TaskStudy]]]:
    """Choose the studies of a task and divide the subjects."""
    task = config.task
    studies = select_studies(dataset, task.channels, task.target, task.sessions)
    if not studies:
        contrasts = sorted({contrast for study in dataset.studies for contrast in study.images})
        targets = sorted({target for study in dataset.studies for target in study.masks})
        raise InputError(
            f"task={task.name}: no study of {dataset.name} ({dataset.root}) has all of inputs={task.inputs} and a mask "
            f"{task.target!r}; it has contrasts {contrasts} and masks {targets} (lesionseg check tells more)"
        )
    subjects = sorted({study.subject for study in studies})
    fixed = {study.subject: str(study.study.split) for study in studies if study.study.split}
    if config.split.file is not None:
        fixed = fixed_parts(_split_file(Path(config.split.file)), subjects, f"split.file={config.split.file}")
    split = make_split(
        subjects,
        train_size=config.train_size,
        repeat=config.repeat,
        test=config.split.test,
        validation=config.split.validation,
        seed=config.split.seed,
        fixed=fixed,
    )
    return split, {part: [s for s in studies if s.subject in set(getattr(split, part))] for part in PARTS}


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


def counted_settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a resolved configuration what can change the result.

    Left out is where things lie, what a finished model is scored by beside the task's own criterion (``lesionseg
    evaluate sweep=...`` scores it again), and the learning rates that are not used.
    """
    kept = {key: value for key, value in content.items() if key not in (*_SECTIONS_NOT_COUNTED, "claim")}
    for section, keys in _KEYS_NOT_COUNTED.items():
        kept[section] = _without(content[section], keys)
    if str(content["trainer"].get("devices", 1)) != "1":  # of several, each has the loss of its share of a batch
        kept["trainer"]["devices"] = content["trainer"]["devices"]
    for section, key in (("model", "parts"), ("task", "window_size")):  # that came later, where they are not set
        if content[section].get(key) is None:
            kept[section] = _without(content[section], (key,))
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


def grid_entry(config: TrainConfig) -> dict[str, Any]:
    """Return a configuration as a sweep's grid has it, before anything is known of its data and weights.

    Its ``key`` tells it from the sweep's others. Of ``init`` it rests on what counts: from scratch on no source;
    and where the sweep trains its own source model, on how that is made, since there is no checkpoint yet.
    """
    content, init = counted_settings(config.model_dump()), config.init
    source = None if init.from_scratch else init.source or init.checkpoint
    content["init"] = {"name": init.name, "scratch": init.from_scratch, "source": source, **init.knobs}
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    axes = {"init": init.name, "train_size": config.train_size, "repeat": config.repeat}
    return {"key": key, "name": run_name(config), **axes}


def run_name(config: TrainConfig) -> str:
    """Return how a run is called in MLflow."""
    return f"{config.init.name}-n{config.train_size}-r{config.repeat}"


def sweep_folder(config: TrainConfig) -> Path:
    """Return the folder of a sweep's run directories, or of the runs of a task that belong to no sweep."""
    return outputs(config.paths) / "runs" / (config.sweep or config.task.name)


def outputs(paths: PathsSection) -> Path:
    """Return the folder that everything is written below, absolute."""
    return Path(paths.outputs).expanduser().resolve()


def to_paste(command: str, paths: PathsSection, tracking: TrackingSection) -> str:
    """Return a command of lesionseg that looks where these sections say, as a shell takes it."""
    words = [] if paths.outputs == "outputs" else [f"paths.outputs={_override(paths.outputs)}"]
    if not tracking.uri.startswith("sqlite:"):
        words += ["tracking=server", f"tracking.uri={_override(tracking.uri)}"]
    return " ".join(["lesionseg", command, *map(shlex.quote, words)])


def _override(value: str) -> str:
    return value if re.fullmatch(r"[\w./:-]+", value) else quoted(value)


def cache_of(paths: PathsSection) -> Cache:
    """Return the cache of prepared studies."""
    return Cache(outputs(paths) / "cache")


def store_of(tracking: TrackingSection, paths: PathsSection, *, create: bool = True) -> Store:
    """Return the MLflow store, created if need be unless ``create`` is False."""
    lock = outputs(paths) / ".mlflow.lock"
    return open_store(tracking.uri, tracking.experiment, tracking.artifacts, lock, create=create)


def triple(values: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Return a list of three from a configuration as a tuple."""
    x, y, z = values
    return x, y, z


def _without(section: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key not in keys}


def _plan_file(config: TrainConfig) -> Path:
    return sweep_folder(config) / ".plan" / f"{grid_entry(config)['key']}.json"


def _study_record(study: CachedStudy) -> dict[str, Any]:
    task_study = study.study
    mask = task_study.mask
    return {
        "key": study.key,
        "subject": task_study.subject,
        "session": task_study.study.session,
        "sources": [[str(source), str(path)] for source, path in task_study.sources],
        "mask": [str(mask.path), mask.label] if mask else None,
    }


def _read_study(content: Mapping[str, Any], cache: Cache) -> CachedStudy:
    sources = tuple((parse_channel(text).plus, Path(path)) for text, path in content["sources"])
    mask = MaskFile(Path(content["mask"][0]), content["mask"][1]) if content["mask"] else None
    study = TaskStudy(Study(content["subject"], content["session"], {}), sources, mask)
    return CachedStudy(cache.folder(content["key"]), study, content["key"])
