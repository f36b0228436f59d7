import math
from typing import Any

import pytest
import torch

from lesionseg.training.module import NotFiniteError, Optimiser
from lesionseg.transfer.checkpoint import METADATA_KEY


def _rates(schedule: Any, warmup: int, steps: int) -> list[float]:
    optimiser = Optimiser(1.0, 0.0, warmup, schedule, steps)
    return [optimiser.factor(step) for step in range(steps + 1)]


def test_the_rate_warms_up_and_falls_along_a_cosine_to_nothing():
    expected = [1 / 3, 2 / 3, 1.0, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4, 0.0]
    assert _rates("cosine", 2, 6) == pytest.approx(expected, abs=1e-12)


def test_the_rate_stays_constant_after_the_warm_up():
    assert _rates("constant", 3, 5) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_every_step_of_a_training_has_its_rate(make_module, make_data, train, tmp_path):
    module = make_module(steps=4, learning_rate=0.5, warmup_steps=2)
    used: list[float] = []
    step = module.optimizer_step

    def watched(*arguments: Any, **named: Any) -> None:
        used.append(module.trainer.optimizers[0].param_groups[0]["lr"])
        step(*arguments, **named)

    module.optimizer_step = watched
    train(module, make_data(steps=4), tmp_path)
    assert used == pytest.approx([0.5 / 3, 0.5 * 2 / 3, 0.5, 0.25])
    assert module.trainer.optimizers[0].param_groups[0]["weight_decay"] == 0.01


def test_a_loss_that_is_no_number_names_step_and_studies(make_module):
    module = make_module(names=["sub-1", "sub-2", "sub-3"])
    image = torch.full((2, 1, 16, 16, 16), math.nan)
    batch = {"image": image, "mask": torch.zeros_like(image), "study": torch.tensor([2, 0])}
    with pytest.raises(NotFiniteError) as caught:
        module.training_step(batch, 0)
    assert str(caught.value) == (
        "the loss is nan at step 1, in a batch of sub-1, sub-3; lower optim.learning_rate, set "
        "trainer.precision=32-true, or look at these studies with lesionseg check"
    )


def test_a_whole_study_is_scored_lesion_by_lesion(make_module, studies):
    module = make_module()
    reference = torch.from_numpy(studies[3].mask.astype("float32"))
    logits = (reference - 0.5) * 20

    class Oracle(torch.nn.Module):
        """Knows the reference where it is shown the whole volume at once."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return logits[None, None]

    module.network = Oracle()
    object.__setattr__(module, "card", _with_patch(module.card, list(reference.shape)))
    module.on_validation_epoch_start()
    module.validation_step(studies[3], 0)
    (case,) = module.cases
    assert (case["n_reference"], case["n_prediction"]) == (4, 4)
    assert (case["lesion_sensitivity"], case["lesion_ppv"], case["dice"]) == (1.0, 1.0, 1.0)
    module.on_validation_epoch_start()
    assert module.cases == []


def _with_patch(card: Any, size: list[int]) -> Any:
    from dataclasses import replace

    return replace(card, patch_size=size)


def test_the_card_goes_into_every_checkpoint(make_module):
    module, checkpoint = make_module(), {"state_dict": {}}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint[METADATA_KEY] == module.card.to_dict()
