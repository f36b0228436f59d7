"""The lesion table and a whole study: by hand, and against scipy lesion by lesion."""

import numpy as np
import pytest
from scipy import ndimage

from lesionseg.metrics import (
    AnyOverlap,
    OneToOneIoU,
    average,
    coverage,
    detection_row,
    dice,
    lesion_table,
    score_lesions,
    score_study,
)

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 0, 3, -20], [0, 1, 0, 5], [0, 0, 0, 1]])


def drawn():
    reference = np.zeros((8, 6, 5), dtype=np.uint8)
    reference[1:3, 1:4, 2] = 1
    reference[6, 4, 4] = 1
    prediction = np.zeros_like(reference)
    prediction[2, 3, 2:4] = 1
    prediction[2, 1, 1:3] = 1
    prediction[5, 0, 0] = 1
    return reference, prediction


def test_each_lesion_by_hand():
    reference, prediction = drawn()
    probability = np.where(prediction, 0.75, 0.25)
    probability[2, 3, 3] = 1.0
    large, small, first, second, third = lesion_table(reference, prediction, AFFINE, probability=probability)
    assert (large.side, large.verdict, large.touches) == ("reference", "detected", (1, 2))
    assert large.volume_mm3 == 6 * 6.0, "six voxels of 2 × 1 × 3 mm"
    assert (large.i, large.j, large.k) == (1.5, 2.0, 2.0)
    assert (large.x_mm, large.y_mm, large.z_mm) == (-2 * 1.5 + 90, 3 * 2.0 - 20, 1 * 2.0 + 5)
    assert (large.extent_i, large.extent_j, large.extent_k) == (2, 3, 1)
    assert (large.mean_probability, large.max_probability) == (pytest.approx((4 * 0.25 + 2 * 0.75) / 6), 0.75)
    assert (small.verdict, small.touches, (small.extent_i, small.extent_j, small.extent_k)) == ("missed", (), (1, 1, 1))
    assert [row.verdict for row in (first, second, third)].count("true") == 2
    false = next(row for row in (first, second, third) if row.verdict == "false")
    assert (false.side, (false.i, false.j, false.k), false.touches) == ("prediction", (5.0, 0.0, 0.0), ())
    assert {row.max_probability for row in (first, second, third)} == {0.75, 1.0}


def test_a_row_for_a_file_is_flat():
    row = lesion_table(*drawn(), AFFINE)[0].as_row()
    assert list(row) == [
        *("side", "label", "verdict", "volume_mm3", "i", "j", "k", "x_mm", "y_mm", "z_mm"),
        *("extent_i", "extent_j", "extent_k", "mean_probability", "max_probability", "dice", "touches"),
    ]
    assert row["touches"] == "1 2"
    assert all(isinstance(value, str | int | float) for value in row.values())


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_the_table_is_scipys_lesion_by_lesion(connectivity):
    random = np.random.default_rng(3)
    reference, prediction = (random.random((2, 12, 11, 10)) < 0.15).astype(np.uint8)
    probability = random.random(reference.shape)
    rows = lesion_table(reference, prediction, AFFINE, AnyOverlap(connectivity=connectivity), probability=probability)
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    for side, mask in (("reference", reference), ("prediction", prediction)):
        labels, count = ndimage.label(mask, structure)
        index = range(1, count + 1)
        expected = sorted(
            (
                *np.round(ndimage.center_of_mass(mask, labels, n), 9),
                float((labels == n).sum()) * 6.0,
                *(part.stop - part.start for part in ndimage.find_objects(labels)[n - 1]),
                round(float(ndimage.mean(probability, labels, n)), 9),
                round(float(ndimage.maximum(probability, labels, n)), 9),
            )
            for n in index
        )
        found = sorted(
            (
                *np.round((row.i, row.j, row.k), 9),
                row.volume_mm3,
                row.extent_i,
                row.extent_j,
                row.extent_k,
                round(row.mean_probability, 9),
                round(row.max_probability, 9),
            )
            for row in rows
            if row.side == side
        )
        np.testing.assert_allclose(found, expected)


