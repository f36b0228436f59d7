import math

import numpy as np
import pandas as pd
import pytest

from lesionseg.report.analysis import analyse
from lesionseg.report.comparison import against
from lesionseg.report.text import (
    answer_sentences,
    baseline_sentence,
    bounded,
    control_sentences,
    counted,
    format_p,
    interval_of_studies,
    joined,
    power_sentences,
    saving_clause,
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


def test_two_repeats_are_not_tested(cases):
    analysis = analyse(cases[cases["repeat"] < 2], ("scratch", "pretrained"))
    differences = analysis.estimates[analysis.estimates["reference"] != ""]
    assert differences["mean"].notna().all()
    assert differences[["p", "low", "high"]].isna().all(axis=None)
    assert analysis.savings["needed_low"].isna().all()
    small, _, verdict = answer_sentences(analysis)
    assert "no test below 3 repeats" in small
    assert verdict == "None of these differences is tested: that takes 3 repeats."
    assert all("cannot tell" in sentence for sentence in savings_sentences(analysis.savings))


@pytest.mark.parametrize(
    ("low", "low_bound", "high", "claim"),
    [
        (4.1, "exact", 12, "at least 2 times"),
        (12.0, "more than", 12, "more than 6 times"),
        (2.0, "exact", 12, None),
        (2.0, "at most", 12, None),
        (math.nan, "exact", math.nan, None),
    ],
)
def test_a_saving_is_claimed_where_its_whole_interval_is_above_one(low, low_bound, high, claim):
    row = {"score": "lesion_f1", "arm": "pretrained", "reference": "scratch", "train_size": 2, "note": ""}
    row |= {"needed": 12.0, "needed_bound": "more than", "needed_low": low, "needed_low_bound": low_bound}
    row |= {"needed_high": high, "needed_high_bound": "more than", "multiplier_low": low / 2}
    found = saving_clause(pd.DataFrame([{**row, "claimed": claim is not None}]))
    assert (found is None) if claim is None else found.endswith(f"{claim} as many")


def test_what_is_claimed_is_above_the_arms_own_size(cases):
    savings = analyse(cases, ("scratch", "pretrained")).savings
    for row in savings.to_dict("records"):
        low, bound = row["needed_low"], row["needed_low_bound"]
        above = low > row["train_size"] or (low == row["train_size"] and bound == "more than")
        assert row["claimed"] == (above and bound != "at most")
    assert set(savings["claimed"]) == {True, False}


def test_what_a_small_difference_takes_is_said():
    rows = [(2, "pretrained", 3, math.inf), (2, "pretrained", 5, 1234.0), (8, "pretrained", 3, 10.0)]
    power = pd.DataFrame(rows, columns=["train_size", "arm", "n_repeats", "n_patients"])
    (sentence,) = power_sentences(power)
    assert "at 2 training studies takes 1,234 test patients with 5 repeats" in sentence
    assert "more than 20 repeats" in power_sentences(power[:1])[0]


@pytest.mark.parametrize(("loss", "ahead"), [(0.3, True), (0.0, False)])
def test_a_pretrained_arm_is_held_against_its_control(cases, loss, ahead):
    control = cases[cases["init"] == "pretrained"].assign(init="shuffled")
    control["lesion_f1"] += np.where(control["subject"] == "p1", 0.01, 0) - loss
    (sentence,) = control_sentences(against(pd.concat([cases, control]), ("pretrained",), "shuffled"))
    assert ("is ahead of its control shuffled" in sentence) == ahead
    assert ("better scale of the first weights" in sentence) != ahead


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
    gains = against(pd.concat([cases, none]), ("scratch", "pretrained"), "threshold")
    scratch = gains[(gains["arm"] == "scratch") & (gains["score"] == "lesion_f1")]
    assert scratch["difference"].tolist() == pytest.approx([loss, loss])
    assert against(none.assign(n_reference=0), (), "threshold").empty, "where no patient has a score"
    beaten, sentence = baseline_sentence(gains)
    assert beaten == ahead
    assert sentence.startswith("WARNING") != ahead
    assert f"scratch by {'+20' if ahead else '−50'} points" in sentence
