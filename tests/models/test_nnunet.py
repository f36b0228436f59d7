"""nnU-Net's networks: the same answers, initial values and counts as dynamic-network-architectures gives."""

import sys
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from lesionseg.config import conf_dir
from lesionseg.instantiate import build
from lesionseg.models import DynamicUNet
from lesionseg.transfer.finetuning import Parts

unet = pytest.importorskip(
    "dynamic_network_architectures.architectures.unet", reason="needs the extra nnunet: pip install 'lesionseg[nnunet]'"
)
BLOCKS = pytest.mark.parametrize("block", ["residual", "plain"])
ANISOTROPIC: dict[str, Any] = {
    "kernels": [[3, 3, 1], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2]],
}


def ours(block: Any = "residual", seed: int = 0, **options: Any) -> DynamicUNet:
    torch.manual_seed(seed)
    arguments = {"widths": [4, 8, 8], "blocks": [1, 2, 2], "decoder_convolutions": [2, 1], **options}
    return DynamicUNet(2, block=block, **arguments)


def theirs(block: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    kind, key = {
        "residual": (unet.ResidualEncoderUNet, "n_blocks_per_stage"),
        "plain": (unet.PlainConvUNet, "n_conv_per_stage"),
    }[block]
    made = kind(
        input_channels=2,
        n_stages=3,
        features_per_stage=[4, 8, 8],
        conv_op=nn.Conv3d,
        kernel_sizes=ANISOTROPIC["kernels"],
        strides=ANISOTROPIC["strides"],
        **{key: [1, 2, 2]},
        num_classes=1,
        n_conv_per_stage_decoder=[2, 1],
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )
    return made.apply(made.initialize)


@BLOCKS
def test_it_starts_and_answers_as_nnunets_network(block):
    network, original = ours(block, **ANISOTROPIC), theirs(block)
    image = torch.randn(1, 2, 8, 8, 4)
    assert torch.equal(network(image), original(image))
    assert network(image).shape == (1, 1, 8, 8, 4)


@BLOCKS
def test_every_parameter_has_one_of_nnunets_names(block):
    network, original = ours(block, **ANISOTROPIC), theirs(block)
    state, names = network.state_dict(), original.state_dict()
    assert all(torch.equal(value, names[name]) for name, value in state.items())
    assert len({value.data_ptr() for value in state.values()}) == len(state)
    assert list(state) == [name for name, _ in network.named_parameters()]
    heads = sum(p.numel() for p in original.decoder.seg_layers[:-1].parameters())
    assert sum(v.numel() for v in state.values()) == sum(p.numel() for p in original.parameters()) - heads


def test_the_preset_is_nnunets_size_l_with_its_parts():
    preset = yaml.safe_load((conf_dir() / "model" / "resenc_unet.yaml").read_text())
    with torch.device("meta"):
        network = build({**preset["network"], "in_channels": 1}, nn.Module)
    assert network.divisor == 32
    logits = network(torch.zeros(1, 1, 64, 32, 96, device="meta"))
    assert logits.shape == (1, 1, 64, 32, 96)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == pytest.approx(102.35e6, rel=1e-3), "as nnU-Net tells of ResEncL"
    parts = Parts(preset["parts"])
    assert {parts.of(name) for name in network.state_dict()} == {"encoder", "decoder", "head"}
    assert [name for name in network.state_dict() if parts.of(name) == "head"] == [
        "decoder.seg_layers.4.weight",
        "decoder.seg_layers.4.bias",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": [4]}, "at least two levels"),
        ({"blocks": [1, 2]}, "blocks needs one entry for each of the 3 widths; it is .1, 2."),
        ({"kernels": [[3, 3, 3]]}, "kernels needs one entry for each of the 3 widths"),
        ({"strides": [[1, 1, 1]] * 4}, "strides needs one entry for each of the 3 widths"),
        ({"decoder_convolutions": [1, 1, 1]}, r"decoder_convolutions needs one entry fewer than widths \(2\)"),
        ({"block": "dense"}, "block must be 'residual' or 'plain', not 'dense'"),
    ],
)
def test_what_cannot_be_made_says_why(options, message):
    with pytest.raises(ValueError, match=message):
        ours(**options)


def test_without_the_extra_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures.architectures.unet", None)
    with pytest.raises(ValueError, match=r"pip install 'lesionseg\[nnunet\]'"):
        ours()
