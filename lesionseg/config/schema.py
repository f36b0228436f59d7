"""The sections that configurations are made of: names, types and ranges.

Unknown keys are faults, and no value is converted on the sly (``strict``).
"""

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from lesionseg.data.channels import Channel, parse_channel
from lesionseg.instantiate import build, target_faults
from lesionseg.synthetic.config import Pathology


class Section(BaseModel):
    """What all of them have in common: what is not known is a fault."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @classmethod
    def needless(cls, values: dict[str, Any]) -> tuple[str, ...]:
        """Sections that stand in the command's files and are not needed for what these values ask for."""
        return ()


def _file_name(value: str) -> str:
    """Names become folders and MLflow tags."""
    if not value or not all(letter.isalnum() or letter in "-_.+" for letter in value) or value[0] == ".":
        raise ValueError("a name is made of letters, digits, '-', '_', '+' and '.', and does not start with '.'")
    return value


def _channel_text(value: str) -> str:
    return str(parse_channel(value))


Name = Annotated[str, AfterValidator(_file_name)]

ChannelText = Annotated[str, AfterValidator(_channel_text)]

Millimetres = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]

Probability = Annotated[float, Field(gt=0, lt=1)]

Voxels = Annotated[list[Annotated[int, Field(ge=8)]], Field(min_length=3, max_length=3)]

Target = Annotated[dict[str, Any], AfterValidator(lambda spec: _with_target(spec))]

CriterionSpec = Annotated[dict[str, Any], AfterValidator(lambda spec: _criterion(spec))]

