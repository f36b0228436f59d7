"""What the site shows beside the pages that are written by hand: the configuration's keys, described by the schema and
the files of conf/; and a picture of each way to judge a lesion. MkDocs runs it (see mkdocs.yml)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from scipy import ndimage
from tabulate import tabulate

from lesionseg.config import conf_dir
from lesionseg.config.schema import SCHEMAS
from lesionseg.config.sections import described_keys
from lesionseg.metrics import (
    Anima,
    AnyOverlap,
    BestIoU,
    Criterion,
    OneToOneIoU,
    froc_area,
    label_components,
    lesion_curve,
    lesion_dice,
    pool_curves,
    score_lesions,
    score_study,
    score_surfaces,
    sensitivity_at,
)

HERE = Path(__file__).parent
CRITERIA: dict[str, Criterion] = {
    "any overlap": AnyOverlap(),
    "Anima (MSSEG)": Anima(),
    "best IoU ≥ 0.25 (Shifts)": BestIoU(min_iou=0.25),
    "one to one, IoU ≥ 0.1 (panoptica)": OneToOneIoU(min_iou=0.1),
}


def on_pre_build(config: Any) -> None:
    """Write the pages and pictures that are made."""
    (HERE / "configuration.md").write_text(configuration(), encoding="utf-8")
    (HERE / "tutorial.md").write_text(tutorial(), encoding="utf-8")
    draw_criteria().savefig(HERE / "images" / "criteria.png", dpi=110)
    draw_further().savefig(HERE / "images" / "further.png", dpi=110)


def tutorial() -> str:
    """Return the notebook as Markdown."""
    cells = json.loads((HERE / "tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
    parts = ["*This page is the notebook `docs/tutorial.ipynb`.*"]
    parts += [one["source"] if one["cell_type"] == "markdown" else f"```python\n{one['source']}\n```" for one in cells]
    return "\n\n".join(parts) + "\n"


def configuration() -> str:
    """Return every key of every command, and the files of each group, as Markdown."""
    parts = [
        "# Every key of the configuration",
        "Each is set on the command line, `trainer.steps=400`, or in a file of yours; `lesionseg COMMAND --cfg job` "
        "shows them with their values. Described by the schema that checks them.",
    ]
    for command, schema in SCHEMAS.items():
        rows = [[f"`{key}`", field.description] for key, field in described_keys(schema)]
        parts += [f"## {command}", str(schema.__doc__), tabulate(rows, ["key", "meaning"], "github")]
    parts += ["## The files", "What comes with lesionseg, as it stands in `conf/`; a copy is where your own begins."]
    for file in sorted(conf_dir().rglob("*.yaml")):
        name = file.relative_to(conf_dir()).as_posix()
        if "/" in name:
            parts.append(f'??? note "{name}"\n    ```yaml\n{_indented(file.read_text(encoding="utf-8"))}\n    ```')
    return "\n\n".join(parts) + "\n"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.rstrip().splitlines())


def pair() -> tuple[np.ndarray, np.ndarray]:
    """Return a reference and a prediction, (X, Y, 1), in which the criteria differ."""
    reference, prediction = np.zeros((2, 34, 16, 1), np.uint8)
    reference[2:7, 5:10] = prediction[2:7, 5:10] = 1  # the same
    reference[10:15, 5:10] = prediction[14:20, 9:13] = 1  # one voxel shared
    reference[18:20, 3:5] = reference[21:23, 3:5] = prediction[17:24, 2:6] = 1  # one covers two
    reference[26:32, 5:11] = prediction[26:28, 5:11] = prediction[30:32, 5:11] = 1  # two pieces
    return reference, prediction


def draw_criteria() -> Figure:
    """Draw the pair, and what each criterion makes of it."""
    reference, prediction = pair()
    picture = (reference + 2 * prediction)[:, :, 0].T
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    axes = figure.subplots(2, 1, height_ratios=[2, 1])
    axes[0].imshow(picture, origin="lower", cmap=ListedColormap(["white", "#56B4E9", "#F0E442", "#009E73"]))
    axes[0].set_title("reference (blue), prediction (yellow), both (green); 1 mm voxels", fontsize=10)
    axes[0].set(xticks=[], yticks=[])
    rows = []
    for name, criterion in CRITERIA.items():
        found = score_lesions(reference, prediction, (1.0, 1.0, 1.0), criterion)
        hits = f"{found.detected_reference} of {found.n_reference}", f"{found.true_prediction} of {found.n_prediction}"
        rows.append([name, *hits, f"{found.sensitivity:.2f}", f"{found.ppv:.2f}", f"{found.f1:.2f}"])
    labels = ["criterion", "found", "true", "sensitivity", "PPV", "F1"]
    axes[1].table(rows, colLabels=labels, loc="center", colWidths=[0.34, 0.13, 0.13, 0.14, 0.1, 0.1]).scale(1, 1.5)
    axes[1].set_axis_off()
    return figure


def draw_further() -> Figure:
    """Draw what surfaces, cells, ranges of volume and the FROC measure, on the same pair."""
    reference, prediction = pair()
    spacing, colours = (1.0, 1.0, 1.0), ListedColormap(["white", "#56B4E9", "#F0E442", "#009E73"])
    figure = Figure(figsize=(11, 7.4), layout="constrained")
    (surfaces, cells), (ranges, curve) = figure.subplots(2, 2)
    one, other = reference[24:, 2:14], prediction[24:, 2:14]
    found = score_surfaces(one, other, spacing, tolerance_mm=1.0)
    surfaces.imshow((one + 2 * other)[:, :, 0].T, origin="lower", cmap=colours)
    surfaces.set_title(
        "surfaces: every surface voxel's distance to the other's\n"
        f"HD95 {found.hd95_mm:.1f} mm, ASSD {found.assd_mm:.2f} mm, surface Dice at 1 mm {found.nsd:.2f}",
        fontsize=9,
    )
    labels = label_components(reference, 26)[0][:, :, 0]
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    dice = lesion_dice(reference, prediction, spacing)
    cells.imshow(labels[tuple(nearest)].T, origin="lower", cmap="Pastel1")
    cells.contour(prediction[:, :, 0].T, levels=[0.5], colors="#F0A000")
    cells.contour(reference[:, :, 0].T, levels=[0.5], colors="#004070")
    shown = ", ".join(f"{value:.2f}" for value in dice)
    cells.set_title(f"CC-Dice: Dice in each lesion's cell ({shown}), mean {dice.mean():.2f}", fontsize=9)
    study = score_study(reference, prediction, np.eye(4), CRITERIA["Anima (MSSEG)"], volume_edges_mm3=[10.0, 20.0])
    names = ["below 10 mm³", "10 to 20", "20 and more"]
    ranges.bar(np.arange(3) - 0.2, [row.sensitivity for row in study.strata], 0.4, label="sensitivity", color="#56B4E9")
    ranges.bar(np.arange(3) + 0.2, [row.ppv for row in study.strata], 0.4, label="PPV", color="#E69F00")
    ranges.set_xticks(range(3), names)
    ranges.legend(fontsize=8, loc="center")
    ranges.set_title(
        "by lesion volume, under Anima: sensitivity over reference, PPV over predicted lesions", fontsize=9
    )
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(0, 1, reference.shape), (1.5, 1.5, 0))
    probability = np.clip(0.45 * prediction + 0.35 + 0.9 * noise, 0, 1).astype(np.float32)
    froc = pool_curves([lesion_curve(reference, probability, spacing)])
    limits = np.linspace(0, 6, 61)
    curve.step(limits, [sensitivity_at(froc, limit) for limit in limits], where="post", color="#00496F")
    curve.set(xlabel="false positives a study, at most", ylabel="sensitivity", ylim=(0, 1.05))
    curve.set_title(f"FROC, of a noisy map: every threshold; area up to 6: {froc_area(froc, 6.0):.2f}", fontsize=9)
    for axes in (surfaces, cells):
        axes.set(xticks=[], yticks=[])
    return figure
