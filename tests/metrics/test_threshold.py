"""The threshold chosen from validation studies."""

from math import isnan, nan

import numpy as np
import pytest

from lesionseg.metrics import choose_threshold, score_lesions

MAP = np.array([0.9, 0.6, 0.3, 0.0]).reshape(1, 1, -1)


def scores(values):
    """A score that depends on how many voxels the mask has."""
    return lambda mask: values[int(mask.sum())]


def test_the_candidate_with_the_highest_mean_wins():
    first, second = scores({3: 0.1, 2: 0.9, 1: 0.4}), scores({3: 0.3, 2: 0.5, 1: 0.4})
    choice = choose_threshold([(MAP, first), (MAP, second)], [0.8, 0.2, 0.5], default=0.5)
    assert (choice.threshold, choice.candidates, choice.n_studies) == (0.5, (0.2, 0.5, 0.8), 2)
    assert choice.means == pytest.approx((0.2, 0.7, 0.4))


def test_of_equal_ones_the_nearest_to_the_default_wins_and_then_the_lower():
    level = scores({3: 0.5, 2: 0.5, 1: 0.5})
    assert choose_threshold([(MAP, level)], [0.2, 0.5, 0.8], default=0.75).threshold == 0.8
    assert choose_threshold([(MAP, level)], [0.25, 0.75], default=0.5).threshold == 0.25


def test_undefined_scores_are_left_out_and_counted():
    choice = choose_threshold(
        [(MAP, scores({3: nan, 2: nan, 1: nan})), (MAP, scores({3: 0.2, 2: nan, 1: 0.1}))], [0.2, 0.5, 0.8], default=0.5
    )
    assert (choice.threshold, choice.n_studies) == (0.2, 1)
    assert isnan(choice.means[1])


@pytest.mark.parametrize("found", [0.0, nan])
def test_where_nothing_is_found_the_default_stays(found):
    choice = choose_threshold([(MAP, scores({3: found, 2: found, 1: found}))], [0.2, 0.5, 0.8], default=0.45)
    assert (choice.threshold, choice.n_studies) == (0.45, 0)


def test_the_mask_includes_the_threshold_itself():
    choice = choose_threshold([(MAP, scores({1: 0.0, 2: 1.0}))], [0.6], default=0.5)
    assert choice.means == (1.0,), "0.6 is lesion at a threshold of 0.6"


def test_with_a_real_score_it_is_the_best_of_trying_all():
    random = np.random.default_rng(1)
    reference = np.zeros((14, 14, 14), bool)
    reference[2:5, 2:5, 2:5] = reference[8:11, 8:11, 8:11] = True
    studies = []
    for _ in range(3):
        probability = (0.6 * reference + 0.5 * random.random(reference.shape)).clip(0, 1)
        studies.append((probability, lambda mask: score_lesions(reference, mask, (1.0, 1.0, 1.0)).f1))
    candidates = [0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7]
    choice = choose_threshold(studies, candidates, default=0.5)
    by_hand = {
        threshold: np.mean([score_lesions(reference, p >= threshold, (1.0, 1.0, 1.0)).f1 for p, _ in studies])
        for threshold in candidates
    }
    assert choice.means == pytest.approx(tuple(by_hand.values()))
    assert by_hand[choice.threshold] == max(by_hand.values())


def test_there_must_be_a_candidate():
    with pytest.raises(ValueError, match="at least one threshold"):
        choose_threshold([], [], default=0.5)
