import math

import pandas as pd
import pytest

from lesionseg.report.analysis import against_baseline, analyse
from lesionseg.report.text import (
    answer_sentences,
    baseline_sentence,
    bounded,
    counted,
    format_p,
    interval_of_studies,
    joined,
    savings_sentences,
    shown,
    spread,
    validation_sentences,
)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (shown(None), "not set"),
        (shown({"a": True, "b": [1, 0.001]}), "{a: yes, b: [1, 0.001]}"),
        (joined([2]), "2"),
        (joined([2, 5, 10]), "2, 5 and 10"),
        (counted([0.01] * 4 + [0.003] * 2), "0.01 (4 of 6 runs), 0.003 (2)"),
        (spread({(2, 0): 200, (5, 0): 200, (10, 0): 400}), "200 at 2 and 5, 400 at 10"),
        (spread({(2, 0): 200, (2, 1): 400}), "200 (1 of 2 runs), 400 (1)"),
        (format_p(0.0004), "p < 0.001"),
        (format_p(0.034), "p = 0.034"),
        (format_p(math.nan), "no test"),
        (bounded(14.2, "exact"), "14"),
        (bounded(2.0, "more than"), "more than 2"),
    ],
)
def test_values_in_a_sentence(found, text):
    assert found == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        ((9, "exact"), (20, "more than"), "9 to more than 20"),
        ((20, "more than"), (20, "more than"), "more than 20"),
    ],
)
def test_an_interval_of_studies(low, high, text):
    row = {"needed_low": low[0], "needed_low_bound": low[1], "needed_high": high[0], "needed_high_bound": high[1]}
    assert interval_of_studies(row) == text


def test_the_answer_says_the_numbers_of_the_frame(cases):
    analysis = analyse(cases, ("scratch", "pretrained"))
    small, large, verdict = answer_sentences(analysis)
    rows = analysis.estimates.set_index(["train_size", "score", "quantity"])
    for sentence, size in ((small, 2), (large, 8)):
        mean = rows.loc[(size, "lesion_sensitivity", "scratch"), "mean"]
        gain = rows.loc[(size, "lesion_sensitivity", "pretrained - scratch"), "mean"]
        assert f"with {size} training studies scratch found {100 * mean:.0f} %".lower() in sentence.lower()
        assert f"difference +{100 * gain:.0f} points" in sentence
    assert "tests of sensitivity, PPV and F1" in verdict
    assert savings_sentences(analysis.savings)


def test_one_arm_is_compared_with_nothing(cases):
    assert answer_sentences(analyse(cases, ("scratch",)))[-1] == "There is one arm, so that nothing is compared."


def test_negative_transfer_is_said(record):
    from lesionseg.report.provenance import behind_on_validation

    runs = [record("scratch", best=0.5), record("pretrained", source="a.ckpt", best=0.4)]
    (sentence,) = validation_sentences(behind_on_validation(runs, ("scratch", "pretrained")), ["val/dice"])
    assert sentence.startswith("Negative transfer at 2 training studies")
    assert "(val/dice 0.40 against 0.50, one repeat)" in sentence


@pytest.mark.parametrize(("loss", "ahead"), [(0.2, True), (-0.5, False)])
def test_whether_the_networks_beat_no_learning_is_said(cases, loss, ahead):
    none = cases[cases["init"] == "scratch"].assign(init="threshold")
    none["lesion_f1"] = none["lesion_f1"] - loss
    gains = against_baseline(pd.concat([cases, none]), ("scratch", "pretrained"), "threshold")
    scratch = gains[(gains["arm"] == "scratch") & (gains["score"] == "lesion_f1")]
    assert scratch["difference"].tolist() == pytest.approx([loss, loss])
    assert against_baseline(none.assign(n_reference=0), (), "threshold").empty, "where no patient has a score"
    beaten, sentence = baseline_sentence(gains)
    assert beaten == ahead
    assert sentence.startswith("WARNING") != ahead
    assert f"scratch by {'+20' if ahead else '−50'} points" in sentence
