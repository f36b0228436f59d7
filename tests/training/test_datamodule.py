from typing import Any

import pytest
import torch

from lesionseg.data.cache import CachedStudy


class Trainer:
    """Stands where Lightning's would: it knows how many epochs are done."""

    def __init__(self, current_epoch: int) -> None:
        self.current_epoch = current_epoch


def _epoch(data: Any, number: int) -> list[Any]:
    data.trainer = Trainer(number)
    return list(data.train_dataloader())


def test_epochs_are_stretches_of_one_numbered_sequence(make_data: Any) -> None:
    whole = _epoch(make_data(steps=5, validate_every=5), 0)
    parts = [batch for epoch in range(3) for batch in _epoch(make_data(steps=5, validate_every=2), epoch)]
    assert len(whole) == len(parts) == 5
    for one, other in zip(whole, parts, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in ("image", "mask", "study"))
    assert not torch.equal(whole[0]["image"], whole[1]["image"])


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_patch(make_data: Any, workers: int) -> None:
    alone, shared = _epoch(make_data(), 1), _epoch(make_data(num_workers=workers), 1)
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["mask"], other["mask"])


def test_a_batch_has_the_shapes_that_the_network_takes(make_data: Any) -> None:
    batch = _epoch(make_data(), 0)[0]
    assert batch["image"].shape == batch["mask"].shape == (2, 1, 16, 16, 16)
    assert batch["study"].shape == (2,)
    assert set(batch["mask"].unique().tolist()) <= {0.0, 1.0}


def test_validation_gives_whole_studies_that_stay_on_disk(make_data: Any, studies: list[CachedStudy]) -> None:
    data = make_data()
    (study,) = list(data.val_dataloader())
    assert study is studies[3]
    assert data.transfer_batch_to_device(study, torch.device("meta"), 0) is study
    moved = data.transfer_batch_to_device({"image": torch.zeros(1)}, torch.device("meta"), 0)
    assert moved["image"].device.type == "meta"
