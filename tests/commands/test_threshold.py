"""The threshold of a trained model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lesionseg.commands import selection
from lesionseg.commands.initialise import initialise, model_card
from lesionseg.commands.preflight import preflight
from lesionseg.commands.scoring import Segmentation, reference_of
from lesionseg.config.schema import TrainConfig
from lesionseg.data.cache import CachedStudy
from lesionseg.transfer import METADATA_KEY, load_model

Configure = Callable[..., TrainConfig]


@pytest.fixture
def chosen(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Chooses for a model that gives 0.7 in the middle of each lesion, 0.4 in the rest of it and 0.3 beside it."""

    def segment(network: Any, card: Any, studies: list[CachedStudy], *_: Any, **__: Any) -> Any:
        for study in studies:
            reference, _grid = reference_of(study)
            inner = reference.astype(bool)
            for axis in range(3):
                inner = inner & (reference.take(range(1, 33), axis, mode="clip") > 0)
                inner = inner & (reference.take(range(-1, 31), axis, mode="clip") > 0)
            probability = 0.4 * reference + 0.3 * inner
            probability[2:6, 2:6, 2:6] = 0.3
            yield Segmentation(study, probability, reference)

    monkeypatch.setattr(selection, "segment", segment)

    def choose(*overrides: str) -> dict[str, Any]:
        config = configure(*overrides)
        (spec,) = preflight([config])
        network, _ = initialise(config, model_card(config, []), 3, None)
        weights = {f"network.{name}": value for name, value in network.state_dict().items()}
        checkpoint = tmp_path / "best.ckpt"
        torch.save({"state_dict": weights, METADATA_KEY: model_card(config, []).to_dict()}, checkpoint)
        selection.set_threshold(spec, checkpoint, tmp_path / "threshold.json")
        record = json.loads((tmp_path / "threshold.json").read_text())
        assert load_model(checkpoint).card.threshold == record["threshold"]
        return record

    return choose


def test_the_tasks_own_criterion_decides_unless_another_is_named(chosen: Callable[..., dict[str, Any]]) -> None:
    own = chosen("metrics.threshold_criterion=task", "metrics.thresholds=[0.25,0.4,0.7]", "task.min_lesion_volume=0")
    low, *others = (entry["lesion_f1"] for entry in own["mean_lesion_f1"])
    assert others == [1.0, 1.0]
    assert 0.5 < low < 1, "at 0.25 every study has one false lesion"
    assert own["threshold"] == 0.4, "0.4 is nearer to 0.5 than 0.7"
    assert own["criterion"] == {"name": "task", "_target_": "lesionseg.metrics.AnyOverlap"}
    other = chosen("metrics.thresholds=[0.25,0.4,0.7]", "metrics.threshold_criterion=iou_0.5", "metrics.threshold=0.9")
    assert other["threshold"] == 0.4, "at 0.7 only the middle of a lesion is left"
    assert other["criterion"] == {"name": "iou_0.5", "_target_": "lesionseg.metrics.BestIoU", "min_iou": 0.5}
    assert other["mean_lesion_f1"][2]["lesion_f1"] == 0


def test_where_no_threshold_finds_anything_the_configured_one_stays(chosen: Callable[..., dict[str, Any]]) -> None:
    record = chosen("metrics.threshold_criterion=task", "metrics.thresholds=[0.8,0.9]", "metrics.threshold=0.45")
    assert (record["threshold"], record["n_studies_defined"]) == (0.45, 0)
