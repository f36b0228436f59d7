"""Learning curves: what is drawn is what was measured."""

import itertools

import numpy as np
import pytest

from lesionseg.report.figures import draw_learning_curves


def lines_of(axes):
    return {line.get_gid(): line for line in axes.lines if line.get_gid()}


def curve(comparison, arm, score="lesion_sensitivity"):
    [found] = [one for one in comparison.curves if (one.arm, one.score) == (arm, score)]
    return found


def test_means_intervals_and_repeats_are_those_given(demo):
    figure = draw_learning_curves(demo.curves, demo.results.arms)
    scores = ("lesion_sensitivity", "lesion_ppv", "lesion_f1")
    for axes, score in zip(figure.axes, scores, strict=True):
        lines = lines_of(axes)
        for arm in demo.results.arms:
            given = curve(demo, arm, score)
            np.testing.assert_allclose(lines[f"{arm} mean"].get_ydata(), given.means)
            np.testing.assert_allclose(lines[f"{arm} mean"].get_xdata(), given.sizes, rtol=0.15)
            for repeat, means in given.by_repeat.items():
                np.testing.assert_allclose(lines[f"{arm} repeat {repeat}"].get_ydata(), means)
        ends = [segment[:, 1] for bars in axes.collections for segment in bars.get_segments()]
        expected = [pair for arm in demo.results.arms for pair in zip(*ends_of(demo, arm, score), strict=True)]
        np.testing.assert_allclose(ends, expected)


def ends_of(comparison, arm, score):
    given = curve(comparison, arm, score)
    return given.low, given.high


def test_two_arms_have_their_fits_within_the_sizes_only(made_up):
    comparison = made_up(arms=("scratch", "pretrained"), sizes=(2, 5, 10)).comparison()
    lines = lines_of(draw_learning_curves(comparison.curves, comparison.results.arms).axes[0])
    given = curve(comparison, "scratch")
    for name, fit in (("isotonic", given.isotonic), ("power law", given.power_law)):
        drawn = lines[f"scratch {name}"]
        assert (drawn.get_xdata()[0], drawn.get_xdata()[-1]) == (2, 10)
        np.testing.assert_allclose(drawn.get_ydata()[[0, -1]], fit.at([2, 10]))
        assert np.isfinite(drawn.get_ydata()).all()


def test_more_than_two_arms_have_no_fits(demo):
    figure = draw_learning_curves(demo.curves, demo.results.arms)
    assert not [gid for gid in lines_of(figure.axes[0]) if gid.endswith(("isotonic", "power law"))]
    assert "power law" not in figure.get_supxlabel()


def test_more_than_four_arms_have_their_means_alone(made_up):
    arms = ["scratch", "a", "b", "c", "d"]
    comparison = made_up(arms=arms, sizes=(2, 5), repeats=2, patients=4).comparison(whole=False)
    figure = draw_learning_curves(comparison.curves, arms)
    assert set(lines_of(figure.axes[0])) == {f"{arm} mean" for arm in arms}
    assert "faint" not in figure.get_supxlabel()


def test_axes_say_what_they_show(demo):
    figure = draw_learning_curves(demo.curves, demo.results.arms)
    figure.draw_without_rendering()
    assert [axes.get_title() for axes in figure.axes] == ["Sensitivity", "PPV", "F1"]
    for axes in figure.axes:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "5", "10", "20"]
        low, high = axes.get_ylim()
        assert low < 0
        assert high > 1
    assert figure.get_supxlabel() == "mean with its 95 % interval over test patients; faint: each of 3 repeats"


def test_names_stand_beside_the_lines_and_do_not_cover_each_other(demo):
    figure = draw_learning_curves(demo.curves, demo.results.arms)
    figure.draw_without_rendering()
    assert not figure.legends
    for axes in figure.axes:
        assert {text.get_text() for text in axes.texts} == set(demo.results.arms)
        boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
        assert all(upper.y0 >= lower.y1 - 1 for lower, upper in itertools.pairwise(boxes))
        assert max(box.x1 for box in boxes) <= figure.bbox.x1


def test_long_names_stand_in_a_legend(made_up):
    comparison = made_up(arms=("scratch", "pretrained_on_strokes"), sizes=(2, 5)).comparison()
    figure = draw_learning_curves(comparison.curves, comparison.results.arms)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["scratch", "pretrained_on_strokes"]
    assert not figure.axes[0].texts


def test_one_repeat_has_no_faint_lines(made_up):
    comparison = made_up(arms=("scratch",), sizes=(5,), repeats=1).comparison()
    figure = draw_learning_curves(comparison.curves, ("scratch",))
    assert set(lines_of(figure.axes[0])) == {"scratch mean"}
    assert figure.get_supxlabel().endswith("; one repeat")


def test_a_size_that_an_arm_lacks_is_left_out_of_its_line(made_up):
    comparison = made_up(arms=("scratch", "pretrained"), sizes=(2, 5), without=[("pretrained", 5)]).comparison()
    lines = lines_of(draw_learning_curves(comparison.curves, comparison.results.arms).axes[0])
    assert len(lines["pretrained mean"].get_ydata()) == 1
    assert lines["pretrained repeat 0"].get_marker() == ".", "a line of one point would not be seen"


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match=r"^No learning curves: no arm has a score\.$"):
        draw_learning_curves([], ["scratch"])
