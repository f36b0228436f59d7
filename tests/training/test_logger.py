from typing import Any

from lesionseg.training.logger import MetricLogger


def test_metrics_are_passed_on_without_lightnings_epoch() -> None:
    passed: list[Any] = []
    logger = MetricLogger(lambda metrics, step: passed.append((dict(metrics), step)))
    logger.log_metrics({"train/loss": 0.5, "epoch": 3}, 7)
    logger.log_metrics({"epoch": 3}, 8)
    logger.log_metrics({"val/dice": 0.1})
    logger.log_hyperparams({"a": 1})
    assert passed == [({"train/loss": 0.5}, 7), ({"val/dice": 0.1}, 0)]
    assert (logger.name, logger.version) == ("lesionseg", "")
