"""Look at every image and mask that a task needs, and say what is wrong with them."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import SEPARATING_LINE, tabulate

from lesionseg.data.channels import Channel, sources_of
from lesionseg.data.dataset import Dataset, MaskFile, Study, image_of, missing_files
from lesionseg.data.nifti import Array, Grid, UnreadableScanError, read_volume
from lesionseg.data.preprocessing import brain_mask
from lesionseg.metrics.components import component_sizes, label_components, voxel_volume

SMALLEST_BRAIN_MM3 = 1000.0  # a thousandth of a brain, and less than any slab of one that is worth training on
_THREADS = 2
_SHOWN = 5  # values of a mask in a message
_WIDTH = 110  # letters in a line of the table
_SHORTEST_NAME = 8


@dataclass(frozen=True)
class Audit:
    """What a task would find in a dataset."""

    dataset: str  # the dataset's name
    root: Path  # where it was read from
    sources: tuple[str, ...]  # images the task reads of each study
    target: str | None  # the mask it learns; None if it needs none
    # a row for each study that has all the task needs, faulty ones included: ``study``, ``subject``, ``session``,
    # ``site``, ``split``, ``prior``
    studies: pd.DataFrame
    # a row for each of their images that could be read: ``study``, ``source``, ``path``, ``shape``, ``spacing`` (mm),
    # ``axes``, ``minimum``, ``maximum`` and ``median`` intensity in the brain, ``brain_share`` of the volume, and a
    # ``digest`` that is the same if and only if the voxels are, as float32
    images: pd.DataFrame
    # a row for each of their masks that could be read: ``study``, ``path``, ``label``, ``lesion_count``
    # (26-connected), ``volume_ml``, ``smallest_mm3``, ``largest_mm3``
    masks: pd.DataFrame
    left_out: pd.DataFrame  # a row for each thing that a study lacks: ``study``, ``reason``
    faults: pd.DataFrame  # ``study`` and ``text`` of all that is wrong; no study where it is the dataset's
    notes: pd.DataFrame  # likewise, what is worth knowing and no fault, such as a study without lesion

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON's own types, images and mask within their study; NaN as None, paths as text."""
        images, masks = _rows(self.images), {row.pop("study"): row for row in _rows(self.masks)}
        studies = [
            row
            | {"images": [image for image in images if image["study"] == row["study"]], "mask": masks.get(row["study"])}
            for row in _rows(self.studies)
        ]
        return {
            "dataset": self.dataset,
            "root": str(self.root),
            "sources": list(self.sources),
            "target": self.target,
            "studies": studies,
            "faults": list(self.faults["text"]),
            "left_out": _rows(self.left_out),
            "notes": list(self.notes["text"]),
        }

    def table(self) -> str:
        """Return one row a study, at most 110 columns wide; what it says of images is the first image's.

        Columns in which nothing stands are left out, and long names are cut at their beginning.
        """
        first = self.images.drop_duplicates("study")
        rows = self.studies.merge(first, "left", on="study").merge(self.masks, "left", on="study")
        number = self.faults["study"].value_counts()
        edges = [f"{_short(low)}…{_short(high)}" for low, high in zip(rows["minimum"], rows["maximum"], strict=True)]
        seen, drawn = rows["axes"].notna(), rows["lesion_count"].notna()
        columns: dict[str, Any] = {
            "study": rows["study"],
            "prior\nsession": rows["prior"].fillna("").str.rpartition("_ses-")[2],
            "shape": ["×".join(map(str, shape)) if ok else "" for shape, ok in zip(rows["shape"], seen, strict=True)],
            "spacing\nmm": [
                "×".join(f"{edge:.2g}" for edge in edges) if ok else ""
                for edges, ok in zip(rows["spacing"], seen, strict=True)
            ],
            "axes": rows["axes"].fillna(""),
            "brain\n%": (100 * rows["brain_share"]).map("{:.0f}".format).where(seen, ""),
            "intensity\nin it": pd.Series(edges, dtype=object).where(seen, ""),
            "lesions": rows["lesion_count"].map("{:.0f}".format).where(drawn, ""),
            "volume\nml": rows["volume_ml"].map("{:.2f}".format).where(drawn, ""),
            "least\nmm³": rows["smallest_mm3"].map(_volume).where(drawn, ""),
            "largest\nmm³": rows["largest_mm3"].map(_volume).where(drawn, ""),
            "faults": [str(number[study]) if study in number else "" for study in rows["study"]],
        }
        used = {name: [name, *cells] for name, cells in columns.items() if any(cells)}
        room = _WIDTH - sum(2 + max(len(line) for cell in used[name] for line in cell.split("\n")) for name in used)
        longest = max(room + 2 + max(map(len, used["study"])), _SHORTEST_NAME)
        used["study"] = [text if len(text) <= longest else f"…{text[1 - longest :]}" for text in used["study"]]
        header, *lines = zip(*used.values(), strict=True)
        left = ("study", "prior\nsession", "shape", "spacing\nmm", "axes")
        return tabulate(
            [header, SEPARATING_LINE, *lines],  # real headers would be padded by two columns each
            tablefmt="simple",
            disable_numparse=True,
            colalign=["left" if name in left else "right" for name in used],
        )


