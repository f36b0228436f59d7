"""What was written down stays, whole, whatever happens to the process or the disk."""

import json
import math
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lesionseg.tracking import DELIVERED, JOURNAL, Journal


def _begin(journal: Journal) -> None:
    journal.begin("scratch-n2-r0", {"train_size": 2, "rates": [0.1, 0.2]}, {"lesionseg.sweep": "s"}, "s")


def _entries(folder: Path) -> list[dict[str, Any]]:
    """What somebody reads who comes anew; without the time."""
    return [{key: entry[key] for key in entry if key != "time"} for _, entry in Journal(folder).pending()]


@contextmanager
def _full_disk(folder: Path, room: int) -> Iterator[None]:
    """No file of this process may become longer than the journal is now, and so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / JOURNAL).stat().st_size + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_new_folder_has_nothing_to_say(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    assert not journal.exists
    assert (journal.run_id, journal.ended, journal.begins(), journal.pending()) == (None, None, None, [])
    assert journal.is_delivered()
    assert not (tmp_path / "run").exists(), "looking makes no folder"


def test_every_kind_of_entry_survives_in_its_order(tmp_path: Path) -> None:
    journal, before = Journal(tmp_path), int(time.time() * 1000)
    _begin(journal)
    journal.log_metrics({"train/loss": 0.5}, 1)
    journal.log_file(tmp_path / "predictions" / "a.nii.gz", "predictions")
    journal.log_file(tmp_path / "config.yaml")
    journal.log_dataset("bids", "0123", "/scans", "training")
    journal.set_tag("key", "a value\nof two lines, and µ")
    journal.end("FINISHED")
    assert _entries(tmp_path) == [
        {
            "kind": "begin",
            "name": "scratch-n2-r0",
            "params": {"train_size": "2", "rates": "[0.1, 0.2]"},
            "tags": {"lesionseg.sweep": "s"},
            "sweep": "s",
        },
        {"kind": "status", "status": "RUNNING"},
        {"kind": "metrics", "step": 1, "values": {"train/loss": 0.5}},
        {"kind": "file", "path": "predictions/a.nii.gz", "folder": "predictions"},
        {"kind": "file", "path": "config.yaml", "folder": None},
        {"kind": "dataset", "name": "bids", "digest": "0123", "source": "/scans", "context": "training"},
        {"kind": "tag", "key": "key", "value": "a value\nof two lines, and µ"},
        {"kind": "status", "status": "FINISHED"},
    ]
    again = Journal(tmp_path)
    assert again.exists
    begins = again.begins()
    assert begins is not None
    assert (begins["name"], begins["sweep"]) == ("scratch-n2-r0", "s")
    timed = [entry["time"] for _, entry in again.pending() if "time" in entry]
    assert len(timed) == 2
    assert before <= timed[0] <= timed[1] <= time.time() * 1000, "milliseconds since 1970"


def test_the_last_beginning_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for name in ("first", "second"):
        journal.begin(name, {}, {}, None)
    begins = journal.begins()
    assert begins is not None
    assert begins["name"] == "second"


def test_a_file_elsewhere_is_no_artifact_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not in the subpath"):
        Journal(tmp_path / "run").log_file(tmp_path / "other" / "file")


def test_a_metric_is_written_once_for_each_step_also_by_whoever_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log_metrics({"train/loss": 0.5}, 1)
    journal.log_metrics({"train/loss": 0.25, "val/dice": 0.1}, 1)
    again = Journal(tmp_path)
    again.log_metrics({"train/loss": 0.125, "val/dice": 0.2}, 1)
    again.log_metrics({"train/loss": 0.125}, 2)
    assert [(entry["step"], entry["values"]) for entry in _entries(tmp_path)] == [
        (1, {"train/loss": 0.5}),
        (1, {"val/dice": 0.1}),
        (2, {"train/loss": 0.125}),
    ]


def test_what_mlflow_has_already_is_not_written_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.remember({("train/loss", 1), ("val/dice", 2)})
    journal.log_metrics({"train/loss": 0.5, "val/dice": 0.5}, 1)
    journal.log_metrics({"train/loss": 0.5, "val/dice": 0.5}, 2)
    assert [(entry["step"], entry["values"]) for entry in _entries(tmp_path)] == [
        (1, {"val/dice": 0.5}),
        (2, {"train/loss": 0.5}),
    ]


def test_nan_is_left_out_and_may_come_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log_metrics({"val/dice": math.nan, "val/lesion_f1": 0.5}, 1)
    journal.log_metrics({"val/dice": math.nan}, 1)
    journal.log_metrics({"val/dice": 0.75}, 1)
    assert [entry["values"] for entry in _entries(tmp_path)] == [{"val/lesion_f1": 0.5}, {"val/dice": 0.75}]


def test_whatever_is_left_of_a_line_in_which_a_process_was_killed_is_cut(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log_metrics({"train/loss": 0.5}, 1)
    first = len((tmp_path / JOURNAL).read_bytes())
    journal.log_metrics({"train/loss": 0.25}, 2)
    content = (tmp_path / JOURNAL).read_bytes()
    for end in range(len(content) + 1):
        (tmp_path / JOURNAL).write_bytes(content[:end])
        whole = 2 if end == len(content) else 1 if end >= first else 0
        again = Journal(tmp_path)
        assert [entry["step"] for _, entry in again.pending()] == [1, 2][:whole]
        again.log_metrics({"train/loss": 0.25}, 2)
        again.log_metrics({"train/loss": 0.125}, 3)
        assert [entry["step"] for entry in _entries(tmp_path)] == [*[1][:whole], 2, 3], f"killed after {end} bytes"


def test_a_line_that_is_being_written_is_not_read_yet_and_left_alone(tmp_path: Path) -> None:
    """Whoever merely looks, as ``lesionseg sync`` does, may do so beside the process that writes."""
    journal = Journal(tmp_path)
    journal.log_metrics({"train/loss": 0.5}, 1)
    with (tmp_path / JOURNAL).open("ab") as stream:
        stream.write(b'{"kind": "metr')
    before = (tmp_path / JOURNAL).read_bytes()
    for one in (journal, Journal(tmp_path)):
        assert len(one.pending()) == 1
        assert not one.is_delivered()
    journal.mark_delivered(journal.pending()[0][0])
    for one in (journal, Journal(tmp_path)):
        assert one.is_delivered(), "what is left of a line is nothing that could be delivered"
    assert (tmp_path / JOURNAL).read_bytes() == before


@pytest.mark.parametrize("room", [0, 1, 40])
def test_a_disk_that_is_full_in_the_middle_of_a_line_leaves_the_lines_before(tmp_path: Path, room: int) -> None:
    journal = Journal(tmp_path)
    journal.log_metrics({"train/loss": 0.5}, 1)
    before = (tmp_path / JOURNAL).read_bytes()
    with _full_disk(tmp_path, room), pytest.raises(OSError, match="too large"):
        journal.log_metrics({"train/loss": 0.25, "a metric with quite a long name": 0.5}, 2)
    assert (tmp_path / JOURNAL).read_bytes() == before
    journal.log_metrics({"train/loss": 0.25}, 2)
    assert [entry["step"] for entry in _entries(tmp_path)] == [1, 2], "what was not written may be written again"


def test_a_run_has_ended_until_it_begins_again(tmp_path: Path) -> None:
    journal, found = Journal(tmp_path), []
    _begin(journal)
    found.append(journal.ended)
    journal.end("KILLED")
    found.append(journal.ended)
    _begin(journal)
    found.append(Journal(tmp_path).ended)
    journal.end("FINISHED")
    found.append(Journal(tmp_path).ended)
    assert found == [None, "KILLED", None, "FINISHED"]


def test_what_is_delivered_does_not_wait_any_more_also_for_whoever_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in (1, 2, 3):
        journal.log_metrics({"train/loss": 0.5}, step)
    places = [place for place, _ in journal.pending()]
    assert places[-1] == (tmp_path / JOURNAL).stat().st_size
    journal.mark_delivered(places[1])
    for one in (journal, Journal(tmp_path)):
        assert [entry["step"] for _, entry in one.pending()] == [3]
        assert not one.is_delivered()
    journal.mark_delivered(places[2])
    for one in (journal, Journal(tmp_path)):
        assert one.pending() == []
        assert one.is_delivered()
    journal.log_metrics({"train/loss": 0.5}, 4)
    assert not journal.is_delivered()


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_lines_that_a_power_failure_took_after_they_had_arrived_hold_up_none_that_come(
    tmp_path: Path, kept: int
) -> None:
    journal = Journal(tmp_path)
    for step in (1, 2, 3):
        journal.log_metrics({"train/loss": 0.5}, step)
    places = [0, *(place for place, _ in journal.pending())]
    journal.mark_delivered(places[3])
    torn = 7 if kept else 0
    (tmp_path / JOURNAL).write_bytes((tmp_path / JOURNAL).read_bytes()[: places[kept] + torn])
    again = Journal(tmp_path)
    assert again.is_delivered()
    again.log_metrics({"val/dice": 0.25}, 4)
    assert [entry["step"] for _, entry in again.pending()] == [4]
    assert not again.is_delivered()


def test_the_run_in_mlflow_and_the_place_are_noted_side_by_side(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.set_tag("a", "b")
    journal.assign("run-1")
    journal.mark_delivered(3)
    assert json.loads((tmp_path / DELIVERED).read_text()) == {"run_id": "run-1", "offset": 3}
    assert Journal(tmp_path).run_id == "run-1"
    written = (tmp_path / DELIVERED).stat().st_mtime_ns
    journal.assign("run-1")
    assert (tmp_path / DELIVERED).stat().st_mtime_ns == written
    journal.assign("run-2")
    assert (journal.run_id, Journal(tmp_path).run_id) == ("run-2", "run-2")


def test_what_is_forgotten_is_as_if_it_had_never_been(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    _begin(journal)
    journal.log_metrics({"train/loss": 0.5}, 1)
    journal.assign("run-1")
    journal.mark_delivered(journal.pending()[-1][0])
    journal.clear()
    for one in (journal, Journal(tmp_path)):
        assert not one.exists
        assert (one.run_id, one.ended, one.pending()) == (None, None, [])
    journal.log_metrics({"train/loss": 0.75}, 1)
    assert [entry["values"] for entry in _entries(tmp_path)] == [{"train/loss": 0.75}]
