"""Where two volumes lie in the world: how far apart their voxels are, whether they overlap."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, is_dataclass
from itertools import product
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import SEPARATING_LINE, tabulate

from lesionseg.data.channels import Channel, Source, sources_of
from lesionseg.data.dataset import Dataset, MaskFile, Study
from lesionseg.data.nifti import Array, Grid, Scan, UnreadableScanError, read_scan
from lesionseg.data.preprocessing import brain_mask
from lesionseg.metrics.components import component_volumes, label_components, voxel_volume


def displacement(grid: Grid, other: Grid) -> float:
    """How far apart two grids of one shape put their voxels: the largest distance, in voxels of the first.

    The difference of two affine maps is affine, so that it is largest at a corner.
    """
    places = np.array(list(product(*((0, size - 1) for size in grid.shape))), dtype=np.float64)
    seen_from_first = _transform(np.linalg.inv(grid.affine) @ other.affine, places)
    return float(np.linalg.norm(seen_from_first - places, axis=1).max())


def overlap(grid: Grid, other: Grid) -> bool:
    """Whether two fields of view, out to the faces of their outermost voxels, have any volume in common.

    Two boxes are apart if and only if a plane along a face of one, or along an edge of each, parts them
    (Gottschalk et al. 1996, OBBTree, doi 10.1145/237170.237244).
    """
    first, second = _outer_corners(grid), _outer_corners(other)
    return all(
        np.max(first @ axis) > np.min(second @ axis) and np.max(second @ axis) > np.min(first @ axis)
        for axis in _parting_axes(grid.affine[:3, :3], other.affine[:3, :3])
    )


def _outer_corners(grid: Grid) -> Array:
    """The eight corners of a field of view in mm, shape (8, 3)."""
    corners = np.array(list(product(*((-0.5, size - 0.5) for size in grid.shape))), dtype=np.float64)
    return _transform(grid.affine, corners)


def _transform(affine: Array, points: Array) -> Array:
    """Points of shape (N, 3) through an affine of shape (4, 4)."""
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


def _parting_axes(edges: Array, other: Array) -> list[Array]:
    """Normals of the faces of both boxes (columns are edges) and of planes along an edge of each."""
    pairs = [(box[:, a], box[:, b]) for box in (edges, other) for a, b in ((0, 1), (1, 2), (2, 0))]
    pairs += [(edges[:, a], other[:, b]) for a, b in product(range(3), range(3))]
    axes = []
    for first, second in pairs:
        normal = np.cross(first, second)
        if np.linalg.norm(normal) > 1e-9 * np.linalg.norm(first) * np.linalg.norm(second):
            axes.append(normal)  # parallel edges span no plane
    return axes


SMALLEST_BRAIN_MM3 = 1000.0

"""A millilitre: a thousandth of a brain, and less than any slab of one that is worth training on."""


@dataclass(frozen=True)
class ImageAudit:
    """An image of a study.

    Args:
        source: which one, ``flair`` or ``prior.flair``.
        path: its file.
        shape: voxels along each axis.
        spacing: edge lengths of a voxel in mm.
        axes: where each axis points to, such as ``RAS``.
        minimum: lowest intensity in the brain, NaN without a brain; as are the next two.
        maximum: highest intensity in the brain.
        median: median intensity in the brain.
        brain_share: share of the volume that is brain (with skull: head), from 0 to 1.
        digest: the same for two images if and only if their voxels are, as float32.
    """

    source: str
    path: Path
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    axes: str
    minimum: float
    maximum: float
    median: float
    brain_share: float
    digest: str


def audit_image(source: str, scan: Scan) -> tuple[ImageAudit, tuple[str, ...]]:
    """Describe an image and list what makes it unfit.

    That is: voxels that are no numbers, one value alone, no brain (less than a millilitre beside the
    background, by the rule that normalises images, `lesionseg.data.brain.brain_mask`).
    """
    brain = brain_mask(_finite(scan.voxels))
    intensities = scan.voxels[brain]
    audit = ImageAudit(
        source,
        scan.path,
        scan.grid.shape,
        scan.grid.spacing,
        scan.axes,
        minimum=float(intensities.min()) if intensities.size else np.nan,
        maximum=float(intensities.max()) if intensities.size else np.nan,
        median=float(np.median(intensities)) if intensities.size else np.nan,
        brain_share=float(brain.mean()),
        digest=_digest(scan),
    )
    return audit, _faults(scan, audit)


def _finite(voxels: Array) -> Array:
    """The voxels with what is no number as the lowest value, so that the rule of the brain can be asked."""
    finite = np.isfinite(voxels)
    if finite.all():
        return voxels
    return np.where(finite, voxels, voxels[finite].min() if finite.any() else 0)


def _faults(scan: Scan, audit: ImageAudit) -> tuple[str, ...]:
    finite = np.isfinite(scan.voxels)
    faults = []
    if not finite.all():
        faults.append(
            f"{int((~finite).sum())} voxels are NaN or infinite; set them to the background and save the image again"
        )
    values = scan.voxels[finite]
    if values.size and values.min() == values.max():
        faults.append(f"every voxel is {values.flat[0]:g}; the image is empty: export it again from its source")
    elif values.size:
        volume = float(audit.brain_share * np.prod(audit.shape) * np.prod(audit.spacing))
        if volume < SMALLEST_BRAIN_MM3:
            faults.append(
                f"no brain: only {volume:.0f} mm³ differ from the background, and {SMALLEST_BRAIN_MM3:.0f} "
                "mm³ is the least; look at the image, its brain mask and its voxel size"
            )
    return tuple(faults)


def _digest(scan: Scan) -> str:
    voxels = scan.voxels.astype(np.float32, copy=False)  # an image saved as int16 and as float32 is one image
    return hashlib.blake2b(voxels.tobytes(order="C"), digest_size=16).hexdigest()


_SHOWN = 5


@dataclass(frozen=True)
class MaskAudit:
    """A mask of a study.

    Args:
        path: its file.
        label: the voxel value that counts; None: every non-zero voxel.
        lesion_count: lesions (26-connected).
        volume_ml: their volume in ml; 0 without lesions.
        smallest_mm3: smallest lesion in mm³; NaN without lesions.
        largest_mm3: largest lesion in mm³; NaN without lesions.
    """

    path: Path
    label: int | None
    lesion_count: int
    volume_ml: float
    smallest_mm3: float
    largest_mm3: float


def audit_mask(scan: Scan, label: int | None, images: Sequence[Scan]) -> tuple[MaskAudit, tuple[str, ...]]:
    """Describe a mask and list what makes it unfit: values that are no mask's, or a grid of its own.

    Args:
        scan: the mask.
        label: the voxel value that counts; None: the mask is binary.
        images: the images it may have been drawn on; it must share the grid of one of them. Without any, its
            grid is not looked at.
    """
    lesion = scan.voxels == label if label is not None else scan.voxels != 0
    labels, count = label_components(lesion)
    volumes = component_volumes(labels, count, voxel_volume(scan.grid.spacing))
    audit = MaskAudit(
        scan.path,
        label,
        count,
        volume_ml=float(volumes.sum() / 1000),
        smallest_mm3=float(volumes.min()) if count else np.nan,
        largest_mm3=float(volumes.max()) if count else np.nan,
    )
    return audit, (*_value_faults(scan.voxels, label), *_grid_faults(scan, images))


def _value_faults(voxels: Array, label: int | None) -> tuple[str, ...]:
    values = np.unique(voxels)  # NaNs count as one value
    if label is not None:
        odd = values[~np.isfinite(values) | (values != np.round(values))]
        if odd.size:
            return (
                f"the mask holds {_listed(odd)}, which are no labels; label {label} counts, and labels are "
                "whole numbers: resample it with nearest neighbour from the original mask",
            )
        return ()
    if values.size == 1 and values[0] != 0:
        return (f"every voxel of the mask is {values[0]:g}, so that there is no background; export it again",)
    binary = np.isfinite(values).all() and values.min() >= 0 and np.count_nonzero(values) <= 1
    if not binary:
        return (
            f"the mask is not binary: it holds {_listed(values)}; keep 0 and one other value (if it was "
            "resampled, use nearest neighbour; if it holds several classes, write a mask for each target)",
        )
    return ()


def _grid_faults(mask: Scan, images: Sequence[Scan]) -> tuple[str, ...]:
    if not images or any(mask.grid.same_as(image.grid) for image in images):
        return ()
    image = images[0]
    if mask.grid.shape != image.grid.shape:
        return (
            f"the mask has the shape {_by(mask.grid.shape)}, the image {image.path} has "
            f"{_by(image.grid.shape)}; resample the mask to the image with nearest neighbour",
        )
    moved = displacement(image.grid, mask.grid)
    return (
        f"the mask lies up to {moved:.3g} voxels away from the image {image.path}: their shapes agree, their "
        "affines do not; if it was drawn on this image, copy the image's affine into its header, otherwise "
        "resample it with nearest neighbour",
    )


def _by(shape: tuple[int, int, int]) -> str:
    return " × ".join(map(str, shape))


def _listed(values: Array) -> str:
    """The first values in words."""
    shown = ", ".join(f"{value:g}" for value in values[:_SHOWN])
    return shown if values.size <= _SHOWN else f"{shown}, ... ({values.size} values)"


_THREADS = 2


@dataclass(frozen=True)
class StudyAudit:
    """What a task reads of one study.

    Args:
        study: its name.
        subject: label of the subject.
        session: label of the session; empty where the dataset knows none.
        site: where it was scanned, if known.
        split: the split the dataset fixes, if any.
        prior: name of the session before it, if the task reads that.
        images: those that could be read, in the order of the task's sources.
        mask: the target's mask; None if the task has no target or the mask could not be read.
        faults: what is wrong, each with study, image and file, and how to mend it.
        notes: what is worth knowing and no fault.
    """

    study: str
    subject: str
    session: str
    site: str | None
    split: str | None
    prior: str | None
    images: tuple[ImageAudit, ...]
    mask: MaskAudit | None
    faults: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """What a task would find in a dataset.

    Args:
        dataset: the dataset's name.
        root: where it was read from.
        sources: images the task reads of each study.
        target: the mask it learns; None if it needs none.
        studies: those that have all the task needs, faulty ones included.
        faults: all that is wrong, of single studies and of the dataset.
        left_out: studies the task cannot use, each with the reason.
        notes: what is worth knowing and no fault, such as a study without lesion.
    """

    dataset: str
    root: Path
    sources: tuple[str, ...]
    target: str | None
    studies: tuple[StudyAudit, ...]
    faults: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON's own types: NaN as None, paths as text."""
        content = _as_json(self)
        assert isinstance(content, dict)
        return content

    def table(self) -> str:
        """One row a study, at most 110 columns wide."""
        return audit_table(self.studies)


