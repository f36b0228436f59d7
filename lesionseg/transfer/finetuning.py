"""Fine-tuning: a network's parts, which parameters are trained when and how fast, L2-SP, and low-rank adapters.

LoRA, Hu et al. 2021 (arXiv 2106.09685): beside a frozen kernel W, seen as a matrix with an output channel in each row,
a product B A of low rank is learned; W + B A takes the place of W. B starts at zero, so that the network starts as it
is without. The paper's scale α/r is 1 here: it says itself that tuning α is like tuning the learning rate.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

_ADAPTED = (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)
_BESIDE = ".parametrizations.weight."
DEFAULT_PARTS: Mapping[str, Sequence[str]] = {"encoder": ["encoder"], "decoder": ["decoder"], "head": ["head"]}
"""Those of ``lesionseg.models.UNet3D``, and of any network that names its modules so."""


@dataclass(frozen=True)
class Parts:
    """The parts of a network on the way from the image to the logits."""

    # part to the names that its parameters begin with, as ``decoder.seg_layers``; where several fit, the longest counts
    prefixes: Mapping[str, Sequence[str]] = field(default_factory=lambda: DEFAULT_PARTS)

    def of(self, name: str) -> str | None:
        """The part that a parameter belongs to; None if to none."""
        found = self._found(name)
        return found[0] if found else None

    def layers(self, names: Iterable[str]) -> dict[str, int]:
        """Each parameter's layer, from 0 next to the image upwards without gaps.

        A layer is what has, within one part, the same first number in its name: ``decoder.upsamplings.1`` and
        ``decoder.levels.1`` are one, ``encoder.levels.1`` another. Parts follow each other as they are listed, layers
        of a part by their number.
        """
        places = {name: self._place(name) for name in names}
        order = {place: index for index, place in enumerate(sorted(set(places.values())))}
        return {name: order[place] for name, place in places.items()}

    def without(self, names: Iterable[str]) -> list[str]:
        """The parts that none of the names belongs to."""
        present = {self.of(name) for name in names}
        return [part for part in self.prefixes if part not in present]

    def _place(self, name: str) -> tuple[int, int]:
        found = self._found(name)
        if found is None:
            raise ValueError(f"parameter {name!r} belongs to none of the parts {', '.join(self.prefixes)}")
        part, prefix = found
        number = re.search(r"\.(\d+)(?=\.|$)", name[len(prefix) :])
        return list(self.prefixes).index(part), int(number.group(1)) if number else 0

    def _found(self, name: str) -> tuple[str, str] | None:
        fitting = [
            (part, prefix)
            for part, prefixes in self.prefixes.items()
            for prefix in prefixes
            if name == prefix or name.startswith(f"{prefix}.")
        ]
        return max(fitting, key=lambda pair: len(pair[1]), default=None)


class LowRank(nn.Module):
    """What is added to a kernel: ``up @ down``, in the kernel's shape."""

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
    """Put an adapter beside each of some kernels of convolutions and linear layers, in place."""
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


@dataclass(frozen=True)
class ParamPlan:
    """How one parameter is trained."""

    first_step: int | None = 0  # the step, counted from 0, from which on it is trained; None: never
    rate: float = 1.0  # its learning rate as a share of the optimiser's, above 0 to 1
    l2_sp: float = 0.0  # strength of the L2-SP penalty, which takes the place of weight decay; 0: none

    def trained_at(self, step: int) -> bool:
        """Return whether a step, counted from 0, changes it."""
        return self.first_step is not None and step >= self.first_step


def plan_parameters(
    names: Iterable[str],
    from_source: Collection[str],
    *,
    parts: Parts | None = None,
    train_from: Mapping[str, int | None] | None = None,
    layer_decay: float = 1.0,
    l2_sp: float = 0.0,
    adapters_only: bool = False,
) -> dict[str, ParamPlan]:
    """Return how each parameter is trained; by default all alike."""
    names, parts, steps = list(names), parts or Parts(), train_from or {}
    layers = parts.layers(names) if layer_decay != 1 else dict.fromkeys(names, 0)
    top = max(layers.values(), default=0)
    plans = {}
    for name in names:
        taken = plain_name(name) in from_source
        frozen = adapters_only and taken and not is_adapter(name)
        first = None if frozen else steps.get(parts.of(name) or "", 0)
        rate = layer_decay ** (top - layers[name])
        plans[name] = ParamPlan(first, rate, l2_sp if taken and first is not None else 0.0)
    return plans


def set_trained(network: nn.Module, plans: Mapping[str, ParamPlan], step: int) -> None:
    """Let gradients reach what a step trains and nothing else, in place.

    A normalisation whose parameters are not trained keeps its running averages, too.
    """
    trained = set()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(plans.get(name, ParamPlan()).trained_at(step))
        if parameter.requires_grad:
            trained.add(name)
    for name, module in network.named_modules():
        if isinstance(module, _NormBase):
            own = dict(module.named_parameters(recurse=False))
            scope = name if own else name.rpartition(".")[0]  # without parameters it goes with its neighbours
            module.train(network.training and any(other.startswith(f"{scope}.") for other in trained))


class L2SPPenalty(nn.Module):
    """The penalty for leaving the first weights.

    Li et al. 2018 (arXiv 1802.01483), eq. 2: ``l2_sp / 2 · ‖w − w₀‖²``, part of the loss as there. It takes the place
    of weight decay for these parameters; the others, their w_S̄, keep the optimiser's.

    The first values are taken when this is made, and go into no checkpoint: a run that goes on makes its network from
    the source's weights first, then this, and then loads the checkpoint into the network.
    """

    def __init__(self, network: nn.Module, plans: Mapping[str, ParamPlan]) -> None:
        super().__init__()
        self.strengths = {name: plan.l2_sp for name, plan in plans.items() if plan.l2_sp}
        for name, parameter in network.named_parameters():
            if name in self.strengths:  # a buffer's name must not hold a dot
                self.register_buffer(name.replace(".", "/"), parameter.detach().clone(), persistent=False)

    def forward(self, network: nn.Module) -> Tensor:
        """Return the penalty of a network with the same parameters; its gradient is ``l2_sp · (w − w₀)``."""
        parameters = dict(network.named_parameters())
        terms = [
            0.5 * strength * (parameters[name] - self.get_buffer(name.replace(".", "/"))).square().sum()
            for name, strength in self.strengths.items()
        ]
        return torch.stack(terms).sum()
