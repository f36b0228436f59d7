"""Pictures of test studies: one slice of each, every lesion outlined by its verdict; cut, kept in a small file,
drawn."""

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesionseg.data.cache import CachedStudy
from lesionseg.data.nifti import Grid, read_volume, resample
from lesionseg.io import written_whole
from lesionseg.metrics import Criterion
from lesionseg.metrics.criteria import MaskPair
from lesionseg.metrics.lesionwise import judge_lesions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]
Bytes = NDArray[np.uint8]
NOTHING, FOUND, MISSED, TRUE, FALSE = range(5)
"""Values of a verdict map: no lesion; a reference lesion that is found, or missed; a predicted lesion that is true, or
false, where it lies outside of every reference lesion."""
_MOST_PIXELS = 224  # along an edge: a head at 1 mm
_TITLE = 38  # letters in a line above a picture
_NEAR = 5  # slices
_PADDING = 4  # pixels around what is shown
_GREYS = 63
DARK = 40  # of 255: the noise around a head
_WINDOW = (1.0, 99.7)  # percentiles of what is not background
# Where pixels are merged, what must not be overlooked stands for them.
_RANKED = np.array([NOTHING, TRUE, FOUND, FALSE, MISSED], np.uint8)
# Okabe and Ito's colours that stand out on grey, as far apart in lightness as in hue.
OUTLINES: dict[int, tuple[str, dict[str, Any]]] = {
    FOUND: ("found", {"color": "#56B4E9", "linestyle": "-", "linewidth": 1.3}),
    MISSED: ("missed (m)", {"color": "#FF6A00", "linestyle": "--", "linewidth": 1.6}),
    FALSE: ("false (f)", {"color": "#F0E442", "linestyle": "-", "linewidth": 1.3}),
    TRUE: ("predicted beyond what is found", {"color": "#56B4E9", "linestyle": ":", "linewidth": 1.0}),
}
_LETTERS = {MISSED: "m", FALSE: "f"}  # beside each lesion, for whom colours do not tell apart


@dataclass(frozen=True, eq=False)
class StudySlice:
    """The axial slice of a study that holds the most lesion on either side."""

    study: str  # its name
    facts: str  # what stands above the picture, such as ``F1 0.62: 5 of 8 found, 2 false``
    image: Bytes  # 0 black … 255 white, shape (X, Y), axes towards right and anterior, cut to the head
    verdict: Bytes  # likewise, of `NOTHING`, `FOUND`, `MISSED`, `TRUE` and `FALSE`
    spacing: tuple[float, float]  # edge lengths of a pixel, mm
    z: int  # number of the slice from 0, towards superior


def verdict_map(
    reference: Array,
    prediction: Array,
    spacing: tuple[float, float, float],
    criterion: Criterion,
    min_volume_mm3: float = 0.0,
) -> Bytes:
    """Each voxel's verdict, as the criterion has it of the lesion that it belongs to.

    A lesion that is too small to count is no lesion on either side, as in the scores. Where reference and prediction
    share a voxel it is the reference's.
    """
    verdict = np.full(reference.shape, NOTHING, np.uint8)
    pair = MaskPair.of(reference, prediction, spacing)
    judged = judge_lesions(pair, criterion, min_volume_mm3)
    labels, _, predicted, _ = judged.labels(pair)
    inside = verdict[pair.box]
    for lesions, hits, (yes, no) in (
        (predicted, judged.verdicts.prediction_true, (TRUE, FALSE)),
        (labels, judged.verdicts.reference_detected, (FOUND, MISSED)),
    ):
        lesion = lesions > 0
        inside[lesion] = np.where(hits, yes, no).astype(np.uint8)[lesions[lesion] - 1]
    return verdict


def busiest_slice(verdict: Bytes) -> int:
    """The axial slice with the most lesion on either side; the middle one where there is none."""
    voxels = (verdict != NOTHING).sum(axis=(0, 1))
    return int(np.argmax(voxels)) if voxels.any() else verdict.shape[2] // 2


def cut_slice(
    study: str, facts: str, image: Array, verdict: Bytes, spacing: tuple[float, float, float], z: int
) -> StudySlice:
    """Make a picture of one slice: windowed, cut to the head, and small.

    Grey goes from the 1st to the 99.7th percentile of what is brighter than the background. Scans with more than 224
    pixels along an edge are made coarser by a whole factor; a missed or false lesion of one pixel stays in sight.
    """
    grey, verdicts = windowed(image), verdict[:, :, z]
    shown = (grey > DARK) | (verdicts != NOTHING)
    box = box_around(shown) if shown.any() else (slice(None), slice(None))
    grey, verdicts = grey[box], verdicts[box]
    step = ceil(max(grey.shape) / _MOST_PIXELS)
    # As many greys as are seen, and noise takes far less room.
    levels = np.round(_blocks(grey, step).mean(axis=(1, 3)) * _GREYS / 255)
    grey = (levels * 255 / _GREYS).round().astype(np.uint8)
    verdicts = _RANKED[_blocks(np.argsort(_RANKED).astype(np.uint8)[verdicts], step).max(axis=(1, 3))]
    return StudySlice(study, facts, grey, verdicts, (spacing[0] * step, spacing[1] * step), z)


