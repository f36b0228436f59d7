"""Dice in each lesion's cell: golden, by hand, by brute force, by properties."""

import json
from itertools import product
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from lesionseg.metrics.voxelwise import cc_dice, cell_dice, lesion_dice

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
HERE = (GOLDEN / "expected.json").is_file()
CASES = json.loads((GOLDEN / "expected.json").read_text())["cases"] if HERE else {}
golden = pytest.mark.skipif(not HERE, reason="the golden cases (../shared/golden) are not beside this checkout")
EMPTY_REFERENCE = {"01_both_empty", "02_empty_ref"}

MM = (1.0, 1.0, 1.0)
SHAPE = (5, 4, 6)
REFERENCES = arrays(np.bool_, SHAPE, elements=st.sampled_from([False] * 9 + [True]))
PREDICTIONS = arrays(np.bool_, SHAPE, elements=st.sampled_from([False, False, True]))
PAIRS = st.tuples(REFERENCES, PREDICTIONS)
SPACINGS = st.sampled_from([(1, 1, 1), (1, 1, 6), (2, 3, 5)])
CONNECTIVITIES = st.sampled_from([6, 18, 26])


def line(picture: str) -> np.ndarray:
    return np.array([mark == "#" for mark in picture]).reshape(1, 1, -1)


def load(case):
    with np.load(GOLDEN / CASES[case]["file"]) as stored:
        return stored["ref"], stored["pred"], tuple(stored["spacing"].tolist())


@golden
@pytest.mark.parametrize("case", sorted(CASES))
def test_golden(case):
    reference, prediction, _ = load(case)
    score = cc_dice(reference, prediction, MM)  # the published program measures in voxels
    expected = CASES[case]["cc_metrics"]["ccdice_patient"]
    if case in EMPTY_REFERENCE:
        assert isnan(score), f"ours: undefined without reference lesion; theirs: {expected}"
    else:
        assert score == pytest.approx(expected, abs=1e-9)


def test_a_false_voxel_counts_against_the_nearest_lesion_alone():
    reference, prediction = line("##.....#"), line("###..#..")
    scores = lesion_dice(reference, prediction, MM)
    np.testing.assert_allclose(scores, [2 * 2 / (2 + 3), 2 * 0 / (1 + 1)])
    assert cc_dice(reference, prediction, MM) == pytest.approx(0.4)


def test_nothing_to_measure():
    assert lesion_dice(line(".."), line(".."), MM).shape == (0,)
    assert lesion_dice(line(".."), line(".#"), MM).shape == (0,)
    assert isnan(cc_dice(line(".."), line(".."), MM))
    assert isnan(cc_dice(line(".."), line(".#"), MM))
    nothing = np.zeros((0, 4, 5), dtype=bool)
    assert isnan(cc_dice(nothing, nothing, MM))
    np.testing.assert_array_equal(lesion_dice(line("#.#"), line("..."), MM), [0, 0])
    assert cc_dice(line("#.#"), line("..."), MM) == 0


def test_nearer_is_meant_in_mm():
    # Columns are 3 mm apart, rows 0.5 mm: "o" is predicted, 2 voxels or 6 mm from the first lesion and 3 voxels
    # or 1.5 mm from the second.
    picture = ["#.o", "...", "...", "..#"]
    grid = np.array([list(row) for row in picture])[:, np.newaxis, :]
    reference, prediction = grid == "#", grid != "."
    np.testing.assert_allclose(lesion_dice(reference, prediction, (0.5, 1.0, 3.0)), [1, 2 / 3])
    np.testing.assert_allclose(lesion_dice(reference, prediction, MM), [2 / 3, 1])


def test_a_tie_between_thirty_lesions():
    """More than are looked up at once: six voxels straight and 24 aslant lie 3 voxels from the middle."""
    steps = np.array([step for step in product(range(-3, 4), repeat=3) if np.dot(step, step) == 9])
    steps = np.random.default_rng(0).permutation(steps)
    labels = np.zeros((7, 7, 7), dtype=np.int32)
    labels[tuple((steps + 3).T)] = np.arange(1, 31)
    prediction = np.zeros((7, 7, 7), dtype=bool)
    prediction[3, 3, 3] = True
    prediction |= labels > 0
    expected = np.ones(30)
    expected[labels[3, 3, 0] - 1] = 2 / 3
    np.testing.assert_allclose(cell_dice(labels, 30, prediction, MM), expected)


def brute(reference, prediction, spacing, connectivity=26):
    """Every predicted voxel against every reference voxel, in whole numbers; and whether two lesions ever tied."""
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    labels, count = ndimage.label(reference, structure)
    owned, shared, tied = np.zeros(count), np.zeros(count), False
    for voxel in map(tuple, np.argwhere(prediction) if count else []):
        away = sorted(
            (sum((edge * (a - b)) ** 2 for edge, a, b in zip(spacing, voxel, site, strict=True)), site[::-1])
            for site in map(tuple, np.argwhere(reference).tolist())
        )
        owners = [int(labels[site[::-1]]) for distance, site in away if distance == away[0][0]]
        tied |= len(set(owners)) > 1
        owned[owners[0] - 1] += 1
        shared[owners[0] - 1] += away[0][0] == 0
    return 2 * shared / (np.bincount(labels.ravel(), minlength=count + 1)[1:] + owned), tied


@settings(max_examples=100, deadline=None)
@given(PAIRS, SPACINGS, CONNECTIVITIES, st.sampled_from([1.0, 0.1]))
def test_against_all_pairs(pair, spacing, connectivity, unit):
    expected, _ = brute(*pair, spacing, connectivity)
    scores = lesion_dice(*pair, tuple(unit * edge for edge in spacing), connectivity=connectivity)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
