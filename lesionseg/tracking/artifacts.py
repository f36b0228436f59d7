"""A run's artifacts to read, and weights of runs and registered models: in place where they lie on this machine,
downloaded where they do not."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lesionseg.errors import InputError
from lesionseg.tracking.mlflow_store import Store, local_folder

CHECKPOINT = "checkpoints/best.ckpt"
"""Where a run of lesionseg leaves its weights."""
WEIGHT_ENDINGS = (".ckpt", ".pt", ".pth", ".safetensors", ".bin", ".tar")
_UPLOADING = ".artifact.uploading."  # MLflow's own names for what it then renames


@dataclass(frozen=True)
class Artifacts:
    """The artifacts of one run."""

    run_id: str  # in MLflow
    folder: Path | None  # where they lie on this machine; None if they do not
    store: Store | None  # to download them from; None where they need not be, so that other processes can be given this

    @contextmanager
    def open(self, name: str) -> Iterator[Path | None]:
        """Give an artifact as a file or folder that is there inside of the ``with``, to be read only; None if the run
        has no artifact of that name."""
        from mlflow.exceptions import MlflowException

        if self.folder is not None:
            yield self.folder / name if (self.folder / name).exists() else None
            return
        assert self.store is not None, "what does not lie here is downloaded"
        with TemporaryDirectory() as folder:
            found = None
            with suppress(MlflowException, OSError):
                found = Path(self.store.client.download_artifacts(self.run_id, name, folder))
            yield found


def artifacts_of(store: Store, run: Any) -> Artifacts:
    """Return the artifacts of a run, given as MLflow's entity."""
    folder = local_folder(run)
    if folder is not None and store.uri.startswith("sqlite:///"):
        # moved or copied together with the database, which this process may not write to
        beside = Path(store.uri.removeprefix("sqlite:///")).parent.joinpath(*folder.parts[-3:])
        folder = beside if beside.is_dir() else folder
    here = folder is not None and folder.is_dir()
    return Artifacts(run.info.run_id, folder if here else None, None if here else store)


def remove_broken_uploads(run: Any, older_than: float = 0.0) -> None:
    """Remove what a process that was killed left of an artifact which MLflow was writing on this machine."""
    folder = local_folder(run)
    for left in folder.rglob(f"{_UPLOADING}*") if folder is not None else ():
        with suppress(FileNotFoundError):  # another process finished it, or removed it
            if time.time() - left.stat().st_mtime >= older_than:
                left.unlink()


def is_address(text: str) -> bool:
    """Whether a checkpoint is named by where it is in MLflow."""
    return text.startswith(("runs:/", "models:/"))


def fetch_weights(store: Store, text: str, folder: Path) -> Path:
    """Bring the file of weights of a run or a registered model to this machine.

    Of a run of lesionseg it is the best checkpoint; of another run, or a registered model, its one file of weights. A
    model's other files come with it, since some say what the weights are. What was downloaded once is not downloaded
    again; an alias is looked up every time, and the versions that it stood for are kept apart.
    """
    from mlflow.exceptions import MlflowException

    found = re.fullmatch(r"(runs|models):/([^/@]+)(?:/(\d+)|@([^/]+)|)(?:/(.+?))?/?", text)
    if found is None or (found[1] == "models" and not (found[3] or found[4])):
        raise InputError(
            f"checkpoint {text}: is no address in MLflow; write runs:/<run id>, models:/<name>/<version> or "
            "models:/<name>@<alias>, each with /<file> behind it where there are several"
        )
    kind, name, version, alias, file = found[1], found[2], found[3], found[4], found[5] or ""
    try:
        if kind == "runs":
            if version:  # a file whose name is a number
                file = f"{version}/{file}".rstrip("/")
            return _of_run(store, text, name, file, folder)
        number = version or str(store.client.get_model_version_by_alias(name, alias).version)
        return _of_model(store, text, name, number, file, folder)
    except (MlflowException, OSError) as error:  # OSError: what it holds is gone from where it was
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"checkpoint {text}: MLflow has no such thing in {store.uri}, or cannot bring it ({first}); look it up in "
            "lesionseg ui, or give a path"
        ) from error


def _of_run(store: Store, text: str, run_id: str, file: str, folder: Path) -> Path:
    target = folder / run_id
    if (target / (file or CHECKPOINT)).is_file():
        return target / (file or CHECKPOINT)
    name = _weight_file(text, file, _run_files(store, run_id))
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
        downloaded = Path(store.client.download_artifacts(run_id, name, partial))
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        return downloaded.replace(target / name)


def _run_files(store: Store, run_id: str, folder: str | None = None) -> list[str]:
    found: list[str] = []
    for entry in store.client.list_artifacts(run_id, folder):
        found += _run_files(store, run_id, entry.path) if entry.is_dir else [entry.path]
    return found


def _of_model(store: Store, text: str, name: str, version: str, file: str, folder: Path) -> Path:
    target = folder / re.sub(r"[^\w.-]+", "-", f"models-{name}-{version}")
    if not target.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
            uri = store.client.get_model_version_download_uri(name, version)
            _download(store, uri, Path(partial)).replace(target)
    files = [one.relative_to(target).as_posix() for one in target.rglob("*") if one.is_file()]
    return target / _weight_file(text, file, files)


def _download(store: Store, uri: str, folder: Path) -> Path:
    """Download a folder of artifacts. MLflow's own ``download_artifacts`` looks ``models:/`` and ``runs:/`` up in the
    store of the process, whatever store it is given."""
    from mlflow.artifacts import download_artifacts

    if uri.startswith("models:/"):
        uri = store.client.get_logged_model(uri.removeprefix("models:/")).artifact_location
    if uri.startswith("runs:/"):
        run_id, _, name = uri.removeprefix("runs:/").partition("/")
        return Path(store.client.download_artifacts(run_id, name, str(folder)))
    return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=store.uri))


def _weight_file(text: str, wanted: str, files: Sequence[str]) -> str:
    """Return which of the files holds the weights; raise InputError if none does, or several may."""
    if wanted:
        found = [file for file in files if file == wanted]
    elif CHECKPOINT in files:
        found = [CHECKPOINT]
    else:
        found = sorted(file for file in files if file.endswith(WEIGHT_ENDINGS))
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"checkpoint {text}: {len(found)} files may hold its weights: {', '.join(found)}; name one of them, as "
            f"{text.rstrip('/')}/{found[0]}"
        )
    missing = f"{wanted} is not there" if wanted else f"none of its files ends in {', '.join(WEIGHT_ENDINGS)}"
    listed = ", ".join(sorted(files)[:12]) + (", ..." if len(files) > 12 else "")
    raise InputError(
        f"checkpoint {text}: {missing} (found {listed or 'nothing'}); name one of its files, as "
        f"{text if not wanted else text.removesuffix(wanted).rstrip('/')}/<file>, or give another one"
    )