def audit(
    dataset: Dataset,
    channels: Sequence[Channel],
    target: str | None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Read every image and mask that a task needs and say what is wrong with them.

    Args:
        dataset: the studies.
        channels: the task's input channels.
        target: the mask it learns; None if it needs none.
        progress: called after each study with the studies done and those to do.
    """
    sources = sources_of(channels)
    reads_prior = any(source.prior for source in sources)
    priors = [dataset.prior_of(study) if reads_prior else None for study in dataset.studies]
    pairs = list(zip(dataset.studies, priors, strict=True))
    missing = [lacks(study, prior, sources, target) for study, prior in pairs]
    usable = [pair for pair, lacking in zip(pairs, missing, strict=True) if not lacking]
    rows: list[StudyAudit] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for row in pool.map(lambda pair: audit_study(pair[0], pair[1], sources, target), usable):
            rows.append(row)
            if progress is not None:
                progress(len(rows), len(usable))
    faults = [*dataset_faults(dataset), *(fault for row in rows for fault in row.faults), *_copies(rows)]
    if not usable:
        faults.append(nothing_usable(dataset, sources, target))
    return Audit(
        dataset.name,
        dataset.root,
        tuple(map(str, sources)),
        target,
        tuple(rows),
        tuple(faults),
        left_out=tuple(
            f"{study.name}: {'; '.join(lacking)}"
            for study, lacking in zip(dataset.studies, missing, strict=True)
            if lacking
        ),
        notes=tuple(note for row in rows for note in row.notes),
    )


def audit_study(study: Study, prior: Study | None, sources: Sequence[Source], target: str | None) -> StudyAudit:
    """Read what a task needs of one study and say what is wrong with it.

    Images need no common grid, for they are resampled later, but their fields of view must overlap; the mask
    must lie on the grid of one of the study's own images.

    Args:
        study: the session.
        prior: the session before it; None if there is none or the task does not read it.
        sources: images the task reads.
        target: the mask it learns; None if it needs none.
    """
    faults = [f"{study.name}: {lacking}" for lacking in lacks(study, prior, sources, target)]
    scans: dict[Source, Scan] = {}
    images: list[ImageAudit] = []
    for source in sources:
        path = _path(study, prior, source)
        if path is None:
            continue
        where = f"{study.name}, {source} ({path})"
        try:
            scans[source] = read_scan(path)
        except UnreadableScanError as error:
            faults.append(f"{where}: {error}")
            continue
        image, image_faults = audit_image(str(source), scans[source])
        images.append(image)
        faults += [f"{where}: {fault}" for fault in image_faults]
    faults += _apart(study, scans)
    mask: MaskAudit | None = None
    notes: list[str] = []
    if target is not None and target in study.masks:
        own = [scan for source, scan in scans.items() if not source.prior]
        mask, mask_faults = _read_mask(study.masks[target], own)
        where = f"{study.name}, mask {target} ({study.masks[target].path})"
        faults += [f"{where}: {fault}" for fault in mask_faults]
        if mask is not None and not mask.lesion_count and not mask_faults:
            notes.append(f"{where}: no lesion; its sensitivity will be undefined and its false positives counted")
    return StudyAudit(
        study.name,
        study.subject,
        study.session,
        study.site,
        study.split,
        prior.name if prior and any(source.prior for source in sources) else None,
        tuple(images),
        mask,
        tuple(faults),
        tuple(notes),
    )


def _path(study: Study, prior: Study | None, source: Source) -> Path | None:
    """The file of a source; None if the study or its prior lacks it."""
    whose = prior if source.prior else study
    return whose.images.get(source.contrast) if whose else None


def _read_mask(mask: MaskFile, images: Sequence[Scan]) -> tuple[MaskAudit | None, tuple[str, ...]]:
    try:
        scan = read_scan(mask.path)
    except UnreadableScanError as error:
        return None, (str(error),)
    return audit_mask(scan, mask.label, images)


def _apart(study: Study, scans: Mapping[Source, Scan]) -> Iterator[str]:
    """Images whose field of view has nothing in common with the first one's."""
    read = list(scans.items())
    for source, scan in read[1:]:
        first_source, first = read[0]
        if not overlap(first.grid, scan.grid):
            yield (
                f"{study.name}, {source} ({scan.path}): it shows nothing of what {first_source} "
                f"({first.path}) shows, their fields of view are apart; check that both are of one patient "
                "and session, and register them"
            )


def _copies(rows: Sequence[StudyAudit]) -> Iterator[str]:
    """Different files that hold the same voxels, under two names."""
    first: dict[str, tuple[Path, str]] = {}
    seen: set[Path] = set()
    for row in rows:
        for image in row.images:
            if image.path in seen or isnan(image.median):
                continue
            seen.add(image.path)
            where = f"{row.study}, {image.source}"
            path, earlier = first.setdefault(image.digest, (image.path, where))
            if path != image.path:
                yield (
                    f"{where} ({image.path}): the same voxels as {earlier} ({path}); one is a copy of the "
                    "other: remove it, or put the right scan in its place"
                )


def _as_json(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_as_json(part) for part in value]
    if isinstance(value, float) and isnan(value):
        return None
    return str(value) if isinstance(value, Path) else value


def lacks(study: Study, prior: Study | None, sources: Sequence[Source], target: str | None) -> tuple[str, ...]:
    """What a task needs and a study has not, in words; empty if it can be used."""
    needs: list[str] = [
        f"no contrast '{source.contrast}'"
        for source in sources
        if not source.prior and source.contrast not in study.images
    ]
    if any(source.prior for source in sources) and prior is None:
        needs.append("no session before it")
    needs += [
        f"no contrast '{source.contrast}' in the session before it ({prior.name})"
        for source in sources
        if source.prior and prior is not None and source.contrast not in prior.images
    ]
    if target is not None and target not in study.masks:
        needs.append(f"no mask for the target '{target}'")
    return tuple(needs)


def dataset_faults(dataset: Dataset) -> Iterator[str]:
    """Studies that stand in the dataset twice, and subjects in two splits."""
    for name, count in Counter(study.name for study in dataset.studies).items():
        if count > 1:
            yield f"{name} stands in the dataset {count} times; keep one study for each subject and session"
    splits: dict[str, set[str]] = defaultdict(set)
    for study in dataset.studies:
        if study.split is not None:
            splits[study.subject].add(study.split)
    for subject, found in splits.items():
        if len(found) > 1:
            yield (
                f"sub-{subject} is in the splits {' and '.join(sorted(found))}; all sessions of a subject "
                "belong to one, or the test would see patients of the training"
            )


def nothing_usable(dataset: Dataset, sources: Sequence[Source], target: str | None) -> str:
    """Why a task can use no study of a dataset at all."""
    studies = dataset.studies
    if not studies:
        return f"{dataset.name}: no study in {dataset.root}; check the dataset's root and its list of subjects"
    contrasts = dict.fromkeys(contrast for study in studies for contrast in study.images)
    targets = dict.fromkeys(name for study in studies for name in study.masks)
    reasons = [
        f"no study has contrast '{contrast}' (contrasts found: {', '.join(contrasts) or 'none'})"
        for contrast in dict.fromkeys(source.contrast for source in sources)
        if contrast not in contrasts
    ]
    if any(source.prior for source in sources) and len(dataset.subjects) == len(studies):
        reasons.append("no subject has two sessions, so that no study has one before it")
    if target is not None and target not in targets:
        reasons.append(f"no study has a mask for the target '{target}' (targets found: {', '.join(targets) or 'none'})")
    if not reasons:
        reasons.append("each needed image and mask is there for some study, but for none all of them are")
    return (
        f"{dataset.name}: no study can be used for this task: {'; '.join(reasons)}. Choose another task, or "
        "add what is missing to the dataset's 'images' and 'masks'"
    )


WIDTH = 110

"""Columns of text."""


_HEADERS = {
    "study": "left",
    "prior\nsession": "left",
    "shape": "left",
    "spacing\nmm": "left",
    "axes": "left",
    "brain\n%": "right",
    "intensity\nin it": "right",
    "lesions": "right",
    "volume\nml": "right",
    "least\nmm³": "right",
    "largest\nmm³": "right",
    "faults": "right",
}

_GAP = 2

_SHORTEST_NAME = 8


def audit_table(rows: "Sequence[StudyAudit]") -> str:
    """One row a study, at most 110 columns wide; shape, spacing, axes, brain and its lowest and highest
    intensity are the first image's.

    Columns in which nothing stands are left out, and long names are cut at their beginning.
    """
    table = [list(_HEADERS), *(_cells(row) for row in rows)]
    used = [number for number in range(len(_HEADERS)) if any(cells[number] for cells in table[1:])]
    table = [[cells[number] for number in used] for cells in table]
    widths = [max(len(line) for cells in table for line in cells[number].split("\n")) for number in range(len(used))]
    room = WIDTH - sum(widths[1:]) - _GAP * (len(used) - 1)
    lines = [[_shortened(cells[0], max(room, _SHORTEST_NAME)), *cells[1:]] for cells in table]
    return tabulate(
        # Headers as a row of their own: tabulate pads real ones by two columns each.
        [lines[0], SEPARATING_LINE, *lines[1:]],
        tablefmt="simple",
        disable_numparse=True,
        colalign=[list(_HEADERS.values())[number] for number in used],
    )


def _cells(row: "StudyAudit") -> list[str]:
    image = row.images[0] if row.images else None
    mask = row.mask
    return [
        row.study,
        row.prior.rpartition("_ses-")[2] if row.prior else "",
        "×".join(map(str, image.shape)) if image else "",
        "×".join(f"{edge:.2g}" for edge in image.spacing) if image else "",
        image.axes if image else "",
        f"{100 * image.brain_share:.0f}" if image else "",
        f"{_short(image.minimum)}…{_short(image.maximum)}" if image else "",
        str(mask.lesion_count) if mask else "",
        f"{mask.volume_ml:.2f}" if mask else "",
        _volume(mask.smallest_mm3) if mask else "",
        _volume(mask.largest_mm3) if mask else "",
        str(len(row.faults)) if row.faults else "",
    ]


def _short(intensity: float) -> str:
    return "-" if isnan(intensity) else f"{intensity:.4g}"


def _volume(value: float) -> str:
    """A lesion's volume, or a dash where there is no lesion."""
    if isnan(value):
        return "-"
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _shortened(text: str, longest: int) -> str:
    """The text, or its end after an ellipsis: names differ at their ends."""
    return text if len(text) <= longest else f"…{text[1 - longest :]}"
