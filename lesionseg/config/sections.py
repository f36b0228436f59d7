"""The sections that configurations are made of: names, types and ranges.

Unknown keys are faults, and no value is converted on the sly (``strict``).
"""

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo

from lesionseg.data.dataset import Channel, parse_channel
from lesionseg.instantiate import build, target_faults
from lesionseg.synthetic.config import Pathology


class Section(BaseModel):
    """What all of them have in common: what is not known is a fault."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def needless(cls, values: dict[str, Any]) -> tuple[str, ...]:
        """Sections that stand in the command's files and are not needed for what these values ask for."""
        return ()


def described_keys(schema: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Return every key below a schema, such as ``trainer.steps``, with what describes it."""
    for name, field in schema.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
        if sections:
            yield from described_keys(sections[0], f"{path}{name}.")
        else:
            yield f"{path}{name}", field


def _file_name(value: str) -> str:
    """Names become folders and MLflow tags."""
    if not value or not all(letter.isalnum() or letter in "-_.+" for letter in value) or value[0] in ".+-":
        raise ValueError("a name is made of letters, digits, '-', '_', '+' and '.', and starts with a letter or digit")
    return value


Name = Annotated[str, AfterValidator(_file_name)]

ChannelText = Annotated[str, AfterValidator(lambda text: str(parse_channel(text)))]

Millimetres = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]

Probability = Annotated[float, Field(gt=0, lt=1)]

Voxels = Annotated[list[Annotated[int, Field(ge=8, le=1024)]], Field(min_length=3, max_length=3)]

Target = Annotated[dict[str, Any], AfterValidator(lambda spec: _with_target(spec))]

CriterionSpec = Annotated[dict[str, Any], AfterValidator(lambda spec: _criterion(spec))]


def _folder(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; name a folder, such as outputs")
    if set(text) & set("?#%"):
        raise ValueError("'?', '#' and '%' have a meaning of their own in a database's address; choose another folder")
    return text


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
    """How many."""
    seed: int = Field(ge=0)
    """The same seed gives the same bytes."""
    workers: int | None = Field(ge=1)
    """Processes that make it; null: one for each core that there is."""
    pathology: Pathology
    """Everything that it is drawn from, as ``conf/pathology``."""


class DatasetSection(Section):
    """Where the scans are, and which file is which contrast and which mask."""

    name: Name
    """For tables and MLflow."""
    format: Literal["bids", "manifest", "nnunet"]
    """How scans are found: by file patterns, in a table, or as nnU-Net's raw folders."""
    root: str
    """The folder, or the table."""
    images: FilesByName
    """Contrast to file patterns (bids), column (manifest) or channel (nnunet)."""
    masks: FilesByName
    """Target to file patterns, column or label, likewise."""
    subjects: list[str] | None = None
    """Those to use; null: all."""
    synthetic: SyntheticSection | None = None
    """A cohort that is drawn on first use."""
    # manifest: names of columns
    subject: str = "subject"
    """manifest: the column of the subject."""
    session: str = "session"
    """manifest: the column of the session; may be absent."""
    site: str = "site"
    """manifest: the column of the site; may be absent."""
    split: str = "split"
    """manifest: the column of train, validation or test; may be absent."""
    # nnU-Net: how a case's name is made
    case: str = "{subject}"
    """nnunet: how a case's name holds ``{subject}`` and ``{session}``."""

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
    """For tables and MLflow."""
    inputs: list[ChannelText] = Field(min_length=1)
    """Channels in order: a contrast, ``prior.`` and a contrast, or the difference of two."""
    target: Name
    """Which mask of the dataset is learned."""
    spacing: Millimetres
    """Working voxel size in mm; every study is resampled to it."""
    patch_size: Voxels
    """Voxels of that spacing, to train on."""
    window_size: Voxels | None = None
    """Voxels of the windows that whole volumes are segmented by; null: ``patch_size``."""
    sessions: Literal["first", "last", "all"]
    """Which of a subject's usable sessions count."""
    matching: CriterionSpec
    """The criterion by which a lesion is found."""
    min_lesion_volume: float = Field(ge=0)
    """mm³; smaller components count as background, on either side."""

    @field_validator("inputs")
    @classmethod
    def _distinct(cls, inputs: list[str]) -> list[str]:
        twice = sorted({name for name in inputs if inputs.count(name) > 1})
        if twice:
            raise ValueError(f"channels are matched by name, and {', '.join(map(repr, twice))} stands there twice")
        return inputs

    @property
    def window(self) -> list[int]:
        """Voxels of the windows that whole volumes are segmented by."""
        return self.window_size or self.patch_size

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The input channels, parsed."""
        return tuple(parse_channel(text) for text in self.inputs)


class TrainerSection(Section):
    """The budget, the same for every arm, and the machine."""

    name: Name
    """For tables."""
    steps: int = Field(ge=1, le=10**9)
    """Optimiser steps, the same for every arm and size."""
    batch_size: int = Field(ge=1, le=4096)
    """Patches a step."""
    validate_every: int = Field(ge=1)
    """Steps between two validations on whole volumes."""
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Steps between two checkpoints to go on from; null: at each validation."""
    lesion_share: float = Field(ge=0, le=1)
    """Share of patches that are centred on a lesion, 0 to 1."""
    window_overlap: float = Field(ge=0, lt=1)
    """Share of a window that the next one covers, too."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    """``auto``: bf16 where the machine has it."""
    accelerator: str
    """Lightning's."""
    devices: int | str | list[int]
    """Lightning's: how many share a batch, or which."""
    strategy: str
    """Lightning's; ``auto`` starts a process for each device."""
    num_workers: int = Field(ge=0, le=1024)
    """Processes that cut and augment patches."""
    threads: int | None = Field(ge=1, le=1024)
    """Of torch; null: its own choice."""
    log_every: int = Field(ge=1)
    """Steps between two entries of the loss."""

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
    """For tables."""
    criteria: dict[Name, CriterionSpec]
    """Name to a criterion: a class and its arguments."""
    volume_edges: list[Annotated[float, Field(gt=0)]]
    """mm³, between the ranges of lesion volumes."""
    surface_tolerance: float = Field(gt=0)
    """mm, of the normalised surface Dice."""
    false_positives: list[Annotated[float, Field(gt=0)]] = Field(min_length=1)
    """A study, at which the FROC's sensitivity is read."""
    lowest_probability: float = Field(ge=0, lt=1)
    """Voxels of this or less are at no threshold of the FROC lesion."""

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

    monitor: Literal["val/lesion_f1_one_to_one", "val/dice"]
    """The best checkpoint has the highest; others a prediction that fills the volume can win."""
    threshold: Probability
    """Probability from which a voxel is lesion, while training."""
    threshold_criterion: str | None
    """By which another is chosen on the validation studies; null keeps it."""
    thresholds: list[Probability] = Field(min_length=1)
    """To choose from."""
    save_predictions: bool
    """Whether masks and pictures of the test studies are kept."""

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
    """For tables."""
    uri: str
    """MLflow's tracking address, without a password."""
    experiment: Name
    """MLflow's experiment."""
    artifacts: str | None
    """The folder of artifacts; null: the server's own."""

    @model_validator(mode="after")
    def _no_password(self) -> "TrackingSection":  # after, since the value of a field would be shown
        if "@" in self.uri.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "uri holds a user or a password, which would be written into every run; take it out and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return self

    patience: float = Field(default=60, ge=0)
    """Seconds that a run which is done waits for MLflow to take the rest."""
    system_metrics: bool = True
    """Whether MLflow logs CPU, memory, disk, network and GPU of a run."""


class PathsSection(Section):
    """Where everything that a run writes lies."""

    outputs: Annotated[str, AfterValidator(lambda text: _folder(text))]
    """The folder that everything is written below."""


class SplitSection(Section):
    """Who is tested on, and who is validated on: a share of the subjects, or a number of them, or a file."""

    test: int | float
    """Subjects to test on: a share, or how many."""
    validation: int | float
    """Subjects to validate on, likewise."""
    seed: int = Field(ge=0)
    """Of who they are."""
    file: str | None
    """A split.json or YAML with lists of subjects; null: none."""

    @field_validator("test", "validation", mode="before")
    @classmethod
    def _share_or_count(cls, value: Any) -> Any:
        count = type(value) is int and value > 0
        share = type(value) is float and 0 < value < 1
        if not (count or share):
            raise ValueError("write a share of the subjects (between 0 and 1) or how many they are (1, 2, ...)")
        return value
