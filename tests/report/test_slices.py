from types import SimpleNamespace

import numpy as np
import pytest

from lesionseg.metrics import AnyOverlap
from lesionseg.report.slices import (
    FALSE,
    FOUND,
    MISSED,
    NOTHING,
    TRUE,
    busiest_slice,
    cut_slice,
    draw_slices,
    load_slices,
    save_slices,
    slices_to_watch,
    verdict_map,
)


@pytest.fixture
def masks():
    """A found lesion, a missed and a false one, and one of a voxel that is too small to count."""
    reference, prediction = np.zeros((2, 20, 20, 6), bool)
    reference[2:5, 2:5, 2] = prediction[3:6, 2:5, 2] = True
    reference[10:12, 10:12, 2] = True
    prediction[15:17, 15:17, 3] = True
    reference[18, 1, 4] = True
    return reference, prediction


def test_every_voxel_has_its_lesions_verdict(masks):
    verdict = verdict_map(*masks, (1, 1, 1), AnyOverlap(), min_volume_mm3=2)
    counts = {value: int((verdict == value).sum()) for value in (FOUND, MISSED, TRUE, FALSE)}
    assert counts == {FOUND: 9, MISSED: 4, TRUE: 3, FALSE: 4}
    assert verdict[18, 1, 4] == NOTHING
    assert busiest_slice(verdict) == 2
    assert busiest_slice(np.zeros_like(verdict)) == 3


def test_slices_come_back_as_they_were_written(masks, tmp_path):
    verdict = verdict_map(*masks, (1, 1, 1), AnyOverlap())
    image = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    slices = [cut_slice(name, "F1 0.50", image, verdict, (1.0, 2.0, 3.0), 2) for name in ("a", "b")]
    save_slices(slices, tmp_path / "slices.npz")
    found = load_slices(tmp_path / "slices.npz")
    assert [(one.study, one.facts, one.spacing, one.z) for one in found] == [
        (name, "F1 0.50", (1.0, 2.0), 2) for name in ("a", "b")
    ]
    np.testing.assert_array_equal(found[0].verdict, slices[0].verdict)
    assert [one.study for one in load_slices(tmp_path / "slices.npz", ["b"])] == ["b"]
    assert len(draw_slices(slices).axes) == 2


def test_a_missed_voxel_stays_in_sight_where_pixels_are_merged():
    verdict = np.zeros((500, 500, 1), np.uint8)
    verdict[100:200, 100:200] = FOUND
    verdict[150, 150] = MISSED
    one = cut_slice("a", "", np.ones((500, 500)) * np.arange(500), verdict, (1.0, 1.0, 1.0), 0)
    assert max(one.image.shape) <= 224
    assert (one.verdict == MISSED).sum() == 1
    assert one.spacing == (3.0, 3.0)


def test_the_slices_to_watch_are_the_busiest_of_two_studies_or_two_far_apart_of_one():
    def study(name: str, **lesions: int) -> SimpleNamespace:
        mask = np.zeros((4, 4, 20), np.uint8)
        for place, voxels in lesions.items():
            mask[:, :, int(place[1:])].flat[:voxels] = 1
        return SimpleNamespace(name=name, mask=mask)

    one, two, empty = study("one", z3=5, z4=4, z15=2), study("two", z7=9), study("empty")
    assert slices_to_watch([one, two, empty]) == [("two", 7), ("one", 3)]
    assert slices_to_watch([one]) == [("one", 3), ("one", 15)]
    assert slices_to_watch([empty]) == []
