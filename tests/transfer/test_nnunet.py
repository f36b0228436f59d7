"""Checkpoints of nnU-Net v2 and of nnssl: made with the keys and objects that those programs write."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lesionseg.errors import InputError
from lesionseg.instantiate import build
from lesionseg.transfer.importers import ForeignModel, load_weights
from lesionseg.transfer.loading import transfer
from lesionseg.transfer.report import TransferReport

unet = pytest.importorskip(
    "dynamic_network_architectures.architectures.unet", reason="needs the extra nnunet: pip install 'lesionseg[nnunet]'"
)
STRIDES = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]  # z, y, x: thick slices
KERNELS = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
ARCHITECTURE: dict[str, Any] = {
    "n_stages": 3,
    "features_per_stage": [4, 8, 8],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": KERNELS,
    "strides": STRIDES,
    "n_blocks_per_stage": [1, 2, 2],
    "n_conv_per_stage_decoder": [1, 1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
PLAIN = {**{key: value for key, value in ARCHITECTURE.items() if key != "n_blocks_per_stage"}, "n_conv_per_stage": 2}
DATASET = {
    "channel_names": {"1": "T1w", "0": "FLAIR"},
    "labels": {"background": 0, "lesion": 1},
    "numTraining": 5,
    "file_ending": ".nii.gz",
}


def plans(architecture: Mapping[str, Any] = ARCHITECTURE, name: str = "ResidualEncoderUNet", **changes: Any) -> Any:
    """As plans.json holds them; 3d_fullres inherits what it does not say."""
    return {
        "dataset_name": "Dataset001_Lesions",
        "plans_name": "nnUNetResEncUNetLPlans",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "image_reader_writer": "SimpleITKIO",
        "configurations": {
            "base": {"use_mask_for_norm": [True, False], "normalization_schemes": ["ZScoreNormalization"] * 2},
            "3d_fullres": {
                "inherits_from": "base",
                "patch_size": [8, 16, 24],
                "spacing": [3.0, 1.0, 0.5],
                "architecture": {
                    "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
                    "arch_kwargs": architecture,
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
                **changes.pop("configuration", {}),
            },
        },
        **changes,
    }


def network(name: str = "ResidualEncoderUNet", channels: int = 2, maps: int = 2, **changes: Any) -> nn.Module:
    """As nnU-Net makes it from plans, with values everywhere (its own start sets some to zero)."""
    kinds = {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "nonlin": nn.LeakyReLU}
    arguments = {**(ARCHITECTURE if name == "ResidualEncoderUNet" else PLAIN), **kinds, **changes}
    torch.manual_seed(1)
    made: nn.Module = getattr(unet, name)(input_channels=channels, num_classes=maps, deep_supervision=True, **arguments)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.eval()


def checkpoint(made: nn.Module, path: Path, **changes: Any) -> Path:
    """What nnUNetTrainer.save_checkpoint writes: NumPy's numbers among the scores, a device among the arguments."""
    optimizer = torch.optim.SGD(made.parameters(), 0.01, momentum=0.99, nesterov=True)
    for parameter in made.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    content = {
        "network_weights": made.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": None,
        "logging": {
            "mean_fg_dice": [np.float64(0.5), np.mean([0.25, 0.75])],
            "ema_fg_dice": [np.float64(0.5), np.float32(0.5)],
            "dice_per_class_or_region": [[np.float64(0.5)], [np.float64(0.5)]],
            "train_losses": [np.mean(np.array([-0.5], np.float32)), 0.25],
            "val_losses": [np.array([1.0, 2.0])],
            "lrs": [0.01, np.int64(1)],
            "epoch_start_timestamps": [1.5, 2.5],
            "epoch_end_timestamps": [2.5, 3.5],
        },
        "_best_ema": np.float64(0.5),
        "current_epoch": 2,
        "init_args": {
            "plans": plans(),
            "configuration": "3d_fullres",
            "fold": 0,
            "dataset_json": DATASET,
            "device": torch.device("cuda"),
        },
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def arguments(**changes: Any) -> dict[str, Any]:
    return {"plans": plans(), "configuration": "3d_fullres", "fold": 0, "dataset_json": DATASET, **changes}


def foreign(path: Path, names: Mapping[str, Tensor] | None = None) -> ForeignModel:
    model = load_weights(path, names=names)
    assert isinstance(model, ForeignModel)
    return model


def answers(model: ForeignModel, made: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Of the network that the card describes with the model's weights, and of the one that wrote them: it sees the
    image with its axes the other way round."""
    assert model.card.network is not None
    ours = build(model.card.network, nn.Module).eval()
    fitted = model.fitted(ours.state_dict())
    assert fitted.weights.keys() > ours.state_dict().keys(), "with the heads of deep supervision"
    ours.load_state_dict({name: fitted.weights[name] for name in ours.state_dict()})
    image = torch.randn(1, *shape)
    with torch.no_grad():
        return ours(image), made(image.permute(0, 1, 4, 3, 2))[0].permute(0, 1, 4, 3, 2)


@pytest.mark.parametrize("name", ["ResidualEncoderUNet", "PlainConvUNet"])
def test_the_network_of_the_plans_answers_as_nnunets_own(tmp_path, name):
    made = network(name)
    architecture = ARCHITECTURE if name == "ResidualEncoderUNet" else PLAIN
    path = checkpoint(made, tmp_path / "checkpoint_final.pth", init_args=arguments(plans=plans(architecture, name)))
    ours, theirs = answers(foreign(path), made, (2, 24, 16, 8))
    assert ours.shape == (1, 2, 24, 16, 8)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert theirs.std() > 0.01


def test_the_card_says_what_the_plans_do(tmp_path):
    card = foreign(checkpoint(network(), tmp_path / "checkpoint_final.pth")).card
    assert (card.program, card.dataset) == ("nnU-Net", "Dataset001_Lesions")
    assert (card.inputs, card.channels, card.classes) == (["flair", "t1"], 2, ["background", "lesion"])
    assert card.activation == "softmax"
    assert (card.spacing, card.patch_size) == ([0.5, 1.0, 3.0], [24, 16, 8])
    assert card.normalisation == (
        "ZScoreNormalization within the nonzero mask, ZScoreNormalization over the whole image"
    )
    assert card.network == {
        "_target_": "lesionseg.models.DynamicUNet",
        "in_channels": 2,
        "out_channels": 2,
        "widths": [4, 8, 8],
        "block": "residual",
        "blocks": [1, 2, 2],
        "decoder_convolutions": [1, 1],
        "kernels": [[3, 3, 1], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2]],
    }
    assert card.notes == (
        "trained by nnU-Net's nnUNetTrainer",
        "its channels' names were read so: FLAIR as flair, T1w as t1",
        "its axes are zyx and were put in our order xyz, in the kernels and in what its plans say",
    )


@pytest.mark.parametrize("place", [".", ".."])
def test_plans_beside_a_checkpoint_or_in_the_folder_above(tmp_path, place):
    folder = tmp_path / "nnUNetTrainer__nnUNetResEncUNetLPlans__3d_fullres"
    path = checkpoint(network(), folder / "fold_0" / "checkpoint_final.pth", init_args={})
    assert foreign(path).card.spacing is None
    assert any(note.startswith("WARNING: there are no plans") for note in foreign(path).card.notes)
    for name, content in {"plans.json": plans(), "dataset.json": DATASET}.items():
        (path.parent / place / name).write_text(json.dumps(content))
    whole = foreign(checkpoint(network(), tmp_path / "whole.pth"))
    assert foreign(path).card == whole.card
    assert foreign(path).digest == whole.digest


def test_plans_of_before_version_2_4_say_the_network_in_other_words(tmp_path):
    old = {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 8,
        "n_conv_per_stage_encoder": [2, 2, 2],
        "n_conv_per_stage_decoder": [1, 1],
        "pool_op_kernel_sizes": STRIDES,
        "conv_kernel_sizes": KERNELS,
        "num_pool_per_axis": [1, 2, 2],
    }
    changed = plans(configuration=old)
    del changed["configurations"]["3d_fullres"]["architecture"]
    made = network("PlainConvUNet")
    model = foreign(checkpoint(made, tmp_path / "a.pth", init_args=arguments(plans=changed)))
    ours, theirs = answers(model, made, (2, 24, 16, 8))
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "name", "reason"),
    [
        (ARCHITECTURE, "Primus", "dynamic_network_architectures.architectures.unet.Primus is none of Residual"),
        (
            {**ARCHITECTURE, "norm_op": "torch.nn.BatchNorm3d", "conv_bias": False},
            "ResidualEncoderUNet",
            "lesionseg.models.DynamicUNet has no conv_bias=False, norm_op='torch.nn.BatchNorm3d'",
        ),
    ],
)
def test_a_network_that_ours_does_not_cover_says_why(tmp_path, architecture, name, reason):
    path = checkpoint(network(), tmp_path / "a.pth", init_args=arguments(plans=plans(architecture, name)))
    card = foreign(path).card
    assert card.network is None
    assert card.inputs == ["flair", "t1"]
    assert any(note.startswith(f"its network cannot be made here: {reason}") for note in card.notes)


def brought(path: Path) -> tuple[nn.Module, TransferReport]:
    """The network of the plans with one lesion map and all that it can take of the checkpoint, in double precision."""
    model = foreign(path)
    assert model.card.network is not None
    ours: nn.Module = build({**model.card.network, "out_channels": 1}, nn.Module).double().eval()
    fitted = model.fitted(ours.state_dict())
    report = transfer(
        ours,
        fitted.weights,
        inputs=["flair", "t1"],
        patch_size=(8, 8, 4),
        source_inputs=fitted.card.inputs or [],
        source=fitted.origin,
        source_digest=fitted.digest,
        source_task=fitted.card.program,
        remarks=fitted.remarks,
    )
    return ours, report


HEAD = ("decoder.seg_layers.1.weight", "decoder.seg_layers.1.bias")


@pytest.mark.parametrize("name", ["ResidualEncoderUNet", "PlainConvUNet"])
def test_one_lesion_map_has_the_probability_of_nnunets_softmax(tmp_path, name):
    made = network(name).double()
    architecture = ARCHITECTURE if name == "ResidualEncoderUNet" else PLAIN
    path = checkpoint(made, tmp_path / "checkpoint_final.pth", init_args=arguments(plans=plans(architecture, name)))
    ours, report = brought(path)
    image = torch.randn(1, 2, 24, 16, 8, dtype=torch.float64)
    with torch.no_grad():
        mine = torch.sigmoid(ours(image))
        theirs = torch.softmax(made(image.permute(0, 1, 4, 3, 2))[0], dim=1)[:, 1:].permute(0, 1, 4, 3, 2)
    assert mine.shape == theirs.shape == (1, 1, 24, 16, 8)
    assert torch.allclose(mine, theirs, rtol=0, atol=1e-12)
    assert theirs.std() > 0.01
    assert report.loaded_share == 1
    assert {fate.name: fate.reason for fate in report.parameters if fate.status == "adapted"} == dict.fromkeys(
        HEAD, "the map of 'lesion' minus that of 'background': its sigmoid is the softmax of both"
    )


@pytest.mark.parametrize(
    ("labels", "maps", "reason"),
    [
        (
            {"background": 0, "edema": 1, "core": 2},
            3,
            "the source has maps of the classes background, edema, core, not of background and one lesion",
        ),
        (
            {"background": 0, "whole": [1, 2], "core": [2]},
            2,
            "the source has maps of the regions whole, core, not of background and one lesion",
        ),
        (None, 2, "no dataset.json tells what the source's maps are"),
    ],
)
def test_a_head_of_other_maps_stays_fresh_and_it_is_said_why(tmp_path, labels, maps, reason):
    dataset = {**DATASET, "labels": labels} if labels else {"channel_names": DATASET["channel_names"]}
    path = checkpoint(network(maps=maps), tmp_path / "a.pth", init_args=arguments(dataset_json=dataset))
    _, report = brought(path)
    shapes = {"weight": f"shape (1, 4, 1, 1, 1), the source's is ({maps}, 4, 1, 1, 1)"}
    shapes["bias"] = f"shape (1,), the source's is ({maps},)"
    assert {fate.name: fate.reason for fate in report.parameters if fate.status != "loaded"} == {
        name: f"{shapes[name.rpartition('.')[2]]}: {reason}" for name in HEAD
    }


def adaptation_plan(**changes: Any) -> dict[str, Any]:
    """As in nnssl's published checkpoints."""
    return {
        "architecture_plans": {
            "arch_class_name": "ResidualEncoderUNet",
            "arch_kwargs": {**ARCHITECTURE, "kernel_sizes": [[3, 3, 3]] * 3},
            "arch_kwargs_requiring_import": None,
        },
        "pretrain_plan": {
            "dataset_name": "Dataset745_OpenMind",
            "plans_name": "nnsslPlans",
            "transpose_forward": [0, 1, 2],
            "configurations": {
                "onemmiso": {
                    "spacing_style": "onemmiso",
                    "normalization_schemes": ["ZScoreNormalization"],
                    "use_mask_for_norm": [False],
                    "spacing": [1, 1, 1],
                    "patch_size": [256, 256, 64],
                }
            },
        },
        "pretrain_num_input_channels": 1,
        "recommended_downstream_patchsize": [160, 160, 160],
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": ["encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"],
        "key_to_lpe": None,
        "citations": [],
        **changes,
    }


@pytest.mark.parametrize("place", ["encoder", "online_encoder", "student.encoder"])
def test_nnssls_encoder_and_stem_arrive_and_nothing_else(tmp_path, place):
    made = network(channels=1, maps=1, kernel_sizes=[[3, 3, 3]] * 3)
    state = made.state_dict()
    weights = {name.replace("encoder", place, 1) if name[0] == "e" else name: value for name, value in state.items()}
    plan = adaptation_plan(key_to_encoder=f"{place}.stages", key_to_stem=f"{place}.stem")
    torch.save({"network_weights": weights, "nnssl_adaptation_plan": plan, "citations": []}, tmp_path / "a.pth")
    model = foreign(tmp_path / "a.pth")
    card = model.card
    assert (card.program, card.dataset, card.inputs, card.channels) == ("nnssl", "Dataset745_OpenMind", None, 1)
    assert (card.spacing, card.patch_size) == ([1.0, 1.0, 1.0], [64, 256, 256])
    assert card.normalisation == "ZScoreNormalization over the whole image"
    assert card.network is not None
    ours = build(card.network, nn.Module).eval()
    fitted = model.fitted(ours.state_dict())
    assert fitted.weights.keys() == {name for name in ours.state_dict() if name.startswith("encoder.")}
    ours.load_state_dict(fitted.weights, strict=False)
    image = torch.randn(1, 1, 8, 8, 16)
    with torch.no_grad():
        theirs = made.get_submodule("encoder")(image.permute(0, 1, 4, 3, 2))
        features = ours.get_submodule("encoder")(image)
    for mine, original in zip(features, theirs, strict=True):
        assert torch.allclose(mine, original.permute(0, 1, 4, 3, 2), atol=1e-4)


@pytest.mark.parametrize(
    ("plan", "found"),
    [
        (
            adaptation_plan(key_to_encoder="eva", key_to_stem="down"),
            "says that the encoder is under eva and down, and no ",
        ),
        ({"architecture_plans": {"arch_class_name": "ResEncL"}}, "cannot be understood (KeyError: 'key_to_encoder')"),
    ],
)
def test_an_adaptation_plan_that_does_not_fit_its_weights(tmp_path, plan, found):
    state = {"encoder.stem.convs.0.conv.weight": torch.ones(1)}
    torch.save({"network_weights": state, "nnssl_adaptation_plan": plan}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="nnssl_adaptation_plan") as caught:
        load_weights(tmp_path / "a.pth")
    assert found in str(caught.value)
    assert str(caught.value).endswith("; give a checkpoint as nnssl publishes it, or its state dict alone")
