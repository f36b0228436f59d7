"""Which prediction belongs to which reference: names of every convention, folders, patterns, tables; their faults."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
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
def test_what_a_case_may_be_called(file: str, names: list[str]) -> None:
    assert case_names(Path(file)) == names


def test_a_file_of_endings_alone_has_the_name_of_its_folder_wherever_one_stands(here: Path) -> None:
    assert case_names(Path("mask.nii.gz")) == [here.name]


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
def test_names_of_every_convention_meet(here: Path, reference: str, prediction: str, name: str) -> None:
    touch(f"r/{reference}.nii.gz", f"p/{prediction}.nii.gz")
    assert told(pair_files("r", "p")) == [(name, f"r/{reference}.nii.gz", f"p/{prediction}.nii.gz")]


def test_a_neighbour_whose_name_is_the_beginning_of_another_keeps_its_own(here: Path) -> None:
    touch("r/a_mask.nii.gz", "r/a_1_mask.nii.gz", "r/a_1_b_mask.nii.gz")
    touch("p/a_pred.nii", "p/a_1_pred.nii", "p/a_1_b_pred.nii")
    assert told(pair_files("r", "p")) == [
        ("a", "r/a_mask.nii.gz", "p/a_pred.nii"),
        ("a_1", "r/a_1_mask.nii.gz", "p/a_1_pred.nii"),
        ("a_1_b", "r/a_1_b_mask.nii.gz", "p/a_1_b_pred.nii"),
    ]


@pytest.mark.parametrize("prediction", ["pred", "mask"])
def test_a_folder_for_each_subject(here: Path, prediction: str) -> None:
    touch("r/sub-02/mask.nii.gz", "r/sub-01/mask.nii.gz")
    touch(f"p/sub-01/{prediction}.nii.gz", f"p/sub-02/{prediction}.nii.gz")
    assert told(pair_files("r", "p")) == [
        ("sub-01", "r/sub-01/mask.nii.gz", f"p/sub-01/{prediction}.nii.gz"),
        ("sub-02", "r/sub-02/mask.nii.gz", f"p/sub-02/{prediction}.nii.gz"),
    ]


def test_nested_folders_need_not_be_alike(here: Path) -> None:
    touch("r/sub-01/ses-1/anat/sub-01_ses-1_label-lesion_mask.nii.gz", "p/deep/er/sub-01_ses-1_pred.nii")
    (pair,) = pair_files("r", "p")
    assert pair == FilePair(
        "sub-01_ses-1",
        Path("r/sub-01/ses-1/anat/sub-01_ses-1_label-lesion_mask.nii.gz"),
        Path("p/deep/er/sub-01_ses-1_pred.nii"),
    )


def test_patterns_part_what_lies_in_one_tree(here: Path) -> None:
    touch("d/sub-01/ses-1/a_mask.nii.gz", "d/b_mask.nii.gz", "d/sub-01/ses-1/a_pred.nii.gz", "d/b_pred.nii.gz")
    touch("d/b_FLAIR.nii.gz")
    expected = [
        ("a", "d/sub-01/ses-1/a_mask.nii.gz", "d/sub-01/ses-1/a_pred.nii.gz"),
        ("b", "d/b_mask.nii.gz", "d/b_pred.nii.gz"),
    ]
    assert told(pair_files("d/**/*_mask.nii.gz", "d/**/*_pred.nii.gz")) == expected
    assert told(pair_files("d/*_mask.nii.gz", "d/b_[p]re?.nii.gz")) == expected[1:]


def test_a_pattern_may_be_held_against_a_folder_or_a_file(here: Path) -> None:
    touch("r/a_mask.nii.gz", "r/b_mask.nii.gz", "p/a.nii.gz")
    expected = [("a", "r/a_mask.nii.gz", "p/a.nii.gz")]
    assert told(pair_files("r/a*", "p")) == expected
    assert told(pair_files("r/a*", "p/a.nii.gz")) == expected


def test_a_folder_with_a_bracket_in_its_name_is_no_pattern(here: Path) -> None:
    touch("r [v2]/a.nii.gz", "p/a.nii.gz")
    assert told(pair_files("r [v2]", "p")) == [("a", "r [v2]/a.nii.gz", "p/a.nii.gz")]


@pytest.mark.parametrize(
    ("reference", "prediction", "name"),
    [
        ("r/Consensus.nii.gz", "p/unet_7.nii", "Consensus"),
        ("r/a_mask.nii.gz", "p/b_pred.nii.gz", "a"),
        ("r/a_mask.nii.gz", "p/a_pred.nii.gz", "a"),
        ("sub-01/mask.nii.gz", "sub-01/pred.nii.gz", "sub-01"),
        ("r/mask.nii.gz", "p/pred.nii.gz", "r"),
        ("r/mask.nii.gz", "r/mask.nii.gz", "r"),
    ],
)
def test_two_files_are_a_pair_whatever_their_names(here: Path, reference: str, prediction: str, name: str) -> None:
    touch(reference, prediction)
    assert told(pair_files(reference, prediction)) == [(name, reference, prediction)]


def test_home_is_where_the_tilde_says(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here / "home"))
    touch("home/r/a.nii.gz", "home/a_pred.nii.gz")
    expected = [("a", f"{here}/home/r/a.nii.gz", f"{here}/home/a_pred.nii.gz")]
    assert told(pair_files("~/r", "~/a_pred.nii.gz")) == expected
    assert told(pair_files("~/r/*.nii.gz", "~/*_pred.nii.gz")) == expected


def test_hidden_files_and_what_is_no_nifti_are_passed_over(here: Path) -> None:
    touch("r/a_mask.nii.gz", "p/a_pred.nii.gz", "r/README.md", "p/a_pred.json", "p/.a_pred.nii.gz")
    touch("r/.git/annex/objects/MD5E-s1.nii.gz", "p/.cache/a_pred.nii.gz")
    Path("p/b.nii.gz").mkdir()
    with written_whole(Path("p/c_pred.nii.gz")) as partial:
        partial.touch()
        assert partial.name.startswith(".partial-")
        assert partial.name.endswith(".nii.gz")
        for prediction in ("p", "p/*", "p/**"):
            assert told(pair_files("r", prediction)) == [("a", "r/a_mask.nii.gz", "p/a_pred.nii.gz")]


def test_a_folder_below_a_hidden_one_is_searched(here: Path) -> None:
    touch(".data/r/a.nii.gz", "p/a.nii.gz")
    assert told(pair_files(".data/r", "p")) == [("a", ".data/r/a.nii.gz", "p/a.nii.gz")]


def test_links_are_followed_and_keep_their_own_names(here: Path) -> None:
    touch(".git/annex/objects/xx/MD5E-s1.nii.gz", "p/sub-01/pred.nii.gz")
    Path("r/sub-01").mkdir(parents=True)
    Path("r/sub-01/mask.nii.gz").symlink_to(here / ".git/annex/objects/xx/MD5E-s1.nii.gz")
    Path("r/sub-02_mask.nii.gz").symlink_to(here / "nowhere")
    assert told(pair_files("r", "p")) == [("sub-01", "r/sub-01/mask.nii.gz", "p/sub-01/pred.nii.gz")]


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
def test_nothing_there(
    here: Path, faults_of: Callable[..., tuple[str, ...]], reference: str, prediction: str, faults: tuple[str, ...]
) -> None:
    touch("r/a.nii.gz", "empty/notes.txt")
    assert faults_of(pair_files, reference, prediction) == faults


def test_names_without_a_partner_on_either_side_stand_in_one_list(
    here: Path, faults_of: Callable[..., tuple[str, ...]]
) -> None:
    touch("r/a_mask.nii.gz", "r/b_mask.nii.gz", "p/a_pred.nii.gz", "p/c_pred.nii.gz", "p/SUB_A_pred.nii.gz")
    assert faults_of(pair_files, "r", "p") == (
        "r/b_mask.nii.gz (case 'b'): no prediction has such a name; rename the files, or name the pairs in a table "
        "(pairs=FILE.csv)",
        "p/SUB_A_pred.nii.gz (case 'SUB_A'), p/c_pred.nii.gz (case 'c'): no reference has such a name; rename the "
        "files, or name the pairs in a table (pairs=FILE.csv)",
    )


def test_an_entity_that_both_sides_share_stays_where_it_tells_cases_apart(here: Path) -> None:
    kinds = ("lesion", "newlesion")
    touch(*(f"{side}/s1_label-{kind}_{end}.nii.gz" for kind in kinds for side, end in (("r", "mask"), ("p", "pred"))))
    assert [pair.name for pair in pair_files("r", "p")] == ["s1_label-lesion", "s1_label-newlesion"]
    assert [pair.name for pair in pair_files("r/*-lesion_*", "p/*-lesion_*")] == ["s1"]
    assert [pair.name for pair in pair_files("r/s1_label-lesion_mask.nii.gz", "p/s1_label-lesion_pred.nii.gz")] == [
        "s1"
    ]


def test_the_pairs_of_which_there_is_no_doubt_come_with_the_error(here: Path) -> None:
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


def test_a_long_list_of_names_is_cut(here: Path, faults_of: Callable[..., tuple[str, ...]]) -> None:
    touch("r/z.nii.gz", "p/z.nii.gz", *(f"r/{number}.nii.gz" for number in range(8)))
    listed = ", ".join(f"r/{number}.nii.gz (case '{number}')" for number in range(5))
    assert faults_of(pair_files, "r", "p") == (
        f"{listed} and 3 more: no prediction has such a name; rename the files, or name the pairs in a table "
        "(pairs=FILE.csv)",
    )


def test_several_files_of_one_name_are_told_with_the_way_out(
    here: Path, faults_of: Callable[..., tuple[str, ...]]
) -> None:
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


def test_the_same_name_in_two_folders_is_ambiguous(here: Path, faults_of: Callable[..., tuple[str, ...]]) -> None:
    touch("r/one/a.nii.gz", "p/one/a.nii.gz", "p/two/a.nii.gz")
    (fault,) = faults_of(pair_files, "r", "p")
    assert fault.startswith("prediction: 2 files may be case 'a' (p/one/a.nii.gz, p/two/a.nii.gz); choose one kind")


@pytest.mark.parametrize(("reference", "prediction"), [("d", "d"), ("d", "./d/"), ("d/*", "linked")])
def test_no_file_is_held_against_itself(
    here: Path, faults_of: Callable[..., tuple[str, ...]], reference: str, prediction: str
) -> None:
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


def test_a_table_with_names(here: Path) -> None:
    touch("t/r/1.nii.gz", "t/p/x.nii.gz", "t/r/2.nii.gz", "t/p/y.nii.gz")
    path = table("site, name,prediction,reference\nA, first, p/x.nii.gz,r/1.nii.gz\nB,NA,p/y.nii.gz,r/2.nii.gz\n")
    assert told(read_pairs(path)) == [
        ("first", "t/r/1.nii.gz", "t/p/x.nii.gz"),
        ("NA", "t/r/2.nii.gz", "t/p/y.nii.gz"),
    ]


def test_a_table_without_names_takes_those_of_the_files(here: Path) -> None:
    touch("t/a_mask.nii.gz", "t/a_pred.nii.gz", "t/sub-07/mask.nii.gz", "t/other.nii.gz", "t/c.nii.gz")
    path = table(
        "reference,prediction,name\na_mask.nii.gz,a_pred.nii.gz,\nsub-07/mask.nii.gz,other.nii.gz,\n"
        "c.nii.gz,other.nii.gz,mine\n"
    )
    assert [pair.name for pair in read_pairs(path)] == ["a", "sub-07", "mine"]


def test_a_tables_paths_begin_at_its_folder_unless_they_are_absolute(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(here / "home"))
    touch("a.nii.gz", "t/a.nii.gz", "home/a_pred.nii.gz")
    path = table(f"name,reference,prediction\n1,a.nii.gz,../a.nii.gz\n2,{here}/a.nii.gz,~/a_pred.nii.gz\n")
    assert [(pair.reference, pair.prediction.resolve()) for pair in read_pairs(path)] == [
        (Path("t/a.nii.gz"), here / "a.nii.gz"),
        (here / "a.nii.gz", here / "home/a_pred.nii.gz"),
    ]


def test_a_table_that_excel_saved(here: Path) -> None:
    touch("t/a.nii.gz", "t/b.nii.gz")
    path = table("")
    path.write_bytes("reference,prediction,name\r\na.nii.gz,b.nii.gz,Müller\r\n".encode("utf-8-sig"))
    assert told(read_pairs(path)) == [("Müller", "t/a.nii.gz", "t/b.nii.gz")]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is no CSV file (No columns to parse from file); save it as one"),
        ("reference,prediction\n", "holds no pair; write a line for each"),
        (
            "reference;prediction\na.nii.gz;a.nii.gz\n",
            "has no column reference and no column prediction, found reference;prediction; its first line must name "
            "reference and prediction",
        ),
        (
            "reference,mask\na.nii.gz,a.nii.gz\n",
            "has no column prediction, found reference, mask; its first line must name reference and prediction",
        ),
        (
            "reference,prediction\na.nii.gz,a.nii.gz,a.nii.gz\n",
            "its lines have more fields than its first line names; put paths with a comma in quotes",
        ),
        (
            "reference,prediction\na.nii.gz,a.nii.gz\na.nii.gz,a,b\n",
            "is no CSV file (Error tokenizing data. C error: Expected 2 fields in line 3, saw 3); save it as one",
        ),
    ],
)
def test_what_is_no_table_of_pairs(
    here: Path, faults_of: Callable[..., tuple[str, ...]], text: str, fault: str
) -> None:
    touch("t/a.nii.gz")
    assert faults_of(read_pairs, table(text)) == (f"pairs=t/pairs.csv: {fault}",)


def test_a_table_in_another_encoding_is_told(here: Path, faults_of: Callable[..., tuple[str, ...]]) -> None:
    path = table("")
    path.write_bytes("reference,prediction\nMüller.nii.gz,a.nii.gz\n".encode("latin-1"))
    (fault,) = faults_of(read_pairs, path)
    assert fault.startswith("pairs=t/pairs.csv: is no CSV file ('utf-8' codec can't decode byte 0xfc")


@pytest.mark.parametrize("where", ["nowhere.csv", "t"])
def test_no_table(here: Path, faults_of: Callable[..., tuple[str, ...]], where: str) -> None:
    touch("t/a.nii.gz")
    assert faults_of(read_pairs, Path(where)) == (
        f"pairs={where}: there is no such file; give a CSV file with columns reference and prediction",
    )


def test_every_fault_of_a_tables_lines_is_told(here: Path, faults_of: Callable[..., tuple[str, ...]]) -> None:
    touch("t/a.nii.gz", "t/b.nii.gz")
    path = table(
        "reference,prediction,name\na.nii.gz,b.nii.gz,one\nb.nii.gz,c.nii.gz,one\nd.nii.gz,,two\n,b.nii.gz,two\n"
    )
    assert faults_of(read_pairs, path) == (
        "pairs=t/pairs.csv, line 3: there is no file t/c.nii.gz; paths are taken from the table's folder",
        "pairs=t/pairs.csv, line 4: there is no file t/d.nii.gz; paths are taken from the table's folder",
        "pairs=t/pairs.csv, line 4: names no prediction; write a path, or leave the line out",
        "pairs=t/pairs.csv, line 5: names no reference; write a path, or leave the line out",
        "pairs=t/pairs.csv: 'one', 'two' stands there more than once; give each line a name of its own in a column "
        "name",
    )


def test_files_of_one_name_need_a_column_of_names(here: Path, faults_of: Callable[..., tuple[str, ...]]) -> None:
    touch("t/x/a_mask.nii.gz", "t/y/a_mask.nii.gz", "t/a_pred.nii.gz", "t/a_prob.nii.gz")
    rows = ["x/a_mask.nii.gz,a_pred.nii.gz", "y/a_mask.nii.gz,a_prob.nii.gz"]
    assert faults_of(read_pairs, table("\n".join(["reference,prediction", *rows]))) == (
        "pairs=t/pairs.csv: 'a' stands there more than once; give each line a name of its own in a column name",
    )
    named = table("\n".join(["reference,prediction,name", *(f"{row},{row[0]}" for row in rows)]))
    assert [pair.name for pair in read_pairs(named)] == ["x", "y"]


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


def read(pair: FilePair, threshold: float | None = None, label: int | None = None) -> PairVoxels:
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
