"""The sections of what is trained and how: ``model``, ``init`` (where the first weights come from, and how training
treats them), ``augment``, ``loss`` and ``optim``."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from lesionseg.config.sections import ChannelText, Name, Section, Target

_NEVER = "never"
_HOW_IT_IS_READ: dict[str, Any] = {"take": "all", "new_channels": "zeros", "channels": {}, "source_inputs": None}
_HOW_IT_IS_TRAINED = {
    "baseline": False,
    "shuffle": False,
    "train": True,
    "layer_decay": 1.0,
    "l2_sp": 0.0,
    "lora_rank": 0,
}
_DEFAULTS: dict[str, Any] = {**_HOW_IT_IS_READ, **_HOW_IT_IS_TRAINED}

FROM_SCRATCH: dict[str, Any] = {
    **_DEFAULTS,
    **{"name": "scratch", "take": "none", "checkpoint": None, "source": None, "min_loaded": 0.0},
    **{"train_from": {}, "trust": False},
}
"""The whole section of a run that starts from nothing and trains all of it alike, such as one that makes a source."""


class ModelSection(Section):
    """The network: a class by its dotted name, and its arguments.

    ``parts`` names, from the image to the logits, what the parameters of each part begin with; None: ``encoder``,
    ``decoder``, ``head``. Only strategies that tell parts apart need them.
    """

    name: Name
    """For tables and MLflow."""
    network: Target
    """A class by its dotted name, and its arguments."""
    parts: dict[Name, Annotated[list[str], Field(min_length=1)]] | None = None
    """What the parameters of each part begin with, from the image to the logits."""


class AugmentSection(Section):
    """TorchIO transforms, applied to every training patch in this order."""

    name: Name
    """For tables."""
    transforms: list[Target]
    """TorchIO's classes and arguments, in order."""


class LossSection(Section):
    """A loss that takes logits and target."""

    name: Name
    """For tables."""
    function: Target
    """A class that takes logits and target, and its arguments."""


class OptimSection(Section):
    """AdamW with a linear warm-up and a cosine or constant schedule; its rate is given, or searched on validation."""

    name: Name
    """For tables."""
    learning_rate: float = Field(gt=0)
    """Of AdamW, at the end of the warm-up."""
    learning_rates: list[Annotated[float, Field(gt=0)]] | None = None
    """To choose from on the validation studies, in place of ``learning_rate``; null: none."""
    search_steps: int = Field(default=100, ge=1)
    """Steps that each of them is tried for."""
    weight_decay: float = Field(ge=0)
    """Decoupled."""
    warmup_steps: int = Field(ge=0)
    """Steps in which the rate rises."""
    schedule: Literal["cosine", "constant"]
    """Of the rate after the warm-up."""
    gradient_clip: float = Field(ge=0)
    """Largest norm of the gradient; 0: none."""

    @field_validator("learning_rates")
    @classmethod
    def _to_choose_from(cls, rates: list[float] | None) -> list[float] | None:
        if rates is not None and (len(rates) < 2 or len(set(rates)) < len(rates)):
            raise ValueError("write two rates or more, each once; a single one is optim.learning_rate=...")
        return rates


