"""What all figures share: arms that can be told apart, axes of sizes, names that do not cover each other."""

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lesionseg.report.figures.look import (
    apart,
    caption,
    dodge,
    grey_of,
    legend,
    looks_of,
    names_fit,
    new_figure,
    plain_text,
    short,
    size_axis,
    spread,
)

# How a colour looks to who lacks the cones for long, middle or short waves (Machado et al. 2009,
# doi 10.1109/TVCG.2009.113, severity 1), on linear RGB.
BLINDNESS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
ARMS = [f"arm {number}" for number in range(8)]


def seen(color: str, kind: str) -> np.ndarray:
    return np.array(BLINDNESS[kind]) @ np.array(to_rgb(color)) ** 2.2


def test_two_arms_can_be_told_apart_in_grey():
    first, second = looks_of(ARMS[:2]).values()
    assert abs(grey_of(first.color) - grey_of(second.color)) > 0.2
    assert first.dash != second.dash
    assert first.marker != second.marker
    assert first.filled is not second.filled


def test_no_two_of_eight_arms_share_a_marker_or_a_colour():
    looks = list(looks_of(ARMS).values())
    assert len({look.marker for look in looks}) == len({look.color for look in looks}) == 8


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colours_that_look_alike_to_the_colour_blind_come_with_another_marker_and_dash(kind):
    for one, other in combinations(looks_of(ARMS).values(), 2):
        if np.linalg.norm(seen(one.color, kind) - seen(other.color, kind)) < 0.1:
            assert one.marker != other.marker
            assert (one.dash, one.filled) != (other.dash, other.filled)


def test_a_ninth_arm_is_no_arm_before():
    looks = looks_of([*ARMS, "ninth"])
    assert len({(look.color, look.filled) for look in looks.values()}) == 9


@pytest.mark.parametrize("arm", range(8))
def test_names_can_be_read_on_white(arm):
    assert grey_of(looks_of(ARMS)[ARMS[arm]].color) < 0.72


def test_grey_is_the_luma_of_a_colour():
    assert grey_of("#ffffff") == pytest.approx(1)
    assert grey_of("#ff0000") == pytest.approx(0.299)


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ({}, {}),
        ({"a": 0.5}, {"a": 0.5}),
        ({"a": 0.2, "b": 0.9}, {"a": 0.2, "b": 0.9}),
        ({"a": 0.5, "b": 0.5}, {"a": 0.45, "b": 0.55}),
        ({"a": 1.0, "b": 1.0}, {"a": 0.9, "b": 1.0}),
        ({"c": 0.0, "b": 0.0, "a": 0.02}, {"c": 0.0, "b": 0.1, "a": 0.2}),
    ],
)
def test_names_are_moved_apart_no_further_than_they_must(heights, expected):
    assert apart(heights, 0.1, (0, 1)) == pytest.approx(expected)


def test_more_names_than_have_room_stay_apart():
    moved = apart(dict.fromkeys(ARMS, 0.5), 0.2, (0, 1))
    np.testing.assert_allclose(np.diff(sorted(moved.values())), 0.2)
    assert min(moved.values()) == 0


@pytest.mark.parametrize(
    ("sizes", "most", "expected"),
    [((2, 5), 3, (2, 5)), ((1, 2, 4, 8, 16), 3, (1, 4, 16)), ((1, 2, 4), 2, (1, 4)), ((), 2, ())],
)
def test_the_sizes_that_are_shown_are_spread(sizes, most, expected):
    assert spread(sizes, most) == expected


def test_a_size_axis_has_its_sizes_and_room_beside_them():
    axes = new_figure(2).subplots()
    size_axis(axes, (2, 5, 10, 11, 80))
    assert axes.get_xscale() == "log"
    assert list(axes.xaxis.get_majorticklocs()) == [2, 5, 10, 11, 80]
    labels = [axes.xaxis.get_major_formatter()(size) for size in (2, 5, 10, 11, 80)]
    assert labels == ["2", "5", "10", "", "80"], "11 has no room beside 10"
    low, high = axes.get_xlim()
    assert low < 2
    assert high > 80
    assert axes.get_xlabel() == "training studies (log scale)"


def test_arms_stand_beside_each_other_around_their_size():
    places = np.log([dodge((2, 16), number, 8) for number in range(8)])
    assert places.sum() == pytest.approx(0)
    assert (np.diff(places) > 0).all()
    assert places[-1] < np.log(2) / 2, "nearer to their own size than to twice that"


def test_long_names_go_into_a_legend_and_are_cut_on_an_axis():
    assert names_fit(["scratch", "pretrained"])
    assert not names_fit(["scratch", "frozen_encoder"])
    assert short("scratch") == "scratch"
    assert short("a" * 40) == "a" * 21 + "…"


def test_a_legend_names_every_arm():
    figure = new_figure(2)
    legend(figure, looks_of(["scratch", "x" * 40]))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["scratch", "x" * 40]


def test_a_caption_takes_as_many_lines_as_it_needs():
    figure = new_figure(2, width=3)
    caption(figure, "word " * 20)
    assert max(map(len, figure.get_supxlabel().splitlines())) <= 3 * 14


def test_a_dollar_is_no_formula():
    with plain_text():
        figure = new_figure(2)
        text = figure.text(0, 0, r"a$\frac$b$c")
    figure.draw_without_rendering()
    assert not text.get_parse_math()


def test_neither_pyplot_nor_matplotlib_comes_with_the_report():
    code = "import sys, lesionseg.report; sys.exit(bool({'matplotlib', 'jinja2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys, lesionseg.report.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
