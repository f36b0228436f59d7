import torch

from lesionseg.models import UNet3D, channels_last


def test_the_layout_changes_no_number() -> None:
    torch.manual_seed(0)
    network = UNet3D(2, 1, widths=(4, 8)).eval()
    image = torch.randn(1, 2, 8, 8, 8)
    with torch.inference_mode():
        before = network(image)
        after = channels_last(network)(image)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    kernel = network.encoder.levels[0].body[0].weight
    assert kernel.is_contiguous(memory_format=torch.channels_last_3d)
