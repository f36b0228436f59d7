"""What each command takes, as one model, and the check of a composed configuration against it: missing values, unknown
keys, types, ranges, ``_target_``s. The sections are in :mod:`lesionseg.config.sections`."""

import difflib
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from lesionseg.config.sections import (
    CriterionSpec,
    DatasetSection,
    MetricsSection,
    Name,
    PathsSection,
    Probability,
    ScoringSection,
    Section,
    SplitSection,
    SyntheticSection,
    TaskSection,
    TrackingSection,
    TrainerSection,
)
from lesionseg.config.training_sections import AugmentSection, InitSection, LossSection, ModelSection, OptimSection
from lesionseg.errors import InputError
from lesionseg.instantiate import nested_target_faults


class _WithStore(Section):
    """A command that reads or writes the MLflow store."""

    tracking: TrackingSection
    """The MLflow store."""
    paths: PathsSection
    """Where everything is written."""


class _WithModel(_WithStore):
    """A command that applies a trained model."""

    trust: bool = False
    """Whether a card may name a network of any program, which may run any code."""
    output: str
    """A folder."""


class TrainConfig(_WithStore):
    """``lesionseg train``."""

    dataset: DatasetSection
    """Where the scans are."""
    task: TaskSection
    """What is to be found."""
    model: ModelSection
    """The network."""
    init: InitSection
    """Where the first weights come from."""
    augment: AugmentSection
    """How patches are varied."""
    loss: LossSection
    """What is minimised."""
    optim: OptimSection
    """How."""
    trainer: TrainerSection
    """The budget and the machine."""
    metrics: MetricsSection
    """How predictions are judged."""
    split: SplitSection
    """Who is tested and validated on."""
    train_size: int = Field(ge=1)
    """Subjects to train on; each subset lies within the larger ones."""
    repeat: int = Field(ge=0)
    """Fixes the training subset and the seed, the same for every arm."""
    seed: int = Field(ge=0)
    """The experiment's seed."""
    sweep: Name | None
    """A name that gathers runs under one parent; null: none."""
    force: bool
    """Run again although the same configuration is finished."""

    @model_validator(mode="after")
    def _later_parts_need_one_device(self) -> "TrainConfig":
        if any(self.init.train_from_step(self.trainer.steps).values()) and self.trainer.n_devices != 1:
            raise ValueError(
                f"trainer.devices={self.trainer.devices}: parts that init.train_from trains later need "
                "trainer.devices=1, since several devices join the gradients of what the first step trains"
            )
        return self

    @model_validator(mode="after")
    def _search_within_the_budget(self) -> "TrainConfig":
        if self.candidate_rates and self.optim.search_steps > self.trainer.steps:
            raise ValueError(
                f"optim.search_steps={self.optim.search_steps}: each of optim.learning_rates would be tried for longer "
                f"than is trained with the chosen one, trainer.steps={self.trainer.steps}; give fewer"
            )
        return self

    @property
    def candidate_rates(self) -> tuple[float, ...]:
        """The learning rates that the run chooses from before it trains; empty: it trains with
        ``optim.learning_rate``, or not at all."""
        return tuple(self.optim.learning_rates or ()) if self.init.trains else ()


class ScoreConfig(Section):
    """``lesionseg score``: anybody's masks against reference masks."""

    reference: str | None
    """Masks: a file, a folder or a pattern."""
    prediction: str | None
    """Masks or probability maps, likewise; paired by name."""
    pairs: str | None
    """Or a table of both."""
    metrics: ScoringSection
    """The criteria."""
    threshold: Probability | None
    """Probability from which a voxel is lesion; null: predictions are masks."""
    reference_label: int | None = Field(ge=1)
    """The value that is lesion, where a mask holds several; null: a mask of 0 and 1."""
    prediction_label: int | None = Field(ge=1)
    """Likewise."""
    min_volume: float = Field(ge=0)
    """mm³; smaller components count as background."""
    output: str | None
    """A JSON file; null: none."""

    @model_validator(mode="after")
    def _files_are_named(self) -> "ScoreConfig":
        folders = [name for name in ("reference", "prediction") if getattr(self, name) is not None]
        if self.pairs is not None and folders:
            raise ValueError(f"pairs and {' and '.join(folders)}: the pairs name the files; leave the others out")
        if self.pairs is None and len(folders) < 2:
            raise ValueError(
                "give reference=FILE_OR_FOLDER and prediction=FILE_OR_FOLDER, or a table of both as pairs=FILE.csv"
            )
        return self


