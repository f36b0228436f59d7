from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lesionseg.training import progress as progress_module
from lesionseg.training.progress import ProgressLines


def _trainer(step: int, **metrics: float) -> Any:
    values = {f"val/{name}": torch.tensor(value) for name, value in metrics.items()}
    return SimpleNamespace(global_step=step, callback_metrics=values)


def _outputs(loss: float) -> Any:
    """Of a step that also minimised something that is not told."""
    return {"loss": torch.tensor(loss + 7.0), "train/loss": torch.tensor(loss)}


def test_a_line_tells_place_loss_scores_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0, 130.0, 145.0])
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    lines: list[str] = []
    progress = ProgressLines("[1/2] run", 40, lines.append)
    progress.on_train_start(_trainer(10), None)  # type: ignore[arg-type]
    progress.on_validation_end(_trainer(10), None)  # type: ignore[arg-type]
    for loss in (1.0, 2.0):
        progress.on_train_batch_end(_trainer(11), None, _outputs(loss), None, 0)  # type: ignore[arg-type]
    progress.on_validation_end(_trainer(20, lesion_sensitivity=0.5, lesion_ppv=0.25, lesion_f1=1 / 3), None)  # type: ignore[arg-type]
    progress.on_train_batch_end(_trainer(21), None, _outputs(0.5), None, 0)  # type: ignore[arg-type]
    progress.on_validation_end(_trainer(40, lesion_f1=float("nan")), None)  # type: ignore[arg-type]
    assert lines == [
        "[1/2] run  step 20/40  loss 1.500  validation sensitivity 0.50, PPV 0.25, F1 0.33  0:01:00 left",
        "[1/2] run  step 40/40  loss 0.500  validation F1 nan  0:00:00 left",
    ]
