"""Whether arms rank the same under every criterion."""

import pandas as pd
import pytest

from lesionseg.report.ranking import rank_arms


def row(criterion, init, f1, *, subject="01", repeat=0, train_size=5, n_reference=3, sensitivity=0.5, ppv=0.5):
    return {
        "criterion": criterion,
        "init": init,
        "train_size": train_size,
        "repeat": repeat,
        "subject": subject,
        "n_reference": n_reference,
        "sensitivity": sensitivity,
        "ppv": ppv,
        "f1": f1,
    }


def both(criterion, scratch, pretrained, **more):
    return [row(criterion, "scratch", scratch, **more), row(criterion, "pretrained", pretrained, **more)]


def test_patients_weigh_the_same_however_many_repeats_and_sessions_they_have():
    rows = [
        row("task", "scratch", 0.2, subject="01", repeat=0),
        row("task", "scratch", 0.4, subject="01", repeat=0),  # another session
        row("task", "scratch", 0.9, subject="01", repeat=1),
        row("task", "scratch", 0.0, subject="02", repeat=0),
    ]
    (mean,) = rank_arms(pd.DataFrame(rows)).means.to_dict("records")
    assert mean["f1"] == pytest.approx(((0.3 + 0.9) / 2 + 0.0) / 2)
    assert mean["n_patients"] == 2


def test_studies_without_reference_lesion_are_left_out():
    rows = [*both("task", 0.4, 0.6), *both("task", float("nan"), float("nan"), subject="02", n_reference=0)]
    assert rank_arms(pd.DataFrame(rows)).means["f1"].tolist() == [0.4, 0.6]


def test_the_same_order_everywhere_is_said_in_one_line():
    ranking = rank_arms(pd.DataFrame([*both("task", 0.4, 0.6), *both("anima", 0.1, 0.2)]))
    assert ranking.changes == ()
    assert ranking.to_text().endswith("- The arms rank the same under every criterion, at every size, by each score.")


def test_a_change_of_places_names_size_score_and_criteria():
    rows = [*both("task", 0.4, 0.6), *both("anima", 0.3, 0.2), *both("iou_0.5", 0.1, 0.1)]
    rows += [*both("task", 0.4, 0.6, train_size=10), *both("anima", 0.2, 0.3, train_size=10)]
    ranking = rank_arms(pd.DataFrame(rows))
    assert ranking.changes == (
        "5 training studies, F1: pretrained before scratch under task; scratch before pretrained under anima; "
        "scratch level with pretrained under iou_0.5.",
    )


def test_the_table_keeps_the_order_of_criteria_and_arms():
    rows = [*both("task", 0.4, 0.6, train_size=10), *both("task", 0.4, 0.6), *both("anima", 0.1, 0.25)]
    ranking = rank_arms(pd.DataFrame(rows))
    assert ranking.means[["train_size", "criterion", "init"]].values.tolist() == [
        [5, "task", "scratch"],
        [5, "task", "pretrained"],
        [5, "anima", "scratch"],
        [5, "anima", "pretrained"],
        [10, "task", "scratch"],
        [10, "task", "pretrained"],
    ]
    lines = ranking.to_text("github").splitlines()
    assert lines[0].replace(" ", "") == (
        "|trainingstudies|criterion|scratchsensitivity|scratchPPV|scratchF1"
        "|pretrainedsensitivity|pretrainedPPV|pretrainedF1|"
    )
    assert lines[3].replace(" ", "") == "|5|anima|0.50|0.50|0.10|0.50|0.50|0.25|"


def test_an_arm_that_lacks_a_size_is_shown_as_missing_and_ranks_nowhere():
    rows = [*both("task", 0.4, 0.6), row("task", "scratch", 0.5, train_size=10), row("anima", "scratch", 0.1)]
    ranking = rank_arms(pd.DataFrame(rows))
    assert ranking.changes == ()
    assert ranking.to_text().count("–") == 6


def test_nothing_to_rank_is_refused():
    with pytest.raises(ValueError, match="has no row"):
        rank_arms(pd.DataFrame(columns=["criterion"]))
