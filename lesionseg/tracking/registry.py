"""Bring a run's or a registered model's weights to this machine."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lesionseg.errors import InputError
from lesionseg.tracking.runs import fetch_artifact
from lesionseg.tracking.store import Store

OURS = "checkpoints/best.ckpt"
"""Where a run of lesionseg leaves its weights."""
ENDINGS = (".ckpt", ".pt", ".pth", ".safetensors", ".bin", ".tar")
"""Of files that may hold weights."""


@dataclass(frozen=True)
class Address:
    """Where weights are in MLflow.

    Args:
        artifacts: ``runs:/<run id>``, ``models:/<name>/<version>`` or ``models:/<name>@<alias>``.
        file: which of the files there; empty to take the one that holds weights.
    """

    artifacts: str
    file: str = ""


def is_address(text: str) -> bool:
    """Whether a checkpoint is named by where it is in MLflow."""
    return text.startswith(("runs:/", "models:/"))


def read_address(text: str) -> Address:
    """Tell the model from the file in ``models:/<name>/<version>/<file>`` and the like.

    Raises:
        InputError: it is no such address.
    """
    found = re.fullmatch(r"(runs:/[^/@]+|models:/[^/@]+(?:/\d+|@[^/]+))(?:/(.+?))?/?", text)
    if found is None:
        raise InputError(
            f"checkpoint {text}: is no address in MLflow; write runs:/<run id>, models:/<name>/<version> or "
            "models:/<name>@<alias>, each with /<file> behind it where there are several"
        )
    return Address(found.group(1), found.group(2) or "")


def fetch_weights(store: Store, text: str, folder: Path) -> Path:
    """The file of weights of a run or a registered model, brought to this machine.

    Of a run of lesionseg it is the best checkpoint; of another run, or a registered model, its one file of weights. A
    model's other files come with it, since some say what the weights are. What was fetched once is not fetched again;
    an alias is looked up every time, and the versions that it stood for are kept apart.

    Args:
        store: where runs and models are looked up.
        text: ``runs:/<run id>``, ``models:/<name>/<version>`` or ``models:/<name>@<alias>``, each with or without
            ``/<file>``.
        folder: where it is put, whole or not at all.

    Raises:
        InputError: there is no such run, model or file, or none or several files that may hold weights.
    """
    from mlflow.exceptions import MlflowException

    address = read_address(text)
    try:
        return (_of_run if address.artifacts.startswith("runs:/") else _of_model)(store, text, address, folder)
    except (MlflowException, OSError) as error:  # OSError: what it holds is gone from where it was
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"checkpoint {text}: MLflow has no such thing in {store.uri}, or cannot bring it ({first}); look it up in "
            "lesionseg ui, or give a path"
        ) from error


def _of_run(store: Store, text: str, address: Address, folder: Path) -> Path:
    run_id = address.artifacts.removeprefix("runs:/")
    target = folder / run_id
    known = address.file or OURS
    if (target / known).is_file():
        return target / known
    name = _weight_file(text, address, _run_files(store, run_id))
    found = fetch_artifact(store, run_id, name, target)
    if found is None:
        raise FileNotFoundError(f"{name} is gone")
    return found


def _run_files(store: Store, run_id: str, folder: str | None = None) -> list[str]:
    found: list[str] = []
    for entry in store.client.list_artifacts(run_id, folder):
        found += _run_files(store, run_id, entry.path) if entry.is_dir else [entry.path]
    return found


def _of_model(store: Store, text: str, address: Address, folder: Path) -> Path:
    name, _, alias = address.artifacts.removeprefix("models:/").partition("@")
    if alias:
        version = str(store.client.get_model_version_by_alias(name, alias).version)
    else:
        name, _, version = name.rpartition("/")
    target = folder / re.sub(r"[^\w.-]+", "-", f"models-{name}-{version}")
    if not target.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
            _download(store, store.client.get_model_version_download_uri(name, version), Path(partial)).replace(target)
    files = [file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()]
    return target / _weight_file(text, address, files)


def _download(store: Store, uri: str, folder: Path) -> Path:
    """A folder of artifacts from where a version says that it is.

    MLflow's own ``download_artifacts`` looks ``models:/`` and ``runs:/`` up in the store of the process, whatever store
    it is given.
    """
    from mlflow.artifacts import download_artifacts

    if uri.startswith("models:/"):
        uri = store.client.get_logged_model(uri.removeprefix("models:/")).artifact_location
    if uri.startswith("runs:/"):
        run_id, _, name = uri.removeprefix("runs:/").partition("/")
        return Path(store.client.download_artifacts(run_id, name, str(folder)))
    return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=store.uri))


def _weight_file(text: str, address: Address, files: Sequence[str]) -> str:
    """Which of the files holds the weights.

    Raises:
        InputError: none does, or several may.
    """
    files = sorted(files)
    if address.file:
        found = [file for file in files if file == address.file]
    elif OURS in files:
        found = [OURS]
    else:
        found = [file for file in files if file.endswith(ENDINGS)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"checkpoint {text}: {len(found)} files may hold its weights: {', '.join(found)}; name one of them, as "
            f"{address.artifacts}/{found[0]}"
        )
    wanted = f"{address.file} is not there" if address.file else f"none of its files ends in {', '.join(ENDINGS)}"
    listed = ", ".join(files[:12]) + (", ..." if len(files) > 12 else "")
    raise InputError(
        f"checkpoint {text}: {wanted} (found {listed or 'nothing'}); name one of its files, as "
        f"{address.artifacts}/<file>, or give another one"
    )
