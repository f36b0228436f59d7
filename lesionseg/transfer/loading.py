"""Load a source's weights into a network: tensors by name, input channels by contrast, and the shuffled control."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from lesionseg.transfer.finetuning import Parts
from lesionseg.transfer.report import ParameterStatus, TransferReport, loaded_share, part_shares

_SHORTCUT = "shortcut.weight"
_SAYING = "WARNING: even on the source's own channels the network does not answer as the source did"
Fill = Literal["zeros", "mean", "fresh"]
FILLS: tuple[Fill, ...] = ("zeros", "mean", "fresh")


@dataclass(frozen=True)
class ChannelRule:
    """Where each input channel's kernels come from.

    A channel that the source knows by name takes the source's. For another one: ``zeros``; ``mean``, the mean over the
    source's channels; ``fresh``, as it was initialised. Whichever it is, the network's response to the source's own
    channels is the source's as long as the new ones are zero, and with zeros whatever they hold.
    """

    new: Fill = "zeros"  # for the channels that the source does not know
    # for single channels: the name of the source's channel that they take, or one of the above
    channels: Mapping[str, str] = field(default_factory=dict)

    def origins(self, inputs: Sequence[str], source_inputs: Sequence[str]) -> list[str]:
        """For each input channel the source's channel that it takes, or how it is filled."""
        known = {name: name for name in source_inputs}
        return [self.channels.get(name, known.get(name, self.new)) for name in inputs]

    def faults(self, inputs: Sequence[str], source_inputs: Sequence[str]) -> list[str]:
        """What is wrong with ``channels`` for these inputs, in sentences."""
        found = [f"{name!r} is none of the inputs {list(inputs)}" for name in self.channels if name not in inputs]
        found += [
            f"{name!r} cannot take {origin!r}: the source has {list(source_inputs)}; or write zeros, mean or fresh"
            for name, origin in self.channels.items()
            if origin not in (*source_inputs, *FILLS)
        ]
        return found


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
    take: Collection[str] | None = None,
    rule: ChannelRule | None = None,
    parts: Parts | None = None,
    remarks: Mapping[str, str] | None = None,
) -> TransferReport:
    """Load all that fits into ``network``, in place.

    A tensor is loaded when name and shape agree. The kernels that read the image, whose second axis is the input
    channel, are matched channel by channel by *name*: a channel that the source does not know gets zeros, unless
    ``rule`` says otherwise, so that on the source's own channels the network answers as the source did; where it
    cannot, since only one of the two has a shortcut past its first block, the report warns. If no channel has anything
    of the source's, they stay fresh. A network without such a kernel is matched by position, with a warning in the
    report.
    """
    state = network.state_dict()
    like = next(network.parameters())
    stems = readers_of_the_image(network, like.new_zeros(1, len(inputs), *patch_size))
    statuses = []
    for name, value in state.items():
        found = weights.get(name)
        if take is not None and name not in take:
            statuses.append(ParameterStatus(name, "fresh", value.numel(), 0, "was not to be taken"))
        elif name in stems:
            statuses.append(_load_stem(name, value, found, list(inputs), list(source_inputs), rule or ChannelRule()))
        else:
            statuses.append(_load(name, value, found, (remarks or {}).get(name)))
    network.load_state_dict(state)
    notes = list(differences)
    if not stems and list(inputs) != list(source_inputs):
        notes.append(
            f"WARNING: no convolution of {type(network).__name__} reads the image itself, so that the channels "
            f"{list(source_inputs)} there and {list(inputs)} here were matched by position, not by name"
        )
    used = {one.name for one in statuses if one.status != "fresh"}
    skipped = tuple(name for name in weights if name not in used)
    readers = [one for one in statuses if one.name in stems and (take is None or one.name in take)]
    notes += changed_response(readers, skipped, state, weights, len(inputs), len(source_inputs))
    return TransferReport(
        source,
        source_digest,
        source_task,
        tuple(source_inputs),
        tuple(inputs),
        tuple(statuses),
        skipped,
        tuple(notes),
        loaded_share([one for one in statuses if take is None or one.name in take]),
        part_shares(statuses, weights, skipped, parts or Parts()),
    )


def from_scratch(network: nn.Module, inputs: Sequence[str], parts: Parts | None = None) -> TransferReport:
    """The report of a network that takes nothing over."""
    fresh = tuple(
        ParameterStatus(name, "fresh", value.numel(), 0, "from scratch") for name, value in network.state_dict().items()
    )
    shares = part_shares(fresh, {}, (), parts or Parts())
    return TransferReport("", "", "", (), tuple(inputs), fresh, (), parts=shares)


