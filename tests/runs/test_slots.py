"""Slots are taken by real processes, and given back by their end."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lesionseg.runs.slots import take_slot

HOLDER = """
import sys
from pathlib import Path
from lesionseg.runs.slots import take_slot
print(take_slot(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Another process and the slot that it holds for as long as the block lasts."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process
        finally:
            process.kill()


def test_every_process_has_a_slot_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    assert take_slot(tmp_path) == 0
    with holder(tmp_path) as (second, _), holder(tmp_path) as (third, _):
        assert [second, third] == [1, 2]
        assert take_slot(tmp_path) == 0


def test_a_slot_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    with holder(tmp_path) as (first, process), holder(tmp_path) as (second, _):
        assert [first, second] == [0, 1]
        process.kill()
        process.wait()
        assert take_slot(tmp_path) == 0


def test_another_folder_has_slots_of_its_own(tmp_path: Path) -> None:
    with holder(tmp_path / "one") as (first, _), holder(tmp_path / "two") as (second, _):
        assert [first, second] == [0, 0]


def test_a_forked_child_does_not_have_its_parents_slot(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from lesionseg.runs.slots import take_slot\n"
        "folder = Path(sys.argv[1])\n"
        "own = take_slot(folder)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    sys.exit(take_slot(folder))\n"
        "taken = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "print(own, taken, take_slot(folder))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1", "0"]
    with holder(tmp_path) as (after, _):
        assert after == 0, "with its end the process has given the slot back"
