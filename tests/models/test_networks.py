"""The U-Net: shapes, parts, parameter counts by hand, and what must hold for every input."""

import itertools
from math import exp, log
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from lesionseg.config import conf_dir
from lesionseg.instantiate import build
from lesionseg.models import DiceCrossEntropy, FocalLoss, IntensityThreshold, UNet3D, channels_last, fold_norms

PRESETS: dict[str, dict[str, Any]] = {
    name: network
    for name, network in (
        (path.stem, yaml.safe_load(path.read_text())["network"]) for path in sorted(conf_dir().glob("model/*.yaml"))
    )
    if network["_target_"] == "lesionseg.models.UNet3D"
}
EACH = pytest.mark.parametrize("preset", PRESETS)


def made(preset: str, in_channels: int, device: str = "meta") -> UNet3D:
    """A preset's network; on the meta device it has shapes and no values."""
    with torch.device(device):
        network = build({**PRESETS[preset], "in_channels": in_channels}, nn.Module)
    assert isinstance(network, UNet3D)
    return network


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def expected_count(in_channels: int, widths: list[int], residual: bool, convolutions: int = 2) -> int:
    """By hand: kernels of 27 without bias, two values of each normalised channel, 1 × 1 × 1 shortcuts, 2 × 2 × 2
    upsamplings with bias, and a head with bias."""

    def block(before: int, width: int, halves: bool) -> int:
        convolved = 27 * before * width + (convolutions - 1) * 27 * width * width + convolutions * 2 * width
        return convolved + (before * width if residual and (before != width or halves) else 0)

    total = sum(
        block(before, width, level > 0)
        for level, (before, width) in enumerate(zip([in_channels, *widths[:-1]], widths, strict=True))
    )
    for fine, coarse in itertools.pairwise(widths):
        total += 8 * coarse * fine + fine + block(2 * fine, fine, False)
    return total + widths[0] + 1


@EACH
@pytest.mark.parametrize("in_channels", [1, 3])
def test_a_presets_map_has_the_size_of_the_image(preset, in_channels):
    network = made(preset, in_channels)
    assert network.divisor == 2 ** (len(PRESETS[preset]["widths"]) - 1)
    shape = (2 * network.divisor, network.divisor, 3 * network.divisor)
    logits = network(torch.zeros(2, in_channels, *shape, device="meta"))
    assert logits.shape == (2, 1, *shape)


@EACH
def test_a_presets_parameters_are_those_of_its_layers(preset):
    spec = PRESETS[preset]
    expected = expected_count(2, spec["widths"], spec["block"] == "residual", spec["convolutions"])
    assert count(made(preset, 2)) == expected


@pytest.mark.parametrize("widths", [[2, 4], [4, 8, 8], [3, 2, 5, 4]])
@pytest.mark.parametrize("block", ["plain", "residual"])
@pytest.mark.parametrize("convolutions", [1, 2, 3])
def test_any_widths_blocks_and_convolutions(widths, block, convolutions):
    network = UNet3D(2, 3, widths=widths, block=block, convolutions=convolutions)
    assert count(network) == expected_count(2, widths, block == "residual", convolutions) + 2 * widths[0] + 2
    side = 2 * network.divisor
    assert network(torch.randn(1, 2, side, side, side)).shape == (1, 3, side, side, side)


def test_its_parts_are_named():
    network = UNet3D(1, widths=(2, 4, 8))
    assert [name for name, _ in network.named_children()] == ["encoder", "decoder", "head"]
    assert {name.partition(".")[0] for name in network.state_dict()} == {"encoder", "decoder", "head"}
    assert (len(network.encoder.levels), len(network.decoder.levels)) == (3, 2)
    features = network.encoder(torch.randn(1, 1, 8, 8, 8))
    assert [tuple(feature.shape) for feature in features] == [(1, 2, 8, 8, 8), (1, 4, 4, 4, 4), (1, 8, 2, 2, 2)]
    assert network.decoder(features).shape == (1, 2, 8, 8, 8)


def test_a_plain_network_has_no_shortcuts_and_a_residual_one_has():
    plain, residual = (UNet3D(1, widths=(2, 4), block=block) for block in ("plain", "residual"))
    assert not [name for name in plain.state_dict() if "shortcut" in name]
    assert [name for name in residual.state_dict() if "shortcut" in name] == [
        "encoder.levels.0.shortcut.weight",
        "encoder.levels.1.shortcut.weight",
        "decoder.levels.0.shortcut.weight",
    ]


@pytest.mark.parametrize("preset", ["tiny_unet", "small_unet"])
def test_every_parameter_learns(preset):
    torch.manual_seed(0)
    network = made(preset, 2, "cpu")
    network(torch.randn(1, 2, 16, 16, 16)).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_a_side_that_is_no_multiple_of_the_divisor_does_not_fit():
    network = UNet3D(1, widths=(2, 4, 8))
    assert network.divisor == 4
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        network(torch.randn(1, 1, 8, 8, 10))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"widths": [8]}, r"a U-Net needs at least two levels; widths is \[8\]"),
        ({"widths": []}, r"a U-Net needs at least two levels; widths is \[\]"),
        ({"norm": "layer"}, "norm must be 'instance', 'batch' or 'group', not 'layer'"),
        ({"norm": "group", "widths": [8, 12]}, "works in 8 groups; 12 channels cannot be divided"),
        ({"block": "dense"}, "block must be 'plain' or 'residual', not 'dense'"),
        ({"convolutions": 0}, "at least one convolution; convolutions is 0"),
    ],
)
def test_what_makes_no_network_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build({"_target_": "lesionseg.models.UNet3D", "in_channels": 1, **wrong}, nn.Module)


