"""Weights of other programs: each file is made as its program makes it, and must come to the same answers."""

import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lesionseg.errors import InputError
from lesionseg.models import UNet3D
from lesionseg.transfer.checkpoint import ForeignCard, SourceModel, weights_digest
from lesionseg.transfer.importers import ForeignModel, load_weights
from lesionseg.transfer.loading import transfer


@pytest.fixture
def target() -> UNet3D:
    """The network of ``network``, with other values."""
    torch.manual_seed(2)
    return UNet3D(2, widths=[4, 8])


def foreign(path: Path, names: Mapping[str, Tensor] | None = None, **options: Any) -> ForeignModel:
    model = load_weights(path, names=names, **options)
    assert isinstance(model, ForeignModel)
    return model


def refused(path: Path, names: Mapping[str, Tensor] | None = None, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_weights(path, names=names, **options)
    (fault,) = caught.value.faults
    assert fault.startswith(f"checkpoint {path}: ")
    assert "\n" not in fault
    return fault.removeprefix(f"checkpoint {path}: ")


def same(weights: Mapping[str, Tensor], network: nn.Module) -> bool:
    state = network.state_dict()
    return weights.keys() == state.keys() and all(torch.equal(value, state[name]) for name, value in weights.items())


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def test_ours_come_with_their_whole_card(network, card, write_checkpoint, target):
    model = load_weights(write_checkpoint(network, card()), names=target.state_dict())
    assert isinstance(model, SourceModel)
    assert model.card == card()
    assert same(model.weights, network)


NESTED = ("state_dict", "model", "model_state_dict", "network_weights", "net", "network")
WRITERS: dict[str, Callable[[nn.Module, Path], Path]] = {
    "state dict": lambda network, path: saved(network.state_dict(), path),
    "state dict of old": lambda network, path: (
        torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False) or path
    ),
    **{
        key: lambda network, path, key=key: saved({key: network.state_dict(), "epoch": 3, "best": 0.5}, path)
        for key in NESTED
    },
    "safetensors": lambda network, path: save_file(network.state_dict(), path) or path,
    "safetensors of a model": lambda network, path: save_model(network, str(path)) or path,
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "net.", "module._orig_mod.network."])
def test_whoever_wrote_it_the_values_arrive_under_the_networks_names(network, target, tmp_path, writer, prefix):
    wrapped = network
    for part in reversed(prefix.split(".")[:-1]):
        wrapped = nn.ModuleDict({part: wrapped})
    path = WRITERS[writer](wrapped, tmp_path / "weights")
    model = foreign(path, target.state_dict())
    assert same(model.weights, network)
    assert model.origin == str(path)
    assert model.digest == weights_digest(wrapped.state_dict()), "of what the file holds, whatever it is for"
    told = f"the prefix {prefix.replace('_orig_mod.', '')!r} was taken from every name"
    assert (told in model.card.notes) == bool(prefix)
    assert model.card.program == ("safetensors" if "safetensors" in writer else "PyTorch")
    assert model.card.network is model.card.inputs is model.card.spacing is None
    nested = [note for note in model.card.notes if note.startswith("the weights are those under")]
    assert nested == ([f"the weights are those under {writer!r}"] if writer in NESTED else [])


def test_the_longest_prefix_that_fits_is_told_from_what_stands_elsewhere(network, target, tmp_path):
    teacher = UNet3D(2, widths=[4, 8, 8])
    content = {
        **prefixed(teacher.state_dict(), "teacher.net."),
        **prefixed(network.state_dict(), "student.net."),
        "loss.weight": torch.ones(2),
    }
    model = foreign(saved({"state_dict": content}, tmp_path / "a.ckpt"), target.state_dict())
    assert same(model.weights, network)
    left = len(teacher.state_dict()) + 1
    assert model.card.notes[1:] == (
        "the prefix 'student.net.' was taken from every name",
        f"{left} tensors do not begin with 'student.net.' and were left out: "
        + ", ".join(list(prefixed(teacher.state_dict(), "teacher.net."))[:5])
        + ", ...",
    )


def test_names_of_a_compiled_network_are_read_wherever_that_shows(network, target, tmp_path):
    compiled = {name.replace("encoder.", "encoder._orig_mod."): one for name, one in network.state_dict().items()}
    model = foreign(saved(compiled, tmp_path / "a.pt"), target.state_dict())
    assert same(model.weights, network)
    assert any("torch.compile" in note for note in model.card.notes)


