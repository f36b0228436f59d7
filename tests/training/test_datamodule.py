from typing import Any

import pytest
import torch


class Trainer:
    """Stands where Lightning's would: it knows how many steps are done, and which device this is of how many."""

    def __init__(self, global_step: int, global_rank: int, world_size: int) -> None:
        self.global_step = global_step
        self.global_rank = global_rank
        self.world_size = world_size


def _epoch(data: Any, done: int, rank: int = 0, devices: int = 1) -> list[Any]:
    data.trainer = Trainer(done, rank, devices)
    return list(data.train_dataloader())


def test_several_devices_share_each_batch(make_data):
    whole = _epoch(make_data(steps=3, validate_every=3), 0)
    parts = [_epoch(make_data(steps=3, validate_every=3), 0, rank, 2) for rank in (0, 1)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert all(len(share["image"]) == 1 for share in shares)
        assert torch.equal(batch["image"], torch.cat([share["image"] for share in shares]))


@pytest.mark.parametrize("checkpoint_every", [None, 1, 3, 100])
def test_epochs_are_stretches_of_one_numbered_sequence(make_data, checkpoint_every):
    whole = _epoch(make_data(steps=5, validate_every=5), 0)
    data = make_data(steps=5, validate_every=2, checkpoint_every=checkpoint_every)
    parts: list[Any] = []
    while len(parts) < 5:
        parts += _epoch(data, len(parts))
    assert len(whole) == len(parts) == 5
    for one, other in zip(whole, parts, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in ("image", "mask", "study"))
    assert not torch.equal(whole[0]["image"], whole[1]["image"])


@pytest.mark.parametrize(
    ("steps", "checkpoint_every", "ends"),
    [(7, None, "3v 6v 7v"), (7, 2, "2 3v 4 6v 7v"), (6, 1, "1 2 3v 4 5 6v"), (2, 50, "2v")],
)
def test_an_epoch_ends_at_a_checkpoint_and_some_with_a_validation(make_data, steps, checkpoint_every, ends):
    data = make_data(steps=steps, validate_every=3, checkpoint_every=checkpoint_every)
    told, done = [], 0
    while done < steps:
        done += len(_epoch(data, done))
        told.append(f"{done}{'v' * len(list(data.val_dataloader()))}")
    assert " ".join(told) == ends


def test_a_batch_has_the_shapes_that_the_network_takes(make_data):
    batch = _epoch(make_data(), 0)[0]
    assert batch["image"].shape == batch["mask"].shape == (2, 1, 16, 16, 16)
    assert batch["study"].shape == (2,)
    assert set(batch["mask"].unique().tolist()) <= {0.0, 1.0}


def test_validation_gives_whole_studies_that_stay_on_disk(make_data, studies):
    data = make_data()
    (study,) = list(data.val_dataloader())
    assert study is studies[3]
    assert data.transfer_batch_to_device(study, torch.device("meta"), 0) is study
    moved = data.transfer_batch_to_device({"image": torch.zeros(1)}, torch.device("meta"), 0)
    assert moved["image"].device.type == "meta"
