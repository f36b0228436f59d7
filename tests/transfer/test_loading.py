"""Weights brought over: by what the network then answers, and by a report that adds up."""

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from lesionseg.models import UNet3D
from lesionseg.transfer.loading import ChannelRule, shuffled, transfer
from lesionseg.transfer.report import TransferReport

PATCH = (4, 4, 4)


def unet(in_channels: int, seed: int = 0, **options: Any) -> UNet3D:
    """In double precision, so that an answer that is the same is the same to the last but a few digits."""
    torch.manual_seed(seed)
    return UNet3D(in_channels, **{"widths": (4, 8), **options}).double().eval()


def bring(network, source, inputs, source_inputs, **further):
    return transfer(
        network,
        source.state_dict(),
        inputs=inputs,
        patch_size=PATCH,
        source_inputs=source_inputs,
        source="best.ckpt",
        source_digest="0" * 64,
        source_task="flair_lesions",
        **further,
    )


def image(channels: int, seed: int = 5) -> Tensor:
    return torch.randn(1, channels, *PATCH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=0, atol=1e-12)


def fates(report: TransferReport) -> dict[str, str]:
    return {parameter.name: parameter.status for parameter in report.parameters}


STEMS = {"encoder.levels.0.body.0.weight", "encoder.levels.0.shortcut.weight"}
KINDS = pytest.mark.parametrize(
    "options",
    [{}, {"block": "plain"}, {"norm": "batch"}, {"norm": "group", "widths": (8, 16)}, {"convolutions": 1}],
    ids=["residual", "plain", "batch", "group", "one convolution"],
)


@KINDS
@pytest.mark.parametrize("inputs", [["flair", "prior.flair"], ["prior.flair", "flair"], ["t1", "flair", "t2"]])
def test_on_the_sources_own_channel_the_network_answers_as_the_source_did(options, inputs):
    source, target = unet(1, **options), unet(len(inputs), seed=1, **options)
    report = bring(target, source, inputs, ["flair"])
    where = inputs.index("flair")
    for scale in (0.0, 1.0, 1e3):
        given = scale * image(len(inputs), seed=9)
        given[:, where] = image(1)[:, 0]
        assert same(target(given), source(image(1)))
    adapted = {name for name, fate in fates(report).items() if fate == "adapted"}
    assert adapted == (STEMS if options.get("block") != "plain" else {"encoder.levels.0.body.0.weight"})
    for name in adapted:
        kernel = target.state_dict()[name]
        assert torch.equal(kernel[:, where], source.state_dict()[name][:, 0])
        assert not kernel[:, [number for number in range(len(inputs)) if number != where]].any()


def test_without_a_common_name_the_stems_stay_fresh_even_if_their_shape_fits():
    source, target = unet(1), unet(1, seed=1)
    before = copy.deepcopy(target.state_dict())
    report = bring(target, source, ["t1"], ["flair"])
    assert {name for name, fate in fates(report).items() if fate == "fresh"} == STEMS
    assert set(report.skipped) == STEMS
    for name, value in target.state_dict().items():
        assert torch.equal(value, (before if name in STEMS else source.state_dict())[name])
    reason = next(parameter.reason for parameter in report.parameters if parameter.status == "fresh")
    assert reason == "none of the channels ['t1'] is among the source's ['flair']"
    stems = sum(source.state_dict()[name].numel() for name in STEMS)
    assert report.loaded_share == pytest.approx(1 - stems / sum(v.numel() for v in source.state_dict().values()))


