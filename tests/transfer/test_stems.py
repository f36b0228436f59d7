"""Input channels that the source does not know: by zeros, the mean, fresh values, or another channel's kernels."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lesionseg.models import UNet3D
from lesionseg.transfer import ChannelRule, TransferReport, transfer

STEM = "encoder.levels.0.body.0.weight"


def unet(channels: int, seed: int = 0) -> UNet3D:
    torch.manual_seed(seed)
    return UNet3D(channels, widths=(4, 8)).eval()


def bring(network: nn.Module, source: nn.Module, inputs: list[str], there: list[str], rule: Any) -> TransferReport:
    return transfer(
        network,
        source.state_dict(),
        inputs=inputs,
        patch_size=(4, 4, 4),
        source_inputs=there,
        source="best.ckpt",
        source_digest="",
        source_task="",
        rule=rule,
    )


def image(channels: int, seed: int = 5) -> Tensor:
    return torch.randn(1, channels, 8, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("fill", ["zeros", "mean", "fresh"])
def test_on_the_sources_input_alone_the_answer_is_the_sources(fill: Any) -> None:
    source, target = unet(2), unet(3, seed=1)
    bring(target, source, ["t2", "t1", "flair"], ["flair", "t1"], ChannelRule(fill))
    given = torch.zeros(1, 3, 8, 8, 8)
    given[:, 2], given[:, 1] = image(2)[:, 0], image(2)[:, 1]
    assert torch.allclose(target(given), source(image(2)), rtol=0, atol=1e-6)
    given[:, 0] = image(1, seed=8)[:, 0]
    same = torch.allclose(target(given), source(image(2)), rtol=0, atol=1e-6)
    assert same == (fill == "zeros"), "with zeros it is so whatever the new channels hold"


def test_each_fill_is_what_it_says() -> None:
    source, target = unet(2), unet(5, seed=1)
    fresh = copy.deepcopy(target.state_dict()[STEM])
    inputs = ["flair", "t1_post", "t2", "pd", "swi"]
    rule = ChannelRule("zeros", {"t1_post": "t1", "t2": "mean", "pd": "fresh"})
    report = bring(target, source, inputs, ["flair", "t1"], rule)
    kernel, there = target.state_dict()[STEM], source.state_dict()[STEM]
    assert torch.equal(kernel[:, 0], there[:, 0])
    assert torch.equal(kernel[:, 1], there[:, 1])
    assert torch.allclose(kernel[:, 2], (there[:, 0] + there[:, 1]) / 2)
    assert torch.equal(kernel[:, 3], fresh[:, 3])
    assert not kernel[:, 4].any()
    (fate,) = [fate for fate in report.parameters if fate.name == STEM]
    assert (fate.status, fate.loaded, fate.count) == ("adapted", 3 * 4 * 27, 5 * 4 * 27)
    assert fate.reason == (
        "channels ['flair'] by name from ['flair', 't1']; 't1' for ['t1_post']; the mean for ['t2']; fresh values for "
        "['pd']; zeros for ['swi']"
    )


def test_a_mapped_channel_answers_to_another_contrast() -> None:
    source, target = unet(1), unet(1, seed=1)
    report = bring(target, source, ["t2"], ["flair"], ChannelRule("zeros", {"t2": "flair"}))
    assert torch.equal(target(image(1)), source(image(1)))
    assert report.loaded_share == 1
    assert report.parameters[0].reason == "'flair' for ['t2']"


def test_without_a_common_name_the_mean_serves_and_zeros_do_not() -> None:
    source = unet(2)
    target = unet(1, seed=1)
    bring(target, source, ["t2"], ["flair", "t1"], ChannelRule("mean"))
    assert torch.allclose(target.state_dict()[STEM][:, 0], source.state_dict()[STEM].mean(dim=1))
    target = unet(1, seed=1)
    report = bring(target, source, ["t2"], ["flair", "t1"], ChannelRule("zeros"))
    assert report.parameters[0].status == "fresh", "a kernel of zeros would never see the image"


def test_a_rule_that_does_not_fit_is_told() -> None:
    rule = ChannelRule("zeros", {"t1": "mean", "flair": "t2", "pd": "flair"})
    assert rule.faults(["flair", "t1"], ["flair"]) == [
        "'pd' is none of the inputs ['flair', 't1']",
        "'flair' cannot take 't2': the source has ['flair']; or write zeros, mean or fresh",
    ]
