"""Bring a source model's weights into a network, and say what became of every one."""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn

from lesionseg.weights.fates import ParameterFate, loaded_share
from lesionseg.weights.parts import Parts
from lesionseg.weights.report import TransferReport
from lesionseg.weights.shares import part_shares
from lesionseg.weights.shortcuts import changed_response
from lesionseg.weights.stems import ChannelRule, describe_origins, fill_stem, readers_of_the_image


def from_scratch(network: nn.Module, inputs: Sequence[str], parts: Parts | None = None) -> TransferReport:
    """The report of a network that takes nothing over."""
    fresh = tuple(
        ParameterFate(name, "fresh", value.numel(), 0, "from scratch") for name, value in network.state_dict().items()
    )
    shares = part_shares(fresh, {}, (), parts or Parts())
    return TransferReport("", "", "", (), tuple(inputs), fresh, (), parts=shares)


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
        take: names of the target's parameters and buffers that are to come from the source; None: all.
        rule: where each input channel's kernels come from.
        parts: of the network, to report on each; those of our U-Net if not given.
        remarks: by name, how a tensor of the source's was made to fit, or why it could not be.
    """
    state = network.state_dict()
    like = next(network.parameters())
    stems = readers_of_the_image(network, like.new_zeros(1, len(inputs), *patch_size))
    fates = []
    for name, value in state.items():
        found = weights.get(name)
        if take is not None and name not in take:
            fates.append(ParameterFate(name, "fresh", value.numel(), 0, "was not to be taken"))
        elif name in stems:
            fates.append(_load_stem(name, value, found, list(inputs), list(source_inputs), rule or ChannelRule()))
        else:
            fates.append(_load(name, value, found, (remarks or {}).get(name)))
    network.load_state_dict(state)
    notes = list(differences)
    if not stems and list(inputs) != list(source_inputs):
        notes.append(
            f"WARNING: no convolution of {type(network).__name__} reads the image itself, so that the channels "
            f"{list(source_inputs)} there and {list(inputs)} here were matched by position, not by name"
        )
    used = {fate.name for fate in fates if fate.fate != "fresh"}
    skipped = tuple(name for name in weights if name not in used)
    readers = [fate for fate in fates if fate.name in stems and (take is None or fate.name in take)]
    notes += changed_response(readers, skipped, state, weights, len(inputs), len(source_inputs))
    return TransferReport(
        source,
        source_digest,
        source_task,
        tuple(source_inputs),
        tuple(inputs),
        tuple(fates),
        skipped,
        tuple(notes),
        loaded_share([fate for fate in fates if take is None or fate.name in take]),
        part_shares(fates, weights, skipped, parts or Parts()),
    )


def _load(name: str, value: Tensor, found: Tensor | None, remark: str | None) -> ParameterFate:
    if found is None:
        return ParameterFate(name, "fresh", value.numel(), 0, "the source has none of that name")
    if found.shape != value.shape:
        reason = f"shape {tuple(value.shape)}, the source's is {tuple(found.shape)}"
        return ParameterFate(name, "fresh", value.numel(), 0, f"{reason}: {remark}" if remark else reason)
    value.copy_(found)
    return ParameterFate(name, "adapted" if remark else "loaded", value.numel(), value.numel(), remark or "")


def _load_stem(
    name: str, value: Tensor, found: Tensor | None, inputs: list[str], source_inputs: list[str], rule: ChannelRule
) -> ParameterFate:
    if found is None:
        return ParameterFate(name, "fresh", value.numel(), 0, "the source has none of that name")
    fits = found.shape[0] == value.shape[0] and found.shape[2:] == value.shape[2:]
    if not fits or found.shape[1] != len(source_inputs):
        reason = f"shape {tuple(value.shape)}, the source's is {tuple(found.shape)}"
        return ParameterFate(name, "fresh", value.numel(), 0, reason)
    origins = rule.origins(inputs, source_inputs)
    if not any(origin in source_inputs or origin == "mean" for origin in origins):
        reason = f"none of the channels {inputs} is among the source's {source_inputs}"
        return ParameterFate(name, "fresh", value.numel(), 0, reason)
    taken = fill_stem(value, found, origins, source_inputs)
    if inputs == source_inputs == origins:
        return ParameterFate(name, "loaded", value.numel(), value.numel())
    reason = describe_origins(inputs, origins, source_inputs)
    return ParameterFate(name, "adapted", value.numel(), value.numel() // len(inputs) * taken, reason)
