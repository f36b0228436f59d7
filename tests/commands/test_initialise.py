import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lesionseg.commands.initialise import check_network, checkpoint_path, initialise, model_card, source_model
from lesionseg.config.schema import TrainConfig
from lesionseg.errors import InputError
from lesionseg.metrics import AnyOverlap
from lesionseg.tracking import open_store
from lesionseg.tracking.mlflow_store import start_run
from lesionseg.transfer import METADATA_KEY, ForeignModel, SourceModel, load_model

Configure = Callable[..., TrainConfig]


@pytest.fixture
def source(configure: Configure, tmp_path: Path) -> Path:
    """A checkpoint of the tiny network, as training writes it."""
    config = configure()
    network, _ = initialise(config, model_card(config, ["s01"]), 3, None)
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    path = tmp_path / "source.ckpt"
    torch.save({"state_dict": weights, METADATA_KEY: model_card(config, ["s01"]).to_dict()}, path)
    return path


def _initialised(config: TrainConfig, seed: int, source: SourceModel | None = None) -> Any:
    return initialise(config, model_card(config, []), seed, source)


def test_the_card_says_what_the_run_knows(configure: Configure) -> None:
    card = model_card(configure("task=new_lesions", "metrics.threshold=0.3"), ["01", "02"])
    assert (card.task, card.inputs, card.target) == ("new_lesions", ["flair", "prior.flair"], "new_lesion")
    assert (card.threshold, card.criterion, card.min_lesion_volume) == (0.3, AnyOverlap(), 3.0)
    assert (card.dataset, card.init, card.train_subjects) == ("bids", "scratch", ["01", "02"])
    assert card.network["in_channels"] == 2
    assert json.loads(json.dumps(card.to_dict())) == card.to_dict()


