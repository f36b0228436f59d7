"""Bring a source model's weights into a network, and say what became of every one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Fate = Literal["loaded", "adapted", "fresh"]


@dataclass(frozen=True)
class ParameterFate:
    """What became of one parameter or buffer of the target network.

    Args:
        name: in the target's state dict.
        fate: taken as it was, taken for some input channels, or left as initialised.
        count: its number of values.
        loaded: how many of them come from the source.
        reason: how it was adapted, or why it is fresh.
    """

    name: str
    fate: Fate
    count: int
    loaded: int
    reason: str = ""


@dataclass(frozen=True)
class TransferReport:
    """Every parameter's fate, and what of the source found no place.

    Args:
        source: where the weights come from; empty from scratch.
        source_digest: SHA-256 of the source's weights; empty from scratch.
        source_task: the source's task.
        source_inputs: the source's channels in order.
        inputs: the target's channels in order.
        parameters: one entry per parameter or buffer of the target.
        skipped: names of the source's parameters that the target has no place for.
        differences: what source and target do not have in common, in words.
    """

    source: str
    source_digest: str
    source_task: str
    source_inputs: tuple[str, ...]
    inputs: tuple[str, ...]
    parameters: tuple[ParameterFate, ...]
    skipped: tuple[str, ...]
    differences: tuple[str, ...] = ()

    @property
    def loaded_share(self) -> float:
        """Share of the target's values that come from the source, 0 to 1."""
        total = sum(parameter.count for parameter in self.parameters)
        return sum(parameter.loaded for parameter in self.parameters) / total if total else 0.0

    def to_json(self) -> dict[str, Any]:
        """Everything, with the shares on top."""
        fates = Counter(parameter.fate for parameter in self.parameters)
        return {"loaded_share": self.loaded_share, "tensors": dict(fates), **asdict(self)}

    def summary(self) -> str:
        """A few lines for the terminal."""
        if not self.source:
            return "weights: all fresh (from scratch)"
        fates = Counter(parameter.fate for parameter in self.parameters)
        lines = [
            f"weights: {self.loaded_share:.1%} of the values from {self.source} "
            f"({fates['loaded']} tensors loaded, {fates['adapted']} adapted, {fates['fresh']} fresh, "
            f"{len(self.skipped)} of the source's skipped)"
        ]
        lines += [f"  {p.fate}: {p.name}: {p.reason}" for p in self.parameters if p.fate != "loaded"][:12]
        lines += [f"  note: {difference}" for difference in self.differences]
        return "\n".join(lines)


def from_scratch(network: nn.Module, inputs: Sequence[str]) -> TransferReport:
    """The report of a network that takes nothing over."""
    fresh = tuple(
        ParameterFate(name, "fresh", value.numel(), 0, "from scratch") for name, value in network.state_dict().items()
    )
    return TransferReport("", "", "", (), tuple(inputs), fresh, ())


def transfer(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    *,
    inputs: Sequence[str],
    patch_size: Sequence[int],
    source_inputs: Sequence[str],
    source: str,
    source_digest: str,
    source_task: str,
    differences: Sequence[str] = (),
) -> TransferReport:
    """Load all that fits into ``network``, in place.

    A tensor is loaded when name and shape agree. The kernels that read the image, whose second axis is the input
    channel, are matched channel by channel by *name*: a channel that the source does not know gets zeros, so that
    on the source's own channels the network answers as the source did. If no channel has the source's name, they
    stay fresh. A network without such a kernel is matched by position, with a warning in the report.

    Args:
        network: the target; changed.
        weights: the source's state dict.
        inputs: the target's channel names in order.
        patch_size: voxels of a patch that the network takes; one of zeros shows which layers read the image.
        source_inputs: the source's channel names in order.
        source: where the weights come from, for the report.
        source_digest: their digest, for the report.
        source_task: their task, for the report.
        differences: what source and target do not share, for the report.
    """
    state = network.state_dict()
    like = next(network.parameters())
    stems = _readers_of_the_image(network, like.new_zeros(1, len(inputs), *patch_size))
    fates = []
    for name, value in state.items():
        found = weights.get(name)
        if name in stems:
            fates.append(_load_stem(name, value, found, list(inputs), list(source_inputs)))
        else:
            fates.append(_load(name, value, found))
    network.load_state_dict(state)
    notes = list(differences)
    if not stems and list(inputs) != list(source_inputs):
        notes.append(
            f"WARNING: no convolution of {type(network).__name__} reads the image itself, so that the channels "
            f"{list(source_inputs)} there and {list(inputs)} here were matched by position, not by name"
        )
    used = {fate.name for fate in fates if fate.fate != "fresh"}
    return TransferReport(
        source,
        source_digest,
        source_task,
        tuple(source_inputs),
        tuple(inputs),
        tuple(fates),
        tuple(name for name in weights if name not in used),
        tuple(notes),
    )


def _readers_of_the_image(network: nn.Module, image: Tensor) -> set[str]:
    """Names of the kernels that are applied to the image itself: those whose second axis is the input channel."""
    found: set[str] = set()
    hooks = [
        module.register_forward_pre_hook(
            lambda _, arguments, name=name: found.add(f"{name}.weight") if arguments[0] is image else None
        )
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv3d)
    ]
    was_training = network.training
    with torch.no_grad():
        network.eval()(image)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return found


def _load(name: str, value: Tensor, found: Tensor | None) -> ParameterFate:
    if found is None:
        return ParameterFate(name, "fresh", value.numel(), 0, "the source has none of that name")
    if found.shape != value.shape:
        reason = f"shape {tuple(value.shape)}, the source's is {tuple(found.shape)}"
        return ParameterFate(name, "fresh", value.numel(), 0, reason)
    value.copy_(found)
    return ParameterFate(name, "loaded", value.numel(), value.numel())


def _load_stem(
    name: str, value: Tensor, found: Tensor | None, inputs: list[str], source_inputs: list[str]
) -> ParameterFate:
    if found is None:
        return ParameterFate(name, "fresh", value.numel(), 0, "the source has none of that name")
    fits = found.shape[0] == value.shape[0] and found.shape[2:] == value.shape[2:]
    if not fits or found.shape[1] != len(source_inputs):
        reason = f"shape {tuple(value.shape)}, the source's is {tuple(found.shape)}"
        return ParameterFate(name, "fresh", value.numel(), 0, reason)
    common = [channel for channel in inputs if channel in source_inputs]
    if not common:
        reason = f"none of the channels {inputs} is among the source's {source_inputs}"
        return ParameterFate(name, "fresh", value.numel(), 0, reason)
    if inputs == source_inputs:
        value.copy_(found)
        return ParameterFate(name, "loaded", value.numel(), value.numel())
    with torch.no_grad():
        value.zero_()
        for channel in common:
            value[:, inputs.index(channel)] = found[:, source_inputs.index(channel)]
    unknown = [channel for channel in inputs if channel not in common]
    reason = f"channels {common} by name from {source_inputs}" + (f"; zeros for {unknown}" if unknown else "")
    return ParameterFate(name, "adapted", value.numel(), value.numel() // len(inputs) * len(common), reason)
