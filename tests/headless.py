"""A real Chromium without a window, told what to do over a pipe in the language of its developer tools."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",  # which root, as in a container, cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
# Chromium takes its pipe at the numbers 3 and 4
_LAUNCHER = (
    "import fcntl, os, sys\n"
    "ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]\n"
    "[os.dup2(end, number) for end, number in zip(ends, (3, 4))]\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)


@dataclass(frozen=True)
class Seen:
    """A page as a reader has it.

    Args:
        text: all that stands on it.
        picture: as PNG.
    """

    text: str
    picture: bytes


def find_chromium() -> str | None:
    """Where it is on this machine; None: nowhere."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """A browser that lives as long as the ``with`` block."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (its_end, self._write), (self._read, its_other) = os.pipe(), os.pipe()
        command = [program, *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, str(its_end), str(its_other), *command],
            pass_fds=(its_end, its_other),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_end)
        os.close(its_other)
        self._asked = 0
        self._unread = b""

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        os.close(self._write)  # at which it ends by itself
        os.close(self._read)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    def open(
        self,
        place: str | Path,
        *texts: str,
        limit: float = 90,
        width: int = 1600,
        height: int = 1000,
        keep: Path | None = None,
    ) -> Seen:
        """What a page shows once some texts stand on it.

        Args:
            place: an address, or a file.
            texts: to wait for.
            limit: seconds to wait.
            width: of the window.
            height: of the window.
            keep: a file for the picture, for whoever wants to look at it.

        Raises:
            AssertionError: one of the texts does not come.
        """
        url = place.resolve().as_uri() if isinstance(place, Path) else place
        target = self._ask("Target.createTarget", {"url": url})["targetId"]
        session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", size, session)
        until = time.monotonic() + limit
        while True:
            found = self._ask("Runtime.evaluate", {"expression": "document.body?.innerText ?? ''"}, session)
            text = str(found["result"].get("value", ""))
            missing = [wanted for wanted in texts if wanted not in text]
            if not missing or time.monotonic() > until:
                break
            time.sleep(0.1)
        assert not missing, f"{url}: has no {missing} after {limit:g} s, but\n{text}"
        picture = base64.b64decode(self._ask("Page.captureScreenshot", {"format": "png"}, session)["data"])
        self._ask("Target.closeTarget", {"targetId": target})
        if keep is not None:
            keep.write_bytes(picture)
        return Seen(text, picture)

    def _ask(
        self, method: str, params: dict[str, Any], session: str | None = None, limit: float = 60
    ) -> dict[str, Any]:
        self._asked += 1
        question = {
            "id": self._asked,
            "method": method,
            "params": params,
            **({"sessionId": session} if session else {}),
        }
        os.write(self._write, json.dumps(question).encode() + b"\0")
        until = time.monotonic() + limit
        while True:
            answer = json.loads(self._message(method, until))
            if answer.get("id") == self._asked:  # all else are events
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def _message(self, method: str, until: float) -> bytes:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._read], [], [], max(0, until - time.monotonic()))
            assert ready, f"Chromium gives no answer to {method}"
            more = os.read(self._read, 1 << 20)
            assert more, f"Chromium ended at {method}"
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        return message
