"""Lightning's metrics, handed to whoever keeps them."""

from collections.abc import Callable, Mapping
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

LogMetrics = Callable[[Mapping[str, float], int], None]


class MetricLogger(Logger):
    """Pass metrics on; hyper-parameters and the run's status are somebody else's.

    Args:
        log: takes names with values, and the step.
    """

    def __init__(self, log: LogMetrics) -> None:
        super().__init__()
        self._log = log

    @property
    def name(self) -> str:
        """Lightning wants one."""
        return "lesionseg"

    @property
    def version(self) -> str:
        """Lightning wants one."""
        return ""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Pass on everything but Lightning's own ``epoch``; of several devices the first one speaks."""
        if getattr(rank_zero_only, "rank", 0) != 0:
            return
        kept = {key: value for key, value in metrics.items() if key != "epoch"}
        if kept:
            self._log(kept, int(step or 0))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the whole configuration is logged once, elsewhere."""
