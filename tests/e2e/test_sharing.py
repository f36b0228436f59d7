"""Several processes on one sweep, one store, one cache."""

from collections import Counter
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def data(cohort: Any, tiny: tuple[str, ...]) -> tuple[str, ...]:
    return ("dataset=bids", f"dataset.root={cohort.root}", *tiny)


def test_eight_processes_at_once_make_one_store_one_cache_and_one_sweep(start, data, runs_in, store_in, tmp_path):
    arguments = ("train", *data, "train_size=2", "sweep=eight")
    processes = [start(tmp_path, *arguments, f"repeat={number}") for number in range(8)]
    for process in processes:
        code, told = process.end()
        assert code == 0, told
    parent, *children = runs_in(tmp_path)
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert sorted(run.data.params["repeat"] for run in children) == [str(number) for number in range(8)]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    client = store_in(tmp_path).client
    for run in children:
        steps = [entry.step for entry in client.get_metric_history(run.info.run_id, "train/loss")]
        assert sorted(steps) == [1, 2, 3, 4]
    assert not [path for path in (tmp_path / "outputs").rglob("*") if ".partial" in path.name]


def test_two_processes_share_a_sweep_and_do_no_run_twice(start, data, runs_in, with_store, tmp_path):
    with_store(tmp_path / "outputs")
    arguments = ("train", "--multirun", *data, "trainer.steps=40", "train_size=2,3", "repeat=0,1", "sweep=shared")
    ends = [process.end() for process in [start(tmp_path, *arguments), start(tmp_path, *arguments)]]
    told = [out for _, out in ends]
    assert [code for code, _ in ends] == [0, 0], "\n".join(told)
    _, *children = runs_in(tmp_path)
    assert Counter((run.data.params["train_size"], run.data.params["repeat"]) for run in children) == Counter(
        {(size, repeat): 1 for size in "23" for repeat in "01"}
    )
    trained = [line for out in told for line in out.splitlines() if "step 40/40" in line]
    assert len(trained) == 4, "\n".join(told)
    for out in told:
        assert "Sweep shared: 4 of 4 runs finished (100 %).\n" in out


def test_a_run_whose_process_was_killed_goes_on_in_the_process_that_waits_for_it(
    start, data, runs_in, with_store, tmp_path, inside, wait_until
):
    with_store(tmp_path / "outputs")
    arguments = ("train", *data, "trainer.steps=2000", "trainer.validate_every=1000", "train_size=2", "sweep=heir")
    first = start(tmp_path, *arguments)
    wait_until(lambda: next((tmp_path / "outputs" / "runs").glob("heir/*/checkpoints/last.ckpt"), None))
    status = inside(tmp_path, "status", "sweep=heir")
    assert status.code == 0
    assert f"scratch-n2-r0  running  process {first.pid} on " in status.out
    second = start(tmp_path, *arguments)
    told = second.says("Waiting for scratch-n2-r0, which process ")
    assert f"is left to process {first.pid} on " in told
    first.process.kill()
    first.process.join()
    status = inside(tmp_path, "status", "sweep=heir")
    assert "scratch-n2-r0  " in status.out
    assert "was interrupted before and goes on (run " in second.says("goes on")
    second.process.terminate()
    assert second.end()[0] == 143
    parent, run = runs_in(tmp_path)
    assert (parent.info.status, run.info.status) == ("KILLED", "KILLED")