class EvaluateConfig(_WithModel):
    """``lesionseg evaluate``: score a model on labelled studies, or a sweep's stored predictions once more."""

    checkpoint: str | None
    """The model; null with ``sweep``."""
    sweep: Name | None
    """A sweep whose stored predictions are scored once more."""
    dataset: DatasetSection | None = None
    """The labelled studies."""
    metrics: ScoringSection
    """The criteria."""
    trainer: TrainerSection
    """The machine."""
    threshold: Probability | None
    """On the probability; null: the model's own."""
    min_volume: float | None = Field(ge=0)
    """mm³; null: the task's own."""
    subjects: list[str] | None
    """Those to use; null: all."""

    @classmethod
    def needless(cls, values: dict[str, Any]) -> tuple[str, ...]:
        """A sweep knows its dataset, unless another one is named."""
        unnamed = values.get("dataset", {}).get("root") == "???"
        return ("dataset",) if values.get("sweep") and unnamed else ()

    @model_validator(mode="after")
    def _one_thing(self) -> "EvaluateConfig":
        if (self.checkpoint is None) == (self.sweep is None):
            raise ValueError(
                "give checkpoint=<path or runs:/<run id>> to score a model on dataset=..., or sweep=<name> to score a "
                "sweep's stored predictions once more"
            )
        unused = [key for key in ("threshold", "subjects") if getattr(self, key) is not None]
        if self.sweep is not None and unused:
            raise ValueError(f"{' and '.join(unused)}: a sweep's stored masks are scored as they are; leave it out")
        return self


class PredictConfig(_WithModel):
    """``lesionseg predict``: segment scans with a model."""

    checkpoint: str
    """The model, or several of a sweep."""
    input: str | None = None
    """A scan, a folder or a table of scans."""
    files: list[Annotated[str, Field(pattern="^[^=]+=.+")]] = Field(default_factory=list)
    """One study's scans, each as contrast=path."""
    flips: bool = False
    """Whether the mean over all mirror images counts."""
    dataset: DatasetSection | None = None
    """The studies, unless they are named otherwise."""
    trainer: TrainerSection
    """The machine."""
    threshold: Probability | None
    """On the probability; null: the model's own."""
    subjects: list[str] | None
    """Those to use; null: all."""

    @classmethod
    def needless(cls, values: dict[str, Any]) -> tuple[str, ...]:
        """What is named needs no dataset."""
        return ("dataset",) if values.get("input") or values.get("files") else ()

    @model_validator(mode="after")
    def _one_thing(self) -> "PredictConfig":
        if self.input is not None and self.files:
            raise ValueError(f"input and {self.files[0].partition('=')[0]}: name scans in one of both ways")
        return self


class ExportConfig(_WithModel):
    """``lesionseg export``: a model in a format that others read."""

    checkpoint: str
    """The model."""
    format: Literal["onnx"]
    """Of the file."""