class InitSection(Section):
    """Where the first weights come from; ``conf/init/_defaults.yaml`` says of each key what it means."""

    name: Name
    """For tables and MLflow."""
    take: str | list[Name]
    """Which of the source's weights are taken: ``all``, ``none``, or the parts listed."""
    checkpoint: str | None
    """The source model: a path, ``runs:/...`` or ``models:/...``."""
    source: list[str] | None
    """Overrides of a run that trains the source model first."""
    min_loaded: float = Field(ge=0, le=1)
    """Least share of the values that must come from the source, 0 to 1."""
    new_channels: Literal["zeros", "mean", "fresh"]
    """First weights of channels that the source does not know."""
    channels: dict[ChannelText, ChannelText]
    """Channel of the task to channel of the source, where names differ."""
    source_inputs: list[ChannelText] | None
    """The source's channels in order, where its file does not tell."""
    trust: bool
    """Whether its card may name a network of any program, which may run any code."""
    baseline: bool = False
    """No learning: a threshold on the intensity."""
    shuffle: bool
    """The control: the source's values, permuted within each tensor."""
    train: bool
    """Whether anything is trained."""
    train_from: dict[Name, int | float | Literal["never"]]
    """Part to the step, or share of the steps, from which it is trained, or ``never``."""
    layer_decay: float = Field(gt=0, le=1)
    """Factor on the rate from each part to the one before it."""
    l2_sp: float = Field(ge=0)
    """Strength of the pull back to the source's values."""
    lora_rank: int = Field(ge=0)
    """Rank of the adapters that are trained in place of the weights; 0: none."""

    @property
    def from_scratch(self) -> bool:
        """Whether every weight is drawn from the seed."""
        return self.take == "none"

    @property
    def trains(self) -> bool:
        """Whether there is a step of training."""
        return self.train and not self.baseline

    @property
    def knobs(self) -> dict[str, Any]:
        """What is set beside the weights themselves: the keys that have not their default, and count."""
        read = {} if self.from_scratch else _HOW_IT_IS_READ
        found = {
            key: getattr(self, key) for key in (*read, *_HOW_IT_IS_TRAINED) if getattr(self, key) != _DEFAULTS[key]
        }
        later = {part: start for part, start in self.train_from.items() if start}
        return {**found, **({"train_from": later} if later else {})}

    @property
    def parts_needed(self) -> dict[str, str]:
        """The network's parts that are spoken of, each with the key that does."""
        taken = dict.fromkeys(self.take, "take") if isinstance(self.take, list) else {}
        return {**{part: "train_from" for part, start in self.train_from.items() if start}, **taken}

    def train_from_step(self, steps: int) -> dict[str, int | None]:
        """Return the step from which on each part is trained, of a budget of so many; None: never."""
        return {
            part: None if isinstance(start, str) else round(start * steps) if isinstance(start, float) else start
            for part, start in self.train_from.items()
        }

    @field_validator("checkpoint", mode="before")
    @classmethod
    def _one_checkpoint(cls, value: Any) -> Any:
        if isinstance(value, list):
            raise ValueError("write one checkpoint; sweep over several: init.checkpoint=a.ckpt,b.ckpt")
        return value

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
        def is_start(start: Any) -> bool:
            count, share = type(start) is int and start >= 0, type(start) is float and 0 <= start < 1
            return count or share or start == _NEVER

        odd = {part: start for part, start in value.items() if not is_start(start)} if isinstance(value, dict) else {}
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

    def _faults_of_the_source(self) -> Iterator[str]:
        if not self.from_scratch and not self.checkpoint and not self.source:
            yield (
                f"init={self.name} needs a source model: init.checkpoint=<path or runs:/<run id>>, or init.source "
                "with the overrides of a run that trains one"
            )
        if self.baseline and not self.from_scratch:
            yield "baseline: a threshold on the intensity takes no weights; set take=none"
        needing = [key for key in ("shuffle", "train", "l2_sp", "lora_rank") if key in self.knobs]
        if self.from_scratch and needing:
            yield (
                f"{' and '.join(needing)}: means nothing with take=none, which draws every weight from the seed; leave "
                "it out, or take them from a source"
            )

    def _faults_of_the_training(self) -> Iterator[str]:
        some = isinstance(self.take, list)
        idle = [key for key in ("train_from", "layer_decay", "l2_sp", "lora_rank") if key in self.knobs]
        if not self.train and idle:
            yield f"{' and '.join(idle)}: means nothing with train=false, which trains nothing; leave it out"
        if not self.train and (some or self.new_channels == "fresh" or "fresh" in self.channels.values()):
            yield (
                "train=false: scores the source's weights, and some would be random; set take=all, and no channel to "
                "fresh"
            )
        if not self.train:
            return
        if self.train_from and all(self.train_from.values()):
            yield (
                "train_from: no part is trained at the first step; give one of them 0, or set train=false "
                "(init=zero_shot) to train nothing at all"
            )
        fixed = [part for part, start in self.train_from.items() if start == _NEVER]
        random = [part for part in fixed if self.from_scratch or (some and part not in self.take)]
        if random:
            yield f"train_from: {', '.join(random)} is not taken from a source, and must be trained at some step"
        if self.l2_sp and self.lora_rank:
            yield (
                "l2_sp and lora_rank: adapters leave the source's weights as they are, so that there is nothing to "
                "pull back; leave one of them out"
            )
