"""Tiny studies on disk, and the command line run as a user runs it."""

import contextlib
import copy
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from lesionseg.config import conf_dir
from lesionseg.config.compose import Request, compose_one, without_hydra
from lesionseg.config.schema import TrainConfig, validate

SIDE = 32
LESION = 3  # voxels along each edge of a lesion, 1 mm each: 27 mm³
CORNERS = [(x, y, z) for x in (7, 15, 22) for y in (7, 15, 22) for z in (8, 20)]

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How hard the chaos test is."""
    parser.addoption("--kills", type=int, default=20, help="how often the chaos test kills a sweep")
    parser.addoption("--chaos-seed", type=int, default=0, help="of its moments and signals")


@dataclass(frozen=True)
class TinyCohort:
    """A BIDS folder that the tests made.

    Args:
        root: the folder.
        lesions: subject to the number of lesions in its first session.
        new_lesions: subject to the number of lesions that only its second session has.
    """

    root: Path
    lesions: dict[str, int]
    new_lesions: dict[str, int]


@dataclass(frozen=True)
class Finished:
    """What a command left behind: its exit code and what it said."""

    code: int
    out: str
    err: str


def write_nifti(path: Path, voxels: Any, affine: Any = None) -> Path:
    """A NIfTI file with 1 mm voxels unless an affine says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)
    return path


def _image(rng: np.random.Generator, corners: Sequence[tuple[int, int, int]]) -> tuple[Any, Any]:
    """A bright block as brain with brighter cubes as lesions, and their mask."""
    image = np.zeros((SIDE,) * 3)
    image[4:28, 4:28, 4:28] = rng.normal(100, 5, (24,) * 3)
    mask = np.zeros((SIDE,) * 3, np.uint8)
    for x, y, z in corners:
        mask[x : x + LESION, y : y + LESION, z : z + LESION] = 1
    image += 80 * mask
    return image.clip(0).astype(np.int16), mask


def make_tiny_cohort(root: Path, subjects: int, *, seed: int = 0, two_sessions: int = 0) -> TinyCohort:
    """Subjects 01, 02, ... with 1, 2, 3, 4, 1, ... lesions; the first ``two_sessions`` have a second session with
    one or two new lesions, and T1 before and after contrast with as many enhancing ones."""
    rng = np.random.default_rng(seed)
    lesions, new_lesions = {}, {}
    for number in range(1, subjects + 1):
        name = f"{number:02d}"
        order = [CORNERS[index] for index in rng.permutation(len(CORNERS))]
        old, new = order[: 1 + (number - 1) % 4], order[5 : 6 + number % 2]
        lesions[name] = len(old)
        for session in (1, 2) if number <= two_sessions else (1,):
            stem = Path(f"sub-{name}", f"ses-{session}", "anat", f"sub-{name}_ses-{session}")
            masks = root / "derivatives" / "lesions"
            image, mask = _image(rng, old if session == 1 else [*old, *new])
            write_nifti(root / f"{stem}_FLAIR.nii.gz", image)
            write_nifti(masks / f"{stem}_label-lesion_mask.nii.gz", mask)
            if session == 2:
                new_lesions[name] = len(new)
                image, mask = _image(rng, new)
                write_nifti(root / f"{stem}_T1w.nii.gz", _image(rng, [])[0])
                write_nifti(root / f"{stem}_ce-gadolinium_T1w.nii.gz", image)
                write_nifti(masks / f"{stem}_label-newlesion_mask.nii.gz", mask)
                write_nifti(masks / f"{stem}_label-enhancing_mask.nii.gz", mask)
    return TinyCohort(root, lesions, new_lesions)