def _load(name: str, value: Tensor, found: Tensor | None, remark: str | None) -> ParameterStatus:
    if found is None:
        return ParameterStatus(name, "fresh", value.numel(), 0, "the source has none of that name")
    if found.shape != value.shape:
        reason = f"shape {tuple(value.shape)}, the source's is {tuple(found.shape)}"
        return ParameterStatus(name, "fresh", value.numel(), 0, f"{reason}: {remark}" if remark else reason)
    value.copy_(found)
    return ParameterStatus(name, "adapted" if remark else "loaded", value.numel(), value.numel(), remark or "")


def _load_stem(
    name: str, value: Tensor, found: Tensor | None, inputs: list[str], source_inputs: list[str], rule: ChannelRule
) -> ParameterStatus:
    if found is None:
        return ParameterStatus(name, "fresh", value.numel(), 0, "the source has none of that name")
    fits = found.shape[0] == value.shape[0] and found.shape[2:] == value.shape[2:]
    if not fits or found.shape[1] != len(source_inputs):
        reason = f"shape {tuple(value.shape)}, the source's is {tuple(found.shape)}"
        return ParameterStatus(name, "fresh", value.numel(), 0, reason)
    origins = rule.origins(inputs, source_inputs)
    if not any(origin in source_inputs or origin == "mean" for origin in origins):
        reason = f"none of the channels {inputs} is among the source's {source_inputs}"
        return ParameterStatus(name, "fresh", value.numel(), 0, reason)
    taken = fill_stem(value, found, origins, source_inputs)
    if inputs == source_inputs == origins:
        return ParameterStatus(name, "loaded", value.numel(), value.numel())
    reason = describe_origins(inputs, origins, source_inputs)
    return ParameterStatus(name, "adapted", value.numel(), value.numel() // len(inputs) * taken, reason)


def readers_of_the_image(network: nn.Module, image: Tensor) -> set[str]:
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


def fill_stem(kernel: Tensor, found: Tensor, origins: Sequence[str], source_inputs: Sequence[str]) -> int:
    """Write the source's kernel into one whose channels come from ``origins``, in place."""
    taken = 0
    with torch.no_grad():
        for index, origin in enumerate(origins):
            if origin in source_inputs:
                kernel[:, index] = found[:, source_inputs.index(origin)]
            elif origin == "mean":
                kernel[:, index] = found.mean(dim=1)
            elif origin == "zeros":
                kernel[:, index] = 0
            taken += origin in source_inputs or origin == "mean"
    return taken


def describe_origins(inputs: Sequence[str], origins: Sequence[str], source_inputs: Sequence[str]) -> str:
    """Which channel comes from where, in words."""
    common = [name for name, origin in zip(inputs, origins, strict=True) if name == origin]
    words = [f"channels {common} by name from {list(source_inputs)}"] if common else []
    for origin in dict.fromkeys(origins):
        others = [name for name, found in zip(inputs, origins, strict=True) if found == origin and name != origin]
        if others:
            named = {"zeros": "zeros", "mean": "the mean", "fresh": "fresh values"}
            what = repr(origin) if origin in source_inputs else named[origin]
            words.append(f"{what} for {others}")
    return "; ".join(words)


def changed_response(
    readers: Sequence[ParameterStatus],
    skipped: Collection[str],
    state: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    n_inputs: int,
    n_source_inputs: int,
) -> list[str]:
    """Warnings of kernels that read the image in one of the two networks alone, a sentence each.

    A residual block whose input has as many channels as the block is wide adds the input as it is; any other one has a
    convolution there. So the first block's shortcut comes and goes with the number of input channels.
    """
    if all(one.status == "fresh" for one in readers):
        return []
    said = []
    for one in readers:
        if one.status == "fresh":
            added = one.name.endswith(_SHORTCUT) and state[one.name].shape[0] == n_source_inputs
            what = "there the first block adds the image as it is" if added else one.reason
            said.append(f"{_SAYING}: {one.name} reads the image and is fresh ({what})")
    for name in skipped:
        block = name.removesuffix(_SHORTCUT)
        if name.endswith(_SHORTCUT) and any(one.name.startswith(block) for one in readers):
            added = weights[name].shape[0] == n_inputs
            what = "here the first block adds the image as it is" if added else "the network has none of that name"
            said.append(f"{_SAYING}: its {name} read the image and has no place here ({what})")
    return said


def shuffled(weights: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Each tensor's values permuted among themselves, so that its mean, its spread and every other moment stay.

    After the control of Raghu et al. 2019 (arXiv 1902.07208, section 5: "Mean Var"), which draws new values of the same
    mean and variance. What a network started from these gains over fresh weights, it gains from their scale.
    """
    found = {}
    for name, value in weights.items():
        number = int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:15], 16)
        order = torch.randperm(value.numel(), generator=torch.Generator().manual_seed(number))
        found[name] = value.reshape(-1)[order.to(value.device)].reshape(value.shape)
    return found
