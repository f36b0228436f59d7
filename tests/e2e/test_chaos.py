"""A sweep that is killed again and again ends as if nothing had been.

``make chaos`` kills more often than ``make test`` does, and says which phases were hit.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from lesionseg.tracking.mlflow_store import open_store
from lesionseg.tracking.run_dir import RunDir
from lesionseg.tracking.sweep import read_grid
from lesionseg.transfer.checkpoint import load_model

pytestmark = pytest.mark.slow

SIZES, REPEATS = (1, 2, 3), (0, 1)
# Artifacts are compared by themselves; of which files the content is known depends on what was looked at.
_NOT_COMPARED = ("mlflow.db-", "artifacts/", "cache/", "comparisons/")
PHASES = ("starting", "preparing", "training", "validating", "testing", "logging")


@dataclass
class Ruin:
    """What the killing came to.

    Args:
        phases: how many kills met a process in which phase.
        whom: how many met the job, the launching process, or both.
        signals: how many were which.
    """

    phases: Counter[str] = field(default_factory=Counter)
    whom: Counter[str] = field(default_factory=Counter)
    signals: Counter[str] = field(default_factory=Counter)

    @property
    def kills(self) -> int:
        """All of them."""
        return self.phases.total()

    def __str__(self) -> str:
        counts = [f"{phase} {self.phases[phase]}" for phase in PHASES]
        parts = [*counts, *(f"{key} {value}" for table in (self.whom, self.signals) for key, value in table.items())]
        return f"{self.kills} kills: {', '.join(parts)}"


@pytest.fixture(scope="module")
def command(cohort: Any, tiny: tuple[str, ...]) -> tuple[str, ...]:
    """A sweep of three sizes and two repeats, each run of which takes a second or two."""
    steps = ("trainer.steps=12", "trainer.validate_every=6", "trainer.checkpoint_every=2", "trainer.log_every=3")
    grid = (f"train_size={','.join(map(str, SIZES))}", f"repeat={','.join(map(str, REPEATS))}")
    data = ("dataset=bids", f"dataset.root={cohort.root}", "metrics.threshold_criterion=task")
    return ("train", "--multirun", *data, *tiny, *steps, *grid, "sweep=chaos")


@dataclass(frozen=True)
class Remains:
    """What a sweep leaves: its runs, in the store and on disk."""

    statuses: Counter[str]
    runs: dict[tuple[str, str], dict[str, Any]]
    parent: dict[str, Any]
    files: set[str]


def _remains(folder: Path) -> Remains:
    outputs = folder / "outputs"
    store = open_store(f"sqlite:///{outputs}/mlflow.db", "lesionseg", None, outputs / ".mlflow.lock", create=False)
    client = store.client
    found = list(client.search_runs([store.experiment_id], max_results=1000))
    runs, parents = {}, []
    for run in found:
        if run.data.tags["lesionseg.kind"] == "sweep":
            parents.append(run)
            continue
        place = (run.data.params["train_size"], run.data.params["repeat"])
        assert place not in runs, f"{place} is there twice"
        artifacts = outputs / "artifacts" / run.info.run_id / "artifacts"
        tables = {name: (artifacts / f"{name}.csv").read_bytes() for name in ("cases", "lesions", "criteria", "froc")}
        histories = {
            name: sorted((entry.step, entry.value) for entry in client.get_metric_history(run.info.run_id, name))
            for name in run.data.metrics
            if not name.startswith("system/") and name != "train/seconds_per_step"
        }
        runs[place] = {
            "hash": run.data.tags["lesionseg.config_hash"],
            "params": run.data.params,
            "metrics": histories,
            "tables": tables,
            "weights": load_model(artifacts / "checkpoints" / "best.ckpt").digest,
            "artifacts": sorted(
                str(path.relative_to(artifacts))
                for path in artifacts.rglob("*")
                if path.is_file() and path.parent.name != "images"  # MLflow gives these names of its own
            ),
        }
    (parent,) = parents
    files = {
        str(path.relative_to(outputs))
        for path in outputs.rglob("*")
        if path.is_file() and not str(path.relative_to(outputs)).startswith(_NOT_COMPARED)
    }
    assert not [path for path in outputs.rglob("*") if ".partial" in path.name], "half written"
    grid = [entry["name"] for entry in read_grid(outputs / "runs" / "chaos")]
    return Remains(Counter(run.info.status for run in found), runs, {"status": parent.info.status, "grid": grid}, files)


@pytest.fixture(scope="module")
def undisturbed(start: Callable[..., Any], command: tuple[str, ...], tmp_path_factory: Any) -> tuple[Remains, float]:
    """The same sweep left in peace, and how many seconds it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    code, told = start(folder, *command).end()
    assert code == 0, told
    return _remains(folder), time.monotonic() - began


