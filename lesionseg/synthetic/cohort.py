"""A synthetic cohort: each subject made from a seed and a number, and written as a BIDS dataset."""

import gzip
import json
import shutil
import signal
import warnings
import zlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import nibabel as nib
import numpy as np
import numpy.typing as npt
from filelock import FileLock
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import threadpool_limits

from lesionseg.errors import InputError
from lesionseg.io import content_digest, write_json, written_whole
from lesionseg.synthetic.acquisition import acquire, draw_scan, draw_tissues, healthy_signal
from lesionseg.synthetic.anatomy import Grid, Mask, Volume, draw_anatomy, load_template, make_anatomy, smooth_field
from lesionseg.synthetic.config import ENHANCED, Pathology
from lesionseg.synthetic.lesions import (
    PlacedLesion,
    draw_lesions,
    enhancing_mask,
    lesion_mask,
    lesion_signal,
    place_lesions,
)
from lesionseg.synthetic.mimics import draw_mimics, flow, mimic_signals

VERSION = "3"  # raise it whenever the same seed gives other bytes
_STREAMS = ("site", "anatomy", "tissues", "lesions", "mimics", "texture", "sessions")
_NAME = "lesionseg synthetic cohort"
_FILE = "dataset_description.json"
_MASKS = Path("derivatives", "lesions")


@dataclass(frozen=True)
class Session:
    """One session's scans by contrast and masks by label (``lesion``, ``newlesion``, ``enhancing``)."""

    images: dict[str, npt.NDArray[np.int16]]
    masks: dict[str, Mask]


@dataclass(frozen=True)
class Subject:
    """All sessions in order, and ``parameters``: what was drawn and from what, ready for JSON."""

    sessions: tuple[Session, ...]
    parameters: dict[str, Any]


def grid_of(pathology: Pathology) -> Grid:
    """Return the voxels of every scan of a cohort."""
    i, j, k = (round(extent / step) for extent, step in zip(pathology.field_of_view_mm, pathology.spacing, strict=True))
    x, y, z = pathology.spacing
    return Grid((i, j, k), (x, y, z))


def make_subject(seed: int, index: int, pathology: Pathology) -> Subject:
    """Make subject number ``index`` (from 1) of a cohort; the same arguments give the same subject.

    What is drawn comes from separate streams, so that another choice of contrasts leaves a subject's brain and lesions
    as they are, and another number of sessions the brain.
    """
    root = np.random.default_rng([seed, index, zlib.crc32(pathology.name.encode())])
    streams = dict(zip(_STREAMS, root.spawn(len(_STREAMS)), strict=True))
    grid, template = grid_of(pathology), load_template(pathology.anatomy)
    site = pathology.sites[int(streams["site"].integers(len(pathology.sites)))]
    brain = draw_anatomy(streams["anatomy"], grid, template, pathology.anatomy)
    anatomy = make_anatomy(streams["anatomy"], grid, template, pathology.anatomy, brain)
    tissues = draw_tissues(streams["tissues"], pathology.signals)
    lesions = draw_lesions(streams["lesions"], pathology.lesions, pathology.sessions)
    placed = place_lesions(streams["lesions"], grid, anatomy, pathology.lesions, lesions)
    mimics = draw_mimics(streams["mimics"], pathology.mimics)
    shapes = pathology.mimics.shapes
    extra = mimic_signals(streams["mimics"], grid, anatomy, shapes, mimics, pathology.contrasts)
    texture = _texture(streams["texture"], grid, pathology.texture_mm)
    unevenness = smooth_field(streams["texture"], grid, pathology.lesions.signal_scatter_mm)

    sessions, scans = [], []
    for number, rng in enumerate(streams["sessions"].spawn(pathology.sessions)):
        displacement = None
        if number < pathology.sessions - 1:  # what registration to the last session leaves: mm, degrees
            spread = [[pathology.scan.shift_mm], [pathology.scan.tilt_deg]]
            shift, tilt = (rng.standard_normal((2, 3)) * spread).tolist()
            displacement = tuple(shift), tuple(tilt)
        images, drawn = {}, {}
        for contrast, own in zip(pathology.signals, rng.spawn(len(pathology.signals)), strict=True):
            if contrast not in pathology.contrasts:
                continue
            signals = pathology.signals[contrast]
            flowing = pathology.mimics.flow.get(contrast, [0.0, 0.0])
            scan = draw_scan(own, site, pathology.scan, signals, (flowing[0], flowing[1]), displacement)
            signal, sd = healthy_signal(anatomy, tissues[contrast], scan.grey_white, signals.structure)
            added = lesion_signal(grid, placed, pathology.lesions, number, contrast, unevenness)
            added += extra[contrast]
            added += np.float32(tissues[contrast].texture) * texture
            if scan.flow:
                added += np.float32(scan.flow) * flow(own, grid, anatomy, shapes.flow)
            signal += np.float32(sd) * added * (anatomy.depth_mm > 0)
            images[contrast] = acquire(own, grid, anatomy.brain, signal, scan, pathology.scan.bias_mm)
            drawn[contrast] = asdict(scan)
        sessions.append(Session(images, _masks(grid, placed, pathology, number)))
        scans.append(drawn)
    parameters = {
        "seed": seed,
        "index": index,
        "pathology": pathology.model_dump(),
        "site": site.name,
        "slice_mm": site.slice_mm,
        "anatomy": asdict(brain),
        "tissues": {contrast: asdict(tissues[contrast]) for contrast in pathology.contrasts},
        "mimics": asdict(mimics),
        "scans": scans,
        "lesions": [one.described() for one in placed],
    }
    return Subject(tuple(sessions), parameters)


