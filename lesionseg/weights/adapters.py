"""Low-rank adapters on a network's kernels, and the plain network that they come to.

LoRA, Hu et al. 2021 (arXiv 2106.09685): beside a frozen kernel W, seen as a matrix with an output channel in each row,
a product B A of low rank is learned; W + B A takes the place of W. B starts at zero, so that the network starts as it
is without. The paper's scale α/r is 1 here: it says itself that tuning α is like tuning the learning rate.
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_ADAPTED = (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)
_BESIDE = ".parametrizations.weight."


class LowRank(nn.Module):
    """What is added to a kernel: ``up @ down``, in the kernel's shape.

    Args:
        kernel: any shape; its first axis is the matrix's rows.
        rank: of the product; no more than the matrix can have.
    """

    def __init__(self, kernel: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = kernel.shape[0], kernel[0].numel()
        rank = min(rank, rows, columns)
        self.down = nn.Parameter(kernel.new_empty(rank, columns))
        self.up = nn.Parameter(kernel.new_zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, kernel: Tensor) -> Tensor:
        """The kernel with the product added, in the kernel's own precision: what is merged is what was trained."""
        with torch.autocast(kernel.device.type, enabled=False):
            return kernel + (self.up @ self.down).view(kernel.shape)


def add_adapters(network: nn.Module, rank: int, kernels: Collection[str]) -> None:
    """Put an adapter beside each of some kernels of convolutions and linear layers, in place.

    Args:
        network: changed; answers as before.
        rank: of the adapters, from 1.
        kernels: names such as ``encoder.levels.0.body.0.weight``; others get none.
    """
    modules = [(name, module) for name, module in network.named_modules() if isinstance(module, _ADAPTED)]
    for name, module in modules:
        if f"{name}.weight" in kernels:
            parametrize.register_parametrization(module, "weight", LowRank(module.weight.detach(), rank))


def is_adapter(name: str) -> bool:
    """Whether a parameter of that name belongs to an adapter."""
    return _BESIDE in name and not name.endswith(".original")


def plain_name(name: str) -> str:
    """A parameter's name in the network without adapters; an adapter's is that of its kernel."""
    stem, beside, _ = name.partition(_BESIDE)
    return f"{stem}.weight" if beside else name


def merged(network: nn.Module) -> dict[str, Tensor]:
    """The state of the plain network that answers as the one with adapters does."""
    state = {plain_name(name): value for name, value in network.state_dict().items() if not is_adapter(name)}
    for name, module in network.named_modules(remove_duplicate=False):
        if parametrize.is_parametrized(module, "weight"):
            state[f"{name}.weight"] = module.weight.detach()
    return state
