"""Slices of test studies: verdicts against drawings by hand, what a picture shows, and the file they are kept in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionseg.metrics import AnyOverlap, OneToOneIoU, score_lesions
from lesionseg.report import StudySlice, load_slices, save_slices
from lesionseg.report.slices import FALSE, FOUND, MISSED, NOTHING, TRUE, busiest_slice, cut_slice, verdict_map

MARKS = {".": NOTHING, "R": FOUND, "m": MISSED, "p": TRUE, "f": FALSE}


def drawn(*rows: str) -> np.ndarray[Any, Any]:
    """A mask of one slice: a row of the drawing is a line of voxels along y."""
    return np.array([[mark == "#" for mark in row] for row in rows], np.uint8)[:, :, None]


def verdicts(*rows: str) -> np.ndarray[Any, Any]:
    return np.array([[MARKS[mark] for mark in row] for row in rows], np.uint8)[:, :, None]


REFERENCE = drawn("##.......", "##...##..", ".....##..", ".........", "#........")
PREDICTION = drawn(".##......", ".##......", "........#", "......#..", ".........")


def test_each_lesion_has_the_verdict_of_the_criterion() -> None:
    found = verdict_map(REFERENCE, PREDICTION, (1, 1, 1), AnyOverlap())
    np.testing.assert_array_equal(found, verdicts("RRp......", "RRp..mm..", ".....mm.f", "......f..", "m........"))
    scores = score_lesions(REFERENCE, PREDICTION, (1, 1, 1), AnyOverlap())
    assert (scores.detected_reference, scores.n_reference, scores.false_positives) == (1, 3, 2)


def test_another_criterion_gives_other_verdicts() -> None:
    # Two of six voxels are shared: an IoU of one third.
    found = verdict_map(REFERENCE, PREDICTION, (1, 1, 1), OneToOneIoU(min_iou=0.5))
    np.testing.assert_array_equal(found[:2, :3], verdicts("mmf", "mmf"))


def test_what_is_too_small_to_count_is_no_lesion_on_either_side() -> None:
    found = verdict_map(REFERENCE, PREDICTION, (1, 1, 1), AnyOverlap(), min_volume_mm3=2.0)
    np.testing.assert_array_equal(found, verdicts("RRp......", "RRp..mm..", ".....mm..", ".........", "........."))
    larger = verdict_map(REFERENCE, PREDICTION, (1, 1, 2), AnyOverlap(), min_volume_mm3=2.0)
    assert (larger == FALSE).sum() == 2, "the same voxels are 2 mm³ each"


@pytest.mark.parametrize(("reference", "prediction"), [(0, 0), (1, 0), (0, 1)])
def test_sides_without_lesion(reference: int, prediction: int) -> None:
    found = verdict_map(REFERENCE * reference, PREDICTION * prediction, (1, 1, 1), AnyOverlap())
    assert set(np.unique(found)) - {NOTHING} == ({MISSED} if reference else {FALSE} if prediction else set())


def test_the_slice_with_the_most_lesion_on_either_side_is_shown() -> None:
    verdict = np.zeros((4, 4, 7), np.uint8)
    verdict[0, :3, 2], verdict[1, :2, 5], verdict[2, :2, 5] = MISSED, FALSE, TRUE
    assert busiest_slice(verdict) == 5
    assert busiest_slice(np.zeros((4, 4, 7), np.uint8)) == 3, "the middle, where there is nothing"


def head(shape: tuple[int, int], inside: tuple[slice, slice]) -> np.ndarray[Any, Any]:
    image = np.zeros(shape, np.float32)
    image[inside] = np.random.default_rng(0).normal(100, 20, image[inside].shape)
    return image


def test_a_slice_is_windowed_and_cut_to_the_head() -> None:
    image = head((60, 80), (slice(20, 40), slice(30, 65)))
    image[25, 40] = 10_000.0
    verdict = np.zeros((60, 80, 3), np.uint8)
    verdict[25:27, 40, 1] = FOUND
    cut = cut_slice("sub-a", "F1 1.00", image, verdict, (1.0, 1.5, 3.0), 1)
    assert (cut.study, cut.facts, cut.spacing, cut.z) == ("sub-a", "F1 1.00", (1.0, 1.5), 1)
    assert cut.image.shape == cut.verdict.shape == (20 + 8, 35 + 8), "four pixels on every side"
    assert cut.image.dtype == cut.verdict.dtype == np.uint8
    assert (cut.image[0, 0], cut.image[4 + 5, 4 + 10]) == (0, 255)
    assert cut.image[4:-4, 4:-4].std() > 20, "the bright voxel does not take the contrast away"
    assert np.argwhere(cut.verdict == FOUND).tolist() == [[9, 14], [10, 14]]


def test_a_lesion_outside_of_the_head_stays_in_sight() -> None:
    verdict = np.zeros((60, 80, 1), np.uint8)
    verdict[59, 79, 0] = FALSE
    cut = cut_slice("", "", head((60, 80), (slice(20, 40), slice(30, 65))), verdict, (1, 1, 1), 0)
    assert cut.verdict[-1, -1] == FALSE


def test_an_empty_image_is_black_and_whole() -> None:
    cut = cut_slice("", "", np.zeros((6, 7)), np.zeros((6, 7, 1), np.uint8), (1, 1, 1), 0)
    assert cut.image.shape == (6, 7)
    assert not cut.image.any()


def test_large_slices_are_made_coarser_without_losing_a_lesion() -> None:
    image = head((500, 400), (slice(0, 500), slice(0, 400)))
    verdict = np.zeros((500, 400, 1), np.uint8)
    verdict[30:33, 30:33, 0], verdict[31, 31, 0] = FOUND, MISSED
    verdict[90, 91, 0] = FALSE
    cut = cut_slice("", "", image, verdict, (0.4, 0.5, 3.0), 0)
    assert cut.image.shape == cut.verdict.shape == (167, 134)
    assert cut.spacing == (pytest.approx(1.2), pytest.approx(1.5))
    assert {tuple(at): cut.verdict[tuple(at)] for at in np.argwhere(cut.verdict)} == {
        (10, 10): MISSED,
        (30, 30): FALSE,
    }


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    saved = [
        StudySlice(
            f"sub-{n}",
            f"F1 0.{n}: – of 3 found",
            random.integers(0, 255, (20, 30 + n), np.uint8),
            random.integers(0, 5, (20, 30 + n), np.uint8),
            (0.5, 1.5),
            n,
        )
        for n in range(3)
    ]
    path = tmp_path / "run" / "slices.npz"
    save_slices(saved, path)
    assert [file.name for file in path.parent.iterdir()] == ["slices.npz"]
    loaded = load_slices(path)
    for one, other in zip(saved, loaded, strict=True):
        assert (one.study, one.facts, one.spacing, one.z) == (other.study, other.facts, other.spacing, other.z)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.verdict, other.verdict)
    assert [one.study for one in load_slices(path, {"sub-2", "sub-9"})] == ["sub-2"]
    assert load_slices(path, []) == ()


def test_a_run_without_test_studies_has_an_empty_file(tmp_path: Path) -> None:
    save_slices([], tmp_path / "slices.npz")
    assert load_slices(tmp_path / "slices.npz") == ()


def test_what_holds_python_objects_is_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "slices.npz", study=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_slices(tmp_path / "slices.npz")