def test_fresh_weights_come_from_the_seed_alone(configure: Configure) -> None:
    torch.manual_seed(99)
    first, report = _initialised(configure(), 1)
    again, _ = _initialised(configure("repeat=4"), 1)
    other, _ = _initialised(configure(), 2)
    pairs = list(zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert all(torch.equal(one, two) for one, two in pairs)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert report.summary() == "weights: all fresh (from scratch)"
    assert report.loaded_share == 0


def test_scratch_ignores_a_checkpoint_even_one_that_is_not_there(configure: Configure, tmp_path: Path) -> None:
    config = configure("init=scratch", "init.checkpoint=/no/such.ckpt")
    assert source_model(config, None, tmp_path) is None


def test_pretrained_takes_the_sources_weights(configure: Configure, source: Path, tmp_path: Path) -> None:
    config = configure("init=pretrained", f"init.checkpoint={source}")
    model = source_model(config, None, tmp_path)
    assert model is not None
    network, report = _initialised(config, 8, model)
    assert report.loaded_share == 1
    assert report.source == str(source)
    assert torch.equal(network.head.weight, load_model(source).weights["head.weight"])


@pytest.fixture
def foreign(configure: Configure, tmp_path: Path) -> Path:
    """The tiny network's state dict as another program saves it: under a prefix, without a word on its channels."""
    network, _ = _initialised(configure(), 3)
    path = tmp_path / "foreign.pt"
    torch.save({"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, path)
    return path


def test_another_programs_weights_are_taken_once_their_channels_are_told(
    configure: Configure, foreign: Path, tmp_path: Path
) -> None:
    told = ["init=pretrained", f"init.checkpoint={foreign}", "init.source_inputs=[FLAIR]"]
    config = configure(*told, "task=new_lesions")
    network, report = _initialised(config, 8, source_model(config, None, tmp_path))
    theirs = torch.load(foreign, weights_only=True)["state_dict"]
    stem = "encoder.levels.0.body.0.weight"
    assert torch.equal(network.state_dict()[stem][:, :1], theirs[f"module.{stem}"])
    assert not network.state_dict()[stem][:, 1:].any()
    assert (report.source_inputs, report.inputs) == (("flair",), ("flair", "prior.flair"))
    assert report.source_task == "PyTorch"
    notes = "\n".join(report.differences)
    assert "WARNING: PyTorch does not tell the source's inputs, spacing, normalisation" in notes
    assert "the prefix 'module.' was taken from every name" in notes


@pytest.mark.parametrize("ours", ["t1_post", "T1Gd", "T1_CE"])
def test_another_programs_contrast_is_found_under_its_usual_names(
    configure: Configure, foreign: Path, tmp_path: Path, ours: str
) -> None:
    config = configure("init=pretrained", f"init.checkpoint={foreign}", f"task.inputs=[{ours}]")
    source = source_model(config, None, tmp_path)
    assert isinstance(source, ForeignModel)
    told = replace(source, card=replace(source.card, inputs=["t1_post"]))
    report = initialise(config, model_card(config, []), 8, told)[1]
    assert (report.source_inputs, report.loaded_share) == ((ours,), 1)


def test_channels_that_nobody_tells_are_asked_for(configure: Configure, foreign: Path, tmp_path: Path) -> None:
    config = configure("init=pretrained", f"init.checkpoint={foreign}")
    with pytest.raises(InputError) as caught:
        _initialised(config, 8, source_model(config, None, tmp_path))
    assert str(caught.value) == (
        f"init.checkpoint={foreign}: does not tell its input channels; name them in order, such as "
        "init.source_inputs=[flair]"
    )


def test_what_is_not_trusted_is_refused(configure: Configure, tmp_path: Path) -> None:
    path = tmp_path / "odd.pt"
    network, _ = _initialised(configure(), 3)
    torch.save({"state_dict": network.state_dict(), "folder": Path("/somewhere")}, path)
    asked = ["init=pretrained", f"init.checkpoint={path}", "init.source_inputs=[flair]"]
    with pytest.raises(InputError, match=r"holds more than weights: it wants .*init\.trust=true"):
        source_model(configure(*asked), None, tmp_path)
    config = configure(*asked, "init.trust=true")
    assert _initialised(config, 8, source_model(config, None, tmp_path))[1].loaded_share == 1


def test_too_little_that_fits_stops_the_run(configure: Configure, source: Path, tmp_path: Path) -> None:
    config = configure("init=pretrained", f"init.checkpoint={source}", "model.network.widths=[8,16]")
    with pytest.raises(InputError) as caught:
        _initialised(config, 0, source_model(config, None, tmp_path))
    text = str(caught.value)
    assert text.startswith(f"init.checkpoint={source}: only ")
    assert "% of the network's values come from it, init.min_loaded asks for 50%; choose the source's model" in text
    assert f"weights: 0.0% of the values from {source} (" in text


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (
            ["task.patch_size=[17,16,16]"],
            "task.patch_size=[17, 16, 16], task.inputs=['flair']: model.network cannot take patches of shape "
            "(1, 17, 16, 16) (Sizes of tensors must match",
        ),
        (
            ["model.network.widths=[4,8,8,8]", "task.patch_size=[8,8,8]"],
            "(Expected more than 1 spatial element when training",
        ),
        (["model.network.in_channels=3"], "to have 3 channels, but got 1 channels instead"),
        (
            ["model.network.out_channels=2"],
            "model.network: gives (2, 2, 16, 16, 16) for patches of shape (2, 1, 16, 16, 16), wanted is one lesion "
            "map of the same size for each; set out_channels to 1",
        ),
        (["model.network.norm=layer"], "model.network: norm must be 'instance', 'batch' or 'group', not 'layer'"),
        (["model.network.widths=[4]"], "model.network: a U-Net needs at least two levels; widths is [4]"),
        (["model.network._target_=argparse.Namespace"], "model.network: _target_ 'argparse.Namespace' is no Module"),
    ],
)
def test_a_network_that_does_not_fit_the_task_is_told(configure: Configure, overrides: list[str], fault: str) -> None:
    with pytest.raises(InputError) as caught:
        check_network(configure(*overrides))
    (found,) = caught.value.faults
    assert fault in found


def test_the_way_out_names_the_multiple(configure: Configure) -> None:
    with pytest.raises(InputError, match=r"make each side a multiple of 8, and twice that at least$"):
        check_network(configure("model.network.widths=[4,8,8,8]", "task.patch_size=[8,8,8]"))


def test_a_path_is_absolute_and_knows_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert checkpoint_path("a/best.ckpt", None, tmp_path) == tmp_path / "a" / "best.ckpt"
    assert checkpoint_path("~/best.ckpt", None, tmp_path) == Path("/home/somebody/best.ckpt")


def test_a_runs_checkpoint_is_fetched_once(tmp_path: Path, with_store: Any) -> None:
    with_store(tmp_path)
    store = open_store(f"sqlite:///{tmp_path}/mlflow.db", "exp", str(tmp_path / "artifacts"), tmp_path / ".lock")
    run = start_run(store, "run", {})
    (tmp_path / "best.ckpt").write_text("weights")
    run.log_file(tmp_path / "best.ckpt", "checkpoints")
    downloads = tmp_path / "models"
    path = checkpoint_path(f"runs:/{run.run_id}", store, downloads)
    assert path == downloads / run.run_id / "checkpoints" / "best.ckpt"
    assert path.read_text() == "weights"
    path.write_text("fetched before")
    assert checkpoint_path(f"runs:/{run.run_id}", store, downloads).read_text() == "fetched before"
    with pytest.raises(InputError, match=r"^checkpoint runs:/nobody: .*; look .* up in\s+lesionseg ui, or give a path"):
        checkpoint_path("runs:/nobody", store, downloads)
    with pytest.raises(InputError) as caught:
        checkpoint_path("runs:/nobody", None, downloads)
    assert str(caught.value) == "checkpoint runs:/nobody: there is no MLflow store yet to look it up in; give a path"
    assert [folder.name for folder in downloads.iterdir()] == [run.run_id]
