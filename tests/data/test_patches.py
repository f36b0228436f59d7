"""Training patches: which ones are drawn, how often, and what is in them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import DataLoader

from lesionseg.config import conf_dir
from lesionseg.data.cache import Cache, CachedStudy
from lesionseg.data.dataset import MaskFile, parse_channel
from lesionseg.data.patches import Augmentation, PatchDataset, cut

FLAIR = (parse_channel("flair"),)
SMALL, LARGE, BRAIN = 3000, 2000, 1000


@pytest.fixture
def studies(tmp_path: Path, write_scan, task_study) -> list[CachedStudy]:
    """A brain with a lesion of 5 and one of 500 voxels, each of one intensity; and a brain without lesion."""
    image = np.zeros((40, 40, 40), dtype=np.int16)
    image[8:32, 8:32, 8:32] = BRAIN + np.random.default_rng(0).integers(-20, 20, (24, 24, 24))
    healthy = write_scan(tmp_path / "healthy.nii", image)
    nothing = write_scan(tmp_path / "nothing.nii", np.zeros(image.shape, np.uint8))
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[10, 10, 10:15] = mask[18:28, 18:28, 20:25] = 1
    image[10, 10, 10:15] = SMALL
    image[18:28, 18:28, 20:25] = LARGE
    ill = write_scan(tmp_path / "ill.nii", image)
    drawn = write_scan(tmp_path / "drawn.nii", mask)
    found = [
        task_study({"flair": ill}, MaskFile(drawn)),
        task_study({"flair": healthy}, MaskFile(nothing), subject="b"),
    ]
    cache = Cache(tmp_path / "cache")
    return [cache.get(study, (1.0, 1.0, 1.0)) for study in found]


def patches_of(studies, size=(8, 8, 8), *, seed=0, length=16, first=0, lesion_share=0.5, augment=None):
    return PatchDataset(
        studies, FLAIR, size, seed=seed, length=length, first=first, lesion_share=lesion_share, augment=augment
    )


def same(first, second) -> bool:
    return all(torch.equal(first[key], second[key]) for key in ("image", "mask", "study"))


def test_a_patch_is_cut_from_image_and_mask_at_one_place(studies):
    """Every patch is looked for in the padded study, and its mask is what lies at one of the places found."""
    ill, size = studies[0], (6, 9, 4)
    image, mask = np.pad(ill.channels(FLAIR)[0], 20), np.pad(ill.mask, 20)
    windows = np.lib.stride_tricks.sliding_window_view(image, size)
    for patch in patches_of([ill], size, length=20, lesion_share=0.8):
        assert patch["image"].shape == patch["mask"].shape == (1, *size)
        assert patch["image"].dtype == patch["mask"].dtype == torch.float32
        voxels = patch["image"][0].numpy()
        near = np.argwhere((windows[..., 0, 0, 0] == voxels[0, 0, 0]) & (windows[..., 5, 8, 3] == voxels[5, 8, 3]))
        places = [tuple(corner) for corner in near if np.array_equal(windows[tuple(corner)], voxels)]
        assert places
        drawn = [mask[tuple(slice(a, a + b) for a, b in zip(place, size, strict=True))] for place in places]
        assert any(np.array_equal(patch["mask"][0], each) for each in drawn)
        assert len(places) == 1 or len(np.unique(voxels)) < 20, "only a lesion's inside looks alike everywhere"


def test_a_patch_depends_on_seed_and_number_alone(studies):
    patches = patches_of(studies)
    backwards = [patches[number] for number in reversed(range(16))][::-1]
    assert all(same(patches[number], backwards[number]) for number in range(16))
    other = patches_of(studies, seed=1)
    assert sum(same(patches[number], other[number]) for number in range(16)) == 0
    assert sum(same(patches[number], patches[0]) for number in range(1, 16)) == 0


def test_a_resumed_run_draws_what_the_uninterrupted_one_would_have(studies):
    augment = Augmentation([{"_target_": "torchio.RandomNoise"}])
    whole = patches_of(studies, length=16, augment=augment)
    rest = patches_of(studies, first=10, length=6, augment=augment)
    assert all(same(rest[number], whole[10 + number]) for number in range(6))


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_cuts_the_same_patches(studies, workers):
    transforms = [{"_target_": "torchio.RandomFlip", "axes": [0, 1, 2]}, {"_target_": "torchio.RandomNoise"}]
    patches = patches_of(studies, length=14, augment=Augmentation(transforms))
    alone = list(DataLoader(patches, batch_size=4))
    context = "fork" if workers else None
    together = list(DataLoader(patches, batch_size=4, num_workers=workers, multiprocessing_context=context))
    assert [len(batch["study"]) for batch in together] == [4, 4, 4, 2]
    assert all(same(one, other) for one, other in zip(alone, together, strict=True))


def test_a_small_lesion_is_drawn_as_often_as_a_large_one(studies):
    """With patches of one voxel the patch is the voxel that was drawn, and its intensity says of which lesion."""
    ill = studies[0]
    assert sorted(np.diff(ill.lesions()[1])) == [5, 500]
    small = ill.channels(FLAIR).max()
    drawn = [patch["image"].item() for patch in patches_of([ill], (1, 1, 1), length=1000, lesion_share=1.0)]
    of_small = sum(value == small for value in drawn)
    assert stats.binomtest(of_small, 1000, 0.5).pvalue > 0.001
    assert all(patch["mask"].item() == 1 for patch in patches_of([ill], (1, 1, 1), length=50, lesion_share=1.0))


def test_augmentation_is_given_the_patch_and_a_seed_of_its_own(studies):
    seeds: list[int] = []

    def note(patch, seed):
        seeds.append(seed)
        return {**patch, "mask": patch["mask"] + 5}

    plain, changed = patches_of(studies), patches_of(studies, augment=note)
    for number in range(16):
        assert torch.equal(changed[number]["image"], plain[number]["image"])
        assert torch.equal(changed[number]["mask"], plain[number]["mask"] + 5)
    assert len(set(seeds)) == 16


@settings(max_examples=150, deadline=None)
@given(st.tuples(*[st.integers(1, 6)] * 3), st.tuples(*[st.integers(-12, 12)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_a_cut_is_a_piece_of_the_volume_in_an_endless_background(shape, corner, size):
    volume = np.random.default_rng(0).integers(1, 100, (2, *shape))
    endless = np.pad(volume, [(0, 0), *[(22, 22)] * 3])
    expected = endless[(slice(None), *(slice(c + 22, c + 22 + s) for c, s in zip(corner, size, strict=True)))]
    found = cut(lambda box: volume[(slice(None), *box)], shape, np.array(corner), size)
    assert found.shape == (2, *size)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


SHIPPED = {path.stem: yaml.safe_load(path.read_text())["transforms"] for path in sorted(conf_dir().glob("augment/*"))}
EACH = pytest.mark.parametrize("name", SHIPPED)


@pytest.fixture
def patch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(2, 16, 16, 16, generator=generator)
    mask = torch.zeros(1, 16, 16, 16)
    mask[0, 4:9, 5:11, 6:9] = 1
    return {"image": image, "mask": mask, "study": torch.tensor(4)}


@EACH
def test_a_seed_replays_and_another_seed_does_otherwise(name, patch):
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


def test_image_and_mask_are_turned_together(patch):
    patch["image"] = patch["mask"].repeat(2, 1, 1, 1) * 7
    flip = Augmentation([{"_target_": "torchio.RandomFlip", "axes": [0, 1, 2], "flip_probability": 1.0}])
    changed = flip(patch, 0)
    assert torch.equal(changed["mask"], patch["mask"].flip(1, 2, 3))
    assert torch.equal(changed["image"][1:], changed["mask"] * 7)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"_target_": "torch.nn.ReLU"}, "_target_ 'torch.nn.ReLU' is no Transform"),
        ({"_target_": "torchio.RandomFlop"}, "module 'torchio' has no 'RandomFlop'"),
    ],
)
def test_what_is_no_transform_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        Augmentation([spec])
