"""The answer and the caveats: what is claimed, and what is not."""

import numpy as np
import pytest

from lesionseg.report import Evidence, compare
from lesionseg.report.matched import MatchedRepeat

random = np.random.default_rng(5)


def values(sizes=(2, 10), patients=10, repeats=3, spread=0.02, **gains):
    """Scores of each arm: 0.3 and its gain on average, and a little noise."""
    return {
        (arm, size): 0.3 + gain + _noise((repeats, patients), spread) for arm, gain in gains.items() for size in sizes
    }


def _noise(shape, spread):
    noise = random.standard_normal(shape)
    return spread * (noise - noise.mean())


def test_of_many_arms_the_best_the_worst_and_the_reference_are_told(case_grid):
    arms = {"scratch": 0.1, "pretrained": 0.3, "zero_shot": 0.0}
    small, large, verdict = compare(case_grid(values(**arms)), tuple(arms)).answer
    assert small.startswith(
        "With 2 training studies pretrained has the highest mean F1 of 3 arms, 0.60 (difference from scratch +20 "
        "points, "
    )
    assert "Holm's p < 0.001), and zero_shot the lowest, 0.30; scratch has 0.40." in small
    assert large.startswith("With 10 training studies pretrained has the highest")
    assert verdict == (
        "After Holm's adjustment for 12 tests of sensitivity, PPV and F1, pretrained is ahead of scratch in "
        "sensitivity, "
        "PPV and F1 at 2 and 10; zero_shot is behind scratch in sensitivity, PPV and F1 at 2 and 10."
    )


def test_arms_of_which_the_same_is_said_are_told_together(case_grid):
    arms = {"scratch": 0.0, "a": 0.3, "b": 0.3, "c": 0.3}
    assert "a, b and c are ahead of scratch in" in compare(case_grid(values(**arms)), tuple(arms)).answer[-1]


def test_where_the_reference_is_best_no_difference_from_itself_is_told(case_grid):
    arms = {"scratch": 0.3, "a": 0.1, "b": 0.0}
    small, *_ = compare(case_grid(values(**arms)), tuple(arms)).answer
    assert small == "With 2 training studies scratch has the highest mean F1 of 3 arms, 0.60, and b the lowest, 0.30."


def test_a_single_arm_with_a_score_among_many_is_told(case_grid):
    cases = case_grid(values(scratch=0.0, a=0.1, b=0.1))
    lost = (cases["train_size"] == 2) & (cases["init"] != "a")
    small, *_ = compare(cases[~lost], ("scratch", "a", "b")).answer
    assert small == "With 2 training studies only a has a score: F1 0.40."
    nothing = compare(cases.assign(n_reference=0), ("scratch", "a", "b")).answer[0]
    assert nothing == "With 2 training studies no test patient has a score."


def test_what_does_not_survive_holm_is_not_told_as_found(case_grid):
    gain = 0.1 + 0.1 * np.array([[-1.0, -1.0, 1.0, 1.0, 0.0, 0.0]])
    weak = {(arm, size): np.full((1, 6), 0.3) for arm in ("scratch", "pretrained") for size in (2, 5)}
    weak["pretrained", 5] = weak["pretrained", 5] + gain
    weak["pretrained", 2] = weak["pretrained", 2] + gain - 0.1
    results = compare(case_grid(weak), ("scratch", "pretrained"))
    p = [row.difference.p for row in results.results.differences if row.score == "lesion_f1"]
    assert min(p) < 0.05 <= min(row.holm_p for row in results.results.differences if row.score == "lesion_f1")
    verdict = results.answer[-1]
    assert verdict.startswith("Of 6 tests of sensitivity, PPV and F1, ")
    assert "but none after Holm's adjustment: these runs do not tell the arms apart" in verdict


def test_label_savings_end_the_answer_of_two_arms(case_grid):
    rising = values((2,), scratch=-0.2, pretrained=0.0) | values((8,), scratch=0.2, pretrained=0.3)
    verdict = compare(case_grid(rising), ("scratch", "pretrained")).answer[-1]
    assert "; with 2 training studies pretrained reaches the F1 that scratch reaches with 4 (95 % interval " in verdict
    assert verdict.endswith("): 2 times as many.")


def test_without_the_reference_nothing_is_compared(case_grid):
    found = compare(case_grid(values(a=0.1, b=0.2)), ("scratch", "a", "b"))
    assert found.savings == ()
    assert found.answer[-1].startswith("No arm can be held against the one that was named first")


def test_the_many_that_are_missing_are_counted(case_grid):
    grid = [("scratch", 2, repeat) for repeat in range(20)]
    said = compare(case_grid(values(sizes=(2,), scratch=0.0)), ("scratch",), Evidence(grid=grid)).caveats
    (full,) = (caveat for caveat in said if caveat.startswith("The grid is not full: "))
    assert full.count("has no finished run") == 6
    assert full.endswith("; and 11 more.")


def test_notes_are_told_with_the_arm_where_there_are_several(case_grid):
    cases = case_grid(values(sizes=(2,), scratch=0.0, a=0.1, b=0.1))
    lost = (cases["init"] == "b") & (cases["repeat"] == 1) & (cases["subject"] == "3")
    said = " ".join(compare(cases[~lost], ("scratch", "a", "b")).caveats)
    assert (
        "sensitivity at 2 of b, PPV at 2 of b, F1 at 2 of b and Dice at 2 of b: 1 of 10 patients lack a repeat" in said
    )


def test_what_evidence_says_and_what_cannot_be_matched_are_caveats(case_grid):
    blind = [MatchedRepeat("a", "scratch", 2, repeat, 0.0) for repeat in (0, 1)]
    evidence = Evidence(matched=blind, notes=["Two runs have no froc.csv."])
    said = compare(case_grid(values(scratch=0.0, a=0.1)), ("scratch", "a"), evidence).caveats
    assert (
        "PPV at matched sensitivity, a at 2: In 2 of 2 repeats an arm finds no lesion at its threshold: nothing "
        "to match."
    ) in said
    assert said[-1] == "Two runs have no froc.csv."


@pytest.mark.parametrize("left_out", [True, False])
def test_a_mixed_model_that_was_left_out_is_told(case_grid, monkeypatch, left_out):
    monkeypatch.setattr("lesionseg.report.measure.MOST_CELLS", 5 if left_out else 1000)
    said = " ".join(compare(case_grid(values(sizes=(2,), scratch=0.0, a=0.1)), ("scratch", "a")).caveats)
    assert ("too many patients and repeats for the mixed model" in said) == left_out
