"""Look at every image and mask that a task needs, and say what is wrong with them."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nibabel.orientations import apply_orientation, io_orientation
from scipy.ndimage import find_objects
from tabulate import SEPARATING_LINE, tabulate

from lesionseg.data.dataset import (
    Channel,
    Dataset,
    MaskFile,
    Study,
    image_of,
    missing_files,
    nothing_usable,
    sources_of,
)
from lesionseg.data.nifti import (
    Array,
    Grid,
    UnreadableScanError,
    differing_affines,
    grid_faults,
    read_labels,
    read_volume,
)
from lesionseg.data.preprocessing import bounding_box, brain_mask
from lesionseg.metrics.components import component_sizes, label_components, voxel_volume

SMALLEST_BRAIN_MM3 = 1000.0  # a thousandth of a brain, and less than any slab of one that is worth training on
_THREADS = 2
_APART, _AROUND = 0.5, 3  # voxels
_MANY = 100  # values of a mask that are kept
_ON = {1.0, 255.0}  # what programs write for "inside"
_ENOUGH, _SHOWN = 4, 5  # images that tell what is usual; values of a mask in a message
_WIDTH, _SHORTEST_NAME = 110, 8  # letters in a line of the table, and of a study's name in it


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
    # ``axes``, ``minimum``, ``maximum`` and ``median`` intensity in the brain, its ``brain_share`` of the volume and
    # ``extent`` (mm, canonical axes), and a ``digest`` that is the same if and only if the voxels are, as float32
    images: pd.DataFrame
    # a row for each of their masks that could be read: ``study``, ``path``, ``label``, ``lesion_count``
    # (26-connected), ``volume_ml``, ``smallest_mm3``, ``largest_mm3``, ``values`` (other than 0)
    masks: pd.DataFrame
    left_out: pd.DataFrame  # a row for each thing that a study lacks: ``study``, ``reason``
    faults: pd.DataFrame  # ``study`` and ``text`` of all that is wrong; no study where it is the dataset's
    notes: pd.DataFrame  # likewise, what is worth knowing and no fault, such as a study without lesion

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON's own types, images and mask within their study; NaN as None, paths as text."""
        images, masks = _rows(self.images), {row.pop("study"): row for row in _rows(self.masks)}
        studies = _rows(self.studies)
        for row in studies:
            row["images"] = [image for image in images if image["study"] == row["study"]]
            row["mask"] = masks.get(row["study"])
        return {
            **{"dataset": self.dataset, "root": str(self.root), "sources": list(self.sources), "target": self.target},
            **{"studies": studies, "left_out": _rows(self.left_out)},
            **{"faults": list(self.faults["text"]), "notes": list(self.notes["text"])},
        }

    def table(self) -> str:
        """Return one row a study, at most 110 columns wide; what it says of images is the first image's.

        Columns in which nothing stands are left out, and long names are cut at their beginning.
        """
        first = self.images.drop_duplicates("study")
        rows = self.studies.merge(first, "left", on="study").merge(self.masks, "left", on="study")
        number = self.faults["study"].value_counts()
        edges = [f"{low:.4g}…{high:.4g}" for low, high in zip(rows["minimum"], rows["maximum"], strict=True)]
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
            "least\nmm³": rows["smallest_mm3"].map("{:.1f}".format).where(drawn, ""),
            "largest\nmm³": rows["largest_mm3"].map("{:.1f}".format).where(drawn, ""),
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
    together = [] if rows["faults"] else [*_odd_masks(rows["masks"], target), *_turned(rows["images"])]
    rows["faults"] += [{"study": None, "text": text} for text in (*_copies(rows["images"]), *together)]
    if not usable:
        rows["faults"].append({"study": None, "text": nothing_usable(dataset, channels, target)})
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
_IMAGE_COLUMNS += ["extent", "digest"]
_MASK_COLUMNS = ["study", "path", "label", "lesion_count", "volume_ml", "smallest_mm3", "largest_mm3", "values"]