def test_the_report_adds_up():
    source, target = unet(1), unet(3, seed=1, widths=(4, 16))
    report = bring(target, source, ["t1", "flair", "t2"], ["flair"], differences=["spacing differs"])
    state = target.state_dict()
    assert [parameter.name for parameter in report.parameters] == list(state)
    for parameter in report.parameters:
        assert parameter.count == state[parameter.name].numel()
        share = {"loaded": 1, "adapted": 1 / 3, "fresh": 0}[parameter.status]
        assert parameter.loaded == parameter.count * share
        assert bool(parameter.reason) == (parameter.status != "loaded")
    total = sum(parameter.count for parameter in report.parameters)
    assert report.loaded_share == sum(parameter.loaded for parameter in report.parameters) / total
    assert 0 < report.loaded_share < 1
    written = json.loads(json.dumps(report.to_json()))
    assert written["loaded_share"] == report.loaded_share
    assert sum(written["tensors"].values()) == len(state)
    assert written["tensors"] == {fate: list(fates(report).values()).count(fate) for fate in written["tensors"]}
    assert written["parameters"][0] == {
        "name": "encoder.levels.0.body.0.weight",
        "status": "adapted",
        "count": 4 * 3 * 27,
        "loaded": 4 * 27,
        "reason": "channels ['flair'] by name from ['flair']; zeros for ['t1', 't2']",
    }
    assert (written["source"], written["source_task"], written["source_digest"]) == (
        "best.ckpt",
        "flair_lesions",
        "0" * 64,
    )
    assert (written["source_inputs"], written["inputs"]) == (["flair"], ["t1", "flair", "t2"])
    assert written["skipped"] == list(report.skipped)
    assert written["differences"] == ["spacing differs"]


def test_the_summary_tells_shares_reasons_and_notes():
    report = bring(unet(2, seed=1), unet(1), ["flair", "t1"], ["flair"], differences=["spacing differs"])
    first, *lines = report.summary().splitlines()
    loaded = len(report.parameters) - 2
    assert first == (
        f"weights: {report.loaded_share:.1%} of the values from best.ckpt "
        f"({loaded} tensors loaded, 2 adapted, 0 fresh, 0 of the source's skipped)"
    )
    reason = "channels ['flair'] by name from ['flair']; zeros for ['t1']"
    stems = sum(parameter.count for parameter in report.parameters if parameter.status == "adapted")
    share = stems / report.parts["encoder"].values
    assert lines == [
        f"  by part: encoder {1 - share:.1%} loaded, {share:.1%} adapted; decoder 100.0% loaded; head 100.0% loaded",
        f"  adapted: encoder.levels.0.body.0.weight: {reason}",
        f"  adapted: encoder.levels.0.shortcut.weight: {reason}",
        "  note: spacing differs",
    ]


def test_only_what_is_to_be_taken_is_and_the_share_is_of_that():
    source, target = unet(1), unet(1, seed=1)
    before = copy.deepcopy(target.state_dict())
    take = {name for name in before if name.startswith("encoder.")}
    report = bring(target, source, ["flair"], ["flair"], take=take)
    for name, value in target.state_dict().items():
        assert torch.equal(value, (source.state_dict() if name in take else before)[name])
    assert {p.reason for p in report.parameters if p.name not in take} == {"was not to be taken"}
    assert report.taken_share == 1
    count = {name: value.numel() for name, value in before.items()}
    assert report.loaded_share == pytest.approx(sum(count[name] for name in take) / sum(count.values()))
    wider = bring(unet(1, widths=(4, 16)), source, ["flair"], ["flair"], take=take)
    fits = sum(p.count for p in wider.parameters if p.name.startswith("encoder.levels.0."))
    assert wider.taken_share == pytest.approx(fits / wider.parts["encoder"].values)


STEM = "encoder.levels.0.body.0.weight"


@pytest.mark.parametrize("fill", ["zeros", "mean", "fresh"])
def test_on_the_sources_input_alone_the_answer_is_the_sources(fill):
    source, target = unet(2), unet(3, seed=1)
    bring(target, source, ["t2", "t1", "flair"], ["flair", "t1"], rule=ChannelRule(fill))
    given = torch.zeros(1, 3, *PATCH, dtype=torch.float64)
    given[:, 2], given[:, 1] = image(2)[:, 0], image(2)[:, 1]
    assert torch.allclose(target(given), source(image(2)), rtol=0, atol=1e-6)
    given[:, 0] = image(1, seed=8)[:, 0]
    assert same(target(given), source(image(2))) == (fill == "zeros"), (
        "with zeros it is so whatever the new channels hold"
    )


