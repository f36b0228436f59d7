"""Which prediction belongs to which reference: names of every convention, folders, patterns, tables; their faults."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lesionseg.data.pairing import FilePair, UnpairedError, case_names, pair_files, read_pairs
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
