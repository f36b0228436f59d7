"""Augmentation that can be replayed, and what it leaves alone."""

from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lesionseg.config import conf_dir
from lesionseg.data.patches import Augmentation

SHIPPED = {path.stem: yaml.safe_load(path.read_text())["transforms"] for path in sorted(conf_dir().glob("augment/*"))}
EACH = pytest.mark.parametrize("name", SHIPPED)


def always(transforms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same transforms, each at every patch."""
    return [{**spec, "p": 1.0} for spec in transforms]


@pytest.fixture
def patch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(2, 16, 16, 16, generator=generator)
    mask = torch.zeros(1, 16, 16, 16)
    mask[0, 4:9, 5:11, 6:9] = 1
    return {"image": image, "mask": mask, "study": torch.tensor(4)}


@EACH
def test_a_seed_replays_and_another_seed_does_otherwise(name: str, patch) -> None:
    augment = Augmentation(SHIPPED[name])
    first = [augment(patch, seed) for seed in range(6)]
    torch.rand(7)
    np.random.default_rng(0).random(3)
    again = [Augmentation(SHIPPED[name])(patch, seed) for seed in range(6)]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["mask"], other["mask"])
    distinct = {one["image"].numpy().tobytes() for one in first}
    assert len(distinct) == 1 if name == "none" else len(distinct) > 2


@EACH
def test_the_patch_that_was_given_stays_and_the_study_goes_along(name: str, patch) -> None:
    image, mask = patch["image"].clone(), patch["mask"].clone()
    changed = Augmentation(always(SHIPPED[name]))(patch, 1)
    assert torch.equal(patch["image"], image)
    assert torch.equal(patch["mask"], mask)
    assert changed["study"] == 4
    assert changed["image"].shape == image.shape
    assert changed["image"].dtype == changed["mask"].dtype == torch.float32
    assert torch.equal(changed["image"], image) == (name == "none")


@EACH
def test_a_mask_stays_binary_and_keeps_its_lesion(name: str, patch) -> None:
    augment = Augmentation(always(SHIPPED[name]))
    for seed in range(4):
        mask = augment(patch, seed)["mask"]
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        assert mask.sum() == pytest.approx(patch["mask"].sum(), rel=0.5)


@EACH
def test_the_random_states_of_everybody_else_stay_as_they_were(name: str, patch) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    Augmentation(always(SHIPPED[name]))(patch, 1)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_image_and_mask_are_turned_together(patch) -> None:
    patch["image"] = patch["mask"].repeat(2, 1, 1, 1) * 7
    flip = Augmentation([{"_target_": "torchio.RandomFlip", "axes": [0, 1, 2], "flip_probability": 1.0}])
    changed = flip(patch, 0)
    assert torch.equal(changed["mask"], patch["mask"].flip(1, 2, 3))
    assert torch.equal(changed["image"][1:], changed["mask"] * 7)


def test_lists_become_the_tuples_that_torchio_wants(patch) -> None:
    noise = {"_target_": "torchio.RandomNoise", "mean": [2.0, 2.0], "std": [0.0, 0.0]}
    torch.testing.assert_close(Augmentation([noise])(patch, 0)["image"], patch["image"] + 2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"_target_": "torch.nn.ReLU"}, "_target_ 'torch.nn.ReLU' is no Transform"),
        ({"_target_": "torchio.RandomFlop"}, "module 'torchio' has no 'RandomFlop'"),
    ],
)
def test_what_is_no_transform_is_refused(spec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation([spec])
