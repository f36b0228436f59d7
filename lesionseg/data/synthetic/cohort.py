"""A cohort on disk, as BIDS: each subject whole or not at all, made by one process or by several."""

import gzip
import json
import shutil
import signal
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import joblib
import nibabel as nib
import numpy as np
import numpy.typing as npt
from filelock import FileLock
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import threadpool_limits

from lesionseg.data.files import content_digest, write_json, written_whole
from lesionseg.data.synthetic._description import check_same, describe
from lesionseg.data.synthetic.fields import Grid
from lesionseg.data.synthetic.parameters import Pathology
from lesionseg.data.synthetic.subject import Subject, grid_of, make_subject
from lesionseg.data.synthetic.template import load_template
from lesionseg.errors import InputError

_MASKS = Path("derivatives", "lesions")


def make_cohort(
    root: Path,
    *,
    subjects: int,
    seed: int,
    pathology: Pathology,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a synthetic cohort; subjects already there are kept, so a broken-off run is simply run again.

    Subject ``i`` depends on ``seed``, ``i`` and ``pathology`` alone: a larger cohort contains the smaller one, and the
    bytes depend neither on what was there before nor on the number of workers.

    Args:
        root: BIDS folder; made if missing. Masks go to its ``derivatives/lesions``.
        subjects: how many, labelled as :func:`subject_name` says.
        seed: 0 or more.
        pathology: what they are drawn from.
        workers: processes; 1 makes them in this one.
        progress: called with (subjects done, subjects): first with those that are there already, then after each.

    Raises:
        InputError: all that :func:`cohort_faults` tells, with nothing written; or a subject cannot be made from these
            parameters.
        RuntimeError: a subject failed otherwise, and which one. The others that were done by then remain.
    """
    faults = cohort_faults(root, subjects=subjects, seed=seed, pathology=pathology, workers=workers)
    if faults:
        raise InputError(faults)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".synthetic.lock"):
        describe(root, root / _MASKS, _settings(seed, pathology))
        _clear_partial(root)
        names = {index: subject_name(pathology, index) for index in range(1, subjects + 1)}
        missing = {index: name for index, name in names.items() if not _is_there(root, name)}
        tell = progress or (lambda done, total: None)
        tell(subjects - len(missing), subjects)
        calls = [(root, name, seed, index, pathology) for index, name in missing.items()]
        try:
            with closing(_all_done(calls, min(workers, len(calls)))) as counts:
                for done in counts:
                    tell(subjects - len(missing) + done, subjects)
        finally:
            _clear_partial(root)
            _list_participants(root)


def subject_name(pathology: Pathology, index: int) -> str:
    """``sub-001`` for ``ms``; ``sub-infarct001``, ``sub-smallvessel001`` and the like for every other pathology, so
    that cohorts can be put side by side."""
    prefix = "" if pathology.name == "ms" else pathology.name.replace("_", "")
    return f"sub-{prefix}{index:03d}"


def cohort_faults(root: Path, *, subjects: int, seed: int, pathology: Pathology, workers: int) -> list[str]:
    """All that forbids :func:`make_cohort` with these arguments; nothing is written."""
    faults = []
    if subjects < 1:
        faults.append(f"subjects is {subjects}: a synthetic cohort needs at least 1")
    if seed < 0:
        faults.append(f"seed is {seed}: it must be 0 or more")
    if workers < 1:
        faults.append(f"workers is {workers}: at least 1 process must do it")
    try:
        if pathology.anatomy.labels is not None:
            load_template(pathology.anatomy)
        check_same(root, _settings(seed, pathology))
    except InputError as error:
        faults += error.faults
    return faults


def _settings(seed: int, pathology: Pathology) -> dict[str, Any]:
    """What a cohort's bytes depend on beside the generator itself."""
    settings: dict[str, Any] = {"seed": seed, "pathology": pathology.model_dump()}
    if pathology.anatomy.labels is not None:
        settings["labels"] = content_digest(Path(pathology.anatomy.labels).expanduser())
    return settings


def _is_there(root: Path, name: str) -> bool:
    return (root / name).is_dir() and (root / _MASKS / name).is_dir()


def _clear_partial(root: Path) -> None:
    """Remove what broken-off runs left: files on their way, and masks whose images never came."""
    masks = [home for home in (root / _MASKS).glob("sub-*") if not (root / home.name).is_dir()]
    for stale in [*root.glob(".partial-sub-*"), *masks]:
        shutil.rmtree(stale)


def _all_done(calls: list[tuple[Path, str, int, int, Pathology]], workers: int) -> Generator[int]:
    """Make the subjects, and count them as they are done; no process is left behind, whatever ends it."""
    if workers <= 1:
        for done, call in enumerate(calls, start=1):
            _make_and_write(*call)
            yield done
        return
    parallel = joblib.Parallel(n_jobs=workers, backend="loky", return_as="generator_unordered", batch_size=1)
    try:
        with _interrupts_held():  # the processes are started here
            subjects = parallel(joblib.delayed(_make_and_write)(*call) for call in calls)
        with _closing_silently(subjects) as finished:
            yield from (done for done, _ in enumerate(finished, start=1))
    except BrokenProcessPool as error:
        raise InputError(
            f"workers is {workers}: a process was ended from outside, most likely since the memory did not suffice; "
            "ask for fewer, what is done is kept"
        ) from error
    finally:
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


@contextmanager
def _closing_silently(finished: Generator[None]) -> Iterator[Generator[None]]:
    """joblib warns of the tasks that are given up; whoever gives them up knows."""
    try:
        yield finished
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            finished.close()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C goes to every process: those that are started meanwhile never see it, and the one that waits ends them.

    A process that it ends while it starts may take a lock with it, for which the others then wait for ever.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _make_and_write(root: Path, name: str, seed: int, index: int, pathology: Pathology) -> None:
    try:
        with threadpool_limits(1):  # their number can change a sum's last bit
            subject = make_subject(seed, index, pathology)
        _write_subject(root, name, subject, grid_of(pathology))
    except InputError as error:
        raise InputError([f"{name}: {fault}" for fault in error.faults]) from error
    except Exception as error:
        raise RuntimeError(f"{name} failed: {type(error).__name__}: {error}") from error


def _write_subject(root: Path, name: str, subject: Subject, grid: Grid) -> None:
    """Write beside, then rename: masks first, so that a subject whose images are seen has its masks."""
    staging = root / f".partial-{name}"
    for number, session in enumerate(subject.sessions, start=1):
        stem, anat = f"{name}_ses-{number}", Path(f"ses-{number}", "anat")
        for contrast, image in session.images.items():
            _write_nifti(staging / "images" / anat / f"{stem}_{contrast}.nii.gz", image, grid)
        for label, mask in session.masks.items():
            _write_nifti(staging / "masks" / anat / f"{stem}_label-{label}_mask.nii.gz", mask, grid)
    write_json(staging / "images" / f"{name}_parameters.json", subject.parameters)
    for home in (root / name, root / _MASKS / name):
        if home.exists():  # what is left of a broken subject; images go first, as they mark it whole
            shutil.rmtree(home)
    (staging / "masks").rename(root / _MASKS / name)
    (staging / "images").rename(root / name)
    staging.rmdir()


def _write_nifti(path: Path, array: npt.NDArray[Any], grid: Grid) -> None:
    affine = np.diag([*grid.spacing, 1.0])
    affine[:3, 3] = -0.5 * (np.array(grid.shape) - 1) * grid.spacing
    image = nib.Nifti1Image(array.astype(np.uint8) if array.dtype == bool else array, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))  # the same bytes each time


def _list_participants(root: Path) -> None:
    """Write ``participants.tsv`` from what every subject present says of itself."""
    rows = ["participant_id\tsite\tslice_thickness_mm\tlesions\tnew_lesions\tenhancing_lesions"]
    for path in sorted(root.glob("sub-*/sub-*_parameters.json")):
        drawn = json.loads(path.read_text(encoding="utf-8"))
        lesions = drawn["lesions"]
        new = sum(lesion["session"] > 1 for lesion in lesions)
        enhancing = sum(bool(lesion["enhancing"]) for lesion in lesions)
        row = (path.parent.name, drawn["site"], drawn["slice_mm"], len(lesions) - new, new, enhancing)
        rows.append("\t".join(str(cell) for cell in row))
    with written_whole(root / "participants.tsv") as partial:
        partial.write_text("\n".join(rows) + "\n", encoding="utf-8")