FilesByName = dict[str, Any]  # what it must hold depends on the format


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _with_target(spec: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(spec.get("_target_"), str):
        raise ValueError("needs a key '_target_': the dotted name of a class")
    return spec


def _criterion(spec: dict[str, Any]) -> dict[str, Any]:
    """A criterion's own ranges; unknown and missing arguments are told for every ``_target_`` alike."""
    from lesionseg.metrics import Criterion  # SciPy takes its time

    if not target_faults(_with_target(spec)):
        build(spec, Criterion)
    return spec


class SyntheticSection(Section):
    """What a synthetic cohort is drawn from, and by how many processes."""

    subjects: int = Field(ge=1)
    seed: int = Field(ge=0)
    workers: int | None = Field(ge=1)  # processes that make it; None: one for each core that there is for this one
    pathology: Pathology


class DatasetSection(Section):
    """Where the scans are, and which file is which contrast and which mask."""

    name: Name
    format: Literal["bids", "manifest", "nnunet"]
    root: str
    images: FilesByName
    masks: FilesByName
    subjects: list[str] | None = None
    synthetic: SyntheticSection | None = None
    # manifest: names of columns
    subject: str = "subject"
    session: str = "session"
    site: str = "site"
    split: str = "split"
    # nnU-Net: how a case's name is made
    case: str = "{subject}"

    @model_validator(mode="after")
    def _patterns_fit_the_format(self) -> "DatasetSection":
        listed = self.format == "bids"
        what = "a list of file patterns" if listed else "a name"
        faults = [
            f"{group}.{key} must be {what} for format={self.format}, found {value!r}"
            for group in ("images", "masks")
            for key, value in getattr(self, group).items()
            if not (_is_texts(value) if listed else isinstance(value, str))
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self


class TaskSection(Section):
    """What is to be found in which images."""

    name: Name
    inputs: list[ChannelText] = Field(min_length=1)
    target: Name
    spacing: Millimetres
    patch_size: Voxels
    sessions: Literal["first", "last", "all"]
    matching: CriterionSpec
    min_lesion_volume: float = Field(ge=0)

    @field_validator("inputs")
    @classmethod
    def _distinct(cls, inputs: list[str]) -> list[str]:
        twice = sorted({name for name in inputs if inputs.count(name) > 1})
        if twice:
            raise ValueError(f"channels are matched by name, and {', '.join(map(repr, twice))} stands there twice")
        return inputs

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The input channels, parsed."""
        return tuple(parse_channel(text) for text in self.inputs)


class ModelSection(Section):
    """The network: a class by its dotted name, and its arguments.

    ``parts`` names, from the image to the logits, what the parameters of each part begin with; None: ``encoder``,
    ``decoder``, ``head``. Only strategies that tell parts apart need them.
    """

    name: Name
    network: Target
    parts: dict[Name, Annotated[list[str], Field(min_length=1)]] | None = None


class AugmentSection(Section):
    """TorchIO transforms, applied to every training patch in this order."""

    name: Name
    transforms: list[Target]


class LossSection(Section):
    """A loss that takes logits and target."""

    name: Name
    function: Target


class OptimSection(Section):
    """AdamW with a linear warm-up and a cosine or constant schedule; its rate is given, or searched on validation."""

    name: Name
    learning_rate: float = Field(gt=0)
    learning_rates: list[Annotated[float, Field(gt=0)]] | None = None  # to choose from in place of learning_rate
    search_steps: int = Field(default=100, ge=1)  # that each of them is tried for
    weight_decay: float = Field(ge=0)
    warmup_steps: int = Field(ge=0)
    schedule: Literal["cosine", "constant"]
    gradient_clip: float = Field(ge=0)

    @field_validator("learning_rates")
    @classmethod
    def _to_choose_from(cls, rates: list[float] | None) -> list[float] | None:
        if rates is not None and (len(rates) < 2 or len(set(rates)) < len(rates)):
            raise ValueError("write two rates or more, each once; a single one is optim.learning_rate=...")
        return rates


class TrainerSection(Section):
    """The budget, the same for every arm, and the machine."""

    name: Name
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    validate_every: int = Field(ge=1)
    checkpoint_every: int | None = Field(default=None, ge=1)  # steps; None: at each validation
    lesion_share: float = Field(ge=0, le=1)
    window_overlap: float = Field(ge=0, lt=1)
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    accelerator: str
    devices: int | str | list[int]
    strategy: str
    num_workers: int = Field(ge=0)
    threads: int | None = Field(ge=1)
    log_every: int = Field(ge=1)

    @property
    def n_devices(self) -> int | None:
        """How many devices share a batch; None: all that there are."""
        if isinstance(self.devices, list):
            return len(self.devices)
        text = str(self.devices)
        return int(text) if text.isdigit() else None

    @model_validator(mode="after")
    def _devices_can_share(self) -> "TrainerSection":
        devices = self.n_devices
        if self.strategy.startswith("ddp") and not self.strategy.startswith(("ddp_spawn", "ddp_fork")):
            raise ValueError(
                f"strategy={self.strategy} would start the whole command again for each device; write ddp_spawn, or "
                "auto, which takes it where there are several devices"
            )
        if devices and self.batch_size % devices:
            raise ValueError(
                f"batch_size={self.batch_size} cannot be shared out among devices={self.devices}; give a multiple of "
                f"{devices}"
            )
        return self


class ScoringSection(Section):
    """How predictions are judged."""

    name: Name
    criteria: dict[Name, CriterionSpec]
    volume_edges: list[Annotated[float, Field(gt=0)]]
    surface_tolerance: float = Field(gt=0)
    false_positives: list[Annotated[float, Field(gt=0)]] = Field(min_length=1)
    lowest_probability: float = Field(ge=0, lt=1)

    @field_validator("criteria")
    @classmethod
    def _named(cls, criteria: dict[str, Any]) -> dict[str, Any]:
        if not criteria:
            raise ValueError("is empty; keep one of the published ones, or add your own")
        if "task" in criteria:
            raise ValueError("the name 'task' stands for the task's own criterion; choose another name")
        odd = [name for name in criteria if "+" in name]  # it names a metric in MLflow
        if odd:
            raise ValueError(f"a criterion's name must not hold '+': {', '.join(odd)}; choose another name")
        return criteria

    @field_validator("volume_edges", "false_positives")
    @classmethod
    def _ascending(cls, values: list[float]) -> list[float]:
        if any(first >= second for first, second in itertools.pairwise(values)):
            raise ValueError("write them in ascending order, each once")
        return values


class MetricsSection(ScoringSection):
    """How predictions are judged, how probability becomes a mask, and which checkpoint is the best."""

    monitor: Literal["val/lesion_f1", "val/lesion_sensitivity", "val/lesion_ppv", "val/dice"]
    threshold: Probability
    threshold_criterion: str | None
    thresholds: list[Probability] = Field(min_length=1)
    save_predictions: bool

    def threshold_rule(self, matching: dict[str, Any]) -> dict[str, Any]:
        """The description of the criterion that the threshold is chosen by; `matching` is the task's own."""
        return self.criteria.get(self.threshold_criterion or "task", matching)

    @model_validator(mode="after")
    def _known_criterion(self) -> "MetricsSection":
        known = ["task", *self.criteria]
        if self.threshold_criterion is not None and self.threshold_criterion not in known:
            raise ValueError(
                f"threshold_criterion {self.threshold_criterion!r} is none of {', '.join(known)}; null keeps the "
                "threshold"
            )
        return self


class TrackingSection(Section):
    """The MLflow store."""

    name: Name
    uri: str
    experiment: Name
    artifacts: str | None
    patience: float = Field(default=60, ge=0)  # seconds that a run which is done waits for MLflow to take the rest


class PathsSection(Section):
    """Where everything that a run writes lies."""

    outputs: str


class SplitSection(Section):
    """Who is tested on, and who is validated on: a share of the subjects, or a number of them, or a file."""

    test: int | float
    validation: int | float
    seed: int = Field(ge=0)
    file: str | None

    @field_validator("test", "validation", mode="before")
    @classmethod
    def _share_or_count(cls, value: Any) -> Any:
        count = type(value) is int and value > 0
        share = type(value) is float and 0 < value < 1
        if not (count or share):
            raise ValueError("write a share of the subjects (between 0 and 1) or how many they are (1, 2, ...)")
        return value


NEVER = "never"

_AT_REST: dict[str, Any] = {
    "take": "all",
    "new_channels": "zeros",
    "channels": {},
    "source_inputs": None,
    "shuffle": False,
    "train": True,
    "layer_decay": 1.0,
    "l2_sp": 0.0,
    "lora_rank": 0,
}

FROM_SCRATCH: dict[str, Any] = {
    **_AT_REST,
    "name": "scratch",
    "take": "none",
    "checkpoint": None,
    "source": None,
    "min_loaded": 0.0,
    "train_from": {},
    "trust": False,
}

"""The whole section of a run that starts from nothing and trains all of it alike, such as one that makes a source."""

_OF_THE_SOURCE = (
    "take",
    "new_channels",
    "channels",
    "source_inputs",
)  # how it is read; from scratch that is of no account


class InitSection(Section):
    """Where the first weights come from, and how training treats them; ``conf/init/_defaults.yaml`` says of each key
    what it means."""

    name: Name
    take: str | list[Name]
    checkpoint: str | None
    source: list[str] | None
    min_loaded: float = Field(ge=0, le=1)
    new_channels: Literal["zeros", "mean", "fresh"]
    channels: dict[ChannelText, ChannelText]
    source_inputs: list[ChannelText] | None
    trust: bool
    shuffle: bool
    train: bool
    train_from: dict[Name, int | float | Literal["never"]]
    layer_decay: float = Field(gt=0, le=1)
    l2_sp: float = Field(ge=0)
    lora_rank: int = Field(ge=0)

    @property
    def from_scratch(self) -> bool:
        """Whether every weight is drawn from the seed."""
        return self.take == "none"

    @property
    def knobs(self) -> dict[str, Any]:
        """What is set beside the weights themselves: the keys that are not at rest, and count."""
        found = {key: getattr(self, key) for key, rest in _AT_REST.items() if getattr(self, key) != rest}
        if self.from_scratch:
            found = {key: value for key, value in found.items() if key not in _OF_THE_SOURCE}
        later = {part: start for part, start in self.train_from.items() if start}
        return {**found, **({"train_from": later} if later else {})}

    @property
    def parts_needed(self) -> dict[str, str]:
        """The network's parts that are spoken of, each with the key that does."""
        taken = dict.fromkeys(self.take, "take") if isinstance(self.take, list) else {}
        return {**{part: "train_from" for part, start in self.train_from.items() if start}, **taken}

    def train_from_step(self, steps: int) -> dict[str, int | None]:
        """Part to the step from which on it is trained, of a budget of so many; None: never."""
        return {part: _step(start, steps) for part, start in self.train_from.items()}

    @field_validator("take", mode="before")
    @classmethod
    def _all_none_or_parts(cls, value: Any) -> Any:
        listed = isinstance(value, list) and bool(value) and all(isinstance(part, str) for part in value)
        if value not in ("all", "none") and not listed:
            raise ValueError("write all, none, or a list of the network's parts such as [encoder]")
        return value

    @field_validator("train_from", mode="before")
    @classmethod
    def _starts(cls, value: Any) -> Any:
        odd = {part: start for part, start in value.items() if not _is_start(start)} if isinstance(value, dict) else {}
        if odd:
            raise ValueError(
                "write for each part a step (0, 500), a share of the steps (from 0.0 to below 1.0), or never; found "
                + ", ".join(f"{part}: {start!r}" for part, start in odd.items())
            )
        return value

    @model_validator(mode="after")
    def _means_something(self) -> "InitSection":
        faults = [*self._faults_of_the_source(), *self._faults_of_the_training()]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _faults_of_the_source(self) -> list[str]:
        if not self.from_scratch:
            if self.checkpoint or self.source:
                return []
            return [
                f"init={self.name} needs a source model: init.checkpoint=<path or runs:/<run id>>, or init.source "
                "with the overrides of a run that trains one"
            ]
        needing = [key for key in ("shuffle", "train", "l2_sp", "lora_rank") if key in self.knobs]
        return [
            f"{_listed(needing)}: means nothing with take=none, which draws every weight from the seed; leave it out, "
            "or take them from a source"
        ] * bool(needing)

    def _faults_of_the_training(self) -> list[str]:
        if not self.train:
            return self._faults_without_training()
        faults = []
        if self.train_from and all(self.train_from.values()):
            faults.append(
                "train_from: no part is trained at the first step; give one of them 0, or set train=false "
                "(init=zero_shot) to train nothing at all"
            )
        fixed = [part for part, start in self.train_from.items() if start == NEVER]
        random = [part for part in fixed if self.from_scratch or part not in (self.take if self._some else fixed)]
        if random:
            faults.append(
                f"train_from: {', '.join(random)} is not taken from a source, and must be trained at some step"
            )
        if self.l2_sp and self.lora_rank:
            faults.append(
                "l2_sp and lora_rank: adapters leave the source's weights as they are, so that there is nothing to "
                "pull back; leave one of them out"
            )
        return faults

    def _faults_without_training(self) -> list[str]:
        idle = [key for key in ("train_from", "layer_decay", "l2_sp", "lora_rank") if key in self.knobs]
        faults = [f"{_listed(idle)}: means nothing with train=false, which trains nothing; leave it out"] * bool(idle)
        if self._some or self.new_channels == "fresh" or "fresh" in self.channels.values():
            faults.append(
                "train=false: scores the source's weights, and some would be random; set take=all, and no channel to "
                "fresh"
            )
        return faults

    @property
    def _some(self) -> bool:
        return isinstance(self.take, list)


def _is_start(value: Any) -> bool:
    count = type(value) is int and value >= 0
    share = type(value) is float and 0 <= value < 1
    return count or share or value == NEVER


def _step(start: int | float | str, steps: int) -> int | None:
    if isinstance(start, str):
        return None
    return round(start * steps) if isinstance(start, float) else start


def _listed(keys: Sequence[str]) -> str:
    return " and ".join(keys)


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
        return tuple(self.optim.learning_rates or ()) if self.init.train else ()


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
    """``lesionseg predict``: segment studies with a model."""

    checkpoint: str
    dataset: DatasetSection
    trainer: TrainerSection
    tracking: TrackingSection
    paths: PathsSection
    threshold: Probability | None
    subjects: list[str] | None
    output: str


def _as_list(value: Any) -> Any:
    """A name alone as a list of one; a missing one stays what it is, for the list of faults."""
    return [value] if isinstance(value, str) and value != "???" else value


class CompareConfig(Section):
    """``lesionseg compare``: the arms of a sweep, or of several; one is named without a list."""

    sweep: Annotated[list[Name], Field(min_length=1), BeforeValidator(lambda value: _as_list(value))]
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
    "compare": CompareConfig,
    "check": CheckConfig,
    "synthesize": SynthesizeConfig,
    "status": StatusConfig,
    "sync": SyncConfig,
    "ui": UiConfig,
}
