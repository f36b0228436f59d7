"""``lesionseg synthesize`` as a user runs it: from a folder that is not there to one that can be trained on."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest


def _subjects(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("sub-*"))


def _files(home: Path) -> int:
    return sum(path.is_file() for path in home.rglob("*"))


def test_a_cohort_is_written_told_looked_at_and_added_to(tmp_path, lesionseg, inside, small_heads):
    arguments = ("synthesize", "output=made", *small_heads, "pathology=infarct", "pathology.contrasts=[FLAIR]")
    made = lesionseg(tmp_path, *arguments, "subjects=2", "workers=2")
    assert (made.code, made.err) == (0, "")
    root = tmp_path / "made"
    following = f"lesionseg check dataset=bids dataset.root={root} task=flair_lesions"
    assert made.out.splitlines()[0] == f"2 subjects in {root} (2 new):"
    assert made.out.splitlines()[-1] == f"Next: {following}"
    for told in ("derivatives/lesions/", "participants.tsv"):
        assert f"  {told} " in made.out
        assert (root / told).exists()

    checked = inside(tmp_path, *following.split()[1:])
    assert checked.code == 0, checked.out + checked.err
    assert "bids: 2 studies of 2 subjects, " in checked.out

    before = (root / "sub-infarct001" / "sub-infarct001_parameters.json").stat().st_mtime_ns
    more = inside(tmp_path, *arguments, "subjects=3", "workers=1")
    assert (more.code, more.out.splitlines()[0]) == (0, f"3 subjects in {root} (1 new, 2 there already):")
    assert _subjects(root) == ["sub-infarct001", "sub-infarct002", "sub-infarct003"]
    assert (root / "sub-infarct001" / "sub-infarct001_parameters.json").stat().st_mtime_ns == before

    other = inside(tmp_path, *arguments, "subjects=3", "seed=1")
    assert (other.code, other.out) == (2, "")
    assert other.err == (
        f"{root} already holds another dataset: seed: 0 there, 1 asked for; delete the folder or choose another one\n"
    )


def test_all_faults_end_with_2_in_one_list_and_nothing_is_written(tmp_path, lesionseg):
    wrong = ("subjects=0", "seed=-1", "workers=0", "pathology.sessions=3", "+pathology.lesions.evolution.nwe=1")
    done = lesionseg(tmp_path, "synthesize", *wrong)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "Found 6 faults:\n"
        "  1. output: has no value; give it as output=...\n"
        "  2. subjects: input should be greater than or equal to 1, found 0\n"
        "  3. seed: input should be greater than or equal to 0, found -1\n"
        "  4. workers: input should be greater than or equal to 1, found 0\n"
        "  5. pathology.sessions: input should be 1 or 2, found 3\n"
        "  6. pathology.lesions.evolution.nwe: unknown key; did you mean 'new'?\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_of_the_shipped_configuration_is_made_on_first_use(tmp_path, inside, label_map):
    own = {"subjects": 2, "workers": 1, "pathology.anatomy.labels": label_map, "pathology.spacing": "[4,4,4]"}
    arguments = ["check", "dataset=synthetic_source", "pathology@dataset.synthetic.pathology=small_vessel"]
    arguments += [f"dataset.synthetic.{key}={value}" for key, value in own.items()]
    root = tmp_path / "outputs" / "synthetic" / "small_vessel-2-seed2"
    for _ in range(2):
        done = inside(tmp_path, *arguments)
        assert done.code == 0, done.out + done.err
        assert "synthetic_small_vessel: 2 studies of 2 subjects, " in done.out
        assert _subjects(root) == ["sub-smallvessel001", "sub-smallvessel002"]


def _processes(session: int) -> list[str]:
    """Those of a session that still run, as the system calls them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except OSError:  # gone meanwhile
            continue
        state, _, _, its_session = rest.split()[:4]
        if int(its_session) == session and state != "Z":
            found.append(name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("number", "workers", "code"), [(signal.SIGTERM, 2, 143), (signal.SIGTERM, 1, 143), (signal.SIGINT, 2, 130)]
)
def test_a_stopped_run_leaves_whole_subjects_and_no_process_and_goes_on(
    tmp_path, command_line, environment, inside, small_heads, number, workers, code
):
    root = tmp_path / "made"
    arguments = ("synthesize", f"output={root}", *small_heads, "pathology.contrasts=[FLAIR]", f"workers={workers}")
    process = subprocess.Popen(
        command_line(*arguments, "subjects=500"),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while len(_subjects(root)) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    if number == signal.SIGINT:  # as a terminal does on Ctrl-C
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    told = process.communicate(timeout=60)[0]
    assert process.returncode == code, told
    assert f"Whole subjects are kept in {root}.\nStopped; the same command goes on where it was.\n" in told
    until = time.monotonic() + 20  # the tracker of shared memory ends a moment after the others
    while _processes(process.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert _processes(process.pid) == []

    names, masks = _subjects(root), root / "derivatives" / "lesions"
    assert 2 <= len(names) < 500
    assert _subjects(masks) == names
    assert {(_files(root / name), _files(masks / name)) for name in names} == {(3, 3)}
    assert not list(root.glob(".partial-*"))
    listed = (root / "participants.tsv").read_text().splitlines()[1:]
    assert [line.split("\t")[0] for line in listed] == names

    last = int(names[-1].removeprefix("sub-"))
    shutil.rmtree(root / names[0])
    again = inside(tmp_path, *arguments, f"subjects={last}")
    there = len(names) - 1
    assert again.out.splitlines()[0] == f"{last} subjects in {root} ({last - there} new, {there} there already):"
    assert _subjects(root) == _subjects(masks) == [f"sub-{index:03d}" for index in range(1, last + 1)]
