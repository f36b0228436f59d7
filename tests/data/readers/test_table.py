from pathlib import Path
from typing import Any

import pytest
import yaml

from lesionseg.data.dataset import Dataset
from lesionseg.data.readers import read_table

CONF = Path(__file__).parents[3] / "conf/dataset/manifest.yaml"


def _table(folder: Path, text: str, name: str = "table.csv", files: str = "a b c d m") -> Path:
    for file in files.split():
        (folder / f"{file}.nii").touch()
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _read(table: Path, **named: Any) -> Dataset:
    defaults: dict[str, Any] = {"images": {"flair": "flair"}, "masks": {"lesion": "lesion"}}
    return read_table(table, name="toy", **{**defaults, **named})


def test_rows_become_studies_in_order_with_their_labels_as_written(tmp_path):
    table = _table(
        tmp_path,
        "subject,session,flair,lesion,site,split\n"
        "sub-002,ses-10,a.nii,,A,\n"
        "002,2,b.nii,m.nii,A,test\n"
        "\n"
        f"001,2020-01-15,{tmp_path}/c.nii,n/a,,train\n"
        " 001 ,2019-03-01, d.nii ,,,train\n",
    )
    cohort = _read(table)
    assert [(study.subject, study.session, study.site, study.split) for study in cohort.studies] == [
        ("001", "2019-03-01", None, "train"),
        ("001", "2020-01-15", None, "train"),
        ("002", "2", "A", "test"),
        ("002", "10", "A", "test"),  # one session's split holds for the whole subject
    ]
    assert [study.images["flair"].name for study in cohort.studies] == ["d.nii", "c.nii", "b.nii", "a.nii"]
    assert [list(study.masks) for study in cohort.studies] == [[], [], ["lesion"], []]
    assert cohort.studies[2].masks["lesion"].path == tmp_path / "m.nii"
    assert cohort.prior_of(cohort.studies[1]) == cohort.studies[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.tsv", "subject\tflair\n01\ta.nii\n"),
        ("t.csv", "subject;flair\n01;a.nii\n"),
        ("t.CSV", "\ufeffsubject , flair\n01,a.nii\n"),
    ],
)
def test_tabs_commas_semicolons_and_a_byte_order_mark(name, text, tmp_path):
    (study,) = _read(_table(tmp_path, text, name)).studies
    assert (study.name, study.session, study.images) == ("sub-01", "", {"flair": tmp_path / "a.nii"})


def test_all_faults_of_all_rows_are_told_at_once(tmp_path, faults_of):
    table = _table(
        tmp_path,
        "subject,session,flair,lesion,split\n"
        "01,1,a.nii,gone.nii,train\n"
        "\n"
        "01,2,b.nii,m.nii,test\n"
        "01,2,c.nii,,\n"
        ",1,c.nii,,\n"
        "02,1,,m.nii,dev\n"
        "0/3,1,d.nii,,\n"
        "04,1,a.nii,,\n",
    )
    assert faults_of(_read, table) == (
        f"toy: table.csv, row 2: column 'lesion': {tmp_path}/gone.nii is not a file; correct the path "
        "(relative ones start at the table's folder), or empty the cell",
        "toy: table.csv, row 5: sub-01_ses-2 stands in row 4 already; keep one row for each subject and "
        "session (columns 'subject' and 'session')",
        "toy: table.csv, row 6: column 'subject' is empty; say whose scan it is, or remove the row",
        "toy: table.csv, row 7: sub-02_ses-1 has a mask (lesion) but no image; add the image's path",
        "toy: subject '0/3' cannot be part of a file name; rename it: no / \\ : * ? \" < > | or line break, "
        "no dot or blank at either end, and none of = + @ - at its beginning",
        f"toy: {tmp_path}/a.nii is used twice, as sub-01_ses-1, flair and as sub-04_ses-1, flair; one image "
        "is one contrast of one study: make the pattern, column or channel of one of them more specific, or "
        "remove the row",
        "toy: sub-01 is in the splits test and train; all sessions of a subject belong to one, or the test "
        "would see patients of the training",
        "toy: sub-02: split 'dev' is unknown; write one of train, validation, test, or leave it empty",
    )


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            "id,FLAIR\n1,a.nii\n",
            (
                "toy: {table} has no column 'subject' for the subjects; its columns: id, FLAIR. Set "
                "'subject' to one of them",
                "toy: {table} has none of the image columns named (flair: flair); its columns: id, FLAIR. "
                "Correct 'images' of the dataset",
            ),
        ),
        ("subject,flair\n", ("toy: {table} has no row below its header; add one for each study",)),
        ("subject,flair\n , \n", ("toy: {table} has no row below its header; add one for each study",)),
    ],
)
def test_a_table_of_something_else(text, faults, tmp_path, faults_of):
    table = _table(tmp_path, text)
    assert faults_of(_read, table) == tuple(fault.format(table=table) for fault in faults)


@pytest.mark.parametrize("text", ["", "subject,flair\n1,a.nii,b.nii\n", 'subject,flair\n1,"a.nii\n'])
def test_what_is_no_table_is_a_fault(text, tmp_path, faults_of):
    table = _table(tmp_path, text)
    (fault,) = faults_of(_read, table)
    assert fault.startswith(f"{table} cannot be read as a table (")
    assert fault.endswith("; every line needs as many cells as the header, in UTF-8")


def test_the_example_in_the_shipped_configuration_can_be_read(tmp_path):
    conf = yaml.safe_load(CONF.read_text())
    example = [line.removeprefix("#   ") for line in CONF.read_text().splitlines() if line.startswith("#   ")]
    for path in ("scans/001_a.nii.gz", "scans/001_b.nii.gz", "masks/001_a.nii.gz"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    keys = ("images", "masks", "subject", "session", "site", "split")
    cohort = _read(_table(tmp_path, "\n".join(example)), **{key: conf[key] for key in keys})
    assert conf["format"] == "manifest"
    assert [(study.name, list(study.masks)) for study in cohort.studies] == [
        ("sub-001_ses-2019-03-01", ["lesion"]),
        ("sub-001_ses-2020-01-15", []),
    ]