def test_a_study_is_its_parts_put_together():
    reference, prediction = drawn()
    study = score_study(reference, prediction, AFFINE, AnyOverlap(connectivity=6), min_volume_mm3=7.0)
    scores = score_lesions(reference, prediction, (2.0, 1.0, 3.0), AnyOverlap(connectivity=6), min_volume_mm3=7.0)
    case = study.case
    assert list(case.as_row()) == [
        *("n_reference", "n_prediction", "detected_reference", "true_prediction"),
        *("lesion_sensitivity", "lesion_ppv", "lesion_f1", "lesion_f1_counts"),
        *("dice", "voxel_sensitivity", "voxel_ppv", "cc_dice", "cc_dice_mm", "hd95_mm", "assd_mm", "nsd"),
        *("volume_reference_ml", "volume_prediction_ml", "volume_difference_ml"),
        *("false_positives", "false_positive_volume_ml", "merged_lesions"),
    ]
    assert (case.n_reference, case.n_prediction) == (1, 2), "single voxels of 6 mm³ do not count"
    assert (case.lesion_sensitivity, case.lesion_ppv, case.lesion_f1) == (
        scores.sensitivity,
        scores.ppv,
        scores.f1,
    )
    assert case.dice == dice(reference, prediction), "Dice judges the masks as they are"
    assert case.volume_reference_ml == pytest.approx(7 * 6 / 1000)
    assert case.volume_prediction_ml == pytest.approx(5 * 6 / 1000)
    assert (case.false_positives, case.false_positive_volume_ml) == (0, 0.0)
    table = lesion_table(reference, prediction, AFFINE, AnyOverlap(connectivity=6), min_volume_mm3=7.0)
    np.testing.assert_equal([row.as_row() for row in study.lesions], [row.as_row() for row in table])


def test_a_quick_look_has_the_same_columns_and_averages():
    reference, prediction = drawn()
    row = detection_row(reference, prediction, (2.0, 1.0, 3.0), min_volume_mm3=7.0)
    whole = score_study(reference, prediction, AFFINE, min_volume_mm3=7.0).case.as_row()
    assert (
        row.pop("lesion_f1_one_to_one")
        == score_lesions(*drawn(), (2.0, 1.0, 3.0), OneToOneIoU(min_iou=0.1), min_volume_mm3=7.0).f1
    )
    assert row == {name: whole[name] for name in row}
    np.testing.assert_equal(average([row]), average([whole]))


def test_a_prediction_that_fills_the_volume_is_perfect_by_overlap_and_told():
    reference, everything = drawn()[0], np.ones((8, 6, 5), np.uint8)
    row = detection_row(reference, everything, (2.0, 1.0, 3.0))
    assert (row["lesion_f1"], row["lesion_f1_one_to_one"], row["merged_lesions"]) == (1, 0, 2)
    found = coverage([score_study(reference, everything, AFFINE).case.as_row()])
    assert (found.volume_ratio, found.merged_share, found.merged_lesions) == (pytest.approx(240 / 7), 1, 2)
    assert "34.3 times" in found.warning
    assert "100 %" in found.warning
    as_drawn = coverage([score_study(reference, reference, AFFINE).case.as_row()])
    assert (as_drawn.volume_ratio, as_drawn.merged_lesions, as_drawn.warning) == (1, 0, "")


@pytest.mark.parametrize(
    ("affine", "probability", "message"),
    [
        (np.eye(3), None, r"affine must be 4 × 4, found shape \(3, 3\)"),
        (np.full((4, 4), np.nan), None, "affine must be finite"),
        (np.diag([1.0, 0.0, 1.0, 1.0]), None, "affine must be invertible"),
        (np.eye(4), np.zeros((2, 2, 2)), r"masks' shape \(8, 6, 5\), found \(2, 2, 2\)"),
        (np.eye(4), np.full((8, 6, 5), 7.0), "within 0 … 1, found 7 … 7; are these logits"),
        (np.eye(4), np.full((8, 6, 5), np.nan), "probability map must be finite"),
    ],
)
def test_what_is_no_study_is_refused(affine, probability, message):
    with pytest.raises(ValueError, match=message):
        score_study(*drawn(), affine, probability=probability)
    with pytest.raises(ValueError, match=message):
        lesion_table(*drawn(), affine, probability=probability)