def _workers(folder: Path) -> dict[int, str]:
    """Who works on a run, and in which phase."""
    found = {}
    for file in folder.glob("outputs/runs/*/*/status.json"):
        status = RunDir(file.parent).read()
        process = int(status.get("worker", "process 0").split()[1])
        if status.get("status") == "RUNNING" and psutil.pid_exists(process):
            found[process] = status.get("progress", {}).get("phase", "preparing")
    return found


def _wait(process: Any, folder: Path, rng: random.Random, seconds: float) -> None:
    """Until a random moment: of the start, one time in four, else of the first runs that this process works on."""
    moment = rng.uniform(0, seconds / 6)
    if rng.random() > 0.25:
        while process.is_alive() and not _workers(folder):
            process.join(0.02)
    process.join(moment)


def _kill(process: Any, folder: Path, rng: random.Random, ruin: Ruin) -> None:
    """Kill whoever works on a run, or the process that launched it, or both, which may be one."""
    number = rng.choices((signal.SIGKILL, signal.SIGTERM, signal.SIGINT), (6, 1, 1))[0]
    workers = _workers(folder)
    jobs = sorted(set(workers) - {process.pid})
    whom = rng.choice(("job", "job", "parent", "both")) if jobs else "both"
    for target in {"job": jobs[:1], "parent": [process.pid], "both": [*jobs, process.pid]}[whom]:
        with suppress(ProcessLookupError):
            os.kill(target, number)
    ruin.phases[next(iter(workers.values()), "starting")] += 1
    ruin.whom[whom] += 1
    ruin.signals[number.name] += 1
    if whom != "job":
        process.join(60)
        assert process.exitcode is not None, f"does not end by {number.name}"


def _end_orphans(session: int) -> None:
    """Kill what is left of joblib's processes, which stay for minutes once they are idle."""
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == session and process.pid != session:
                process.kill()


def test_a_sweep_that_is_killed_again_and_again_ends_as_an_undisturbed_one(
    start, command, undisturbed, tmp_path, pytestconfig, capsys
):
    kills, seed = pytestconfig.getoption("--kills"), pytestconfig.getoption("--chaos-seed")
    rng, ruin, (expected, seconds) = random.Random(seed), Ruin(), undisturbed
    life, sessions = 0, set[int]()
    while ruin.kills < kills:
        life += 1
        folder, process = tmp_path / f"life{life}", None
        workers = ("hydra/launcher=joblib",) if life % 4 == 2 else ()
        while process is None or process.exitcode != 0:
            if process is None or not process.is_alive():
                process = start(folder, *command, *workers, log="log.txt").process
                sessions.add(process.pid)
            if ruin.kills < kills:
                _wait(process, folder, rng, seconds)
            else:
                process.join()
                assert process.exitcode == 0, (folder / "log.txt").read_text()
            if process.is_alive():
                _kill(process, folder, rng, ruin)
        for session in sessions:
            _end_orphans(session)
        log = (folder / "log.txt").read_text()
        found = _remains(folder)
        assert found.statuses == Counter(FINISHED=len(SIZES) * len(REPEATS) + 1), log
        assert found.parent == expected.parent
        assert found.runs.keys() == expected.runs.keys()
        for place, run in found.runs.items():
            for key, value in run.items():
                assert value == expected.runs[place][key], f"{place} {key}"
        assert found.files == expected.files
    with capsys.disabled():
        print(f"\n{ruin}, in {life} sweeps (seed {seed})")
