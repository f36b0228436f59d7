"""The first block's shortcut, which comes and goes with the number of input channels."""

import pytest
import torch

from lesionseg.models import UNet3D
from lesionseg.transfer import TransferReport, transfer

SHORTCUT = "encoder.levels.0.shortcut.weight"
SAYING = "WARNING: even on the source's own channels the network does not answer as the source did: "
CHANNELS = ["flair", "t1", "t1_post", "t2"]


def unet(channels: int, seed: int = 0, **options) -> UNet3D:
    torch.manual_seed(seed)
    return UNet3D(channels, **{"widths": (4, 8), **options}).double().eval()


def bring(target: UNet3D, source: UNet3D, inputs: list[str], there: list[str], **further) -> TransferReport:
    return transfer(
        target,
        source.state_dict(),
        inputs=inputs,
        patch_size=(4, 4, 4),
        source_inputs=there,
        source="best.ckpt",
        source_digest="",
        source_task="",
        **further,
    )


def answers_alike(target: UNet3D, source: UNet3D, n_target: int, n_source: int) -> bool:
    """Whether on the channels that both have, with zeros in the others, the answers are the same."""
    common = torch.randn(1, min(n_target, n_source), 8, 8, 8, dtype=torch.float64)
    images = [torch.zeros(1, count, 8, 8, 8, dtype=torch.float64) for count in (n_target, n_source)]
    for image in images:
        image[:, : common.shape[1]] = common
    return torch.allclose(target(images[0]), source(images[1]), rtol=0, atol=1e-12)


def test_a_source_as_wide_as_it_has_channels_has_no_shortcut_to_take() -> None:
    source, target = unet(4), unet(5, seed=1)
    report = bring(target, source, [*CHANNELS, "pd"], CHANNELS)
    assert not answers_alike(target, source, 5, 4)
    assert report.differences == (
        f"{SAYING}{SHORTCUT} reads the image and is fresh (there the first block adds the image as it is)",
    )
    assert report.summary().splitlines()[-1] == f"  note: {report.differences[0]}"


def test_a_network_as_wide_as_it_has_channels_has_no_place_for_the_shortcut() -> None:
    source, target = unet(2), unet(4, seed=1)
    report = bring(target, source, CHANNELS, CHANNELS[:2])
    assert not answers_alike(target, source, 4, 2)
    assert report.differences == (
        f"{SAYING}its {SHORTCUT} read the image and has no place here (here the first block adds the image as it is)",
    )


@pytest.mark.parametrize(("n_target", "n_source"), [(3, 2), (2, 3), (4, 4)])
def test_where_both_have_a_shortcut_or_neither_there_is_no_warning(n_target: int, n_source: int) -> None:
    source, target = unet(n_source), unet(n_target, seed=1)
    report = bring(target, source, CHANNELS[:n_target], CHANNELS[:n_source])
    assert answers_alike(target, source, n_target, n_source)
    assert report.differences == ()


def test_plain_blocks_beside_residual_ones_are_warned_of_in_both_directions() -> None:
    plain, residual = unet(1, block="plain"), unet(1, seed=1)
    assert bring(unet(1, seed=1), plain, ["flair"], ["flair"]).differences == (
        f"{SAYING}{SHORTCUT} reads the image and is fresh (the source has none of that name)",
    )
    assert bring(plain, residual, ["flair"], ["flair"]).differences == (
        f"{SAYING}its {SHORTCUT} read the image and has no place here (the network has none of that name)",
    )


def test_where_nothing_that_reads_the_image_is_taken_nothing_is_claimed() -> None:
    assert bring(unet(5, seed=1), unet(4), ["pd"] * 5, CHANNELS).differences == ()
    head = {"head.weight", "head.bias"}
    assert bring(unet(5, seed=1), unet(4), [*CHANNELS, "pd"], CHANNELS, take=head).differences == ()
