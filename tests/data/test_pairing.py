"""Which prediction belongs to which reference: names of every convention, folders, patterns, tables; their faults."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionseg.data.pairing import FilePair, PairVoxels, UnpairedError, case_names, pair_files, read_pair, read_pairs
from lesionseg.io import written_whole

Names = list[tuple[str, str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own to stand in, so that messages hold short paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*files: str) -> None:
    for file in files:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()


def told(pairs: list[FilePair]) -> Names:
    return [(pair.name, str(pair.reference), str(pair.prediction)) for pair in pairs]


@pytest.mark.parametrize(
    ("file", "names"),
    [
        (
            "sub-01_ses-1_label-lesion_mask.nii.gz",
            ["sub-01_ses-1_label-lesion_mask", "sub-01_ses-1_label-lesion", "sub-01_ses-1"],
        ),
        ("case_001.nii", ["case_001"]),
        ("a.pred.NII.GZ", ["a.pred", "a"]),
        ("a_Prob.nii.gz", ["a_Prob", "a"]),
        ("subpred.nii.gz", ["subpred"]),
        ("a_mask_2.nii.gz", ["a_mask_2"]),
        ("a.nii.nii.gz", ["a.nii"]),
        ("some/where/mask.nii.gz", ["where"]),
        ("some/where/label-lesion_mask.nii.gz", ["where"]),
        ("some/pred/pred.nii.gz", ["pred"]),
    ],
)
def test_what_a_case_may_be_called(file, names):
    assert case_names(Path(file)) == names


def test_the_folder_that_predict_writes_is_taken_as_it_is(here):
    touch("ref/sub-1_label-lesion_mask.nii.gz", "ref/sub-2_label-lesion_mask.nii.gz")
    touch(*(f"out/sub-{n}_label-lesion_{kind}.nii.gz" for n in "12" for kind in ("mask", "prob")))
    assert [pair.prediction.name for pair in pair_files("ref", "out")] == [
        "sub-1_label-lesion_mask.nii.gz",
        "sub-2_label-lesion_mask.nii.gz",
    ]
    assert pair_files("ref", "out", probabilities=True)[0].prediction.name == "sub-1_label-lesion_prob.nii.gz"


def test_names_that_differ_in_their_unicode_form_alone_are_one(here):
    touch(
        unicodedata.normalize("NFC", "ref/Müller_mask.nii.gz"), unicodedata.normalize("NFD", "out/Müller_pred.nii.gz")
    )
    (pair,) = pair_files("ref", "out")
    assert unicodedata.normalize("NFC", pair.name) == "Müller"


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_table_of_pairs_is_read_as_any_other(here, separator):
    touch("r.nii", "p.nii")
    rows = [["reference", "prediction", "name"], ["r.nii", "p.nii", "NA"], ["", "", ""]]
    text = "\ufeff" + "\n".join(separator.join(row) for row in rows)
    Path("pairs.csv").write_text(text, encoding="utf-8")
    assert told(read_pairs(Path("pairs.csv"))) == [("NA", "r.nii", "p.nii")]


@pytest.mark.parametrize(
    ("reference", "prediction", "name"),
    [
        # BIDS
        ("sub-01_ses-1_label-lesion_mask", "sub-01_ses-1_label-lesion_pred", "sub-01_ses-1"),
        ("sub-01_ses-1_label-lesion_mask", "sub-01_ses-1_label-lesion_prob", "sub-01_ses-1"),
        ("sub-01_ses-1_label-lesion_mask", "sub-01_ses-1_pred", "sub-01_ses-1"),
        ("sub-01_ses-1_label-lesion_mask", "sub-01_ses-1", "sub-01_ses-1"),
        ("sub-01_ses-1", "sub-01_ses-1_label-lesion_probseg", "sub-01_ses-1"),
        ("sub-01_desc-manual_dseg", "sub-01_desc-unet_dseg", "sub-01"),
        # nnU-Net
        ("case_001", "case_001", "case_001"),
        ("case_001", "case_001_prob", "case_001"),
        # everybody's
        ("p7-lesions", "p7_segmentation", "p7"),
        ("p7.gt", "p7.output", "p7"),
        ("p7_GT", "p7_Pred", "p7"),
        ("p7_manual_mask", "p7_auto_mask", "p7"),
        # names that end in such a word themselves
        ("03_empty_pred_label-lesion_mask", "03_empty_pred_pred", "03_empty_pred"),
        ("03_empty_pred_label-lesion_mask", "03_empty_pred_prob", "03_empty_pred"),
        ("01_no_mask", "01_no_mask", "01_no_mask"),
        ("01_no_mask_mask", "01_no_mask_pred", "01_no_mask"),
    ],
)
def test_names_of_every_convention_meet(here, reference, prediction, name):
    touch(f"r/{reference}.nii.gz", f"p/{prediction}.nii.gz")
    assert told(pair_files("r", "p")) == [(name, f"r/{reference}.nii.gz", f"p/{prediction}.nii.gz")]


def test_patterns_part_what_lies_in_one_tree(here):
    touch("d/sub-01/ses-1/a_mask.nii.gz", "d/b_mask.nii.gz", "d/sub-01/ses-1/a_pred.nii.gz", "d/b_pred.nii.gz")
    touch("d/b_FLAIR.nii.gz")
    expected = [
        ("a", "d/sub-01/ses-1/a_mask.nii.gz", "d/sub-01/ses-1/a_pred.nii.gz"),
        ("b", "d/b_mask.nii.gz", "d/b_pred.nii.gz"),
    ]
    assert told(pair_files("d/**/*_mask.nii.gz", "d/**/*_pred.nii.gz")) == expected
    assert told(pair_files("d/*_mask.nii.gz", "d/b_[p]re?.nii.gz")) == expected[1:]


def test_hidden_files_and_what_is_no_nifti_are_passed_over(here):
    touch("r/a_mask.nii.gz", "p/a_pred.nii.gz", "r/README.md", "p/a_pred.json", "p/.a_pred.nii.gz")
    touch("r/.git/annex/objects/MD5E-s1.nii.gz", "p/.cache/a_pred.nii.gz")
    Path("p/b.nii.gz").mkdir()
    with written_whole(Path("p/c_pred.nii.gz")) as partial:
        partial.touch()
        assert partial.name.startswith(".partial-")
        assert partial.name.endswith(".nii.gz")
        for prediction in ("p", "p/*", "p/**"):
            assert told(pair_files("r", prediction)) == [("a", "r/a_mask.nii.gz", "p/a_pred.nii.gz")]


@pytest.mark.parametrize(
    ("reference", "prediction", "faults"),
    [
        (
            "nowhere",
            "neither/a.nii.gz",
            (
                "reference=nowhere: there is no such file or folder; paths are taken from the current folder",
                "prediction=neither/a.nii.gz: there is no such file or folder; paths are taken from the current folder",
            ),
        ),
        (
            "r",
            "empty",
            ("prediction=empty: the folder holds no NIfTI file (.nii, .nii.gz); give another one",),
        ),
        (
            "r/*_mask.nii.gz",
            "r",
            ("reference=r/*_mask.nii.gz: no NIfTI file fits this pattern; ** stands for any subfolders",),
        ),
    ],
)
def test_nothing_there(here, faults_of, reference, prediction, faults):
    touch("r/a.nii.gz", "empty/notes.txt")
    assert faults_of(pair_files, reference, prediction) == faults


def test_names_without_a_partner_on_either_side_stand_in_one_list(here, faults_of):
    touch("r/a_mask.nii.gz", "r/b_mask.nii.gz", "p/a_pred.nii.gz", "p/c_pred.nii.gz", "p/SUB_A_pred.nii.gz")
    assert faults_of(pair_files, "r", "p") == (
        "r/b_mask.nii.gz (case 'b'): no prediction has such a name; rename the files, or name the pairs in a table "
        "(pairs=FILE.csv)",
        "p/SUB_A_pred.nii.gz (case 'SUB_A'), p/c_pred.nii.gz (case 'c'): no reference has such a name; rename the "
        "files, or name the pairs in a table (pairs=FILE.csv)",
    )


def test_the_pairs_of_which_there_is_no_doubt_come_with_the_error(here):
    touch("r/a_mask.nii.gz", "r/b_mask.nii.gz", "r/c.nii.gz", "p/a_pred.nii.gz", "p/c.nii.gz", "p/c_pred.nii.gz")
    with pytest.raises(UnpairedError) as caught:
        pair_files("r", "p")
    assert told(list(caught.value.pairs)) == [("a", "r/a_mask.nii.gz", "p/a_pred.nii.gz")]
    assert len(caught.value.faults) == 2, "b has no partner, c has two"
    Path("pairs.csv").write_text(
        "reference,prediction,name\nr/a_mask.nii.gz,p/a_pred.nii.gz,a\nr/c.nii.gz,p/none.nii.gz,c\n"
        "r/b_mask.nii.gz,p/c.nii.gz,twice\nr/c.nii.gz,p/c.nii.gz,twice\n"
    )
    with pytest.raises(UnpairedError) as caught:
        read_pairs(Path("pairs.csv"))
    assert [pair.name for pair in caught.value.pairs] == ["a"]


def test_several_files_of_one_name_are_told_with_the_way_out(here, faults_of):
    touch("r/a_mask.nii.gz", "p/a_pred.nii.gz", "p/a_prob.nii.gz")
    touch("r/b_mask.nii.gz", "r/b_seg.nii.gz", "p/b.nii.gz")
    touch("r/c.nii.gz")
    assert faults_of(pair_files, "r", "p") == (
        "prediction: 2 files may be case 'a' (p/a_pred.nii.gz, p/a_prob.nii.gz); choose one kind with a pattern such "
        "as prediction='FOLDER/**/*_pred.nii.gz', or name the pairs in a table (pairs=FILE.csv)",
        "reference: 2 files may be case 'b' (r/b_mask.nii.gz, r/b_seg.nii.gz); choose one kind with a pattern such as "
        "reference='FOLDER/**/*_mask.nii.gz', or name the pairs in a table (pairs=FILE.csv)",
        "r/c.nii.gz (case 'c'): no prediction has such a name; rename the files, or name the pairs in a table "
        "(pairs=FILE.csv)",
    )
    assert [pair.name for pair in pair_files("r/a*", "p/**/*_pred.nii.gz")] == ["a"], "the way out leads out"


@pytest.mark.parametrize(("reference", "prediction"), [("d", "d"), ("d", "./d/"), ("d/*", "linked")])
def test_no_file_is_held_against_itself(here, faults_of, reference, prediction):
    touch("d/a_mask.nii.gz", "d/a_pred.nii.gz")
    Path("linked").symlink_to("d")
    assert faults_of(pair_files, reference, prediction) == (
        "d/a_mask.nii.gz, d/a_pred.nii.gz: reference and prediction at once; give patterns that tell them apart, such "
        "as reference='FOLDER/**/*_mask.nii.gz' prediction='FOLDER/**/*_pred.nii.gz'",
    )


def table(text: str, name: str = "t/pairs.csv") -> Path:
    touch(name)
    Path(name).write_text(text)
    return Path(name)


def test_a_table_with_names(here):
    touch("t/r/1.nii.gz", "t/p/x.nii.gz", "t/r/2.nii.gz", "t/p/y.nii.gz")
    path = table("site, name,prediction,reference\nA, first, p/x.nii.gz,r/1.nii.gz\nB,NA,p/y.nii.gz,r/2.nii.gz\n")
    assert told(read_pairs(path)) == [
        ("first", "t/r/1.nii.gz", "t/p/x.nii.gz"),
        ("NA", "t/r/2.nii.gz", "t/p/y.nii.gz"),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "cannot be read as a table (No columns to parse from file)"),
        ("reference,prediction\n", "holds no pair; write a line for each"),
        (
            "reference,mask\na.nii.gz,a.nii.gz\n",
            "has no column prediction, found reference, mask; its first line must name reference and prediction",
        ),
        (
            "reference,prediction\na.nii.gz,a.nii.gz,a.nii.gz\n",
            "cannot be read as a table (Length of header or names does not match length of data",
        ),
        (
            "reference,prediction\na.nii.gz,a.nii.gz\na.nii.gz,a,b\n",
            "cannot be read as a table (Error tokenizing data. C error: Expected 2 fields in line 3, saw 3)",
        ),
    ],
)
def test_what_is_no_table_of_pairs(here, faults_of, text, fault):
    touch("t/a.nii.gz")
    (found,) = faults_of(read_pairs, table(text))
    assert found.startswith("pairs=t/pairs.csv")
    assert fault in found


SHAPE = (6, 5, 4)
AFFINE = np.array([[0.5, 0, 0, -20], [0, 0.5, 0, 7], [0, 0, 3, 0], [0, 0, 0, 1.0]])
FIRST, SECOND = (1, 1, 1), (4, 3, 2)

Files = Callable[..., FilePair]


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


def read(pair: FilePair, threshold: float | None = None, label: int | None = None) -> PairVoxels:
    return read_pair(pair, threshold=threshold, reference_label=label, prediction_label=label)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "float32", "float64"])
def test_masks_of_every_type(files, dtype):
    case = read(files(drawn(dtype, 1, 1)))
    assert case.name == "case"
    assert (case.reference.dtype, case.prediction.dtype) == (bool, bool)
    assert inside(case.reference) == [FIRST]
    assert inside(case.prediction) == [FIRST, SECOND]
    assert case.probability is None
    assert case.grid.shape == SHAPE
    assert case.grid.spacing == (0.5, 0.5, 3.0)


def test_a_label_picks_one_lesion_kind_on_both_sides(files):
    pair = files(drawn(np.int16, 1, 2), reference=drawn(np.float32, 2, 1))
    for label, reference, prediction in ((1, SECOND, FIRST), (2, FIRST, SECOND)):
        case = read(pair, label=label)
        assert (inside(case.reference), inside(case.prediction)) == ([reference], [prediction])
    assert inside(read(pair, label=3).prediction) == []


@pytest.mark.parametrize(("threshold", "found"), [(0.3, [FIRST, SECOND]), (0.5, [FIRST]), (0.8, [FIRST]), (0.81, [])])
def test_a_threshold_is_the_probability_from_which_a_voxel_counts(files, threshold, found):
    case = read(files(drawn(np.float32, 0.8, 0.3)), threshold=threshold)
    assert inside(case.prediction) == found, "0.8 itself counts at 0.8, float32 or not"
    assert case.probability is not None
    assert case.probability[FIRST] == np.float32(0.8)


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
def test_another_grid_is_told_with_the_difference(files, faults_of, prediction, affine, found):
    faults = faults_of(read, files(prediction, affine))
    assert faults == (GRID.format(found) + "with nearest neighbours",)


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
def test_what_is_no_mask(files, faults_of, prediction, fault):
    assert faults_of(read, files(prediction)) == (fault,)


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
def test_the_reference_is_a_mask_with_a_threshold_and_without(files, faults_of, reference, fault, threshold):
    assert faults_of(read, files(drawn(np.uint8), reference=reference), threshold) == (fault,)


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
def test_what_is_no_probability_map(files, faults_of, prediction, fault):
    assert faults_of(read, files(prediction), 0.5) == (fault,)


def test_several_faults_of_one_pair_come_together(files, faults_of):
    pair = files(np.full((6, 5, 3), 0.5, np.float32), reference=drawn(np.uint8, 4))
    assert faults_of(read, pair) == (
        GRID.format("shape (6, 5, 3), the reference's is (6, 5, 4)") + "with nearest neighbours",
        MASK.format("r", "0, 4", LABEL.replace("prediction", "reference")),
        MASK.format("p", "0.5", THRESHOLD),
    )


def test_both_files_that_cannot_be_read_are_told(files, faults_of):
    pair = files(np.zeros((*SHAPE, 2), np.uint8))
    pair.reference.write_bytes(pair.reference.read_bytes()[:-20])
    first, second = faults_of(read, pair)
    assert first.startswith("r.nii.gz: it cannot be read to its end (")
    assert first.endswith("; it is truncated, damaged or no NIfTI: copy or convert it again from its source")
    assert second == (
        "p.nii.gz: it is 4D, of shape (6, 5, 4, 2), not 3D; save the one volume that counts as a file of its own"
    )
