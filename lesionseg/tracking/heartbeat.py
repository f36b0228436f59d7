"""What a run that is being worked on tells of itself in MLflow: by whom, and how far it is."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lesionseg.tracking.tags import HEARTBEAT_TAG
from lesionseg.tracking.worker import Worker


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life.

    Args:
        worker: who works there.
        heard: when it was sent, seconds since 1970 by the worker's clock.
        expires: seconds after which it means nothing any more.
        progress: ``phase``, ``step``, ``steps``, ``seconds`` and ``seconds_left``, as far as they are known.
    """

    worker: Worker
    heard: float
    expires: float
    progress: Mapping[str, Any]

    def is_fresh(self) -> bool:
        """Whether the worker is to be thought alive."""
        return abs(time.time() - self.heard) <= self.expires and not self.worker.is_gone()

    def to_text(self) -> str:
        """As the value of a tag."""
        content = {**self.worker.to_json(), "heard": self.heard, "expires": self.expires, "progress": self.progress}
        return json.dumps(content)


def heartbeat_of(run: Any) -> Heartbeat | None:
    """The last heartbeat of a run, MLflow's entity; None: it never had one."""
    text = run.data.tags.get(HEARTBEAT_TAG)
    if text is None:
        return None
    content = json.loads(text)
    return Heartbeat(Worker.from_json(content), content["heard"], content["expires"], content["progress"])


def is_worked_on(run: Any) -> bool:
    """Whether a run, MLflow's entity, is RUNNING and somebody was heard of there lately."""
    beat = heartbeat_of(run)
    return run.info.status == "RUNNING" and beat is not None and beat.is_fresh()
