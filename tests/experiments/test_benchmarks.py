"""What the metrics benchmark is measured on; the peers are not needed."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lesionseg.metrics import OneToOneIoU, component_sizes, label_components, score_lesions

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks" / "metrics"


@pytest.fixture(scope="module")
def drawn() -> ModuleType:
    spec = importlib.util.spec_from_file_location("drawn_pair", FOLDER / "drawn_pair.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pair(drawn):
    return drawn.draw_pair()


def test_the_reference_is_of_the_announced_size(drawn, pair):
    assert pair.reference.shape == pair.prediction.shape == pair.probability.shape == (182, 218, 182)
    labels, count = label_components(pair.reference)
    assert count == 60
    assert 40 <= np.median(component_sizes(labels, count)) <= 50  # mm³, at 1 mm


def test_the_prediction_finds_misses_and_invents(drawn, pair):
    np.testing.assert_array_equal(pair.prediction, pair.probability >= 0.5)
    scores = score_lesions(pair.reference, pair.prediction, drawn.SPACING)
    assert scores.detected_reference < scores.n_reference
    assert scores.false_positives > 0
    matched = score_lesions(pair.reference, pair.prediction, drawn.SPACING, OneToOneIoU(min_iou=0.1))
    assert matched.true_prediction < scores.true_prediction, "a lesion is split"
    assert matched.detected_reference < scores.detected_reference, "lesions are merged"
