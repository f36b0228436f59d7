"""The documentation is true: its links lead somewhere, its commands compose, its examples run, its messages exist."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lesionseg.cli import COMMANDS, plain_words
from lesionseg.config.compose import Request, compose_jobs

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MADE = ("configuration.md", "tutorial.md")  # by make docs
WRITTEN = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md"), *ROOT.glob("experiments/*/README.md"))
PAGES = sorted(page for page in WRITTEN if page.name not in MADE)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def _commands() -> Iterator[tuple[str, str]]:
    """Every ``lesionseg ...`` in a block of a page, placeholders filled in."""
    for page in PAGES:
        for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                command = re.sub(r"^\s*(\w+=\S+ )*", "", line).partition("    #")[0]
                if language == "" and command.startswith("lesionseg ") and "..." not in command:
                    yield f"{page.parent.name}/{page.name}", re.sub(r"<[^>]+>|\.\.\.", "x", command)


COMMAND_LINES = sorted(set(_commands()))


@pytest.fixture
def as_the_pages_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of the reader's own that the pages speak of."""
    for page in ("new_task.md", "extending.md"):
        for language, block in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
            if language == "yaml":
                (name,) = re.findall(r"^name: (\w+)", block, re.MULTILINE)
                kind = "task" if "inputs:" in block else "model"
                for folder in ("mine", "my_tasks"):
                    (tmp_path / folder / kind).mkdir(parents=True, exist_ok=True)
                    (tmp_path / folder / kind / f"{name}.yaml").write_text(block)
            elif language == "python":
                (tmp_path / "my_networks.py").write_text(block)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("page", "line"),
    [
        pytest.param(page, line, marks=[] if page.startswith(("docs/", f"{ROOT.name}/")) else [pytest.mark.slow])
        for page, line in COMMAND_LINES
    ],
)
def test_every_command_of_the_documentation_composes(page, line, as_the_pages_have_it):
    command, *arguments = shlex.split(line)[1:]
    assert command in COMMANDS
    folder = name = None
    overrides = []
    words = iter(arguments)
    for word in words:
        if word == "--config-dir":
            folder = Path(next(words))
        elif word == "--config-name":
            name = next(words)
        elif word not in ("--multirun", "--help"):
            overrides.append(word)
    request = Request(command, tuple(plain_words(command, overrides)), folder, name, "--multirun" in arguments)
    jobs, _ = compose_jobs(request)
    assert jobs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_every_link_leads_somewhere(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and "://" not in target]
    assert [target for target in local if target not in MADE and not (page.parent / target).exists()] == []
    named = re.findall(r"`((?:docs|experiments|conf)/[\w/.-]+\.\w+)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_metrics_example_gives_the_scores_that_can_be_counted_by_hand(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "metrics.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "metrics.md", "exec"), names)
    detection, study, sensitivity = capsys.readouterr().out.splitlines()
    assert detection == "1.0 1.0", (
        "both lesions are met; under Anima's rule, too: half of each is covered and little outside"
    )
    shared, voxels = 3 * 4 * 2 + 1 * 2, 4 * 4 * 2 + 2 * 2
    assert study.startswith(f"{2 * shared / (2 * voxels)} 1.0 [('reference', 'detected', 96.0)")
    assert sensitivity == "1.0"


def test_the_network_of_the_documentation_is_one(as_the_pages_have_it):
    import torch
    from my_networks import TwoConvolutions

    assert TwoConvolutions(2)(torch.zeros(1, 2, 16, 16, 16)).shape == (1, 1, 16, 16, 16)


def test_every_message_that_is_explained_is_one_of_ours():
    sources = "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "lesionseg").rglob("*.py")))
    whole = re.sub(r'"\s*\n\s*f?"', "", sources)
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    cells = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    assert len(cells) > 15
    for message in (message for cell in cells for message in re.findall(r"`([^`]+)`", cell)):
        parts = [part.strip() for part in re.split(r"\.\.\.|'x'|[\d.]+(?= )|flair|\[|\]", message)]
        missing = [part for part in parts if len(part) > 4 and part not in whole]
        assert not missing, f"{message}: {missing}"


@pytest.mark.slow
def test_the_tutorial_runs_to_its_end(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    import os
    import sys

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    notebook = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert (tmp_path / "outputs" / "comparisons" / "tutorial" / "report.html").is_file()
    assert list((tmp_path / "segmented").glob("*.html"))


RUN = ("README.md", "your_data.md", "preparing_scans.md", "predict.md", "metrics.md", "extending.md", "sweeps.md")
ELSEWHERE = ("lesionseg sync",)  # tests/e2e/test_server_away.py


@pytest.mark.slow
def test_a_reader_can_follow_the_pages(as_the_pages_have_it, inside, make_cohort, tiny, tmp_path, monkeypatch):
    import mlflow

    cohort = make_cohort(tmp_path / "SCANS", 20, two_sessions=2)
    (tmp_path / "prepared").symlink_to(cohort.root)
    (tmp_path / "MASKS").symlink_to(cohort.root / "derivatives" / "lesions")
    shutil.copytree(cohort.root / "derivatives" / "lesions", tmp_path / "PREDICTED")
    shutil.copy(cohort.root / "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz", tmp_path / "scan.nii.gz")
    source = inside(tmp_path, "train", "dataset=bids", "dataset.root=SCANS", *tiny, "train_size=3")
    assert source.code == 0, source.err
    run_id = re.findall(r"in MLflow as run (\w+)", source.out)[0]
    for page in RUN:
        text = next(one for one in PAGES if one.name == page).read_text(encoding="utf-8")
        for language, block in BLOCK.findall(text):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                command = re.sub(r"^\s*(\w+=\S+ )*", "", line).partition("    #")[0]
                if language or not command.startswith("lesionseg ") or command.startswith(ELSEWHERE):
                    continue
                arguments = shlex.split(command.replace("<run id>", run_id))[1:]
                done = inside(tmp_path, *arguments, *(_small(arguments, tiny) if arguments[0] == "train" else ()))
                assert done.code == 0, f"{page}: {command}\n{done.out}{done.err}"
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "predict.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.setattr("sys.argv", ["python"])
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    names: dict[str, Any] = {}
    try:
        exec(compile(code.replace("<run id>", run_id), "predict.md", "exec"), names)
    finally:
        mlflow.set_tracking_uri(None)
    assert len(names["found"]) == 1


def _small(arguments: list[str], tiny: tuple[str, ...]) -> tuple[str, ...]:
    """Of what makes a run last a second, what the command itself does not choose."""
    own_model = any(word.startswith("model=") for word in arguments)
    return tuple(word for word in tiny if not (own_model and word.startswith("model")))
