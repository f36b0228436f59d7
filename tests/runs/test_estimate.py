"""How much work a run is announced with."""

from collections.abc import Callable

import pytest

from lesionseg.config.schema import TrainConfig
from lesionseg.runs.estimate import steps_and_validations

RATES = "optim.learning_rates=[0.1,0.2,0.3]"


@pytest.mark.parametrize(
    ("overrides", "work"),
    [
        ((), (4, 2)),
        (("trainer.validate_every=3",), (4, 2)),
        (("metrics.threshold_criterion=task",), (4, 3)),
        ((RATES, "optim.search_steps=2"), (4 + 3 * 2, 2 + 3)),
        ((RATES, "optim.search_steps=2", "init=zero_shot", "init.checkpoint=a.ckpt"), (0, 1)),
    ],
)
def test_steps_and_validations_are_counted_with_those_of_every_choice(
    configure: Callable[..., TrainConfig], overrides: tuple[str, ...], work: tuple[int, int]
) -> None:
    assert steps_and_validations(configure(*overrides)) == work
