"""What is known of a model that another program trained."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class ForeignCard:
    """What its file says; None where it does not. Axes are in our order: x, y, z.

    Args:
        program: that wrote it, as ``nnU-Net`` or ``PyTorch``.
        network: description of the network, ``_target_`` and arguments, to make the same one from.
        channels: how many input channels the network has.
        inputs: their names, in order.
        classes: names of the output maps, in order; the background is one of nnU-Net's.
        activation: what makes probabilities of the maps: ``softmax`` over classes that exclude each other, the
            background first, or ``sigmoid`` of each alone.
        spacing: working voxel size in mm.
        patch_size: voxels.
        normalisation: of the images, in that program's words.
        dataset: the name of the dataset it learned from.
        notes: what else is to be known, in sentences: what was left out, renamed or turned.
    """

    program: str
    network: dict[str, Any] | None = None
    channels: int | None = None
    inputs: list[str] | None = None
    classes: list[str] | None = None
    activation: Literal["softmax", "sigmoid"] | None = None
    spacing: list[float] | None = None
    patch_size: list[int] | None = None
    normalisation: str | None = None
    dataset: str | None = None
    notes: tuple[str, ...] = ()
