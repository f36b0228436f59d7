"""L2-SP: parameters are pulled towards the values that they started from."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lesionseg.training.regime import Regime


class StartingPoint(nn.Module):
    """Where some parameters of a network started, and the penalty for being elsewhere.

    Li et al. 2018 (arXiv 1802.01483), eq. 2: ``pull / 2 · ‖w − w₀‖²``, part of the loss as there. It takes the place of
    weight decay for these parameters; the others, their w_S̄, keep the optimiser's.

    The values are those of when this is made, and go into no checkpoint: a run that goes on makes its network from the
    source's weights first, then this, and then puts the weights of when it was cut off into the network.

    Args:
        network: whose parameters are remembered.
        regimes: of its parameters; those with a pull are remembered.
    """

    def __init__(self, network: nn.Module, regimes: Mapping[str, Regime]) -> None:
        super().__init__()
        self.pulls = {name: regime.pull for name, regime in regimes.items() if regime.pull}
        for name, parameter in network.named_parameters():
            if name in self.pulls:
                self.register_buffer(_key(name), parameter.detach().clone(), persistent=False)

    def forward(self, network: nn.Module) -> Tensor:
        """The penalty of a network with the same parameters; its gradient is ``pull · (w − w₀)``."""
        parameters = dict(network.named_parameters())
        away = [
            0.5 * pull * (parameters[name] - self.get_buffer(_key(name))).square().sum()
            for name, pull in self.pulls.items()
        ]
        return torch.stack(away).sum()


def _key(name: str) -> str:
    return name.replace(".", "/")  # a buffer's name must not hold a dot
