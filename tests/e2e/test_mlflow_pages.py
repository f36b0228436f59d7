"""What a user sees who follows the links: MLflow's own pages in a real browser."""

import socket
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from lesionseg.tracking.mlflow_store import HASH_TAG, KIND_TAG, SWEEP_TAG, open_store, start_run
from lesionseg.tracking.sweep import sweep_parent
from lesionseg.tracking.views import scores_by_size

pytestmark = pytest.mark.slow

# (init, training size) to sensitivity and PPV, no two of which look the same
SCORES = {
    ("scratch", 2): (0.3125, 0.2125),
    ("scratch", 4): (0.4125, 0.5125),
    ("pretrained", 2): (0.6125, 0.5625),
    ("pretrained", 4): (0.7125, 0.8125),
}
LIMIT = 120  # seconds for anything on a busy machine


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Args:
        process: ``lesionseg ui``.
        port: of its pages.
        folder: where it was started.
        links: what it printed: each page's title and address.
    """

    process: Any
    port: int
    folder: Path
    links: dict[str, str]


def _run_sweep(outputs: Path) -> None:
    """A finished sweep as ``lesionseg train`` leaves it."""
    uri, lock = f"sqlite:///{outputs}/mlflow.db", outputs / ".mlflow.lock"
    store = open_store(uri, "lesionseg", str(outputs / "artifacts"), lock)
    parent = sweep_parent(store, "first")
    for (init, size), (sensitivity, ppv) in SCORES.items():
        params = {"task": "flair_lesions", "init": init, "train_size": size, "repeat": 0}
        tags = {SWEEP_TAG: "first", KIND_TAG: "run", HASH_TAG: f"{init}{size}"}
        run = start_run(store, f"{init}-n{size}-r0", tags, parent)
        run.log_params({key: str(value) for key, value in params.items()})
        run.log_dataset("bids", "0123456789abcdef", "a folder")
        scores = {"test/lesion_sensitivity": sensitivity, "test/lesion_ppv": ppv, "test/lesion_f1": ppv}
        scores |= {"test/merged_lesions": 0.0, "test/dice": ppv}
        run.log_metrics([(0, 0, name, value) for name, value in scores.items()])
        run.log_metrics([(size, 0, name, value) for name, value in scores_by_size(scores).items()])
        store.client.set_terminated(run.run_id)


@pytest.fixture(scope="module")
def served(with_store, command_line, environment, tmp_path_factory):
    """The pages of a sweep of two arms and two sizes."""
    folder = tmp_path_factory.mktemp("pages")
    _run_sweep(with_store(folder / "outputs"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        command_line("ui", "sweep=first", f"port={port}"),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Served(process, port, folder, _links(process))
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT)


def _links(process: Any) -> dict[str, str]:
    """What is printed once the server answers."""
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line == "Ctrl-C stops it.\n":
            return {title: url.strip() for title, url in pairwise(lines) if url.startswith("  http")}
    raise AssertionError("\n".join(lines))


def test_the_runs_of_both_arms_and_their_metrics_are_on_the_page_of_charts(served, page_text):
    names = [f"{init}-n{size}-r0" for init, size in SCORES]
    values = [f"{score:.2f}" for scores in SCORES.values() for score in scores]
    charts = ["test/lesion_sensitivity", "test/lesion_ppv"]
    text = page_text(served.links["runs with charts"], "4 matching runs", *names, *charts, *values)
    assert set(names) <= set(text.splitlines()), "each child in the list, not folded away beneath the parent"


def test_the_saved_views_are_the_learning_curves_and_the_table(served, page_text):
    curves = [f"{init} (test_by_size/{name})" for init, _ in SCORES for name in ("lesion_sensitivity", "lesion_ppv")]
    text = page_text(
        served.links["sensitivity and PPV over training size"], "4 matching runs", "Group: scratch", *curves
    )
    assert "shared view" in text
    columns = ["init", "train_size", "repeat", "test/lesion_sensitivity", "test/lesion_ppv"]
    values = [str(score) for scores in SCORES.values() for score in scores]
    text = page_text(served.links["table of the runs"], "4 matching runs", *columns, *values)
    assert "by_size" not in text
    headers = [page_text.page.get_by_text(column, exact=True).first for column in columns]
    place = [header.bounding_box()["x"] for header in headers]
    assert place == sorted(place), "in the order of the view"


def test_the_sweeps_own_run_has_a_page_with_its_artifacts(served, page_text):
    own = served.links["the sweep's own run: grid, progress, comparison"]
    assert "first" in page_text(own, "Artifacts", "lesionseg.sweep").splitlines()


def test_nothing_is_left_of_a_server_that_was_stopped(served):
    started = psutil.Process(served.process.pid).children(recursive=True)
    assert started
    served.process.terminate()
    assert served.process.wait(LIMIT) == 0
    assert [process for process in started if process.is_running()] == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", served.port)) != 0
    assert [path.name for path in served.folder.iterdir()] == ["outputs"], "nothing lies where it was started"