def test_of_two_sets_that_fit_equally_none_is_chosen(network, target, tmp_path):
    other = {name: value + 1 for name, value in network.state_dict().items()}
    both = {**prefixed(network.state_dict(), "student."), **prefixed(other, "ema.")}
    with pytest.raises(
        InputError, match=r"holds two sets of weights that fit the network equally, 'student\.' and 'ema"
    ):
        foreign(saved(both, tmp_path / "a.pt"), target.state_dict())
    twice = {**prefixed(network.state_dict(), "a."), **prefixed(network.state_dict(), "b.")}
    assert same(foreign(saved(twice, tmp_path / "b.pt"), target.state_dict()).weights, network)


def test_an_encoder_stored_alone_is_put_in_its_place(network, target, tmp_path):
    model = foreign(saved(network.encoder.state_dict(), tmp_path / "encoder.pt"), target.state_dict())
    assert dict(model.weights).keys() == prefixed(network.encoder.state_dict(), "encoder.").keys()
    assert model.card.notes == ("'encoder.' was put before every name: the file holds that part of the network alone",)
    report = transfer(
        target,
        model.weights,
        inputs=["flair", "t1"],
        patch_size=[8, 8, 8],
        source_inputs=["flair", "t1"],
        source=model.origin,
        source_digest=model.digest,
        source_task="",
    )
    assert report.parts["encoder"].loaded == 1
    assert report.parts["decoder"].loaded == report.parts["head"].loaded == 0


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({}, "it is empty"),
        ({"epoch": 3, "state_dict": {}}, "found epoch, state_dict"),
        ([torch.ones(2)], "it is a list"),
        (torch.ones(2), "it is a Tensor"),
        ({f"k{number}": number for number in range(7)}, "found k0, k1, k2, k3, k4, ..."),
    ],
)
def test_a_file_without_weights(tmp_path, content, found):
    assert refused(saved(content, tmp_path / "a.pt")) == (
        f"holds no weights ({found}); give a state dict, names to tensors, alone or under one of state_dict, "
        "model_state_dict, network_weights, model, network, net, weights"
    )


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("written_by", ["torch", "torch of old", "pickle"])
def test_code_in_a_file_runs_only_if_it_is_trusted(network, target, tmp_path, written_by):
    sprung, path = tmp_path / "sprung", tmp_path / "a.pt"
    content = {"state_dict": network.state_dict(), "callbacks": Trap(sprung)}
    if written_by == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=written_by == "torch")
    fault = refused(path, target.state_dict())
    assert not sprung.exists()
    if written_by == "pickle":
        assert fault.startswith(("holds more than weights", "is no checkpoint that can be read"))
        return
    assert fault == (
        f"holds more than weights: it wants {os.mkdir.__module__}.mkdir, and such a file can run any code; if you "
        "trust whoever made it set init.trust=true, or load it where it was made and save its state dict alone: "
        "torch.save(model.state_dict(), 'weights.pt')"
    )
    assert same(foreign(path, target.state_dict(), trust=True).weights, network)
    assert sprung.is_dir()


def test_an_archive_of_torchscript_says_how_to_get_the_weights_out(tmp_path):
    path = tmp_path / "model.ts"
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.trace(nn.Conv3d(1, 1, 1), torch.zeros(1, 1, 2, 2, 2)), str(path))
    assert refused(path) == (
        "is a TorchScript archive, which holds code beside the weights; save its state dict alone: "
        "torch.save(torch.jit.load(path).state_dict(), 'weights.pt')"
    )


class Module(pl.LightningModule):
    """As people write them: the network under a name of theirs, beside a loss with values."""

    def __init__(self, attribute: str, network: nn.Module) -> None:
        super().__init__()
        self.save_hyperparameters({"learning_rate": 1e-3, "widths": [4, 8]})
        self.attribute = attribute
        setattr(self, attribute, network)
        self.register_buffer("class_weights", torch.ones(2))

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        """A step."""
        return getattr(self, self.attribute)(batch).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


@pytest.mark.parametrize("attribute", ["model", "network", "net", "unet"])
@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*tensorboardX")
@pytest.mark.filterwarnings("ignore:.*number of training", "ignore:.*LeafSpec")
def test_lightnings_own_checkpoint(network, target, tmp_path, attribute):
    keeper = ModelCheckpoint(dirpath=tmp_path, filename="last")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=1,
        logger=False,
        callbacks=[keeper],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(attribute, network), DataLoader(torch.randn(2, 2, 8, 8, 8), batch_size=1))
    model = foreign(tmp_path / "last.ckpt", target.state_dict())
    assert same(model.weights, network)
    assert model.card == ForeignCard(
        "PyTorch Lightning",
        notes=(
            "the weights are those under 'state_dict'",
            f"the prefix '{attribute}.' was taken from every name",
            f"1 tensors do not begin with '{attribute}.' and were left out: class_weights",
        ),
    )
