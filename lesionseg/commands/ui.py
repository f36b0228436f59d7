"""``lesionseg ui``: MLflow's pages on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from lesionseg.commands.plan import store_of
from lesionseg.config.schema import UiConfig
from lesionseg.errors import InputError
from lesionseg.tracking.sweep import find_parent
from lesionseg.tracking.views import chart_page, pages_root, sweep_pages

_HOST = "127.0.0.1"
_PATIENCE = 120.0  # seconds for the server to answer; it needs about three, and machines are busy
_GRACE = 10.0  # seconds for the server to end when it is told to


def ui(config: UiConfig) -> int:
    """Start MLflow's server on the loopback with one worker, print the links once it answers, and wait until it is
    stopped. Where the store is a server, only print the links.
    """
    store = store_of(config.tracking, config.paths, create=False)
    address = pages_root(store, config.port)
    if config.sweep is None:
        pages = [("all runs with charts", f"{address}/{chart_page(store.experiment_id, None)}")]
    elif find_parent(store, config.sweep) is None:
        raise InputError(
            f"sweep={config.sweep}: there is no run of that name in {store.uri}; lesionseg ui without sweep shows all"
        )
    else:
        pages = sweep_pages(store, config.sweep, address)
    links = "\n".join(f"{title}\n  {url}" for title, url in pages)
    if urlsplit(store.uri).scheme in ("http", "https"):
        print(links, flush=True)
        return 0
    check_port(config.port)
    return _serve(store.uri, config.port, links)


def check_port(port: int) -> None:
    """Raise InputError unless a server can be started on a port of the loopback."""
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


def _serve(uri: str, port: int, links: str) -> int:
    """Run the server in a session of its own until Ctrl-C, SIGTERM or SIGHUP; none of its processes is left behind."""
    told: list[int] = []

    def note(number: int, frame: Any) -> None:
        told.append(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # what nohup has ignored stays ignored
            signal.signal(number, note)
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", _HOST, "--port", str(port), "--workers", "1"]
    calm = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # a line for every request would push the links out of sight
    calm |= {"UVICORN_LOG_LEVEL": "warning", "PYTHONWARNINGS": "ignore"}
    server = subprocess.Popen(command, env={**os.environ, **calm}, start_new_session=True)
    try:
        until = time.monotonic() + _PATIENCE
        while server.poll() is None and not told and time.monotonic() < until and not _answers(port):
            time.sleep(0.1)
        if server.poll() is None and not told and _answers(port):
            print(f"{links}\nCtrl-C stops it.", flush=True)
            while server.poll() is None and not told:
                time.sleep(0.1)
    finally:
        ended = server.poll()
        for number, grace in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, 1.0)):
            try:
                os.killpg(server.pid, number)
                server.wait(grace)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        return 0
    what = f"gave no answer in {_PATIENCE:.0f} s" if ended is None else f"ended with exit code {ended}"
    print(f"MLflow's server {what}; what it says is above", file=sys.stderr)
    return 1


def _answers(port: int) -> bool:
    opener = build_opener(ProxyHandler({}))  # no proxy knows this machine's loopback
    try:
        opener.open(f"http://{_HOST}:{port}/health", timeout=5).close()
    except (OSError, HTTPException):  # not yet
        return False
    return True
