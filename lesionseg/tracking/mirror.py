"""Send to MLflow what it lacks of a run directory: while the run is trained, at its end, and in ``lesionseg sync``."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any

from lesionseg.io import content_digest
from lesionseg.tracking.artifacts import artifacts_of, remove_broken_uploads
from lesionseg.tracking.mlflow_store import (
    HASH_TAG,
    PROGRESS_TAG,
    Run,
    Status,
    Store,
    fault_of,
    runs_of,
    start_monitor,
    start_run,
)
from lesionseg.tracking.run_dir import IMAGE, RunDir
from lesionseg.tracking.sweep import sweep_parent

_log = logging.getLogger(__name__)
_TICK = 1.0  # seconds between two looks at the directory
_PAUSES = (2.0, 60.0)  # seconds until the next try after a failure: at first, and at most


def mirror(run_dir: RunDir, store: Store) -> None:
    """Send what MLflow lacks. Every step may be repeated: what is there already stays as it is.

    Metrics are known by name and step, files by their digest. A run that was made and left before its id was noted is
    found again by its identity.
    """
    status, sent = run_dir.read(), run_dir.sent()
    if not status:
        return
    if sent["run_id"] is None:
        sent |= {"run_id": _find_or_start(store, status), "rows": 0, "files": {}, "tags": {}, "status": None}
        run_dir.note_sent(sent)
    run = Run(store, sent["run_id"])
    if sent["status"] is None:
        run.log_params(status["params"])
        run.log_dataset(**status["dataset"])
    if status["status"] == "RUNNING" and sent["status"] != "RUNNING":
        run.set_status("RUNNING")
        sent["status"] = "RUNNING"
    for key, value in {**status["tags"], PROGRESS_TAG: progress_text(status)}.items():
        if sent["tags"].get(key) != value:
            run.set_tag(key, value)
            sent["tags"][key] = value
    rows = run_dir.metrics(sent["rows"])
    if rows:
        run.log_metrics(rows)
        sent["rows"] += len(rows)
        run_dir.note_sent(sent)
    for path, folder in status.get("files", {}).items():
        file = run_dir.path / path
        if not file.resolve().is_relative_to(run_dir.path.resolve()):
            _log.warning("%s: %s lies elsewhere and is not sent", run_dir.path, path)
        elif file.is_file():
            is_image = str(folder).startswith(IMAGE)
            if sent["files"].get(path) != (digest := content_digest(file)):
                if is_image:
                    key, _, step = str(folder).removeprefix(IMAGE).rpartition(":")
                    run.log_image(file, key, int(step))
                else:
                    run.log_file(file, folder)
                sent["files"][path] = digest
                run_dir.note_sent(sent)
            if is_image:  # MLflow has it under another name, also where a run that went on has drawn it again
                file.unlink()
    for path in [path for path in sent["files"] if path not in status.get("files", {})]:  # of a try that failed
        folder = artifacts_of(store, store.client.get_run(run.run_id)).folder
        if folder is not None:
            (folder / path).unlink(missing_ok=True)
        del sent["files"][path]
    if status["status"] != sent["status"]:
        remove_broken_uploads(store.client.get_run(run.run_id))
        run.set_status(status["status"], status.get("ended"))
        sent["status"] = status["status"]
    run_dir.note_sent(sent)


def is_mirrored(run_dir: RunDir) -> bool:
    """Whether MLflow was sent everything."""
    status, sent = run_dir.read(), run_dir.sent()
    files = {path for path in status.get("files", {}) if (run_dir.path / path).is_file()}
    return bool(
        not status
        or (
            sent["status"] == status["status"]
            and not run_dir.metrics(sent["rows"])
            and files <= {*sent["files"]}
            and status["tags"].items() <= sent["tags"].items()
        )
    )


def progress_text(status: dict[str, Any]) -> str:
    """Return how far a run is: ``training, step 120, 0:03:20 left``."""
    progress = status.get("progress") or {}
    said = [progress.get("phase", ""), f"step {progress['step']}" if "step" in progress else ""]
    if "seconds_left" in progress:
        said.append(f"{timedelta(seconds=round(progress['seconds_left']))} left")
    return ", ".join(part for part in said if part)


def _find_or_start(store: Store, status: dict[str, Any]) -> str:
    left = [run for run in runs_of(store, status["tags"][HASH_TAG], status["sweep"]) if run.info.status != "FINISHED"]
    if left:
        return str(left[-1].info.run_id)
    parent = sweep_parent(store, status["sweep"]) if status["sweep"] else None
    return start_run(store, status["name"], status["tags"], parent).run_id


class Uploader:
    """A thread that mirrors a run directory while the run is trained; training never waits for it."""

    def __init__(
        self, run_dir: RunDir, connect: Callable[[], Store], say: Callable[[str], None], *, system_metrics: bool = False
    ) -> None:
        self._system_metrics = system_metrics
        self._monitor: Any = None
        self._run_dir = run_dir
        self._connect = connect
        self._say = say
        self._store: Store | None = None
        self._fault: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lesionseg upload", daemon=True)

    def __enter__(self) -> "Uploader":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def end(self, status: Status, patience: float, error: str = "") -> bool:
        """Note how the run ended and send the rest, trying for so many seconds; whether everything was sent."""
        self._stop.set()
        self._thread.join()
        if self._monitor is not None:
            self._monitor.finish()
        with suppress(OSError):  # a full disk; MLflow may be on another one
            self._run_dir.end(status, error)
        until, pause = time.monotonic() + patience, _PAUSES[0]
        while not self._try():
            if time.monotonic() + pause > until:
                return False
            time.sleep(pause)
        return True

    def _work(self) -> None:
        pause = _TICK
        while not self._stop.wait(pause):
            pause = _TICK if self._try() else min(max(2 * pause, _PAUSES[0]), _PAUSES[1])
            if self._system_metrics and self._monitor is None and self._store is not None:
                self._monitor = start_monitor(self._store, self._run_dir.sent()["run_id"])

    def _try(self) -> bool:
        """Mirror once; say when MLflow goes away and when it is back."""

        def send() -> None:
            if self._store is None:
                self._store = self._connect()
            mirror(self._run_dir, self._store)

        fault = fault_of(send)
        if fault is not None and self._fault is None:
            self._say(f"MLflow does not take what is logged; the work goes on, and it is kept: {fault}")
        if fault is None and self._fault is not None:
            self._say("MLflow is back, and has everything that was kept for it")
        self._fault = fault
        return fault is None
