"""Two files read as one case: what they may hold, and every fault that keeps them from being compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lesionseg.data.pairing import FilePair, JudgedPair, read_pair

SHAPE = (6, 5, 4)
AFFINE = np.array([[0.5, 0, 0, -20], [0, 0.5, 0, 7], [0, 0, 3, 0], [0, 0, 0, 1.0]])
FIRST, SECOND = (1, 1, 1), (4, 3, 2)

Files = Callable[..., FilePair]
FaultsOf = Callable[..., tuple[str, ...]]


def drawn(dtype: Any, first: float = 1, second: float = 0) -> Any:
    """Two voxels of these values, 0 elsewhere."""
    voxels = np.zeros(SHAPE, dtype)
    voxels[FIRST], voxels[SECOND] = first, second
    return voxels


def inside(mask: Any) -> list[tuple[int, ...]]:
    return [tuple(voxel) for voxel in np.argwhere(mask).tolist()]


@pytest.fixture
def files(tmp_path: Path, write_scan: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Files:
    """Writes a pair, both with ``AFFINE`` unless the prediction has its own; the reference is one voxel."""
    monkeypatch.chdir(tmp_path)

    def write(prediction: Any, affine: Any = AFFINE, *, reference: Any = None) -> FilePair:
        reference = drawn(np.uint8) if reference is None else reference
        return FilePair(
            "case", write_scan(Path("r.nii.gz"), reference, AFFINE), write_scan(Path("p.nii.gz"), prediction, affine)
        )

    return write


def read(pair: FilePair, threshold: float | None = None, label: int | None = None) -> JudgedPair:
    return read_pair(pair, threshold=threshold, reference_label=label, prediction_label=label)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "float32", "float64"])
def test_masks_of_every_type(files: Files, dtype: str) -> None:
    case = read(files(drawn(dtype, 1, 1)))
    assert case.name == "case"
    assert (case.reference.dtype, case.prediction.dtype) == (bool, bool)
    assert inside(case.reference) == [FIRST]
    assert inside(case.prediction) == [FIRST, SECOND]
    assert case.probability is None
    assert case.grid.shape == SHAPE
    assert case.grid.spacing == (0.5, 0.5, 3.0)


def test_empty_masks_and_a_fourth_dimension_of_one(files: Files) -> None:
    case = read(files(drawn(np.uint8, 0)[..., None], reference=drawn(np.float32, 0)))
    assert (inside(case.reference), inside(case.prediction)) == ([], [])
    assert case.prediction.shape == SHAPE


def test_a_label_picks_one_lesion_kind_on_both_sides(files: Files) -> None:
    pair = files(drawn(np.int16, 1, 2), reference=drawn(np.float32, 2, 1))
    for label, reference, prediction in ((1, SECOND, FIRST), (2, FIRST, SECOND)):
        case = read(pair, label=label)
        assert (inside(case.reference), inside(case.prediction)) == ([reference], [prediction])
    assert inside(read(pair, label=3).prediction) == []


@pytest.mark.parametrize(("threshold", "found"), [(0.3, [FIRST, SECOND]), (0.5, [FIRST]), (0.8, [FIRST]), (0.81, [])])
def test_a_threshold_is_the_probability_from_which_a_voxel_counts(
    files: Files, threshold: float, found: list[tuple[int, ...]]
) -> None:
    case = read(files(drawn(np.float32, 0.8, 0.3)), threshold=threshold)
    assert inside(case.prediction) == found, "0.8 itself counts at 0.8, float32 or not"
    assert case.probability is not None
    assert case.probability[FIRST] == np.float32(0.8)


def test_each_side_may_have_a_label_of_its_own(files: Files) -> None:
    pair = files(drawn(np.uint8, 1), reference=drawn(np.uint8, 1, 7))
    case = read_pair(pair, threshold=None, reference_label=7, prediction_label=None)
    assert (inside(case.reference), inside(case.prediction)) == ([SECOND], [FIRST])


def test_with_a_threshold_the_label_is_the_references(files: Files) -> None:
    case = read(files(drawn(np.float32, 0.8, 0.3), reference=drawn(np.uint8, 1, 7)), threshold=0.5, label=7)
    assert (inside(case.reference), inside(case.prediction)) == ([SECOND], [FIRST])


def test_a_map_of_scaled_integers_that_ends_a_little_outside_is_clipped(files: Files) -> None:
    pair = files(drawn(np.uint8))
    image = nib.Nifti1Image(drawn(np.uint8, 255, 128), AFFINE)
    image.header.set_slope_inter(1 / 255 + 1e-8, -1e-6)
    nib.save(image, pair.prediction)
    stored = np.asanyarray(nib.load(pair.prediction).dataobj)
    assert 1 < stored.max() < 1 + 1e-5
    assert -1e-5 < stored.min() < 0
    case = read(pair, threshold=0.5)
    assert case.probability is not None
    assert (case.probability.min(), case.probability.max()) == (0, 1)
    assert case.probability[SECOND] == pytest.approx(128 / 255, abs=1e-5)
    assert inside(case.prediction) == [FIRST, SECOND]


GRID = (
    "p.nii.gz: lies on another grid than r.nii.gz ({}); resample the prediction to the reference's grid first, a mask "
)


def shifted(millimetres: float) -> Any:
    return AFFINE + millimetres * np.eye(4, k=3)


@pytest.mark.parametrize(
    ("prediction", "affine", "found"),
    [
        (np.zeros((6, 5, 3), np.uint8), AFFINE, "shape (6, 5, 3), the reference's is (6, 5, 4)"),
        (np.zeros((5, 6, 4), np.uint8), AFFINE, "shape (5, 6, 4), the reference's is (6, 5, 4)"),
        (drawn(np.uint8), AFFINE @ np.diag([-1.0, 1, 1, 1]), "axes towards LAS, the reference's towards RAS"),
        (
            drawn(np.uint8),
            AFFINE @ np.diag([1.0, 1, 2, 1]),
            "voxels of 0.5 × 0.5 × 6 mm, the reference's are 0.5 × 0.5 × 3 mm",
        ),
        (drawn(np.uint8), shifted(0.25), "another place or angle in space (the affines differ by up to 0.25)"),
    ],
)
def test_another_grid_is_told_with_the_difference(
    files: Files, faults_of: FaultsOf, prediction: Any, affine: Any, found: str
) -> None:
    faults = faults_of(read, files(prediction, affine))
    assert faults == (GRID.format(found) + "with nearest neighbours",)


def test_affines_that_differ_by_rounding_are_one_grid(files: Files) -> None:
    case = read(files(drawn(np.uint8), shifted(0.001)))
    assert inside(case.prediction) == [FIRST]


MASK = "{}.nii.gz: is no mask of 0 and 1, found the values {}; {}"
LABEL = "name the one that is lesion with prediction_label=..., or save a mask of 0 and 1"
THRESHOLD = "for a probability map give threshold=0.5, or another one"


@pytest.mark.parametrize(
    ("prediction", "fault"),
    [
        (drawn(np.uint8, 2), MASK.format("p", "0, 2", LABEL)),
        (drawn(np.int16, -1), MASK.format("p", "-1, 0", LABEL)),
        (drawn(np.uint8, 255, 1), MASK.format("p", "0, 1, 255", LABEL)),
        (drawn(np.float32, 0.25), MASK.format("p", "0, 0.25", THRESHOLD)),
        (
            (np.arange(120).reshape(SHAPE) / 1200).astype(np.float32),
            MASK.format("p", "0, 0.000833333, 0.00166667, 0.0025, 0.00333333, 0.00416667, …", THRESHOLD),
        ),
        (drawn(np.float32, 1.5), MASK.format("p", "0, 1.5", "save a mask of 0 and 1")),
        (
            drawn(np.float32, np.nan),
            "p.nii.gz: holds NaN or infinite values; a prediction mask must not: write 0 where there is no lesion",
        ),
        (
            drawn(np.float32, np.inf),
            "p.nii.gz: holds NaN or infinite values; a prediction mask must not: write 0 where there is no lesion",
        ),
    ],
)
def test_what_is_no_mask(files: Files, faults_of: FaultsOf, prediction: Any, fault: str) -> None:
    assert faults_of(read, files(prediction)) == (fault,)


def test_a_map_without_a_threshold_is_scored_once_the_message_is_followed(files: Files, faults_of: FaultsOf) -> None:
    pair = files(drawn(np.float32, 0.75))
    (fault,) = faults_of(read, pair)
    assert fault.endswith("for a probability map give threshold=0.5, or another one")
    assert inside(read(pair, threshold=0.5).prediction) == [FIRST]


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        (drawn(np.uint8, 3), MASK.format("r", "0, 3", LABEL.replace("prediction", "reference"))),
        (drawn(np.float32, 0.5), MASK.format("r", "0, 0.5", "save a mask of 0 and 1")),
        (
            drawn(np.float64, np.nan),
            "r.nii.gz: holds NaN or infinite values; a reference mask must not: write 0 where there is no lesion",
        ),
    ],
)
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_the_reference_is_a_mask_with_a_threshold_and_without(
    files: Files, faults_of: FaultsOf, reference: Any, fault: str, threshold: float | None
) -> None:
    assert faults_of(read, files(drawn(np.uint8), reference=reference), threshold) == (fault,)


def test_a_label_is_looked_up_among_whole_numbers_alone(files: Files, faults_of: FaultsOf) -> None:
    pair = files(drawn(np.float32, 0.5, 1), reference=drawn(np.float32, 1.5))
    wanted = "is no mask of whole numbers, in which {}_label=1 could be looked up, found the values"
    assert faults_of(read, pair, label=1) == (
        f"r.nii.gz: {wanted.format('reference')} 0, 1.5; save a mask of 0 and 1",
        f"p.nii.gz: {wanted.format('prediction')} 0, 0.5, 1; {THRESHOLD}",
    )


RANGE = (
    "p.nii.gz: probabilities lie within 0 … 1, found {}; for logits apply a sigmoid, for per cent or 0 … 255 divide "
    "first, and for a mask leave threshold out"
)


@pytest.mark.parametrize(
    ("prediction", "fault"),
    [
        (drawn(np.float32, 7.5, -3.25), RANGE.format("-3.25 … 7.5")),
        (drawn(np.uint8, 255), RANGE.format("0 … 255")),
        (drawn(np.float32, 1.001), RANGE.format("0 … 1.001")),
        (drawn(np.float32, -0.001), RANGE.format("-0.001 … 0")),
        (
            drawn(np.float32, np.nan),
            "p.nii.gz: holds NaN or infinite values; a probability map must not: write 0 outside of the brain",
        ),
    ],
)
def test_what_is_no_probability_map(files: Files, faults_of: FaultsOf, prediction: Any, fault: str) -> None:
    assert faults_of(read, files(prediction), 0.5) == (fault,)


def test_several_faults_of_one_pair_come_together(files: Files, faults_of: FaultsOf) -> None:
    pair = files(np.full((6, 5, 3), 0.5, np.float32), reference=drawn(np.uint8, 4))
    assert faults_of(read, pair) == (
        GRID.format("shape (6, 5, 3), the reference's is (6, 5, 4)") + "with nearest neighbours",
        MASK.format("r", "0, 4", LABEL.replace("prediction", "reference")),
        MASK.format("p", "0.5", THRESHOLD),
    )


def test_both_files_that_cannot_be_read_are_told(files: Files, faults_of: FaultsOf) -> None:
    pair = files(np.zeros((*SHAPE, 2), np.uint8))
    pair.reference.write_bytes(pair.reference.read_bytes()[:-20])
    first, second = faults_of(read, pair)
    assert first.startswith("r.nii.gz: it cannot be read to its end (")
    assert first.endswith("; it is truncated, damaged or no NIfTI: copy or convert it again from its source")
    assert second == (
        "p.nii.gz: it is 4D, of shape (6, 5, 4, 2), not 3D; save the one volume that counts as a file of its own"
    )


def test_a_file_that_is_gone_or_no_nifti(files: Files, faults_of: FaultsOf) -> None:
    pair = files(drawn(np.uint8))
    pair.reference.unlink()
    pair.prediction.write_text("no scan")
    first, second = faults_of(read, pair)
    assert first.startswith("r.nii.gz: there is no such file; ")
    assert second.startswith("p.nii.gz: it cannot be read to its end (Not a gzipped file (b'no')); it is truncated")
