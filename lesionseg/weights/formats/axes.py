"""The order of nnU-Net's axes, and ours."""

from collections.abc import Mapping, Sequence

from torch import Tensor

DEFAULT = (0, 1, 2)


def to_xyz(transpose_forward: Sequence[int]) -> list[int]:
    """Where, among the axes of a network of nnU-Net, x, y and z are.

    nnU-Net reads images as (z, y, x) and then puts the axes in the order ``transpose_forward``.
    """
    return [list(transpose_forward).index(axis) for axis in (2, 1, 0)]


def described(order: Sequence[int]) -> str:
    """What was done to the axes, in a sentence."""
    axes = "".join("xyz"[order.index(axis)] for axis in range(3))
    return f"its axes are {axes} and were put in our order xyz, in the kernels and in what its plans say"


def turned(weights: Mapping[str, Tensor], order: Sequence[int]) -> dict[str, Tensor]:
    """Kernels of three dimensions with their axes in another order, others as they are; nothing is copied.

    A network with turned kernels gives for a turned image the turned map.
    """
    axes = (0, 1, *(2 + axis for axis in order))
    return {name: value.permute(axes) if value.ndim == 5 else value for name, value in weights.items()}
