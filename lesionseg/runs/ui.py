"""MLflow's pages on this machine. The story of ``lesionseg ui``."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from types import FrameType
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import psutil

from lesionseg.config.schema import UiConfig
from lesionseg.errors import InputError
from lesionseg.runs.plan import store_of
from lesionseg.tracking import Page, Store, chart_page, find_parent, pages_root, seed_views, sweep_pages

_HOST = "127.0.0.1"
_PATIENCE = 120.0  # seconds for the server to answer; it needs about three, and machines are busy
_GRACE = 10.0  # seconds for the server to end when it is told to
_PAUSE = 0.1  # seconds between two looks


def ui(config: UiConfig) -> int:
    """Start MLflow's server on the loopback with one worker, print the links once it answers, and wait until it is
    stopped. Where the store is a server, only print the links.

    Returns:
        0 once it was stopped, 1 if it ended by itself or gave no answer.

    Raises:
        InputError: the store cannot be opened, it has no such sweep, or the port is taken.
    """
    store = store_of(config.tracking, config.paths, create=False)
    if config.sweep is not None:
        if find_parent(store, config.sweep) is None:
            raise InputError(
                f"sweep={config.sweep}: there is no run of that name in {store.uri}; lesionseg ui without sweep "
                "shows all"
            )
        seed_views(store, config.sweep)
    links = _links(store, config.sweep, pages_root(store, config.port))
    if urlsplit(store.uri).scheme in ("http", "https"):
        print(links, flush=True)
        return 0
    return _serve(store, config.port, links)


def _links(store: Store, sweep: str | None, address: str) -> str:
    """Each page by what it shows and its address."""
    if sweep is None:
        pages = [Page("all runs with charts", f"{address}/{chart_page(store.experiment_id, None)}")]
    else:
        pages = sweep_pages(store, sweep, address)
    return "\n".join(f"{page.title}\n  {page.url}" for page in pages)


def _serve(store: Store, port: int, links: str) -> int:
    """The server's whole life."""
    check_port(port)
    with _told_to_stop() as told, _server(store.uri, port) as server:
        if _answers(server, port, told):
            print(f"{links}\nCtrl-C stops it.", flush=True)
            while server.poll() is None and not told:
                time.sleep(_PAUSE)
        if told:
            return 0
        ended = server.poll()
        fate = f"gave no answer in {_PATIENCE:.0f} s" if ended is None else f"ended with exit code {ended}"
        print(f"MLflow's server {fate}; what it says is above", file=sys.stderr)
        return 1


def check_port(port: int) -> None:
    """See that a server can be started on a port of the loopback.

    Raises:
        InputError: it cannot.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just stopped is no obstacle
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            other = port + 1 if 1024 <= port < 65535 else 5001
            raise InputError(
                f"port={port}: MLflow cannot be served on {_HOST}:{port} ({os.strerror(error.errno or 0)}); if "
                f"lesionseg ui runs there already, its pages are there; else choose another one, as port={other}"
            ) from error


@contextmanager
def _server(uri: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's server in a group of processes of its own, none of which is left in the end."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", _HOST, "--port", str(port), "--workers", "1"]
    calm = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # a line for every request would push the links out of sight
    calm |= {"UVICORN_LOG_LEVEL": "warning", "PYTHONWARNINGS": "ignore"}
    server = subprocess.Popen(command, env={**os.environ, **calm}, start_new_session=True)
    try:
        yield server
    finally:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """Stop a server and what it started: kindly first, then by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        until = time.monotonic() + _GRACE
        while time.monotonic() < until:
            if server.poll() is not None and not _holds_any(server.pid):
                return
            time.sleep(_PAUSE)


def _holds_any(group: int) -> bool:
    """Whether a process of a group still runs; the dead whom nobody buries, as in some containers, do not."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # gone meanwhile
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


@contextmanager
def _told_to_stop() -> Iterator[list[int]]:
    """Ctrl-C, SIGTERM, or SIGHUP from a terminal that is closed: the list has those that came.

    The server, in a session of its own, hears of none of them. Nothing is raised, since that could happen before
    anybody knows the server's process. What was ignored, as nohup has it, stays ignored.
    """
    told: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        told.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, note)
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _answers(server: subprocess.Popen[bytes], port: int, told: Sequence[int]) -> bool:
    """Whether the server comes to answer, before it ends or is to, and in good time."""
    opener = build_opener(ProxyHandler({}))  # no proxy knows this machine's loopback
    until = time.monotonic() + _PATIENCE
    while server.poll() is None and not told and time.monotonic() < until:
        try:
            opener.open(f"http://{_HOST}:{port}/health", timeout=5).close()
        except (OSError, HTTPException):  # not yet
            time.sleep(_PAUSE)
        else:
            return True
    return False
