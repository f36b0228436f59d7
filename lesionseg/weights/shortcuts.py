"""The way of the image past the first block, where source and target do not both have one."""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from lesionseg.weights.fates import ParameterFate

_SHORTCUT = "shortcut.weight"
_SAYING = "WARNING: even on the source's own channels the network does not answer as the source did"


def changed_response(
    readers: Sequence[ParameterFate],
    skipped: Collection[str],
    state: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    n_inputs: int,
    n_source_inputs: int,
) -> list[str]:
    """Warnings of kernels that read the image in one of the two networks alone, a sentence each.

    A residual block whose input has as many channels as the block is wide adds the input as it is; any other one has a
    convolution there. So the first block's shortcut comes and goes with the number of input channels.

    Args:
        readers: the target's kernels that read the image and were to be taken.
        skipped: the source's tensors that found no place.
        state: the target's state dict.
        weights: the source's.
        n_inputs: input channels of the target.
        n_source_inputs: those of the source.
    """
    if all(fate.fate == "fresh" for fate in readers):
        return []
    said = []
    for fate in readers:
        if fate.fate == "fresh":
            added = fate.name.endswith(_SHORTCUT) and state[fate.name].shape[0] == n_source_inputs
            what = "there the first block adds the image as it is" if added else fate.reason
            said.append(f"{_SAYING}: {fate.name} reads the image and is fresh ({what})")
    for name in skipped:
        block = name.removesuffix(_SHORTCUT)
        if name.endswith(_SHORTCUT) and any(fate.name.startswith(block) for fate in readers):
            added = weights[name].shape[0] == n_inputs
            what = "here the first block adds the image as it is" if added else "the network has none of that name"
            said.append(f"{_SAYING}: its {name} read the image and has no place here ({what})")
    return said
