"""Paired dots: one for each patient, where the two scores say."""

from math import nan

import numpy as np
import pytest

from lesionseg.report import PatientScore
from lesionseg.report.figures import draw_patients

SCORES = {"sub-1": (0.2, 0.6), "sub-2": (0.5, 0.5), "sub-3": (0.9, 0.4), "sub-4": (nan, 0.4), "sub-5": (0.1, 0.7)}


def scores(sizes=(2, 5), kinds=("lesion_sensitivity", "lesion_ppv", "lesion_f1"), arms=("scratch", "pretrained")):
    return [
        PatientScore(arm, size, kind, patient, values[min(number, 1)])
        for size in sizes
        for kind in kinds
        for number, arm in enumerate(arms)
        for patient, values in SCORES.items()
    ]


def dots(axes, arm="pretrained"):
    [line] = [line for line in axes.lines if line.get_gid() == f"{arm} patients"]
    return line.get_xydata()


def test_a_dot_is_a_patient_under_both_arms():
    figure = draw_patients(scores(), ("scratch", "pretrained"))
    for axes in figure.axes:
        expected = [SCORES[patient] for patient in ("sub-1", "sub-2", "sub-3", "sub-5")]
        np.testing.assert_array_equal(dots(axes), expected)
        assert {text.get_text() for text in axes.texts} == {"2 above", "1 below, 1 on it"}
    assert "one of 5 test patients" in figure.get_supxlabel().replace("\n", " ")


def test_fewer_sizes_than_scores_stand_below_each_other():
    wide = draw_patients(scores(), ("scratch", "pretrained"))
    titles = [axes.get_title() for axes in wide.axes]
    assert titles == [f"{score}, n = {size}" for size in (2, 5) for score in ("Sensitivity", "PPV", "F1")]
    long = draw_patients(scores(sizes=(2, 5, 10)), ("scratch", "pretrained"))
    assert [axes.get_title() for axes in long.axes][:3] == [f"Sensitivity, n = {size}" for size in (2, 5, 10)]


def test_axes_are_named_by_the_arms():
    figure = draw_patients(scores(), ("scratch", "pretrained"))
    assert not figure.legends
    assert (figure.axes[0].get_ylabel(), figure.axes[-1].get_xlabel()) == ("pretrained", "scratch")


def test_several_arms_have_a_legend_and_no_counts():
    arms = ("scratch", "pretrained", "frozen")
    figure = draw_patients(scores(arms=arms), arms)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["pretrained", "frozen"]
    assert figure.axes[0].get_ylabel() == "other arm"
    assert len(dots(figure.axes[0], "frozen")) == 4
    assert not figure.axes[0].texts


def test_more_than_three_others_have_panels_of_their_own():
    arms = ("scratch", "a", "b", "c", "d")
    figure = draw_patients(scores(sizes=(2, 5, 10), arms=arms), arms)
    shown = [axes.get_title() for axes in figure.axes]
    assert shown == [f"{arm}\nF1, n = {size}" for arm in arms[1:] for size in (2, 10)]
    assert not figure.legends
    for axes, arm in zip(figure.axes, "aabbccdd", strict=True):
        assert [line.get_gid() for line in axes.lines] == ["diagonal", f"{arm} patients"]
        assert {text.get_text() for text in axes.texts} == {"2 above", "1 below, 1 on it"}


def test_what_is_left_of_the_last_row_is_empty():
    arms = ("scratch", "a", "b", "c", "d", "e")
    figure = draw_patients(scores(arms=arms), arms)
    assert [axes.axison for axes in figure.axes] == [True] * 10 + [False] * 2


def test_no_more_than_five_sizes_are_shown(made_up):
    comparison = made_up(arms=("scratch", "new"), sizes=(1, 2, 3, 5, 8, 13, 21), repeats=1).comparison(whole=False)
    assert len(draw_patients(comparison.results.patients, ("scratch", "new")).axes) == 3 * 5


@pytest.mark.parametrize("arms", [("scratch",), ("scratch", "frozen")])
def test_nothing_to_draw_is_said(arms):
    with pytest.raises(ValueError, match=r"^No paired dots: no test patient has a score under two arms at one size\.$"):
        draw_patients(scores(), arms)
