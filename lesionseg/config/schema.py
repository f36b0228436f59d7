"""What each command takes, as one model, and the check of a composed configuration against it: missing values, unknown
keys, types, ranges, ``_target_``s. The sections are in :mod:`lesionseg.config.sections`."""

import difflib
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from lesionseg.config.init_section import InitSection
from lesionseg.config.sections import (
    AugmentSection,
    CriterionSpec,
    DatasetSection,
    LossSection,
    MetricsSection,
    ModelSection,
    Name,
    OptimSection,
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
from lesionseg.errors import InputError
from lesionseg.instantiate import target_faults


class TrainConfig(Section):
    """``lesionseg train``."""

    dataset: DatasetSection
    task: TaskSection
    model: ModelSection
    init: InitSection
    augment: AugmentSection
    loss: LossSection
    optim: OptimSection
    trainer: TrainerSection
    metrics: MetricsSection
    tracking: TrackingSection
    paths: PathsSection
    split: SplitSection
    train_size: int = Field(ge=1)
    repeat: int = Field(ge=0)
    seed: int = Field(ge=0)
    sweep: Name | None
    force: bool

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
    prediction: str | None
    pairs: str | None
    metrics: ScoringSection
    threshold: Probability | None
    reference_label: int | None = Field(ge=1)
    prediction_label: int | None = Field(ge=1)
    min_volume: float = Field(ge=0)
    output: str | None

    @model_validator(mode="after")
    def _files_are_named(self) -> "ScoreConfig":
        folders = [name for name in ("reference", "prediction") if getattr(self, name) is not None]
        if self.pairs is not None and folders:
            raise ValueError(
                f"pairs and {' and '.join(folders)}: the pairs name the files already; leave the others out"
            )
        if self.pairs is None and len(folders) < 2:
            raise ValueError(
                "give reference=FILE_OR_FOLDER and prediction=FILE_OR_FOLDER, or a table of both as pairs=FILE.csv"
            )
        return self


class EvaluateConfig(Section):
    """``lesionseg evaluate``: score a model on labelled studies, or a sweep's stored predictions once more."""

    checkpoint: str | None
    sweep: Name | None
    dataset: DatasetSection | None = None
    metrics: ScoringSection
    trainer: TrainerSection
    tracking: TrackingSection
    paths: PathsSection
    threshold: Probability | None
    trust: bool = False
    min_volume: float | None = Field(ge=0)
    subjects: list[str] | None
    output: str

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


class PredictConfig(Section):
    """``lesionseg predict``: segment scans with a model."""

    checkpoint: str
    input: str | None = None
    files: list[Annotated[str, Field(pattern="^[^=]+=.+")]] = Field(default_factory=list)
    flips: bool = False
    dataset: DatasetSection | None = None
    trainer: TrainerSection
    tracking: TrackingSection
    paths: PathsSection
    threshold: Probability | None
    trust: bool = False
    subjects: list[str] | None
    output: str

    @classmethod
    def needless(cls, values: dict[str, Any]) -> tuple[str, ...]:
        """What is named needs no dataset."""
        return ("dataset",) if values.get("input") or values.get("files") else ()

    @model_validator(mode="after")
    def _one_thing(self) -> "PredictConfig":
        if self.input is not None and self.files:
            raise ValueError(f"input and {self.files[0].partition('=')[0]}: name scans in one of both ways")
        return self


class ExportConfig(Section):
    """``lesionseg export``: a model in a format that others read."""

    checkpoint: str
    format: Literal["onnx"]
    tracking: TrackingSection
    paths: PathsSection
    trust: bool = False
    output: str


class CompareConfig(Section):
    """``lesionseg compare``: the arms of a sweep, or of several; one is named without a list."""

    sweep: Annotated[
        list[Name],
        Field(min_length=1),
        BeforeValidator(lambda value: [value] if isinstance(value, str) and value != "???" else value),
    ]
    arms: Annotated[list[str], Field(min_length=1)] | None
    criterion: Name | CriterionSpec | None
    min_volume: float | None = Field(ge=0)
    dataset: DatasetSection | None = None
    tracking: TrackingSection
    paths: PathsSection
    output: str | None

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
    task: TaskSection
    paths: PathsSection
    output: str | None


class SynthesizeConfig(SyntheticSection):
    """``lesionseg synthesize``: a synthetic cohort in a folder of the user's."""

    output: str


class StatusConfig(Section):
    """``lesionseg status``: how far a sweep is."""

    sweep: Name
    tracking: TrackingSection
    paths: PathsSection


class SyncConfig(Section):
    """``lesionseg sync``: send to MLflow what could not be sent."""

    tracking: TrackingSection
    paths: PathsSection


class UiConfig(Section):
    """``lesionseg ui``: MLflow's pages on this machine."""

    tracking: TrackingSection
    paths: PathsSection
    port: int = Field(ge=1, le=65535)
    sweep: Name | None


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
    faults += _targets(plain)
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


def _targets(values: Any, path: str = "") -> list[str]:
    """Return the faults of every ``_target_`` below, each with its key."""
    entries = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    found = [fault for key, value in entries for fault in _targets(value, f"{path}.{key}" if path else str(key))]
    if isinstance(values, dict) and isinstance(values.get("_target_"), str):
        found += [f"{path}: {fault}" for fault in target_faults(values)]
    return found
