"""Label savings: arrows end where the numbers say, and bounds stay bounds."""

from dataclasses import replace

import numpy as np
import pytest

from lesionseg.report import ArmSavings
from lesionseg.report.figures import draw_label_savings
from lesionseg.stats import Censored, CensoredInterval, IsotonicCurve, LabelSaving, LabelSavings

ARMS = ("scratch", "pretrained")


def saving(size, estimate, low, high):
    needed = CensoredInterval(estimate, low, high)
    return LabelSaving(
        size=size,
        score=0.5,
        needed=needed,
        saving=needed.transformed(lambda number: number - size),
        multiplier=needed.transformed(lambda number: number / size),
        share_more=0.1,
        share_at_most=0.0,
    )


SAVINGS = LabelSavings(
    (
        saving(2, Censored(7), Censored(4), Censored(12)),
        saving(5, Censored(16), Censored(9), Censored(20, "more than")),
        saving(10, Censored(20, "more than"), Censored(15), Censored(20, "more than")),
        saving(20, Censored(2, "at most"), Censored(2, "at most"), Censored(3)),
    ),
    IsotonicCurve(np.array([2.0, 20.0]), np.array([0.3, 0.6])),
    12,
    3,
)
GIVEN = ArmSavings("pretrained", "scratch", "lesion_sensitivity", SAVINGS, "")


def parts(axes):
    arrows = {text.get_gid(): text for text in axes.texts if text.get_gid()}
    bars = {line.get_gid(): line for line in axes.lines if str(line.get_gid()).endswith("interval")}
    return arrows, bars


def test_arrows_and_bars_end_where_the_numbers_say():
    arrows, bars = parts(draw_label_savings([GIVEN], ARMS).axes[0])
    for number, (end, interval) in {2: (7, (4, 12)), 5: (16, (9, None))}.items():
        arrow, bar = arrows[f"pretrained {number} arrow"], bars[f"pretrained {number} interval"].get_xdata()
        assert (arrow.xyann[0], arrow.xy[0]) == (number, end)
        assert bar[0] == interval[0]
        assert interval[1] is None or bar[1] == interval[1]
        assert arrow.arrowprops["arrowstyle"] == "-|>"


def test_beyond_the_largest_size_is_an_open_arrow_into_the_shade():
    axes = draw_label_savings([GIVEN], ARMS).axes[0]
    arrows, bars = parts(axes)
    more, less = arrows["pretrained 10 arrow"], arrows["pretrained 20 arrow"]
    assert more.xy[0] > 20
    assert less.xy[0] < 2
    assert more.arrowprops["arrowstyle"] == less.arrowprops["arrowstyle"] == "->"
    assert more.arrowprops["linestyle"] != "-"
    for number in (5, 10):
        assert bars[f"pretrained {number} interval"].get_xdata()[1] == pytest.approx(axes.get_xlim()[1])
    shaded = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches)
    assert shaded[0][0] < less.xy[0] < shaded[0][1] < 2
    assert 20 < shaded[1][0] < more.xy[0] < shaded[1][1]


def test_a_bound_never_points_back():
    beyond = replace(SAVINGS, savings=(saving(40, *[Censored(20, "more than")] * 3),))
    arrows, _ = parts(draw_label_savings([replace(GIVEN, savings=beyond)], ARMS).axes[0])
    assert arrows["pretrained 40 arrow"].xy[0] > 40


def test_rows_and_multipliers_are_written_beside():
    figure = draw_label_savings([GIVEN], ARMS)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["2", "5", "10", "20"]
    assert {text.get_text() for text in axes.texts} == {"", "pretrained", "3.5×", "3.2×", "> 2×", "≤ 0.1×"}
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert ticks == ["2", "5", "10", "20", "≤ 2", "> 20"]


def test_there_is_a_panel_for_each_score_and_a_name_for_each_arm(demo):
    figure = draw_label_savings(demo.savings, demo.results.arms)
    assert [axes.get_title() for axes in figure.axes] == ["Sensitivity", "PPV", "F1"]
    for axes in figure.axes:
        arrows, _ = parts(axes)
        assert len(arrows) == 2 * 4
        assert {"pretrained", "frozen"} < {text.get_text() for text in axes.texts}


def test_many_arms_stay_on_a_page(made_up):
    arms = [f"arm{number}" for number in range(8)]
    comparison = made_up(arms=arms, sizes=(1, 2, 4, 8, 16, 32), repeats=1, patients=4).comparison(whole=False)
    assert draw_label_savings(comparison.savings, arms).get_figheight() < 11


@pytest.mark.parametrize("savings", [None, replace(SAVINGS, de_novo=IsotonicCurve(np.array([2.0]), np.array([0.3])))])
def test_nothing_to_draw_is_said(savings):
    with pytest.raises(
        ValueError, match=r"^No label savings: they take two arms, and two sizes of the reference arm\.$"
    ):
        draw_label_savings([replace(GIVEN, savings=savings)], ARMS)