def slices_to_watch(studies: Sequence[CachedStudy]) -> list[tuple[str, int]]:
    """Return two places, each a study and an axial slice: the slices with the most lesion, of two studies if there are
    two; none where there is no lesion at all."""
    areas = [(study.name, np.asarray(study.mask).sum(axis=(0, 1))) for study in studies]
    first = [(int(area.max()), name, int(area.argmax())) for name, area in areas]
    if len(first) == 1:
        ((name, area),) = areas
        apart = np.where(np.abs(np.arange(area.size) - area.argmax()) > _NEAR, area, 0)
        first.append((int(apart.max()), name, int(apart.argmax())))
    return [(name, z) for area, name, z in sorted(first, reverse=True)[:2] if area]


def paint(slices: Sequence[StudySlice], scale: int = 3) -> Bytes:
    """Return slices side by side as RGB, (Y, X, 3), every lesion outlined: quicker by far than `draw_slices`."""
    from matplotlib.colors import to_rgb
    from scipy import ndimage

    height = max(one.image.shape[1] for one in slices)
    painted = []
    for one in slices:
        grey, verdicts = (np.kron(a[::-1, ::-1].T, np.ones((scale, scale), np.uint8)) for a in (one.image, one.verdict))
        rgb = np.repeat(grey[:, :, None], 3, axis=2)
        for value, (_, look) in OUTLINES.items():
            mask = verdicts == value
            rgb[mask & ~ndimage.binary_erosion(mask)] = np.round(255 * np.array(to_rgb(look["color"])))
        painted.append(np.pad(rgb, ((0, scale * height - rgb.shape[0]), (0, scale), (0, 0))))
    return np.concatenate(painted, axis=1)


def save_slices(slices: Sequence[StudySlice], path: Path) -> None:
    """Write slices as one compressed ``.npz``, whole or not at all."""
    pictures: dict[str, Any] = {
        f"{kind}_{number}": array
        for number, one in enumerate(slices)
        for kind, array in (("image", one.image), ("verdict", one.verdict))
    }
    with written_whole(path) as partial:
        np.savez_compressed(
            partial,
            study=np.array([one.study for one in slices], dtype=np.str_),
            facts=np.array([one.facts for one in slices], dtype=np.str_),
            spacing=np.array([one.spacing for one in slices], dtype=np.float64).reshape(-1, 2),
            z=np.array([one.z for one in slices], dtype=np.int64),
            **pictures,
        )


def load_slices(path: Path, studies: Collection[str] | None = None) -> tuple[StudySlice, ...]:
    """Read what `save_slices` wrote, in its order; of some studies alone, if these are named."""
    with np.load(path, allow_pickle=False) as stored:
        names: list[str] = stored["study"].tolist()
        facts, spacing, z = (stored[key].tolist() for key in ("facts", "spacing", "z"))
        return tuple(
            StudySlice(
                name,
                facts[number],
                stored[f"image_{number}"],
                stored[f"verdict_{number}"],
                (spacing[number][0], spacing[number][1]),
                z[number],
            )
            for number, name in enumerate(names)
            if studies is None or name in studies
        )


def picture_study(
    name: str,
    image: Path,
    reference: Array,
    prediction: Array,
    grid: Grid,
    criterion: Criterion,
    min_volume_mm3: float,
    case: Mapping[str, Any],
) -> StudySlice:
    """Return the slice of a study with the most lesion, each lesion judged as in the scores."""
    upright = grid.canonical()
    judged = verdict_map(reference, prediction, grid.spacing, criterion, min_volume_mm3)
    verdict = resample(judged, grid, upright).astype(judged.dtype)  # flips and swaps alone
    z = busiest_slice(verdict)
    voxels, image_grid = read_volume(image)
    x, y, _ = upright.shape
    plane = resample(voxels, image_grid, upright.crop((slice(0, x), slice(0, y), slice(z, z + 1))))[:, :, 0]
    f1, found = case["lesion_f1"], f"{case['detected_reference']} of {case['n_reference']} found"
    score = f"F1 {f1:.2f}" if f1 == f1 else "no F1"
    facts = f"{score}: {found if case['n_reference'] else 'no lesion'}, {case['false_positives']} false"
    return cut_slice(name, facts, plane, verdict, upright.spacing, z)