def test_each_fill_is_what_it_says():
    source, target = unet(2), unet(5, seed=1)
    fresh = copy.deepcopy(target.state_dict()[STEM])
    inputs = ["flair", "t1_post", "t2", "pd", "swi"]
    rule = ChannelRule("zeros", {"t1_post": "t1", "t2": "mean", "pd": "fresh"})
    report = bring(target, source, inputs, ["flair", "t1"], rule=rule)
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


def test_a_mapped_channel_answers_to_another_contrast():
    source, target = unet(1), unet(1, seed=1)
    report = bring(target, source, ["t2"], ["flair"], rule=ChannelRule("zeros", {"t2": "flair"}))
    assert same(target(image(1)), source(image(1)))
    assert report.loaded_share == 1
    assert report.parameters[0].reason == "'flair' for ['t2']"


def test_a_rule_that_does_not_fit_is_told():
    rule = ChannelRule("zeros", {"t1": "mean", "flair": "t2", "pd": "flair"})
    assert rule.faults(["flair", "t1"], ["flair"]) == [
        "'pd' is none of the inputs ['flair', 't1']",
        "'flair' cannot take 't2': the source has ['flair']; or write zeros, mean or fresh",
    ]


SHORTCUT = "encoder.levels.0.shortcut.weight"
SAYING = "WARNING: even on the source's own channels the network does not answer as the source did: "
CHANNELS = ["flair", "t1", "t1_post", "t2"]


def answers_alike(target: UNet3D, source: UNet3D, n_target: int, n_source: int) -> bool:
    """Whether on the channels that both have, with zeros in the others, the answers are the same."""
    common = torch.randn(1, min(n_target, n_source), *PATCH, dtype=torch.float64)
    images = [torch.zeros(1, count, *PATCH, dtype=torch.float64) for count in (n_target, n_source)]
    for image in images:
        image[:, : common.shape[1]] = common
    return torch.allclose(target(images[0]), source(images[1]), rtol=0, atol=1e-12)


def test_a_source_as_wide_as_it_has_channels_has_no_shortcut_to_take():
    source, target = unet(4), unet(5, seed=1)
    report = bring(target, source, [*CHANNELS, "pd"], CHANNELS)
    assert not answers_alike(target, source, 5, 4)
    assert report.differences == (
        f"{SAYING}{SHORTCUT} reads the image and is fresh (there the first block adds the image as it is)",
    )
    assert report.summary().splitlines()[-1] == f"  note: {report.differences[0]}"


def test_a_network_as_wide_as_it_has_channels_has_no_place_for_the_shortcut():
    source, target = unet(2), unet(4, seed=1)
    report = bring(target, source, CHANNELS, CHANNELS[:2])
    assert not answers_alike(target, source, 4, 2)
    assert report.differences == (
        f"{SAYING}its {SHORTCUT} read the image and has no place here (here the first block adds the image as it is)",
    )


def test_plain_blocks_beside_residual_ones_are_warned_of_in_both_directions():
    plain, residual = unet(1, block="plain"), unet(1, seed=1)
    assert bring(unet(1, seed=1), plain, ["flair"], ["flair"]).differences == (
        f"{SAYING}{SHORTCUT} reads the image and is fresh (the source has none of that name)",
    )
    assert bring(plain, residual, ["flair"], ["flair"]).differences == (
        f"{SAYING}its {SHORTCUT} read the image and has no place here (the network has none of that name)",
    )


def test_every_tensor_keeps_its_values_and_loses_their_order():
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


def test_the_order_is_the_seeds_and_each_tensors_own():
    values = torch.arange(100.0).reshape(4, 25)
    first = shuffled({"a": values, "b": values}, 7)
    assert torch.equal(shuffled({"a": values}, 7)["a"], first["a"]), "whatever else there is"
    assert not torch.equal(first["a"], first["b"])
    assert not torch.equal(shuffled({"a": values}, 8)["a"], first["a"])
    state = torch.get_rng_state()
    shuffled({"a": values}, 7)
    assert torch.equal(torch.get_rng_state(), state), "fresh weights are drawn as they would be without"
