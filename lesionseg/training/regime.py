"""How each parameter is trained: from which step on, how fast, and towards what it is pulled."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from lesionseg.weights import Parts, is_adapter, plain_name


@dataclass(frozen=True)
class Regime:
    """How one parameter is trained.

    Args:
        first_step: the step, counted from 0, from which on it is; None: never.
        rate: its learning rate as a share of the optimiser's, above 0 to 1.
        pull: strength of the pull towards its first value, which takes the place of weight decay; 0: none.
    """

    first_step: int | None = 0
    rate: float = 1.0
    pull: float = 0.0

    def trained_at(self, step: int) -> bool:
        """Whether a step, counted from 0, changes it."""
        return self.first_step is not None and step >= self.first_step


@dataclass(frozen=True)
class Strategy:
    """How a network is trained from its first weights; the defaults train all of it alike.

    Args:
        parts: of the network; needed if any of the next two says something.
        train_from: part to the step from which on it is trained, None: never; parts that are not named: from 0.
        layer_decay: the learning rate of a layer as a share of the next one's towards the logits.
        l2_sp: strength of the pull of what comes from the source towards its first value.
        adapters_only: what comes from the source is trained by its adapters alone.
    """

    parts: Parts = field(default_factory=Parts)
    train_from: Mapping[str, int | None] = field(default_factory=dict)
    layer_decay: float = 1.0
    l2_sp: float = 0.0
    adapters_only: bool = False


def regimes(strategy: Strategy, names: Iterable[str], from_source: Collection[str]) -> dict[str, Regime]:
    """The regime of every parameter.

    Args:
        strategy: of the whole.
        names: of the parameters, adapters among them.
        from_source: the names, without adapters, of those whose first values are the source's, at least in part.

    Raises:
        ValueError: layers have different rates and a parameter belongs to no part.
    """
    names = list(names)
    layers = strategy.parts.layers(names) if strategy.layer_decay != 1 else dict.fromkeys(names, 0)
    top = max(layers.values(), default=0)
    found = {}
    for name in names:
        taken = plain_name(name) in from_source
        kept = strategy.adapters_only and taken and not is_adapter(name)
        first = None if kept else strategy.train_from.get(strategy.parts.of(name) or "", 0)
        rate = strategy.layer_decay ** (top - layers[name])
        found[name] = Regime(first, rate, strategy.l2_sp if taken and first is not None else 0.0)
    return found


def set_trained(network: nn.Module, regimes: Mapping[str, Regime], step: int) -> None:
    """Let gradients reach what a step trains and nothing else, in place.

    A normalisation whose parameters are not trained keeps its running averages, too.

    Args:
        network: changed.
        regimes: of its parameters; those without one are trained.
        step: counted from 0.
    """
    trained = set()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(regimes.get(name, Regime()).trained_at(step))
        if parameter.requires_grad:
            trained.add(name)
    for name, module in network.named_modules():
        if isinstance(module, _NormBase):
            own = dict(module.named_parameters(recurse=False))
            scope = name if own else name.rpartition(".")[0]  # without parameters it goes with its neighbours
            module.train(network.training and any(other.startswith(f"{scope}.") for other in trained))
