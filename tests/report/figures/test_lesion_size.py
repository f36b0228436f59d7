"""Scores by lesion volume: what is drawn is what was given."""

import numpy as np
import pytest

from lesionseg.report.figures import draw_lesion_size


def lines_of(axes):
    return {line.get_gid(): line for line in axes.lines if line.get_gid() and line.get_gid()[0] != "_"}


def test_means_and_errors_are_those_given(demo):
    figure = draw_lesion_size(demo.strata, demo.results.arms)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"{side}, {size} training studies" for size in (2, 20) for side in ("Sensitivity", "PPV")]
    for number, (size, side) in enumerate((size, side) for size in (2, 20) for side in ("sensitivity", "ppv")):
        lines = lines_of(figure.axes[number])
        for arm in demo.results.arms:
            shares = [getattr(row, side) for row in demo.strata if (row.arm, row.train_size) == (arm, size)]
            finite = [share.mean for share in shares if np.isfinite(share.mean)]
            np.testing.assert_allclose(lines[f"{arm} {side}"].get_ydata(), finite)
            np.testing.assert_allclose(lines[f"{arm} {side}"].get_xdata(), range(len(finite)), atol=0.31)
    ends = [segment[:, 1] for bars in figure.axes[3].collections for segment in bars.get_segments()]
    np.testing.assert_allclose([high - low for low, high in ends], 2 * 0.06)


def test_volumes_and_the_number_of_lesions_stand_below(demo):
    figure = draw_lesion_size(demo.strata, demo.results.arms)
    names = [[tick.get_text() for tick in axes.get_xticklabels()] for axes in figure.axes]
    assert names[0] == ["< 10\nn = 40", "10–30\nn = 31", "30–100\nn = 22", "≥ 100\nn = 0"]
    assert names[1] == ["< 10", "10–30", "30–100", "≥ 100"]
    assert names[2][3] == "≥ 100\nn = 13"


def test_one_size_has_one_row(made_up):
    comparison = made_up(arms=("scratch",), sizes=(5,), repeats=1).comparison()
    assert len(draw_lesion_size(comparison.strata, ("scratch",)).axes) == 2


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match=r"^Nothing by lesion volume: the runs left no table of lesions\.$"):
        draw_lesion_size([], ["scratch"])