def _texture(rng: np.random.Generator, grid: Grid, widths_mm: list[float]) -> Volume:
    """Draw a field of mean 0 and SD 1: the sum of one of each smoothness, all with the same share of its variance."""
    texture = smooth_field(rng, grid, widths_mm[0])
    for width in widths_mm[1:]:
        texture = texture + smooth_field(rng, grid, width)
    texture *= np.float32(np.sqrt(1 / len(widths_mm)))
    return texture


def _masks(grid: Grid, placed: list[PlacedLesion], pathology: Pathology, session: int) -> dict[str, Mask]:
    """Return the session's masks by label; all of them also where one is empty."""
    masks = {"lesion": lesion_mask(grid, placed, session)}
    if pathology.lesions.enhancement and ENHANCED in pathology.contrasts:
        masks["enhancing"] = enhancing_mask(grid, placed, session, pathology.lesions.enhancement.depth)
    if session:
        new = [one for one in placed if not one.lesion.volumes_mm3[session - 1]]
        masks["newlesion"] = lesion_mask(grid, new, session)
    return masks


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
    """
    check_cohort(root, seed, pathology)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".synthetic.lock"):
        settings = _settings(seed, pathology)
        _check_same(root, settings)  # again: another process may have been faster
        generator = {"Name": _NAME, "Version": VERSION, "Settings": settings}
        description = {"Name": "Synthetic lesions", "BIDSVersion": "1.9.0", "GeneratedBy": [generator]}
        write_json(root / _FILE, description | {"DatasetType": "raw"})  # first: it says whose folder this is
        write_json(root / _MASKS / _FILE, description | {"DatasetType": "derivative"})
        _clear_partial(root)
        names = {index: subject_name(pathology, index) for index in range(1, subjects + 1)}
        folders = {index: (root / name, root / _MASKS / name) for index, name in names.items()}
        missing = {index: name for index, name in names.items() if not all(map(Path.is_dir, folders[index]))}
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
    """Return ``sub-001`` for ``ms``, ``sub-infarct001`` and the like for others, so that cohorts can be combined."""
    prefix = "" if pathology.name == "ms" else pathology.name.replace("_", "")
    return f"sub-{prefix}{index:03d}"


def check_cohort(root: Path, seed: int, pathology: Pathology) -> None:
    """Raise InputError if a label map cannot be used, or if the folder holds something else; nothing is written."""
    if pathology.anatomy.labels is not None:
        load_template(pathology.anatomy)
    _check_same(root, _settings(seed, pathology))


def _settings(seed: int, pathology: Pathology) -> dict[str, Any]:
    """Return what a cohort's bytes depend on beside the generator itself."""
    settings: dict[str, Any] = {"seed": seed, "pathology": pathology.model_dump()}
    if pathology.anatomy.labels is not None:
        settings["labels"] = content_digest(Path(pathology.anatomy.labels).expanduser())
    return settings


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
    """Close without joblib's warning of tasks that are given up."""
    try:
        yield finished
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            finished.close()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hide Ctrl-C from the processes started meanwhile: one that it ends could take a lock with it for ever."""
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


def _check_same(root: Path, settings: dict[str, Any]) -> None:
    """Raise InputError unless a folder is new, empty, or holds a cohort of these settings; name what differs."""
    path = root / _FILE
    way_out = "delete the folder or choose another one"
    if not path.exists():
        foreign = sorted(entry.name for entry in root.iterdir() if entry.name[0] != ".") if root.is_dir() else []
        if foreign:
            raise InputError(f"{root} holds {foreign[0]!r}, but no {_FILE} of a synthetic cohort; {way_out}")
        return
    try:
        (generator,) = json.loads(path.read_text(encoding="utf-8"))["GeneratedBy"]
        name, version, found = (generator[key] for key in ("Name", "Version", "Settings"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{root} already holds another dataset: {path} is of no synthetic cohort; {way_out}"
        ) from error
    differences = list(_differences({"Name": name, "Version": version}, {"Name": _NAME, "Version": VERSION}))
    differences = differences or list(_differences(found, settings))
    if differences:
        raise InputError(f"{root} already holds another dataset: {'; '.join(differences)}; {way_out}")


class _Nothing:
    """Stands for a key that is not there."""


def _differences(found: Any, asked: Any, key: str = "") -> Iterator[str]:
    """The keys, dotted, that have not the same value on both sides."""
    if isinstance(found, dict) and isinstance(asked, dict):
        for name in dict.fromkeys([*found, *asked]):
            yield from _differences(found.get(name, _Nothing), asked.get(name, _Nothing), f"{key}.{name}".lstrip("."))
    elif _are_entries(found) and _are_entries(asked) and len(found) == len(asked):
        for index, pair in enumerate(zip(found, asked, strict=True)):
            yield from _differences(*pair, f"{key}.{index}")
    elif found != asked:
        yield f"{key}: {_shown(found)} there, {_shown(asked)} asked for"


def _are_entries(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _shown(value: Any) -> str:
    if value is _Nothing:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:75]} ..."
