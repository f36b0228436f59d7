"""Anybody's masks held against reference masks: published values, maps, tables of pairs, and every fault at once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
HERE = (GOLDEN / "expected.json").is_file()
CASES = json.loads((GOLDEN / "expected.json").read_text())["cases"] if HERE else {}
golden = pytest.mark.skipif(not HERE, reason="the golden cases (../shared/golden) are not beside this checkout")
EMPTY_REFERENCE = {"01_both_empty", "02_empty_ref"}
REALISTIC = "26_realistic_182x218x182"
MINE = "+metrics.criteria.mine={_target_:lesionseg.metrics.AnyOverlap,min_fraction:0.5}"
MASK, PRED = "label-lesion_mask.nii.gz", "pred.nii.gz"


def load(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / CASES[name]["file"]) as stored:
        return dict(stored)


def write(path: Path, voxels: Any, spacing: Any = (1, 1, 1)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)
    return path


def cubes(*corners: int) -> Any:
    """A mask with a cube of 27 voxels at each of these places."""
    voxels = np.zeros((20, 12, 12), np.uint8)
    for corner in corners:
        voxels[corner : corner + 3, 3:6, 3:6] = 1
    return voxels


def read(path: Path) -> Any:
    return json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, lesionseg: Callable[..., Any]) -> tuple[Any, str]:
    """What the command, in a process of its own, writes and prints for the golden cases as two NIfTI folders."""
    folder = tmp_path_factory.mktemp("golden")
    for name in CASES:
        arrays = load(name)
        write(folder / "reference" / f"{name}_{MASK}", arrays["ref"], arrays["spacing"])
        write(folder / "prediction" / "deep" / f"{name}_{PRED}", arrays["pred"], arrays["spacing"])
    done = lesionseg(folder, "score", "reference=reference", "prediction=prediction", "output=new/scores.json", MINE)
    assert (done.code, done.err) == (0, ""), done.err
    assert sorted(path.name for path in folder.iterdir()) == ["new", "prediction", "reference"]
    assert [path.name for path in (folder / "new").iterdir()] == ["scores.json"]
    return read(folder / "new" / "scores.json"), done.out


@pytest.fixture(params=sorted(CASES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(name: str, published: tuple[Any, str]) -> Any:
    record: Any = published[0]["cases"][name]
    return record


@golden
def test_any_overlap_is_the_published_one(name, case):
    for connectivity in (6, 18, 26):
        ours = case["criteria"][f"any_overlap_{connectivity}"]
        theirs = CASES[name]["any_overlap"][str(connectivity)]
        components = CASES[name]["components"][str(connectivity)]
        assert (ours["n_reference"], ours["n_prediction"]) == (components["reference"], components["prediction"])
        assert ours["detected_reference"] == theirs["tp"]
        assert ours["n_reference"] - ours["detected_reference"] == theirs["fn"]
        assert ours["n_prediction"] - ours["true_prediction"] == ours["false_positives"] == theirs["fp"]
        if name in EMPTY_REFERENCE:
            assert ours["f1_counts"] is None, f"ours: undefined without reference lesion; theirs: {theirs['f1']}"
        else:
            assert ours["f1_counts"] == pytest.approx(theirs["f1"], abs=1e-12)


@golden
def test_means_and_what_they_leave_out(published):
    record, out = published
    assert list(record["cases"]) == sorted(CASES)
    defined = [name for name in CASES if name not in EMPTY_REFERENCE]
    assert record["mean"]["n_cases"] == len(CASES)
    assert record["mean"]["dice"] == pytest.approx(np.mean([CASES[name]["dice"] for name in defined]))
    f1 = np.mean([CASES[name]["wmh_challenge"]["f1"] for name in defined])
    assert record["mean"]["criteria"]["any_overlap_26"]["f1"] == pytest.approx(f1)
    undefined = record["undefined"]
    assert undefined["without_reference_lesion"] == sorted(EMPTY_REFERENCE)
    assert undefined["without_any_lesion"] == ["01_both_empty"]
    assert undefined["hd95_mm"] == len(EMPTY_REFERENCE) + 1, "03_empty_pred has one surface alone"
    assert f"Cases without reference lesion: {len(EMPTY_REFERENCE)} of {len(CASES)}; with false positives: 1" in out


@golden
def test_the_policy_stands_under_the_tables(published):
    record, out = published
    policy, written = out.split("\n\n")[-2:]
    assert policy.replace("\n", " ") == record["undefined"]["policy"]
    for part in (
        "a case without reference lesion has no sensitivity",
        "reported apart",
        "with reference lesions and no prediction has PPV and F1 0",
    ):
        assert part in policy.replace("\n", " ")
    assert written.startswith("Written to /")
    assert written.endswith("/new/scores.json\n")


@golden
def test_a_probability_map_is_scored_at_its_threshold_and_at_all_others(here, end):
    """Against brute force: one relabelling for each threshold."""
    arrays = load(REALISTIC)
    write(here / f"{REALISTIC}_mask.nii.gz", arrays["ref"], arrays["spacing"])
    scaled = nib.Nifti1Image(arrays["prob_u8"], np.diag([*arrays["spacing"], 1.0]))
    scaled.header.set_slope_inter(1 / 255, 0)
    nib.save(scaled, here / f"{REALISTIC}_prob.nii.gz")
    brute = {row["t_u8"]: row for row in json.loads((GOLDEN / "froc_realistic.json").read_text())["rows"]}
    files = ("reference='*_mask.nii.gz'", "prediction='*_prob.nii.gz'")
    code, out, err = end("score", *files, f"threshold={129.5 / 255}", "output=a.json")
    assert (code, err) == (0, "")
    record = read(here / "a.json")
    scores = record["cases"][REALISTIC]["criteria"]["any_overlap_26"]
    counted = [scores[key] for key in ("detected_reference", "n_prediction", "false_positives")]
    assert counted == [brute[130][key] for key in ("ref_hit", "n_pred", "fp")]
    froc = record["froc"]
    thresholds = np.array(froc["thresholds"])
    for level, row in brute.items():
        place = int((thresholds >= (level - 0.5) / 255).sum())  # none is that high: nothing is predicted
        assert [0, *froc["false_positives_per_case"]][place] == row["fp"]
        assert [0, *froc["sensitivity"]][place] == pytest.approx(row["ref_hit"] / 60)
    assert "FROC over all thresholds (any overlap of one voxel, 26-connected)" in out
    assert all(row["max_probability"] is not None for row in record["cases"][REALISTIC]["lesions"])


@pytest.fixture
def pairs(here: Path) -> Path:
    """Two cases: one of two lesions is found in the first, with a false one beside it; the second is perfect."""
    for number, (reference, prediction) in enumerate([((1, 8), (1, 15)), ((5,), (5,))], start=1):
        write(here / "r" / f"sub-0{number}_{MASK}", cubes(*reference))
        write(here / "p" / f"sub-0{number}" / f"sub-0{number}_{PRED}", cubes(*prediction))
    return here


def told(record: Any) -> dict[str, tuple[Any, ...]]:
    keys = ("n_reference", "n_prediction", "detected_reference", "true_prediction", "f1")
    return {
        name: tuple(case["criteria"]["any_overlap_26"][key] for key in keys) for name, case in record["cases"].items()
    }


EXPECTED = {"sub-01": (2, 2, 1, 1, 0.5), "sub-02": (1, 1, 1, 1, 1)}


@pytest.mark.parametrize(
    "files",
    [
        ("reference=r", "prediction=p"),
        ("reference=r/*.nii.gz", "prediction=p/**/*_pred.nii.gz"),
        ('reference="r/sub-0[12]*"', "prediction=./p/"),
        ("pairs=pairs.csv",),
    ],
)
def test_folders_patterns_and_a_table_name_the_same_pairs(pairs, end, files):
    lines = [f"sub-0{number},r/sub-0{number}_{MASK},p/sub-0{number}/sub-0{number}_{PRED}" for number in (1, 2)]
    (pairs / "pairs.csv").write_text("\n".join(["name,reference,prediction", *lines]))
    code, out, err = end("score", *files, "output=scores.json")
    assert (code, err) == (0, "")
    assert told(read(pairs / "scores.json")) == EXPECTED
    row = next(line for line in out.splitlines() if line.startswith("sub-01"))
    assert row.split() == ["sub-01", "2", "2", "0", "0.50", "0.50", "0.50", "0.50", "7.0", "0.05", "0.05"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give reference=FILE_OR_FOLDER and prediction=FILE_OR_FOLDER, or a table of both as pairs=FILE.csv"),
        (["reference=r", "pairs=pairs.csv"], "pairs and reference: the pairs name the files; leave the "),
        (["reference=r", "prediction=nowhere"], "prediction=nowhere: there is no such file or folder; paths are "),
        (
            ["reference=r", "prediction=p/**/sub-01*"],
            f"r/sub-02_{MASK} (case 'sub-02'): no prediction has such a name; rename the files, or name the pairs in a "
            "table (pairs=FILE.csv)",
        ),
        (
            ["reference=.", "prediction=r"],
            f"r/sub-01_{MASK}, r/sub-02_{MASK}: reference and prediction at once; give patterns that tell them apart,",
        ),
        (["reference=r", "prediction=p", "output=r"], "output=r: is a folder; name a file, such as scores.json"),
        (
            ["reference=r", "prediction=p", f"output=r/sub-01_{MASK}"],
            f"output=r/sub-01_{MASK}: is one of the files to be scored; name another one, such as scores.json",
        ),
        (["reference=r", "prediction=p", "output=notes.txt/scores.json"], "output={here}/notes.txt: {here}/notes.txt "),
        (["reference=r", "prediction=p", "threshold=1.5"], "threshold: input should be less than 1, found 1.5"),
        (["reference=~/r", "prediction=p"], """in quotes of its own it may hold anything: 'reference="~/r"'"""),
        (["reference=r", "prediction=p", "~metrics.criteria", "+metrics.criteria={}"], "metrics.criteria: is empty; "),
        (
            ["reference=r", "prediction=p", "+metrics.criteria.x={_target_:lesionseg.metrics.BestIoU}"],
            "metrics.criteria.x: min_iou: lesionseg.metrics.BestIoU needs this argument",
        ),
        (
            ["reference=r", "prediction=p", "+metrics.criteria.x={_target_:lesionseg.metrics.BestIoU,min_iou:2}"],
            "metrics.criteria.x: min_iou must be above 0 and at most 1, found 2",
        ),
    ],
)
def test_a_wrong_setting_ends_with_2_and_writes_nothing(pairs, end, arguments, message):
    (pairs / "empty").mkdir()
    (pairs / "notes.txt").write_text("no folder\n")
    before = sorted(pairs.rglob("*"))
    code, out, err = end("score", *arguments)
    assert (code, out) == (2, "")
    assert message.format(here=pairs) in err
    assert sorted(pairs.rglob("*")) == before


def test_an_output_that_cannot_be_written_is_told_before_anything_is_scored(pairs, end, monkeypatch):
    (pairs / "locked").mkdir()
    access = os.access  # root, as whom tests may run, may write anywhere
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" and access(path, mode))
    code, out, err = end("score", "reference=r", "prediction=p", "output=locked/deep/scores.json")
    assert (code, out) == (2, "")
    assert err == (f"output={pairs}/locked/deep: {pairs}/locked cannot be written to; choose another folder\n")
    assert list((pairs / "locked").iterdir()) == []


def test_it_needs_neither_torch_nor_mlflow(pairs, environment):
    """The whole command, not only its import, so that nothing heavy comes in by the way."""
    code = (
        "import sys\n"
        "from lesionseg.cli import main\n"
        "try:\n"
        "    main(['score', 'reference=r', 'prediction=p', 'output=scores.json'])\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "import lesionseg.commands.score\n"
        "heavy = ('torch', 'mlflow', 'pytorch_lightning', 'torchio', 'matplotlib')\n"
        "print('loaded:', *[name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=pairs, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "loaded:"
    assert told(read(pairs / "scores.json")) == EXPECTED
