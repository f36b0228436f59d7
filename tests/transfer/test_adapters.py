"""Adapters: the network starts as it was, and what it becomes is a plain network again."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lesionseg.models import UNet3D
from lesionseg.transfer import add_adapters, is_adapter, merged, plain_name


def unet(**options: Any) -> UNet3D:
    torch.manual_seed(0)
    return UNet3D(1, **{"widths": (4, 8), **options}).eval()


def image() -> Tensor:
    return torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(5))


def adapted(rank: int, **options: Any) -> UNet3D:
    """A network with adapters that are no longer zero."""
    network = unet(**options)
    add_adapters(network, rank, set(network.state_dict()))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if is_adapter(name):
                parameter.normal_(std=0.3)
    return network


def test_it_starts_as_it_was() -> None:
    plain, network = unet(), unet()
    add_adapters(network, 2, set(network.state_dict()))
    assert torch.equal(network(image()), plain(image()))
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in merged(network).items())


@pytest.mark.parametrize("options", [{}, {"block": "plain", "norm": "batch"}])
def test_the_merged_network_is_a_plain_one_that_answers_the_same(options: Any) -> None:
    network, plain = adapted(2, **options), unet(**options)
    before = plain(image())
    assert set(merged(network)) == set(plain.state_dict())
    plain.load_state_dict(merged(network))
    assert torch.equal(plain(image()), network(image()))
    assert not torch.allclose(before, plain(image()), atol=0.01)


def test_what_is_added_has_the_rank_and_is_up_times_down() -> None:
    network, plain = adapted(2), unet()
    name = "decoder.levels.0.body.0"
    adapter: Any = network.get_submodule(name).parametrizations.weight[0]
    assert (adapter.up.shape, adapter.down.shape) == ((4, 2), (2, 8 * 27))
    added = merged(network)[f"{name}.weight"] - plain.state_dict()[f"{name}.weight"]
    by_hand = torch.einsum("or,rc->oc", adapter.up, adapter.down).reshape(4, 8, 3, 3, 3)
    assert torch.allclose(added, by_hand, atol=1e-6)
    assert torch.linalg.matrix_rank(added.reshape(4, -1), rtol=1e-3) == 2


def test_the_rank_is_no_higher_than_the_kernel_allows() -> None:
    network = adapted(4)
    head: Any = network.head.parametrizations.weight[0]
    assert (head.up.shape, head.down.shape) == ((1, 1), (1, 4))


def test_only_the_named_kernels_get_one_and_norms_never() -> None:
    network = unet()
    add_adapters(network, 2, {"head.weight", "encoder.levels.0.body.1.weight"})
    adapters = [name for name, _ in network.named_parameters() if is_adapter(name)]
    assert adapters == ["head.parametrizations.weight.0.down", "head.parametrizations.weight.0.up"]
    assert {plain_name(name) for name in adapters} == {"head.weight"}
    assert plain_name("head.parametrizations.weight.original") == "head.weight"
    assert plain_name("head.bias") == "head.bias"
    assert not is_adapter("head.parametrizations.weight.original")


def test_gradients_reach_the_adapter_as_by_hand() -> None:
    layer = nn.Sequential(nn.Linear(3, 2, bias=False))
    add_adapters(layer, 1, {"0.weight"})
    adapter: Any = layer[0].parametrizations.weight[0]  # type: ignore[union-attr,index]
    given = torch.tensor([[1.0, 2.0, 3.0]])
    layer(given).sum().backward()
    assert torch.allclose(adapter.up.grad, (given @ adapter.down.T).expand(2, 1))
    assert torch.equal(adapter.down.grad, torch.zeros(1, 3)), "since up is zero at the start"


def test_bf16_does_not_round_what_is_added() -> None:
    network = adapted(2)
    whole = merged(network)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = merged(network)
    assert all(torch.equal(value, within[name]) for name, value in whole.items())
    assert whole["head.weight"].dtype == torch.float32


def test_the_adapters_come_from_the_seed() -> None:
    one, other = unet(), unet()
    for network in (one, other):
        torch.manual_seed(3)
        add_adapters(network, 2, set(network.state_dict()))
    state = copy.deepcopy(other.state_dict())
    assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())