def clean_environment() -> dict[str, str]:
    """One thread, no telemetry, no warnings about it."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MPLBACKEND": "Agg",
        "HYDRA_FULL_ERROR": "0",
    }


def lesionseg_command(*arguments: object) -> list[str]:
    """The arguments of a process that runs ``lesionseg``."""
    return [sys.executable, "-m", "lesionseg", *map(str, arguments)]


def run_lesionseg(cwd: Path, *arguments: object, timeout: float = 200) -> Finished:
    """Run ``lesionseg`` in a folder, to its end."""
    done = subprocess.run(
        lesionseg_command(*arguments),
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def run_inside(cwd: Path, *arguments: object) -> Finished:
    """Run ``lesionseg`` in a folder without the seconds that a process of its own takes to start."""
    import torch

    from lesionseg.cli import main

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    threads = torch.get_num_threads()
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([str(argument) for argument in arguments])
    except SystemExit as end:
        return Finished(int(end.code or 0), out.getvalue(), err.getvalue())
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        torch.set_num_threads(threads)
    raise AssertionError("main always exits")


@pytest.fixture(scope="session")
def inside() -> Callable[..., Finished]:
    """Runs ``lesionseg`` in a folder, in this process: ``inside(cwd, "train", "train_size=2")``."""
    return run_inside


@pytest.fixture(scope="session")
def _empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lesionseg.tracking.mlflow_store import open_store

    folder = tmp_path_factory.mktemp("store")
    open_store(f"sqlite:///{folder}/mlflow.db", "another", None, folder / ".lock")
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def with_store(_empty_store: Path) -> Callable[[Path], Path]:
    """Puts an MLflow database into a folder of outputs; copied, since MLflow takes seconds to make one."""

    def copy(outputs: Path) -> Path:
        outputs.mkdir(parents=True, exist_ok=True)
        shutil.copy(_empty_store, outputs / "mlflow.db")
        return outputs

    return copy


@pytest.fixture(scope="session")
def lesionseg() -> Callable[..., Finished]:
    """Runs ``python -m lesionseg`` in a folder: ``lesionseg(cwd, "train", "train_size=2")``."""
    return run_lesionseg


@pytest.fixture(scope="session")
def command_line() -> Callable[..., list[str]]:
    """What to start to have ``lesionseg`` in a process of its own."""
    return lesionseg_command


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """What subprocesses get."""
    return clean_environment()


@pytest.fixture(scope="session")
def make_cohort() -> Callable[..., TinyCohort]:
    """Makes a cohort of its own for a test that spoils it."""
    return make_tiny_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """Ten subjects, six of them with two sessions; for reading only."""
    return make_tiny_cohort(tmp_path_factory.mktemp("cohort"), 10, two_sessions=6)


@pytest.fixture(scope="session")
def source_cohort(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """Six other subjects, to pretrain on; for reading only."""
    return make_tiny_cohort(tmp_path_factory.mktemp("source"), 6, seed=1)


@pytest.fixture(scope="session")
def label_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head of ellipsoids, to draw synthetic brains from: the MNI template takes seconds in every process."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in (46, 56, 46)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    labels = np.zeros(radius.shape, np.int16)
    labels[radius < 0.9] = 3  # cortex
    labels[radius < 0.75] = 2  # white matter
    labels[(radius < 0.75) & (z < -0.45)] = 46  # that of the cerebellum
    labels[((np.abs(x) - 0.12) / 0.08) ** 2 + (y / 0.4) ** 2 + (z / 0.15) ** 2 < 1] = 4  # ventricles
    labels[((np.abs(x) - 0.3) / 0.08) ** 2 + (y / 0.2) ** 2 + (z / 0.15) ** 2 < 1] = 10  # thalamus
    return write_nifti(tmp_path_factory.mktemp("head") / "labels.nii.gz", labels, np.diag([3.0, 3.0, 3.0, 1.0]))


@pytest.fixture(scope="session")
def small_heads(label_map: Path) -> tuple[str, ...]:
    """Overrides by which ``lesionseg synthesize`` needs less than a second for a subject."""
    return (f"pathology.anatomy.labels={label_map}", "pathology.spacing=[4,4,4]")


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Overrides that make a run last a second: a small network, small patches, four steps, one thread."""
    return (
        "model=tiny_unet",
        "loss=dice_ce",
        "metrics.threshold=0.5",
        "metrics.threshold_criterion=null",
        "model.network.widths=[4,8]",
        "task.patch_size=[16,16,16]",
        "task.window_size=null",
        "augment=flip",
        "trainer=test",
        "trainer.threads=1",
        "trainer.precision=32-true",
        "trainer.window_overlap=0",
        "optim.warmup_steps=0",
        "optim.learning_rate=0.01",
    )


@pytest.fixture(scope="session")
def config_of() -> Callable[..., TrainConfig]:
    """A validated configuration of training: ``config_of("init=lora", "init.lora_rank=2")``.

    To compose takes a quarter of a second, so that Hydra composes the same choice of files once, and values are set on
    a copy of it."""
    composed: dict[tuple[str, ...], DictConfig] = {}

    def make(*overrides: str) -> TrainConfig:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        deletes = any(one.is_delete() for one in parsed)
        values = [one for one in parsed if not deletes and not (conf_dir() / one.key_or_group).is_dir()]
        files = tuple(str(one.input_line) for one in parsed if one not in values)
        if files not in composed:
            composed[files] = without_hydra(compose_one(Request("train", files)))
        config = copy.deepcopy(composed[files])
        for one in values:
            OmegaConf.update(config, one.key_or_group, one.value(), merge=True, force_add=one.is_add())
        validated: TrainConfig = validate("train", config)
        return validated

    return make


@pytest.fixture(scope="session")
def page_text() -> Iterator[Callable[..., str]]:
    """Gives what stands on a page once all of some texts do: ``page_text(address, "a text", "another")``, in a headless
    Chromium; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    if not program:
        pytest.skip("needs a browser: Chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 2400, "height": 1400})

        def read(address: str, *texts: str) -> str:
            page.goto(address)
            there = "texts => texts.every(text => document.body.innerText.includes(text))"
            page.wait_for_function(there, arg=list(texts), timeout=120_000)
            return str(page.inner_text("body"))

        read.page = page  # type: ignore[attr-defined]  # for where things stand, which no text tells
        yield read
        browser.close()


@pytest.fixture(scope="session")
def batches() -> Callable[..., list[list[tuple[str, str]]]]:
    """Groups rows of (override, fault) so that no two of a group touch one section: to compose takes a second."""

    def group(rows: Sequence[tuple[str, str]], depth: int = 1) -> list[list[tuple[str, str]]]:
        found: list[tuple[set[str], list[tuple[str, str]]]] = []
        for row in rows:
            place = ".".join(row[0].lstrip("+~").partition("=")[0].split(".")[:depth])
            apart = (
                one for one in found if not any(place.startswith(other) or other.startswith(place) for other in one[0])
            )
            places, batch = next(apart, (set(), []))
            if not batch:
                found.append((places, batch))
            places.add(place)
            batch.append(row)
        return [batch for _, batch in found]

    return group