def write_examples(cases: Sequence[Mapping[str, Any]], slices: Sequence[StudySlice], path: Path) -> None:
    """Write a PNG of the studies with the most, the median and the fewest reference lesions: the same for every run."""
    from lesionseg.report.figures import look

    ranked = sorted(cases, key=lambda case: (-case["n_reference"], case["study"]))
    chosen = dict.fromkeys(case["study"] for case in (ranked[0], ranked[len(ranked) // 2], ranked[-1]))
    by_name = {one.study: one for one in slices}
    with look(), written_whole(path) as partial:
        figure = draw_slices([by_name[name] for name in chosen])
        figure.suptitle("The test studies with the most, the median and the fewest lesions", fontsize=8.5)
        figure.savefig(partial, dpi=130)


def draw_slices(slices: Sequence[StudySlice]) -> "Figure":
    """Draw slices side by side, the right of the patient to the left and the front on top."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(max(3.1 * len(slices), 4.4), 4.8))
    for axes, one in zip(figure.subplots(1, len(slices), squeeze=False).ravel(), slices, strict=True):
        draw_slice(axes, one)
        axes.set_title(f"{fill(one.study, _TITLE)}\n{fill(one.facts, _TITLE)}", fontsize=8.5)
    handles = [Line2D([], [], marker="", label=name, **look) for name, look in OUTLINES.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4 if len(slices) > 2 else 2)
    return figure


def draw_slice(axes: "Axes", one: StudySlice) -> None:
    """Draw one slice with every lesion outlined."""
    from matplotlib.patheffects import Normal, Stroke
    from scipy import ndimage

    axes.set_axis_off()
    aspect = one.spacing[1] / one.spacing[0]
    axes.imshow(one.image[::-1, ::-1].T, cmap="gray", vmin=0, vmax=255, aspect=aspect, interpolation="none")
    verdicts = one.verdict[::-1, ::-1].T
    for value, (_, look) in OUTLINES.items():
        mask = verdicts == value
        if mask.any():
            styles = {f"{key}s": [look[key]] for key in ("linestyle", "linewidth")}
            axes.contour(mask.astype(float), levels=[0.5], colors=[look["color"]], **styles)
        labels, _ = ndimage.label(mask if value in _LETTERS else np.zeros_like(mask), np.ones((3, 3)))
        for rows, columns in ndimage.find_objects(labels):
            axes.annotate(
                _LETTERS[value],
                (columns.stop - 0.5, (rows.start + rows.stop - 1) / 2),
                xytext=(1.5, 0),
                textcoords="offset points",
                fontsize=8.5,
                fontweight="bold",
                color=look["color"],
                va="center",
                path_effects=[Stroke(linewidth=1.5, foreground="black"), Normal()],
            )


def slice_as_data_uri(one: StudySlice) -> str:
    """Return a slice as the ``src`` of an ``<img>``: a PNG in base64 that the picture fills."""
    from matplotlib.figure import Figure

    x, y = (size * edge for size, edge in zip(one.image.shape, one.spacing, strict=True))
    figure = Figure(figsize=(3.2, 3.2 * y / x))
    draw_slice(figure.add_axes((0, 0, 1, 1)), one)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=110, metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def windowed(image: Array) -> Bytes:
    """Return grey values, 0 black … 255 white, from the 1st to the 99.7th percentile of what is not background."""
    head = image[image > image.min()]
    if not head.size:
        return np.zeros(image.shape, np.uint8)
    low, high = np.percentile(head, _WINDOW)
    black = low - 0.1 * (high - low)
    share = (image - black) / max(high - black, np.finfo(np.float32).tiny)
    return np.asarray(255 * np.clip(share, 0, 1)).round().astype(np.uint8)


def box_around(shown: NDArray[np.bool_]) -> tuple[slice, slice]:
    """What is shown and a few pixels around it."""
    found = []
    for axis in (0, 1):
        there = np.flatnonzero(shown.any(axis=1 - axis))
        found.append(slice(max(0, int(there[0]) - _PADDING), int(there[-1]) + 1 + _PADDING))
    return found[0], found[1]


def _blocks(picture: Bytes, step: int) -> Bytes:
    """Blocks of step × step pixels, shape (X', step, Y', step); the last ones are filled with 0."""
    padded = np.pad(picture, [(0, -size % step) for size in picture.shape])
    x, y = padded.shape
    return padded.reshape(x // step, step, y // step, step)
