"""Pictures of slices: orientation, outlines, and the file of a run."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lesionseg.report import StudySlice
from lesionseg.report.figures import draw_picture, draw_slices, write_slices
from lesionseg.report.figures.look import grey_of
from lesionseg.report.figures.slices import OUTLINES
from lesionseg.report.slices import FALSE, FOUND, MISSED, TRUE


@pytest.fixture
def one() -> StudySlice:
    image = np.random.default_rng(0).integers(50, 200, (40, 60), np.uint8)
    verdict = np.zeros((40, 60), np.uint8)
    verdict[10:14, 20:25], verdict[14:16, 20:25] = FOUND, TRUE
    verdict[30:33, 40:44], verdict[30:33, 10:14], verdict[20:23, 50:52] = MISSED, MISSED, FALSE
    return StudySlice("sub-a$1$", "F1 0.50: 1 of 3 found, 1 false", image, verdict, (1.0, 1.5), 11)


def test_right_is_on_the_left_and_front_on_top(one: StudySlice) -> None:
    [axes] = draw_slices([one]).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), one.image[::-1, ::-1].T)
    assert axes.get_title() == "sub-a$1$\nF1 0.50: 1 of 3 found, 1 false"
    assert axes.get_aspect() == 1.5


def test_each_kind_of_lesion_is_outlined_where_it_is(one: StudySlice) -> None:
    [axes] = draw_slices([one]).axes
    outlines = {lines.get_gid(): lines for lines in axes.collections}
    assert set(outlines) == {name for name, _ in OUTLINES.values()}
    box = outlines["found"].get_paths()[0].get_extents()
    # Voxels 10 … 13 of 40 from the left of the patient are 26 … 29 of the picture; outlines run half a voxel outside.
    assert (box.x0, box.x1, box.y0, box.y1) == (25.5, 29.5, 34.5, 39.5)
    assert [text.get_text() for text in axes.texts] == ["m", "m", "f"]


def test_outlines_differ_in_grey_or_in_dash() -> None:
    looks = [look for value, (_, look) in OUTLINES.items() if value in (FOUND, MISSED, FALSE)]
    for number, look in enumerate(looks):
        for other in looks[:number]:
            lighter = abs(grey_of(look["color"]) - grey_of(other["color"]))
            assert lighter > 0.2 or look["linestyle"] != other["linestyle"]


def test_a_slice_without_lesion_has_no_outline(one: StudySlice) -> None:
    nothing = StudySlice("", "", one.image, np.zeros_like(one.verdict), one.spacing, 0)
    figure = draw_slices([one, nothing])
    assert [len(axes.collections) for axes in figure.axes] == [4, 0]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["found", "missed (m)", "false (f)", "predicted beyond what is found"]


def test_many_slices_take_several_rows(one: StudySlice) -> None:
    figure = draw_slices([one] * 4)
    assert [axes.axison for axes in figure.axes] == [False] * 6
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 1, 0, 0]


def test_a_picture_fills_its_figure_in_the_proportions_of_the_head(one: StudySlice) -> None:
    figure = draw_picture(one.image, one.verdict, one.spacing)
    width, height = figure.get_size_inches()
    assert height / width == pytest.approx(60 * 1.5 / 40)
    figure.draw_without_rendering()
    np.testing.assert_allclose(figure.axes[0].get_window_extent().bounds, figure.bbox.bounds)


def test_the_file_is_a_picture(one: StudySlice, tmp_path: Path) -> None:
    write_slices([one], tmp_path / "figures" / "a.png")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["a.png"]
    assert imread(tmp_path / "figures" / "a.png").shape[2] == 4
