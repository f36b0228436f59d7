"""Whole volumes by windows: what comes out must not show that there were any."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lesionseg.inference import sliding_window


class FirstChannel(nn.Module):
    """The input's first channel is the logit; keeps the windows it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Tensor] = []

    def forward(self, windows: Tensor) -> Tensor:
        self.batches.append(windows)
        return windows[:, :1]

    @property
    def windows(self) -> Tensor:
        return torch.cat(self.batches)


class MeanEverywhere(nn.Module):
    """Each window's mean in all of its voxels, so that neighbours disagree."""

    def forward(self, windows: Tensor) -> Tensor:
        return windows.mean((1, 2, 3, 4), keepdim=True).expand(-1, 1, *windows.shape[2:])


def volume(*shape: int, channels: int = 1) -> Tensor:
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(0))


SIZES = st.tuples(*[st.integers(1, 23)] * 3)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.tuples(*[st.integers(2, 9)] * 3), st.sampled_from([0, 0.1, 0.25, 0.5, 0.75]), st.integers(1, 7))
def test_a_network_that_returns_the_logit_gives_the_probability(shape, window, overlap, batch_size):
    """Volumes smaller, equal to and larger than the window along each axis, odd sizes, any overlap."""
    image = volume(*shape, channels=2)
    found = sliding_window(FirstChannel(), image, window, overlap=overlap, batch_size=batch_size)
    assert found.shape == shape
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.sigmoid(image[0]), rtol=1e-5, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.tuples(*[st.integers(2, 9)] * 3), st.sampled_from([0, 0.25, 0.5, 0.9]))
def test_windows_cover_every_voxel_evenly_and_share_at_least_the_overlap(shape, window, overlap):
    """The image holds each voxel's indices, so that a window's first voxel says where it lies."""
    network = FirstChannel()
    image = torch.from_numpy(np.indices(shape)).float() + 1
    sliding_window(network, image, window, overlap=overlap, skip_empty=False)
    corners = network.windows[:, :, 0, 0, 0].int().numpy() - 1
    sides = [sorted(set(axis.tolist())) for axis in corners.T]
    assert len(corners) == np.prod([len(side) for side in sides])
    for side, size, length in zip(sides, shape, window, strict=True):
        steps = np.diff(side)
        assert (side[0], side[-1]) == (0, max(0, size - length))
        assert (steps <= max(1, length * (1 - overlap))).all()
        assert steps.size == 0 or np.ptp(steps) <= 1
        fewest = max(1, int(np.ceil(max(0, size - length) / max(1, int(length * (1 - overlap))))) + 1)
        assert len(side) == fewest


def test_one_window_is_enough_for_a_volume_of_its_size_and_more_is_padded_with_zeros():
    network = FirstChannel()
    image = volume(8, 5, 8)
    sliding_window(network, image, (8, 8, 8))
    assert network.windows.shape == (1, 1, 8, 8, 8)
    assert torch.equal(network.windows[0, :, :, :5], image)
    assert not network.windows[0, :, :, 5:].any()


def test_windows_that_disagree_are_weighted_by_a_gaussian():
    """Written out in numpy: standard deviation an eighth of the side, never below a thousandth."""
    image, window, starts = volume(8, 4, 11), (8, 4, 8), (0, 3)
    axis = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in window]
    weight = np.maximum(np.einsum("i,j,k->ijk", *axis), 1e-3)
    total, weights = np.zeros((8, 4, 11)), np.zeros((8, 4, 11))
    for start in starts:
        mean = image[0, :, :, start : start + 8].mean().item()
        total[:, :, start : start + 8] += weight / (1 + np.exp(-mean))
        weights[:, :, start : start + 8] += weight
    found = sliding_window(MeanEverywhere(), image, window, overlap=0.5)
    np.testing.assert_allclose(found, total / weights, rtol=1e-5)
    assert found.unique().numel() > 10


def test_empty_windows_are_not_looked_at_and_their_probability_is_0():
    image = torch.zeros(2, 8, 8, 32)
    image[1, 3, 3, 3] = -2.0  # in the second channel alone
    network = FirstChannel()
    found = sliding_window(network, image, (8, 8, 8), overlap=0)
    assert network.windows.shape[0] == 1
    assert torch.equal(found[..., 8:], torch.zeros(8, 8, 24))
    torch.testing.assert_close(found[..., :8], torch.full((8, 8, 8), 0.5))


def test_empty_windows_are_looked_at_where_that_is_wanted():
    network = FirstChannel()
    found = sliding_window(network, torch.zeros(1, 8, 8, 32), (8, 8, 8), overlap=0, skip_empty=False)
    assert network.windows.shape[0] == 4
    torch.testing.assert_close(found, torch.full((8, 8, 32), 0.5))


def test_next_to_an_empty_window_the_other_one_decides():
    """A brain in the first third: what only the empty second window covers is 0, what both do is the first's."""
    image = torch.zeros(1, 4, 4, 12)
    image[..., :4] = 1.0
    found = sliding_window(MeanEverywhere(), image, (4, 4, 8), overlap=0.5)
    torch.testing.assert_close(found[..., :8], torch.full((4, 4, 8), torch.sigmoid(torch.tensor(0.5)).item()))
    assert not found[..., 8:].any()


def test_the_network_learns_nothing_and_half_precision_logits_give_floats():
    class Half(nn.Module):
        def forward(self, windows: Tensor) -> Tensor:
            return windows.bfloat16()

    image = volume(6, 6, 6)
    found = sliding_window(Half(), image, (4, 4, 4))
    assert found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found, torch.sigmoid(image[0]), rtol=0.02, atol=0.01)


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 1.5])
def test_an_overlap_that_leaves_gaps_or_no_step_is_refused(overlap):
    with pytest.raises(ValueError, match=rf"^overlap must be from 0 to below 1, found {overlap}$"):
        sliding_window(FirstChannel(), volume(4, 4, 4), (4, 4, 4), overlap=overlap)
