"""What a process of the joblib launcher sees of the computer."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import pytest

from lesionseg.runs.worker import _gpus_per_job, begin

SHARE = """
import sys
import joblib

def look(number):
    import time, torch
    time.sleep(0.3)  # so that the other process has a part of it
    return torch.get_num_threads()

if __name__ == "__main__":
    from lesionseg.runs.worker import begin
    n_jobs = int(sys.argv[1])
    jobs = joblib.Parallel(n_jobs, backend="loky", initializer=begin, initargs=[sys.argv[2], n_jobs, 1])
    print(*jobs(joblib.delayed(look)(number) for number in range(n_jobs)))
"""


@pytest.mark.parametrize("already", [None, "64", "1"])
def test_no_process_has_more_threads_than_its_share(
    already: str | None, tmp_path: Path, environment: dict[str, str]
) -> None:
    set_before = {} if already is None else {"OMP_NUM_THREADS": already}
    own = {key: value for key, value in environment.items() if not key.endswith("_NUM_THREADS")}
    script = tmp_path / "share.py"
    script.write_text(SHARE)
    done = subprocess.run(
        [sys.executable, script, "2", tmp_path],
        env={**own, **set_before},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    share = 1 if already == "1" else max(1, joblib.cpu_count() // 2)
    assert done.stdout.split() == [str(share)] * 2


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Begins here as a process would on a computer with four GPUs; gives what it sees of them."""
    monkeypatch.setattr("lesionseg.runs.worker.watch_parent", lambda: None)
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)

    def begin_on(n_jobs: int, slot: int, devices: Any, visible: str | None = None) -> str | None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        count = 4 if visible is None else len([name for name in visible.split(",") if name])
        monkeypatch.setattr("torch.cuda.device_count", lambda: count)
        monkeypatch.setattr("lesionseg.runs.worker.take_slot", lambda folder: slot)
        begin(str(tmp_path), n_jobs, devices)
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    return begin_on


def test_a_process_sees_the_gpu_of_its_slot(begun: Any) -> None:
    assert [begun(4, slot, 1) for slot in range(4)] == ["0", "1", "2", "3"]
    assert [begun(2, slot, 2) for slot in range(2)] == ["0,1", "2,3"]
    assert [begun(2, slot, "auto") for slot in range(2)] == ["0,1", "2,3"]


def test_gpus_that_were_chosen_before_are_the_ones_that_are_shared(begun: Any) -> None:
    assert [begun(2, slot, 1, "5,GPU-8f2c") for slot in range(2)] == ["5", "GPU-8f2c"]


def test_gpus_that_are_named_one_by_one_are_left_as_they_are(begun: Any) -> None:
    assert begun(2, 1, [2, 3]) is None


def test_without_a_gpu_there_is_nothing_to_share(begun: Any) -> None:
    assert begun(2, 1, 1, "") == ""


def test_minus_one_job_stands_for_every_core(begun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib, "effective_n_jobs", lambda n_jobs: 2 if n_jobs == -1 else n_jobs)
    assert begun(-1, 1, "auto") == "2,3"


@pytest.mark.parametrize(("devices", "count"), [(1, 1), ("2", 2), ("auto", None), (-1, None), ("-1", None)])
def test_the_gpus_of_a_job_are_lightnings_devices(devices: int | str, count: int | None) -> None:
    assert _gpus_per_job(devices) == count
