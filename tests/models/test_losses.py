"""The loss: by hand, by nnU-Net's formula written out, and by its gradient."""

from math import exp, log

import pytest
import torch
import yaml
from torch import Tensor, nn

from lesionseg.config import conf_dir
from lesionseg.instantiate import build
from lesionseg.models import DiceCrossEntropy


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


def test_the_shipped_loss_is_dice_plus_cross_entropy():
    spec = yaml.safe_load((conf_dir() / "loss" / "dice_ce.yaml").read_text())["function"]
    loss = build(spec, nn.Module)
    assert loss(line(0, 0), line(1, 0)).item() == pytest.approx(1 / 3 + log(2))