def _look_at(
    dataset: Dataset, study: Study, channels: Sequence[Channel], target: str | None
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of one study, by table."""
    images: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    faults: list[str] = []
    notes: list[str] = []
    grids: dict[str, tuple[Path, Grid]] = {}
    first_voxels: Array | None = None
    for source in sources_of(channels):
        path = image_of(dataset, study, source)
        assert path is not None, "only studies that lack nothing are looked at"
        where = f"{study.name}, {source} ({path})"
        try:
            voxels, grid = read_volume(path, strict=True)
        except UnreadableScanError as error:
            faults.append(f"{where}: {error}")
            continue
        first_voxels = voxels if first_voxels is None else first_voxels
        row = _image_row(voxels, grid)
        apart, same_space = differing_affines(path)
        if apart > _APART:
            text = (
                f"{where}: its qform and sform put a voxel up to {apart:.3g} voxels apart; some programs read the one, "
                "some the other (here the sform counts): copy the right one onto the other"
            )
            (faults if same_space else notes).append(text)
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
            voxels, grid = read_labels(mask.path, strict=True)
        except UnreadableScanError as error:
            faults.append(f"{where}: {error}")
        else:
            row = _mask_row(voxels, grid, mask)
            masks.append({"study": study.name, "path": str(mask.path), "label": mask.label, **row})
            own = [place for source, place in grids.items() if not source.startswith("prior.")]
            wrong = [*_value_faults(voxels, mask), *grid_faults(grid, own)]
            if not wrong and first_voxels is not None and own and own[0][1].same_as(grid):
                lost, stray = _outside_brain(voxels == mask.label if mask.label else voxels != 0, first_voxels)
                wrong += lost
                notes += [f"{where}: {note}" for note in stray]
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
    upright = grid.canonical().spacing
    box = bounding_box(apply_orientation(brain.view(np.uint8), io_orientation(grid.affine)) > 0)
    same_for_int16 = voxels.astype(np.float32, copy=False)  # an image saved as int16 and as float32 is one image
    return {
        "shape": list(grid.shape),
        "spacing": list(grid.spacing),
        "axes": grid.axes,
        "minimum": float(intensities.min()),
        "maximum": float(intensities.max()),
        "median": float(np.median(intensities)),
        "brain_share": float(brain.mean()),
        "extent": [(side.stop - side.start) * edge for side, edge in zip(box, upright, strict=True)],
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
        "values": [float(value) for value in np.unique(voxels)[:_MANY] if value != 0],
    }


def _value_faults(voxels: Array, mask: MaskFile) -> Iterator[str]:
    values, label = np.unique(voxels), mask.label  # NaNs count as one value
    undeclared = [value for value in values if mask.declared and value not in mask.declared]

    def listed(found: Array) -> str:
        shown = ", ".join(f"{value:g}" for value in found[:_SHOWN])
        return shown if found.size <= _SHOWN else f"{shown}, ... ({found.size} values)"

    if undeclared and np.isfinite(values).all() and (values == np.round(values)).all():
        yield (
            f"the mask holds {listed(np.array(undeclared))}, which dataset.json does not declare (it has "
            f"{', '.join(map(str, mask.declared))}); correct the mask or the labels"
        )
    elif label is not None:
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


def _outside_brain(lesion: Array, image: Array) -> tuple[list[str], list[str]]:
    """Find lesions around which the image shows nothing but background: faults if these are most, else notes."""
    brain = brain_mask(image)
    labels, count = label_components(lesion)

    def shown(box: tuple[slice, ...]) -> bool:
        around = tuple(slice(max(0, side.start - _AROUND), side.stop + _AROUND) for side in box)
        return bool(brain[around].any())

    outside = [number for number, box in enumerate(find_objects(labels), start=1) if not shown(box)]
    if not outside:
        return [], []
    said = f"{len(outside)} of its {count} lesions lie outside of the brain or head"
    if 2 * len(outside) <= count:
        return [], [f"{said}; remove what is no lesion"]
    return [f"{said}; the mask may be of another scan, or its axes may be turned: look at both together"], []


def _odd_masks(masks: Sequence[dict[str, Any]], target: str | None) -> Iterator[str]:
    """Hold the masks against each other: no lesion in any, a label that none has, a value that only some have."""
    if not masks:
        return
    values = [tuple(row["values"]) for row in masks]
    found = ", ".join(f"{value:g}" for value in sorted({one for own in values for one in own})[:_SHOWN])
    label = masks[0]["label"]
    if not any(row["lesion_count"] for row in masks):
        which = "a value other than 0" if label is None else f"the value {label}"
        yield (
            f"mask {target}: none of the {len(masks)} masks holds {which} (values found: {found or 'none but 0'}); "
            "choose the label that they have, or another target"
        )
    usual, times = Counter(own for own in values if own).most_common(1)[0] if any(values) else ((), 0)
    for row, own in zip(masks, values, strict=True):
        if row["label"] is None and len(own) == 1 and 2 * times > len(masks) and own != usual and {*own, *usual} - _ON:
            yield (
                f"{row['study']}, mask {target} ({row['path']}): its lesions have the value {own[0]:g}, those of "
                f"{times} other masks {usual[0]:g}; is it another class? Write the same value, or correct the mask"
            )


def _turned(images: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Find images whose brain has the edges of the others' with axes exchanged."""
    extents = np.array([row["extent"] for row in images])
    if len(images) < _ENOUGH:
        return
    usual = np.median(extents, axis=0)
    for row, extent in zip(images, extents, strict=True):
        off = {order: float(np.abs(extent[list(order)] / usual - 1).max()) for order in permutations(range(3))}
        best = min(off, key=lambda order: off[order])
        if off[0, 1, 2] > 0.2 and off[best] < 0.1:
            yield (
                f"{row['study']}, {row['source']} ({row['path']}): its axes look exchanged: what it shows measures "
                f"{np.round(extent)} mm, the others {np.round(usual)} mm; convert it again from its source"
            )


def _copies(images: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Find different files that hold the same voxels, under two names."""
    first: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    for row in images:
        if row["path"] in seen or np.isnan(row["median"]):
            continue
        seen.add(row["path"])
        earlier = first.setdefault(row["digest"], row)
        if earlier is not row:
            yield (
                f"{row['study']}, {row['source']} ({row['path']}): the same voxels as {earlier['study']}, "
                f"{earlier['source']} ({earlier['path']}); one is a copy of the other: remove it, or put the right "
                "scan in its place"
            )


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON's own types."""
    return [
        {str(key): value for key, value in row.items()}
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records")
    ]
