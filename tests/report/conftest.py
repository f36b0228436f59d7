"""What runs tell of themselves, made up."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lesionseg.report import RecordedRun, WeightSource

SOURCE = WeightSource("runs:/4f2a", "flair_lesions", "1a2b3c4d" * 8, 1.0)


@pytest.fixture
def arm_runs() -> Callable[..., list[RecordedRun]]:
    """Runs of one arm over sizes and repeats: ``arm_runs("scratch", (2, 5), monitor="val/dice")``; ``each`` gives
    further fields of a run by its size and repeat."""

    def make(
        arm: str,
        sizes: Sequence[int] = (2, 5),
        repeats: Sequence[int] = (0, 1, 2),
        *,
        settings: dict[str, Any] | None = None,
        each: Callable[[int, int], dict[str, Any]] = lambda size, repeat: {},
        **further: Any,
    ) -> list[RecordedRun]:
        base: dict[str, Any] = {
            "settings": {"trainer.steps": 200, "optim.learning_rate": 0.005, **(settings or {})},
            "source": None if arm == "scratch" else SOURCE,
            "learning_rate": 0.005,
            "monitor": "val/dice",
        }
        return [
            RecordedRun(arm, size, repeat, **{**base, "subjects": f"{size}/{repeat}", **further, **each(size, repeat)})
            for size in sizes
            for repeat in repeats
        ]

    return make
