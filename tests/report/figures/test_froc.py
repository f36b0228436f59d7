"""FROC curves: what is drawn is what was given."""

from dataclasses import replace
from math import nan

import numpy as np
import pytest

from lesionseg.report.figures import draw_froc


def lines_of(axes):
    return {line.get_gid(): line for line in axes.lines if line.get_gid()}


def band_of(comparison, arm, size):
    [found] = [band for band in comparison.froc if (band.arm, band.train_size) == (arm, size)]
    return found


def test_curves_bands_and_operating_points_are_those_given(demo):
    figure = draw_froc(demo.froc, demo.results.arms)
    for axes, size in zip(figure.axes, demo.results.sizes, strict=True):
        assert axes.get_title() == f"{size} training studies"
        lines = lines_of(axes)
        for arm in demo.results.arms:
            given = band_of(demo, arm, size)
            drawn = lines[f"{arm} curve"]
            np.testing.assert_array_equal(
                drawn.get_xydata(), np.column_stack([given.false_positives, given.sensitivity])
            )
            assert drawn.get_drawstyle() == "steps-post", "nothing is interpolated"
            assert tuple(lines[f"{arm} operating point"].get_xydata()[0]) == given.operating_point
        assert {band.get_gid() for band in axes.collections} == {f"{arm} band" for arm in demo.results.arms}


def test_no_false_positive_at_all_has_a_place_on_the_axis(demo):
    axes = draw_froc(demo.froc, demo.results.arms).axes[0]
    assert axes.get_xlim() == (0, 32)
    assert axes.xaxis.get_majorticklocs()[0] == 0
    assert [axes.xaxis.get_major_formatter()(value) for value in (0, 0.25, 0.5, 8)] == ["0", "¼", "½", "8"]
    places = axes.transData.transform([(0, 0), (0.25, 0), (0.5, 0), (1, 0)])[:, 0]
    assert (np.diff(places) > 10).all()


def test_one_repeat_has_no_band(made_up):
    comparison = made_up(arms=("scratch",), sizes=(5,), repeats=1).comparison()
    figure = draw_froc(comparison.froc, ("scratch",))
    assert not figure.axes[0].collections
    assert figure.get_supxlabel() == "marker: the operating point"


def test_an_operating_point_that_is_not_known_is_left_out(demo):
    bands = [replace(band, operating_point=(nan, nan)) for band in demo.froc]
    assert not [gid for gid in lines_of(draw_froc(bands, demo.results.arms).axes[0]) if gid.endswith("point")]


def test_of_many_sizes_six_are_shown(made_up):
    comparison = made_up(arms=("scratch",), sizes=(1, 2, 3, 5, 8, 13, 21, 34), repeats=1).comparison()
    figure = draw_froc(comparison.froc, ("scratch",))
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 6
    assert (titles[0], titles[-1]) == ("1 training study", "34 training studies")


def test_five_sizes_leave_the_sixth_panel_empty(made_up):
    comparison = made_up(arms=("scratch",), sizes=(1, 2, 4, 8, 16), repeats=1).comparison()
    last = draw_froc(comparison.froc, ("scratch",)).axes[-1]
    assert not last.axison


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match=r"^No FROC: the runs left no table of thresholds\.$"):
        draw_froc([], ["scratch"])
