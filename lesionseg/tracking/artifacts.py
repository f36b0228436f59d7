"""A run's artifacts to read: in place where they lie on this machine, fetched for a moment where they do not."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from lesionseg.tracking.runs import fetch_artifact
from lesionseg.tracking.store import Store

_UPLOADING = ".artifact.uploading."  # MLflow's own names for what it then renames


@dataclass(frozen=True)
class Artifacts:
    """The artifacts of one run.

    Attributes:
        run_id: in MLflow.
        folder: where they lie on this machine; None if they do not.
        store: to fetch them from; None where they need not be, so that other processes can be given this.
    """

    run_id: str
    folder: Path | None
    store: Store | None

    @contextmanager
    def open(self, name: str) -> Iterator[Path | None]:
        """An artifact as a file that is there inside of the ``with``; never to be written to: it may be the run's own.

        Reading in place spares MLflow's listing and copying, some 10 ms a file.

        Args:
            name: as ``cases.csv`` or ``predictions/a.nii.gz``.

        Returns:
            Its path; None if the run has no artifact of that name.
        """
        if self.folder is not None:
            yield self.folder / name if (self.folder / name).is_file() else None
            return
        assert self.store is not None, "what does not lie here is fetched"
        if "/" not in name and name not in self._names:  # asked once: each question is a request to the server
            yield None
            return
        with TemporaryDirectory() as folder:
            if "/" in name:
                yield fetch_artifact(self.store, self.run_id, name, Path(folder))
            else:
                yield Path(self.store.client.download_artifacts(self.run_id, name, folder))

    @cached_property
    def _names(self) -> frozenset[str]:
        """Of what lies in no folder."""
        from mlflow.exceptions import MlflowException

        assert self.store is not None
        try:
            return frozenset(entry.path for entry in self.store.client.list_artifacts(self.run_id))
        except MlflowException:  # there are none, or there is no such run
            return frozenset()


def artifacts_of(store: Store, run: Any) -> Artifacts:
    """The artifacts of a run.

    Args:
        store: where it is.
        run: as MLflow's entity.
    """
    folder = local_artifacts(run)
    here = folder is not None and folder.is_dir()
    return Artifacts(run.info.run_id, folder if here else None, None if here else store)


def local_artifacts(run: Any) -> Path | None:
    """The folder that a run's artifacts are said to lie in, whether it is there or not; None if that is no folder."""
    uri = str(run.info.artifact_uri)
    parts = urlparse(uri)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(uri) if not parts.scheme else None


def remove_broken_uploads(run: Any, older_than: float = 0.0) -> None:
    """Remove what a process that was killed left of an artifact which MLflow was writing on this machine.

    Args:
        run: as MLflow's entity.
        older_than: seconds since it was written to; more than 0 where another process may be writing right now.
    """
    folder = local_artifacts(run)
    if folder is None:
        return
    for left in folder.rglob(f"{_UPLOADING}*"):
        with suppress(FileNotFoundError):  # another process finished it, or removed it
            if time.time() - left.stat().st_mtime >= older_than:
                left.unlink()
