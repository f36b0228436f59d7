"""A checkpoint is there whole or not at all, and holds all that a run needs to go on."""

import os
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lesionseg.training.callbacks import AtomicCheckpointIO, RandomState, VariableEpochs


def test_a_checkpoint_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(3)}, path)
    assert torch.equal(torch.load(path, weights_only=True)["weights"], torch.ones(3))
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_disk_that_is_full_half_way_leaves_the_checkpoint_of_before_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            AtomicCheckpointIO().save_checkpoint({"step": 2, "weights": torch.ones(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_whoever_is_stopped_while_writing_leaves_the_checkpoint_of_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def stop(handle: int) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(SystemExit):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_it_takes_the_place_of_the_one_before_only_once_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "last.ckpt", []
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def sync(handle: int) -> None:
        seen.append((torch.load(path, weights_only=True)["step"], os.fstat(handle).st_size > 0))

    monkeypatch.setattr(os, "fsync", sync)
    AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert seen == [(1, True)]
    assert torch.load(path, weights_only=True)["step"] == 2


def test_a_checkpoint_can_be_read_by_others_as_any_file(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint({}, tmp_path / "last.ckpt")
    (tmp_path / "plain").touch()
    assert (tmp_path / "last.ckpt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_random_state_goes_on_where_the_checkpoint_was_made(tmp_path: Path) -> None:
    torch.manual_seed(3)
    torch.rand(5)
    torch.save(RandomState().state_dict(), tmp_path / "state")
    expected = torch.rand(4)

    torch.manual_seed(99)
    callback = RandomState()
    callback.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    torch.rand(7)  # whatever is done before training starts may draw
    callback.on_train_start(None, None)  # type: ignore[arg-type]
    assert torch.equal(torch.rand(4), expected)


def test_a_new_run_keeps_the_state_that_its_seed_gave_it() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    RandomState().on_train_start(None, None)  # type: ignore[arg-type]
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(("saved", "here", "taken"), [(2, 2, True), (2, 1, False), (0, 0, True)])
def test_the_state_of_the_gpus_is_taken_up_where_there_are_as_many(
    monkeypatch: pytest.MonkeyPatch, saved: int, here: int, taken: bool
) -> None:
    states = [torch.arange(4, dtype=torch.uint8) + number for number in range(saved)]
    given: list[Any] = []
    gpus = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: here,
        get_rng_state_all=lambda: states,
        set_rng_state_all=given.append,
    )
    monkeypatch.setattr(torch, "cuda", gpus)
    callback = RandomState()
    callback.load_state_dict(callback.state_dict())
    callback.on_train_start(None, None)  # type: ignore[arg-type]
    assert len(given) == taken
    assert not taken or all(torch.equal(one, other) for one, other in zip(given[0], states, strict=True))


def test_after_a_checkpoint_an_epoch_counts_as_many_batches_as_the_next_one_has() -> None:
    current = {"ready": 3, "started": 3, "processed": 3, "completed": 3}
    progress = {"current": current, "total": {"ready": 9}}
    loops = {"fit_loop": {"epoch_loop.batch_progress": progress}}
    checkpoint = {"global_step": 9, "loops": loops}
    VariableEpochs(lambda done: done + 5).on_load_checkpoint(None, None, checkpoint)  # type: ignore[arg-type]
    assert current == {"ready": 5, "started": 5, "processed": 5, "completed": 5}
    assert progress["total"] == {"ready": 9}, "what was done stays done"
