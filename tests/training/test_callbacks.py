"""A checkpoint is there whole or not at all, and holds all that a run needs to go on."""

import os
import resource
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lesionseg.training import callbacks as progress_module
from lesionseg.training.callbacks import AtomicCheckpointIO, ProgressReport, RandomState, VariableEpochs


def test_a_checkpoint_is_written_and_read(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(3)}, path)
    assert torch.equal(torch.load(path, weights_only=True)["weights"], torch.ones(3))
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_disk_that_is_full_half_way_leaves_the_checkpoint_of_before_and_nothing_else(tmp_path):
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


def test_whoever_is_stopped_while_writing_leaves_the_checkpoint_of_before_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def stop(handle: int) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(SystemExit):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_random_state_goes_on_where_the_checkpoint_was_made(tmp_path):
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


def test_after_a_checkpoint_an_epoch_counts_as_many_batches_as_the_next_one_has():
    current = {"ready": 3, "started": 3, "processed": 3, "completed": 3}
    progress = {"current": current, "total": {"ready": 9}}
    loops = {"fit_loop": {"epoch_loop.batch_progress": progress}}
    checkpoint = {"global_step": 9, "loops": loops}
    VariableEpochs(lambda done: done + 5).on_load_checkpoint(None, None, checkpoint)  # type: ignore[arg-type]
    assert current == {"ready": 5, "started": 5, "processed": 5, "completed": 5}
    assert progress["total"] == {"ready": 9}, "what was done stays done"


def _trainer(step: int, **metrics: float) -> Any:
    values = {f"val/{name}": torch.tensor(value) for name, value in metrics.items()}
    return SimpleNamespace(global_step=step, callback_metrics=values, is_global_zero=True)


def _outputs(loss: float) -> Any:
    """Of a step that also minimised something that is not told."""
    return {"loss": torch.tensor(loss + 7.0), "train/loss": torch.tensor(loss)}


def test_a_line_tells_place_loss_scores_and_time_left(monkeypatch):
    clock = iter([0.0, 100.0, 130.0, 145.0])
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    lines: list[str] = []
    progress = ProgressReport(40, lines.append, None)
    progress.on_train_start(_trainer(10), None)  # type: ignore[arg-type]
    progress.on_validation_end(_trainer(10), None)  # type: ignore[arg-type]
    for loss in (1.0, 2.0):
        progress.on_train_batch_end(_trainer(11), None, _outputs(loss), None, 0)  # type: ignore[arg-type]
    progress.on_validation_end(_trainer(20, lesion_sensitivity=0.5, lesion_ppv=0.25, lesion_f1=1 / 3), None)  # type: ignore[arg-type]
    progress.on_train_batch_end(_trainer(21), None, _outputs(0.5), None, 0)  # type: ignore[arg-type]
    progress.on_validation_end(_trainer(40, lesion_f1=float("nan")), None)  # type: ignore[arg-type]
    assert lines == [
        "step 20/40  loss 1.500  validation sensitivity 0.50, PPV 0.25, F1 0.33  0:01:00 left",
        "step 40/40  loss 0.500  validation F1 nan  0:00:00 left",
    ]


class Told:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.words: list[tuple[str, int | None, float | None]] = []

    def __call__(self, phase: str, *, step: int | None = None, seconds_left: float | None = None) -> None:
        self.words.append((phase, step, seconds_left))


def test_what_listens_can_end_the_training(make_module, make_data, train, tmp_path):
    class Lost(Exception):
        """The run is another's now."""

    told = Told()

    def tell(phase: str, *, step: int | None = None, seconds_left: float | None = None) -> None:
        told(phase, step=step)
        if step == 3:
            raise Lost

    module = make_module(steps=6)
    with pytest.raises(Lost):
        train(module, make_data(steps=6), tmp_path, progress=tell)
    assert [(phase, step) for phase, step, _ in told.words] == [
        ("training", 0),
        ("training", 1),
        ("training", 2),
        ("validating", 2),
        ("validating", 2),
        ("training", 2),
        ("training", 3),
    ]
    assert module.global_step == 3
