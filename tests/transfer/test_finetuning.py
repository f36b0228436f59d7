"""Which parameter is trained when and how fast, by hand."""

import pytest
import torch
from torch import nn

from lesionseg.models import UNet3D
from lesionseg.transfer import ParamPlan, Parts, add_adapters, is_adapter, plan_parameters, set_trained

NAMES = [
    "encoder.levels.0.body.0.weight",
    "encoder.levels.1.body.0.weight",
    "decoder.upsamplings.0.weight",
    "decoder.levels.0.body.0.weight",
    "head.bias",
]


def test_at_rest_all_are_trained_alike() -> None:
    assert plan_parameters(NAMES, set(NAMES)) == dict.fromkeys(NAMES, ParamPlan())
    assert plan_parameters(["anything"], set()) == {"anything": ParamPlan()}, "no part is asked for"


def test_parts_are_trained_from_their_step_on_or_never() -> None:
    found = plan_parameters(NAMES, set(), train_from={"encoder": None, "decoder": 3, "head": 0})
    assert [found[name].first_step for name in NAMES] == [None, None, 3, 3, 0]
    assert [[found[name].trained_at(step) for name in NAMES].count(True) for step in (0, 2, 3, 99)] == [1, 1, 3, 3]


def test_rates_fall_from_the_head_to_the_image_layer_by_layer() -> None:
    found = plan_parameters(NAMES, set(), layer_decay=0.5)
    assert [found[name].rate for name in NAMES] == [1 / 8, 1 / 4, 1 / 2, 1 / 2, 1]


def test_what_comes_from_the_source_is_pulled_unless_it_never_moves() -> None:
    found = plan_parameters(NAMES, {NAMES[0], NAMES[2]}, l2_sp=0.1, train_from={"decoder": None})
    assert [found[name].l2_sp for name in NAMES] == [0.1, 0, 0, 0, 0]


def test_two_strategies_compose() -> None:
    found = plan_parameters(NAMES, set(NAMES[:2]), train_from={"encoder": 7}, layer_decay=0.5, l2_sp=0.1)
    assert found[NAMES[0]] == ParamPlan(7, 1 / 8, 0.1)
    assert found["head.bias"] == ParamPlan()


def test_with_adapters_what_was_taken_stays_and_what_is_fresh_is_trained() -> None:
    network = UNet3D(1, widths=(4, 8))
    taken = {name for name in network.state_dict() if not name.startswith("head.")}
    add_adapters(network, 2, taken)
    names = [name for name, _ in network.named_parameters()]
    found = plan_parameters(names, taken, adapters_only=True)
    for name in names:
        assert found[name].trained_at(0) == (is_adapter(name) or name.startswith("head.")), name
    later = plan_parameters(names, taken, adapters_only=True, train_from={"encoder": 5})
    assert {later[name].first_step for name in names if is_adapter(name) and name.startswith("encoder")} == {5}


def test_a_parameter_without_a_part_has_no_place_among_layers() -> None:
    with pytest.raises(ValueError, match=r"parameter 'stem.weight' belongs to none of the parts encoder, head"):
        plan_parameters(["stem.weight"], set(), parts=Parts({"encoder": ["down"], "head": ["out"]}), layer_decay=0.5)


def test_gradients_reach_what_is_trained_and_its_norms_alone_move() -> None:
    network = UNet3D(1, widths=(4, 8), norm="batch").train()
    plan = plan_parameters(dict(network.named_parameters()), set(), train_from={"encoder": 2, "decoder": 0})
    norms = {name: m for name, m in network.named_modules() if isinstance(m, nn.BatchNorm3d)}
    for step, encoder in ((0, False), (1, False), (2, True)):
        set_trained(network, plan, step)
        for name, parameter in network.named_parameters():
            assert parameter.requires_grad == (encoder or not name.startswith("encoder."))
        for name, norm in norms.items():
            assert norm.training == (encoder or not name.startswith("encoder."))
        means = {name: norm.running_mean.clone() for name, norm in norms.items() if norm.running_mean is not None}
        network(torch.randn(2, 1, 8, 8, 8))
        for name, norm in norms.items():
            assert torch.equal(norm.running_mean, means[name]) == (not norm.training)
    network.eval()
    set_trained(network, plan, 2)
    assert not any(norm.training for norm in norms.values()), "validation stays validation"


def test_a_norm_without_parameters_goes_with_its_neighbours() -> None:
    network = nn.ModuleDict({"a": nn.Sequential(nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1, affine=False))})
    set_trained(network, {name: ParamPlan(None) for name, _ in network.named_parameters()}, 0)
    assert not network["a"][1].training  # type: ignore[index]
    set_trained(network, {}, 0)
    assert network["a"][1].training  # type: ignore[index]
