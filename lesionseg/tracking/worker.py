"""Which process works on something, and whether it still does."""

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Worker:
    """A process.

    Args:
        host: the computer's name, for people.
        machine: what process numbers belong to: the boot of a computer, and the container within it.
        process: its number.
        started: seconds after the computer's boot, which nobody changes who sets its clock; numbers are given again.
    """

    host: str
    machine: str
    process: int
    started: float

    def is_gone(self) -> bool:
        """Whether it has ended for certain. Of another machine's process nothing is certain: False."""
        if self.machine != _machine():
            return False
        try:
            process = psutil.Process(self.process)
            return abs(_start(process) - self.started) > 1 or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"host": self.host, "machine": self.machine, "process": self.process, "started": self.started}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Worker":
        """From `to_json`; other keys are left alone."""
        return cls(content["host"], content["machine"], content["process"], content["started"])

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def this_worker() -> Worker:
    """The process that asks."""
    return Worker(socket.gethostname(), _machine(), os.getpid(), _start(psutil.Process()))


def _start(process: psutil.Process) -> float:
    boot = psutil.boot_time()
    return round(process.create_time() - boot, 2)  # that of the kernel's own clock


@cache
def _machine() -> str:
    parts = [socket.gethostname()]
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.exists():
        parts.append(boot.read_text(encoding="ascii").strip())
    namespace = Path("/proc/self/ns/pid")
    if namespace.is_symlink():
        parts.append(os.readlink(namespace))
    return " ".join(parts)