class CompareConfig(_WithStore):
    """``lesionseg compare``: the arms of a sweep, or of several; one is named without a list."""

    sweep: Annotated[
        list[Name],
        Field(min_length=1),
        BeforeValidator(lambda value: [value] if isinstance(value, str) and value != "???" else value),
    ]
    """A name, or several for one report."""
    arms: Annotated[list[str], Field(min_length=1)] | None
    """Which; the others are held against the first; null: all."""
    criterion: Name | CriterionSpec | None
    """Another criterion for the stored predictions; null: as the runs were scored."""
    min_volume: float | None = Field(ge=0)
    """mm³; null: the task's own."""
    dataset: DatasetSection | None = None
    """Where the scans are now, if they have moved."""
    output: str | None
    """A folder; null: comparisons/<sweep>."""

    @classmethod
    def needless(cls, values: dict[str, Any]) -> tuple[str, ...]:
        """The runs know their dataset, unless another one is named."""
        return ("dataset",) if values.get("dataset", {}).get("root") == "???" else ()

    @model_validator(mode="after")
    def _each_once(self) -> "CompareConfig":
        for key, names in (("sweep", self.sweep), ("arms", self.arms or [])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{key}: {', '.join(twice)} stands there twice; name each once")
        return self


class CheckConfig(Section):
    """``lesionseg check``: read a dataset and say what is wrong with it."""

    dataset: DatasetSection
    """What is looked at."""
    task: TaskSection
    """What it is to serve for."""
    paths: PathsSection
    """Where the cache is."""
    output: str | None
    """A JSON file; null: none."""


class SynthesizeConfig(SyntheticSection):
    """``lesionseg synthesize``: a synthetic cohort in a folder of the user's."""

    output: str
    """A folder; made if missing."""


class StatusConfig(_WithStore):
    """``lesionseg status``: how far a sweep is."""

    sweep: Name
    """Its name."""


class SyncConfig(_WithStore):
    """``lesionseg sync``: send to MLflow what could not be sent."""


class UiConfig(_WithStore):
    """``lesionseg ui``: MLflow's pages on this machine."""

    port: int = Field(ge=1, le=65535)
    """Of the pages on this machine."""
    sweep: Name | None
    """The sweep to open; null: all runs."""


SCHEMAS: dict[str, type[Section]] = {
    "train": TrainConfig,
    "score": ScoreConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
    "export": ExportConfig,
    "compare": CompareConfig,
    "check": CheckConfig,
    "synthesize": SynthesizeConfig,
    "status": StatusConfig,
    "sync": SyncConfig,
    "ui": UiConfig,
}


def validate(command: str, config: DictConfig) -> Any:
    """Return the configuration as plain, frozen values."""
    register_resolvers()
    schema = SCHEMAS[command]
    raw: Any = OmegaConf.to_container(config)
    needless = schema.needless(raw)
    raw = {key: value for key, value in raw.items() if key not in needless}
    missing = sorted(key for key, value in _leaves(raw) if value == "???")
    faults = [f"{key}: has no value; give it as {key}=..." for key in missing]
    unresolved = {key for key, value in _leaves(raw) if isinstance(value, str) and "${" in value}
    dangling = _dangling(config, unresolved)
    faults += dangling
    values: Any = OmegaConf.to_container(config, resolve=not (missing or dangling))
    plain = {str(key): value for key, value in values.items() if key not in needless}
    validated: BaseModel | None = None
    try:
        validated = schema.model_validate(plain)
    except ValidationError as error:
        for detail in error.errors():
            # An interpolation can only be validated once what it points to has a value.
            key = ".".join(str(part) for part in detail["loc"])
            if key not in missing and not ((missing or dangling) and key in unresolved):
                faults.append(_fault(detail, schema))
    faults += nested_target_faults(plain)
    if faults or validated is None:
        raise InputError(faults)
    return validated


def register_resolvers() -> None:
    """Teach OmegaConf what the shipped files interpolate with: ``${count:${task.inputs}}``."""
    OmegaConf.register_new_resolver("count", len, replace=True)


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Return every value that holds no others, with its key."""
    if not isinstance(values, dict | list):
        yield path, values
        return
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        yield from _leaves(value, f"{path}.{key}" if path else str(key))


def _dangling(config: DictConfig, keys: set[str]) -> list[str]:
    """Return interpolations that lead nowhere, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for key in sorted(keys):
        try:
            OmegaConf.select(config, key, throw_on_resolution_failure=True)
        except InterpolationToMissingValueError:
            continue
        except OmegaConfBaseException as error:
            by_reason.setdefault(str(error).splitlines()[0], []).append(key)
    return [f"{', '.join(found)}: {reason[0].lower()}{reason[1:]}" for reason, found in by_reason.items()]


def _fault(detail: Any, schema: type[BaseModel]) -> str:
    where = [str(part) for part in detail["loc"] if part != "[key]"]  # pydantic's mark for the name of an entry
    key = ".".join(where)
    if detail["type"] == "extra_forbidden":
        known = _keys(schema, where[:-1])
        near = difflib.get_close_matches(where[-1], known, n=1)
        return f"{key}: unknown key; " + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}")
    if detail["type"] == "missing":
        return f"{key}: is missing"
    own = detail["type"] == "value_error"
    message = str(detail["ctx"]["error"]) if own else detail["msg"][0].lower() + detail["msg"][1:]
    if own and isinstance(detail["input"], dict):
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, found {detail['input']!r}"


def _keys(schema: type[BaseModel], path: list[str]) -> list[str]:
    """Return the keys that may stand at a place of the configuration."""
    kind: Any = schema
    for part in path:
        fields = getattr(kind, "model_fields", None)
        if fields is not None:
            kind = _present(fields[part].annotation) if part in fields else None
        else:  # an entry of a list or of a mapping
            kind = _present(get_args(kind)[-1]) if get_origin(kind) in (list, dict) else None
    return list(getattr(kind, "model_fields", {}))


def _present(annotation: Any) -> Any:
    """Return ``X`` for ``X | None``."""
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return kinds[0] if get_origin(annotation) is UnionType else annotation
