from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lesionseg.report import Panel, draw_slices, write_slices


@pytest.fixture
def panel() -> Panel:
    image = np.zeros((20, 24, 16), np.float32)
    image[2:18, 2:22, 2:14] = np.random.default_rng(0).normal(100, 5, (16, 20, 12))
    reference, prediction = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
    reference[4:8, 5:9, 11] = 1
    prediction[5:9, 5:9, 11] = 1
    prediction[12, 12, 3] = 1
    return Panel("sub-a: F1 0.67", image, reference, prediction, (1.0, 1.5, 3.0))


def test_the_busiest_slice_is_drawn_with_right_on_the_left_and_front_on_top(panel: Panel) -> None:
    [axes] = draw_slices([panel]).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), panel.image[::-1, ::-1, 11].T)
    assert axes.get_title() == "sub-a: F1 0.67"
    assert axes.get_aspect() == 1.5
    assert len(axes.collections) == 2, "an outline for each side"


def test_a_side_without_lesion_has_no_outline(panel: Panel) -> None:
    empty = np.zeros_like(panel.reference)
    nothing = Panel("", panel.image, empty, empty, panel.spacing)
    figure = draw_slices([panel, nothing])
    assert [len(axes.collections) for axes in figure.axes] == [2, 0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["reference", "prediction"]


def test_the_file_is_a_picture(panel: Panel, tmp_path: Path) -> None:
    write_slices([panel], tmp_path / "figures" / "a.png")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["a.png"]
    assert imread(tmp_path / "figures" / "a.png").shape[2] == 4