def test_the_layout_changes_no_number():
    torch.manual_seed(0)
    network = UNet3D(2, 1, widths=(4, 8)).eval()
    image = torch.randn(1, 2, 8, 8, 8)
    with torch.inference_mode():
        before = network(image)
        after = channels_last(network)(image)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    kernel = network.encoder.levels[0].body[0].weight
    assert kernel.is_contiguous(memory_format=torch.channels_last_3d)


def line(*values: float) -> Tensor:
    return torch.tensor(values).reshape(1, 1, 1, 1, -1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dice_weight": 0.0}, log(2)),
        ({"cross_entropy_weight": 0.0}, 1 / 3),
        ({"dice_weight": 2.0, "cross_entropy_weight": 0.5}, 2 / 3 + log(2) / 2),
        ({"positive_weight": 3.0}, 1 / 3 + 2 * log(2)),
        ({"positive_weight": 3}, 1 / 3 + 2 * log(2)),
        ({"smooth": 0.0, "cross_entropy_weight": 0.0}, 1 / 2),
        ({"smooth": 4.0, "cross_entropy_weight": 0.0}, 1 / 6),
    ],
)
def test_each_weight_by_hand(options, expected):
    assert DiceCrossEntropy(**options)(line(0, 0), line(1, 0)).item() == pytest.approx(expected)


def test_an_uneven_prediction_written_out():
    logits, target = [2.0, -1.0, 0.5, -3.0], [1, 0, 1, 1]
    p = [1 / (1 + exp(-value)) for value in logits]
    dice = (2 * (p[0] + p[2] + p[3]) + 1) / (sum(p) + 3 + 1)
    entropy = -(log(p[0]) + log(1 - p[1]) + log(p[2]) + log(p[3])) / 4
    assert DiceCrossEntropy()(line(*logits), line(*target)).item() == pytest.approx(1 - dice + entropy, rel=1e-6)


@pytest.mark.parametrize("lesion", [0, 1, 100, 1000])
def test_a_perfect_prediction_costs_next_to_nothing_and_its_opposite_much(lesion):
    target = torch.zeros(1, 1, 10, 10, 10)
    target.view(-1)[:lesion] = 1
    certain = 40 * target - 20
    assert DiceCrossEntropy()(certain, target).item() == pytest.approx(0, abs=1e-5)
    assert DiceCrossEntropy()(-certain, target).item() > 20


@pytest.mark.parametrize("lesion", [0, 3, 27])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_value_and_gradient_are_finite_with_any_mask(lesion, scale):
    torch.manual_seed(0)
    target = torch.zeros(2, 1, 3, 3, 3)
    target[0].view(-1)[:lesion] = 1
    logits = (scale * torch.randn(2, 1, 3, 3, 3)).requires_grad_()
    loss = DiceCrossEntropy()(logits, target)
    loss.backward()
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_focal_loss_written_out(gamma):
    logits, target = [2.0, -1.0, 0.5, -3.0], [1, 0, 1, 1]
    own = [1 / (1 + exp(-value if wanted else value)) for value, wanted in zip(logits, target, strict=True)]
    expected = sum(-((1 - p) ** gamma) * log(p) for p in own) / 100  # three lesion voxels: fewer than the least divisor
    assert FocalLoss(gamma)(line(*logits), line(*target)).item() == pytest.approx(expected, rel=1e-6)


def test_the_focal_loss_is_divided_by_the_lesion():
    target = torch.ones(1, 1, 10, 10, 10)
    assert FocalLoss()(torch.zeros_like(target), target).item() == pytest.approx(log(2) / 4)


def test_a_head_begins_with_its_bias():
    network = UNet3D(1, widths=(2, 4), head_bias=-4.0)
    assert network.head.bias.tolist() == [-4.0]


def test_an_intensity_threshold_keeps_what_is_bright_and_deep():
    image = torch.zeros(1, 2, 20, 20, 20)
    image[:, :, 2:18, 2:18, 2:18] = 0.5
    image[:, 0, 3, 10, 10] = image[:, 0, 10, 10, 10] = 3.0
    image[:, 1] = 9.0  # another channel is not looked at
    found = IntensityThreshold(threshold=2.0, margin=3)(image) >= 0
    assert torch.nonzero(found[0, 0]).tolist() == [[10, 10, 10]]
    near = IntensityThreshold(threshold=2.0, margin=1)(image) >= 0
    assert int(near.sum()) == 2


@EACH
def test_folded_norms_leave_the_logits(preset):
    torch.manual_seed(0)
    network = made(preset, 2, "cpu")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):  # as after some training
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    image = torch.randn(1, 2, *[2 * network.divisor] * 3)
    with torch.no_grad():
        before = network.eval()(image)
        after = fold_norms(network)(image)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in network.modules())
