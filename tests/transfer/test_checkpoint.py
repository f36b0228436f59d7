"""Checkpoints: what is written reads back, and what is none is refused without running anything in it."""

import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from lesionseg.errors import InputError
from lesionseg.metrics import AnyOverlap
from lesionseg.models import UNet3D
from lesionseg.transfer.checkpoint import METADATA_KEY, contrast_name, load_model, store_threshold, weights_digest


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(path)
    (fault,) = caught.value.faults
    assert fault.startswith(f"checkpoint {path}: ")
    return fault.removeprefix(f"checkpoint {path}: ")


def test_a_checkpoint_gives_back_card_weights_and_network(network, card, write_checkpoint):
    path = write_checkpoint(network, card())
    model = load_model(path)
    assert model.card == card()
    assert model.origin == str(path)
    assert model.digest == weights_digest(network.state_dict())
    assert dict(model.weights).keys() == network.state_dict().keys(), "the loss's values are none of the network's"
    restored = model.network()
    assert isinstance(restored, UNet3D)
    assert not restored.training
    image = torch.randn(1, 2, 8, 8, 8)
    assert torch.equal(restored(image), network.eval()(image))


def test_a_chosen_threshold_is_stored_and_nothing_else_changes(network, card, write_checkpoint):
    path = write_checkpoint(network, card())
    before = load_model(path)
    store_threshold(path, 0.35)
    after = load_model(path)
    assert after.card == card(threshold=0.35)
    assert after.digest == before.digest
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no half-written file beside it"


@pytest.mark.parametrize("count", [1, 64])
def test_a_damaged_file_is_refused(count, network, card, write_checkpoint):
    path = write_checkpoint(network, card())
    content = bytearray(path.read_bytes())
    middle = content.index(network.state_dict()["encoder.levels.1.body.0.weight"].numpy().tobytes())
    content[middle : middle + count] = bytes(byte ^ 1 for byte in content[middle : middle + count])
    path.write_bytes(content)
    assert "is damaged" in refused(path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"threshold": float("nan")}, "threshold"),
        ({"threshold": 1.5}, "threshold"),
        ({"inputs": 5}, "inputs"),
        ({"spacing": 0}, "spacing"),
        ({"spacing": [0.0, 1.0, 1.0]}, "spacing.0"),
        ({"patch_size": []}, "patch_size"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(changes, named, network, card, write_checkpoint):
    path = write_checkpoint(network, card())
    content = torch.load(path, weights_only=True)
    content[METADATA_KEY] |= changes
    torch.save(content, path)
    assert f"its card is not as this version of lesionseg writes it ({named}: " in refused(path)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (torch.tensor([1.0, float("nan")]), "holds NaN or infinite values"),
        (torch.ones(2, dtype=torch.int8), "is of type torch.int8"),
        (torch.ones(2, dtype=torch.complex64), "is of type torch.complex64"),
        (torch.ones(2, device="meta"), "holds no plain values"),
        (torch.ones(2, 2).to_sparse(), "holds no plain values"),
        ([1.0], "holds no plain values"),
    ],
)
def test_weights_that_are_no_numbers_to_use_are_refused(value, reason, network, card, write_checkpoint):
    path = write_checkpoint(network, card())
    content = torch.load(path, weights_only=True)
    content["state_dict"]["network.head.bias"] = value
    torch.save(content, path)
    assert f"its weights cannot be used: head.bias {reason}" in refused(path)


def test_what_a_card_names_is_imported_only_if_it_is_known_or_trusted(network, card, write_checkpoint):
    path = write_checkpoint(network, card(network={"_target_": "antigravity.Net"}))
    assert refused(path).startswith("names 'antigravity.Net', and to import that may run any code")
    with pytest.raises(InputError, match=r"cannot be imported|has no 'Net'|is no"):
        load_model(path, trust=True).network()
    path = write_checkpoint(network, card(matching={"_target_": "os.system", "command": "true"}))
    assert refused(path).startswith("names 'os.system'")