def audit(
    dataset: Dataset,
    channels: Sequence[Channel],
    target: str | None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Read every image and mask that a task needs, to their checksums, and say what is wrong with them.

    Images need no common grid, for they are resampled later, but their fields of view must overlap; a mask must lie on
    the grid of one of the study's own images. ``progress`` is told the studies done and those to do.
    """
    lacking = {study.name: missing_files(dataset, study, channels, target) for study in dataset.studies}
    usable = [study for study in dataset.studies if not lacking[study.name]]
    rows: dict[str, list[dict[str, Any]]] = {"images": [], "masks": [], "faults": [], "notes": []}
    with ThreadPoolExecutor(_THREADS) as pool:
        looked_at = pool.map(lambda study: _look_at(dataset, study, channels, target), usable)
        for done, found in enumerate(looked_at, start=1):
            for kind, own in found.items():
                rows[kind] += own
            if progress is not None:
                progress(done, len(usable))
    rows["faults"] += _copies(rows["images"])
    if not usable:
        rows["faults"].append({"study": None, "text": _nothing_usable(dataset, channels, target)})
    reads_prior = any(source.prior for source in sources_of(channels))
    studies = [
        {key: getattr(study, key) for key in ("subject", "session", "site", "split")}
        | {"study": study.name, "prior": getattr(dataset.prior_of(study), "name", None) if reads_prior else None}
        for study in usable
    ]
    left_out = [{"study": name, "reason": reason} for name, reasons in lacking.items() for reason in reasons]
    return Audit(
        dataset.name,
        dataset.root,
        tuple(map(str, sources_of(channels))),
        target,
        studies=pd.DataFrame(studies, columns=["study", "subject", "session", "site", "split", "prior"]),
        images=pd.DataFrame(rows["images"], columns=_IMAGE_COLUMNS),
        masks=pd.DataFrame(rows["masks"], columns=_MASK_COLUMNS),
        left_out=pd.DataFrame(left_out, columns=["study", "reason"]),
        faults=pd.DataFrame(rows["faults"], columns=["study", "text"]),
        notes=pd.DataFrame(rows["notes"], columns=["study", "text"]),
    )


_IMAGE_COLUMNS = ["study", "source", "path", "shape", "spacing", "axes", "minimum", "maximum", "median", "brain_share"]
_IMAGE_COLUMNS += ["digest"]
_MASK_COLUMNS = ["study", "path", "label", "lesion_count", "volume_ml", "smallest_mm3", "largest_mm3"]


def _look_at(
    dataset: Dataset, study: Study, channels: Sequence[Channel], target: str | None
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of one study, by table."""
    images: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    faults: list[str] = []
    notes: list[str] = []
    grids: dict[str, tuple[Path, Grid]] = {}
    for source in sources_of(channels):
        path = image_of(dataset, study, source)
        assert path is not None, "only studies that lack nothing are looked at"
        where = f"{study.name}, {source} ({path})"
        try:
            voxels, grid = read_volume(path, strict=True)
        except UnreadableScanError as error:
            faults.append(f"{where}: {error}")
            continue
        row = _image_row(voxels, grid)
        images.append({"study": study.name, "source": str(source), "path": str(path), **row})
        faults += [f"{where}: {fault}" for fault in _image_faults(voxels, grid, row["brain_share"])]
        if grids and not next(iter(grids.values()))[1].overlaps(grid):
            first, (first_path, _) = next(iter(grids.items()))
            faults.append(
                f"{where}: it shows nothing of what {first} ({first_path}) shows, their fields of view are apart; "
                "check that both are of one patient and session, and register them"
            )
        grids[str(source)] = (path, grid)
    if target is not None:
        mask = study.masks[target]
        where = f"{study.name}, mask {target} ({mask.path})"
        try:
            voxels, grid = read_volume(mask.path, strict=True)
        except UnreadableScanError as error:
            faults.append(f"{where}: {error}")
        else:
            row = _mask_row(voxels, grid, mask)
            masks.append({"study": study.name, "path": str(mask.path), "label": mask.label, **row})
            own = [place for source, place in grids.items() if not source.startswith("prior.")]
            wrong = [*_value_faults(voxels, mask.label), *_grid_faults(grid, own)]
            faults += [f"{where}: {fault}" for fault in wrong]
            if not row["lesion_count"] and not wrong:
                notes.append(f"{where}: no lesion; its sensitivity will be undefined and its false positives counted")
    return {
        "images": images,
        "masks": masks,
        "faults": [{"study": study.name, "text": text} for text in faults],
        "notes": [{"study": study.name, "text": text} for text in notes],
    }


def _image_row(voxels: Array, grid: Grid) -> dict[str, Any]:
    finite = np.isfinite(voxels)
    lowest = voxels[finite].min() if finite.any() else 0
    brain = brain_mask(voxels if finite.all() else np.where(finite, voxels, lowest))
    intensities = voxels[brain] if brain.any() else np.array([np.nan])
    same_for_int16 = voxels.astype(np.float32, copy=False)  # an image saved as int16 and as float32 is one image
    return {
        "shape": list(grid.shape),
        "spacing": list(grid.spacing),
        "axes": grid.axes,
        "minimum": float(intensities.min()),
        "maximum": float(intensities.max()),
        "median": float(np.median(intensities)),
        "brain_share": float(brain.mean()),
        "digest": hashlib.blake2b(same_for_int16.tobytes(order="C"), digest_size=16).hexdigest(),
    }


def _image_faults(voxels: Array, grid: Grid, brain_share: float) -> Iterator[str]:
    """Find voxels that are no numbers, one value alone, no brain (by the rule that normalises images)."""
    finite = np.isfinite(voxels)
    if not finite.all():
        number = int((~finite).sum())
        yield f"{number} voxels are NaN or infinite; set them to the background and save the image again"
    values = voxels[finite]
    volume = brain_share * np.prod(grid.shape) * np.prod(grid.spacing)
    if values.size and values.min() == values.max():
        yield f"every voxel is {values.flat[0]:g}; the image is empty: export it again from its source"
    elif values.size and volume < SMALLEST_BRAIN_MM3:
        yield (
            f"no brain: only {volume:.0f} mm³ differ from the background, and {SMALLEST_BRAIN_MM3:.0f} mm³ is the "
            "least; look at the image, its brain mask and its voxel size"
        )


def _mask_row(voxels: Array, grid: Grid, mask: MaskFile) -> dict[str, Any]:
    labels, count = label_components(voxels == mask.label if mask.label is not None else voxels != 0)
    volumes = component_sizes(labels, count) * voxel_volume(grid.spacing)
    return {
        "lesion_count": count,
        "volume_ml": float(volumes.sum() / 1000),
        "smallest_mm3": float(volumes.min()) if count else np.nan,
        "largest_mm3": float(volumes.max()) if count else np.nan,
    }


def _value_faults(voxels: Array, label: int | None) -> Iterator[str]:
    values = np.unique(voxels)  # NaNs count as one value

    def listed(found: Array) -> str:
        shown = ", ".join(f"{value:g}" for value in found[:_SHOWN])
        return shown if found.size <= _SHOWN else f"{shown}, ... ({found.size} values)"

    if label is not None:
        odd = values[~np.isfinite(values) | (values != np.round(values))]
        if odd.size:
            yield (
                f"the mask holds {listed(odd)}, which are no labels; label {label} counts, and labels are "
                "whole numbers: resample it with nearest neighbour from the original mask"
            )
    elif values.size == 1 and values[0] != 0:
        yield f"every voxel of the mask is {values[0]:g}, so that there is no background; export it again"
    elif not (np.isfinite(values).all() and values.min() >= 0 and np.count_nonzero(values) <= 1):
        yield (
            f"the mask is not binary: it holds {listed(values)}; keep 0 and one other value (if it was "
            "resampled, use nearest neighbour; if it holds several classes, write a mask for each target)"
        )


def _grid_faults(grid: Grid, images: Sequence[tuple[Path, Grid]]) -> Iterator[str]:
    if not images or any(grid.same_as(own) for _, own in images):
        return
    path, image = images[0]
    if grid.shape != image.shape:
        mine, other = (" × ".join(map(str, shape)) for shape in (grid.shape, image.shape))
        yield (
            f"the mask has the shape {mine}, the image {path} has {other}; resample the mask to the image with nearest "
            "neighbour"
        )
    else:
        yield (
            f"the mask lies up to {image.displacement(grid):.3g} voxels away from the image {path}: their shapes "
            "agree, their affines do not; if it was drawn on this image, copy the image's affine into its header, "
            "otherwise resample it with nearest neighbour"
        )


def _copies(images: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Find different files that hold the same voxels, under two names."""
    first: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    found = []
    for row in images:
        if row["path"] in seen or np.isnan(row["median"]):
            continue
        seen.add(row["path"])
        earlier = first.setdefault(row["digest"], row)
        if earlier is not row:
            text = (
                f"{row['study']}, {row['source']} ({row['path']}): the same voxels as {earlier['study']}, "
                f"{earlier['source']} ({earlier['path']}); one is a copy of the other: remove it, or put the right "
                "scan in its place"
            )
            found.append({"study": None, "text": text})
    return found


def _nothing_usable(dataset: Dataset, channels: Sequence[Channel], target: str | None) -> str:
    """Say why a task can use no study of a dataset at all."""
    studies, sources = dataset.studies, sources_of(channels)
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


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON's own types."""
    return [
        {str(key): value for key, value in row.items()}
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records")
    ]


def _short(intensity: float) -> str:
    return "-" if np.isnan(intensity) else f"{intensity:.4g}"


def _volume(value: float) -> str:
    """Return a lesion's volume, or a dash where there is no lesion."""
    if np.isnan(value):
        return "-"
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
