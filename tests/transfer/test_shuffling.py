import torch

from lesionseg.models import UNet3D
from lesionseg.transfer import shuffled


def test_every_tensor_keeps_its_values_and_loses_their_order() -> None:
    torch.manual_seed(0)
    weights = UNet3D(1, widths=(4, 8)).state_dict()
    weights = {name: torch.rand_like(value) for name, value in weights.items()}
    mixed = shuffled(weights, 7)
    assert mixed.keys() == weights.keys()
    for name, value in weights.items():
        assert mixed[name].shape == value.shape
        assert torch.equal(mixed[name].flatten().sort().values, value.flatten().sort().values)
        if value.numel() > 8:
            assert not torch.equal(mixed[name], value)
    big = "decoder.levels.0.body.0.weight"
    moved = (mixed[big] != weights[big]).float().mean()
    assert moved > 0.99, "of 864 values about one stays where it was"


def test_the_order_is_the_seeds_and_each_tensors_own() -> None:
    values = torch.arange(100.0).reshape(4, 25)
    first = shuffled({"a": values, "b": values}, 7)
    assert torch.equal(shuffled({"a": values}, 7)["a"], first["a"]), "whatever else there is"
    assert not torch.equal(first["a"], first["b"])
    assert not torch.equal(shuffled({"a": values}, 8)["a"], first["a"])
    state = torch.get_rng_state()
    shuffled({"a": values}, 7)
    assert torch.equal(torch.get_rng_state(), state), "fresh weights are drawn as they would be without"


def test_counters_and_single_values_stay() -> None:
    weights = {"n": torch.tensor(5), "bias": torch.tensor([0.5])}
    assert all(torch.equal(value, weights[name]) for name, value in shuffled(weights, 1).items())