@pytest.mark.parametrize(
    ("matching", "reason"),
    [
        ({"_target_": "nowhere.Rule"}, "cannot be imported"),
        ({"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1}, "is no Criterion"),
        ({"_target_": "lesionseg.metrics.BestIoU", "min_iou": 3}, "min_iou must be above 0"),
    ],
)
def test_only_a_criterion_is_made_from_a_card(card, matching, reason):
    with pytest.raises(ValueError, match=reason):
        card(matching=matching).criterion  # noqa: B018
    assert card().criterion == AnyOverlap(connectivity=26)


@pytest.mark.parametrize("content", [b"", b"epoch,loss\n1,0.5\n", b"PK\x03\x04 rubbish", os.urandom(300)])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    fault = refused(path)
    assert re.match(r"is no checkpoint that can be read \(.+\); give the best.ckpt of a run of lesionseg$", fault)
    assert "\n" not in fault
    assert len(fault) < 400


@pytest.mark.parametrize(
    "content",
    [{"encoder.weight": torch.ones(2)}, {"state_dict": {}}, {METADATA_KEY: {}}, [torch.ones(2)], torch.ones(2)],
    ids=["a state dict", "another Lightning checkpoint", "a card alone", "a list", "a tensor"],
)
def test_a_file_of_another_program(tmp_path, content):
    torch.save(content, tmp_path / "a.ckpt")
    assert refused(tmp_path / "a.ckpt") == (
        "was not written by lesionseg (it has no key 'lesionseg'); give the best.ckpt of a run of lesionseg"
    )


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("written_by", ["torch", "torch of old", "pickle"])
def test_code_in_a_file_is_not_executed(network, card, write_checkpoint, tmp_path, written_by):
    sprung = tmp_path / "sprung"
    path = write_checkpoint(network, card(), callbacks=Trap(sprung))
    if written_by == "torch of old":
        torch.save({"state_dict": Trap(sprung)}, path, _use_new_zipfile_serialization=False)
    elif written_by == "pickle":
        path.write_bytes(pickle.dumps({METADATA_KEY: card().to_dict(), "state_dict": Trap(sprung)}))
    assert refused(path).startswith("is no checkpoint that can be read (")
    assert not sprung.exists()
    if written_by == "pickle":
        pickle.loads(path.read_bytes())
        assert sprung.exists(), "the trap works where it is let"


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"_target_": "nets_of_a_colleague.Net"}, "No module named 'nets_of_a_colleague'"),
        ({"_target_": "lesionseg.models.UNet3D", "in_channels": 1, "widths": [4, 8]}, "size mismatch"),
        ({"_target_": "lesionseg.models.UNet3D", "in_channels": 2, "widths": [4, 8, 8]}, "Missing key"),
    ],
)
def test_a_network_that_cannot_be_made_again(network, card, write_checkpoint, spec, found):
    model = load_model(write_checkpoint(network, card(network=spec)), trust=True)
    with pytest.raises(InputError, match="cannot be made again") as caught:
        model.network()
    assert found in str(caught.value)


def test_the_digest_is_of_names_types_and_values():
    weights = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3]])}
    digest = weights_digest(weights)
    assert len(digest) == 64
    assert weights_digest(dict(reversed(weights.items()))) == digest, "the order of the names does not matter"
    assert weights_digest({**weights, "a": weights["a"].clone().requires_grad_()}) == digest
    others = [
        {**weights, "a": torch.tensor([1.0, 2.0000002])},
        {**weights, "a": torch.tensor([2.0, 1.0])},
        {**weights, "a": torch.tensor([[1.0, 2.0]])},
        {**weights, "a": torch.tensor([1.0, 2.0], dtype=torch.float64)},
        {**weights, "b": torch.tensor([[3]], dtype=torch.int32)},
        {"a": weights["a"], "c": weights["b"]},
        {"a": weights["a"]},
        {},
    ]
    assert len({digest, *map(weights_digest, others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("flair", ["FLAIR", "Flair", "T2-FLAIR", "t2f"]),
        ("t1", ["T1", "T1w", "T1W", "t1n"]),
        ("t1_post", ["T1Gd", "T1CE", "T1c", "T1-CE", "T1 post", "t1_post", "T1wCE"]),
        ("t2", ["T2", "T2w"]),
    ],
)
def test_usual_names_are_ours(ours, theirs):
    assert {contrast_name(name) for name in theirs} == {ours}
