"""The kernels that read the image: found in a network, and matched channel by channel by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

Fill = Literal["zeros", "mean", "fresh"]
FILLS: tuple[Fill, ...] = ("zeros", "mean", "fresh")


@dataclass(frozen=True)
class ChannelRule:
    """Where each input channel's kernels come from.

    A channel that the source knows by name takes the source's. For another one: ``zeros``; ``mean``, the mean over the
    source's channels; ``fresh``, as it was initialised. Whichever it is, the network's response to the source's own
    channels is the source's as long as the new ones are zero, and with zeros whatever they hold.

    Args:
        new: for the channels that the source does not know.
        channels: for single channels: the name of the source's channel that they take, or one of the above.
    """

    new: Fill = "zeros"
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


def fill_stem(kernel: Tensor, found: Tensor, origins: Sequence[str], source_inputs: Sequence[str]) -> int:
    """Write the source's kernel into one whose channels come from ``origins``, in place.

    Args:
        kernel: (out, channels, x, y, z), as initialised; changed.
        found: (out, source channels, x, y, z).
        origins: one for each channel: a source channel's name, or a fill.
        source_inputs: the names of the source's channels.

    Returns:
        How many channels come from the source.
    """
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
