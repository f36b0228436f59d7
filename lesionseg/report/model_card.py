"""A model card (doi 10.1145/3287560.3287596) in Markdown: what a trained model is for, what it learned from, what it
scores, and where it fails."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf, isnan
from typing import Any

import pandas as pd
from scipy import stats
from tabulate import tabulate

from lesionseg.report.text import joined, shown
from lesionseg.stats import clustered_ratio, summarise
from lesionseg.transfer.checkpoint import ModelCard
from lesionseg.transfer.report import TransferReport

_SCORES = {"lesion_sensitivity": "sensitivity", "lesion_ppv": "PPV", "lesion_f1": "F1", "dice": "Dice"}
_WORST = 3  # studies that are named


def model_card_text(
    card: ModelCard,
    report: TransferReport,
    split: dict[str, Any],
    cases: pd.DataFrame,
    lesions: pd.DataFrame,
    volume_edges_mm3: Sequence[float],
) -> str:
    """Return the card of a finished run.

    Args:
        card: the model's own description.
        report: what became of the source's weights.
        split: the content of ``split.json``, and its ``digest``.
        cases: the test studies, as ``cases.csv``.
        lesions: their lesions, as ``lesions.csv``.
        volume_edges_mm3: between the ranges of lesion volumes.
    """
    spacing = " × ".join(f"{edge:g}" for edge in card.spacing)
    trained = f"{len(split['train'])} subjects, and {len(split['validation'])} to choose by"
    loaded = f"{report.loaded_share:.0%} of its values from {report.source}" if report.source else "from scratch"
    with_lesions = cases[cases["n_reference"] > 0]
    return "\n".join(
        [
            f"# {card.task}: {card.init}, {len(split['train'])} training subjects",
            "",
            "**Research software, not a medical device.** Not for diagnosis or treatment.",
            "",
            "## What it is for",
            f"It marks {shown(card.target)} voxels on {joined(card.inputs)} of the brain. Intended use: to segment "
            "scans like those below in research, with somebody who looks at the result. What is unlike the training "
            "data (another scanner, contrast, age, disease; a head with its skull) was not tried.",
            "",
            "## What it learned from",
            f"- data: {card.dataset}, {trained}; SHA-256 of the split {split['digest']}",
            f"- images: {spacing} mm, {card.normalisation}; {_seen(card)}",
            f"- initialisation: {card.init}, {loaded}",
            *(f"  - {difference}" for difference in report.differences),
            f"- network: `{shown(card.network)}`",
            "",
            f"## What it scores on {len(cases)} test studies",
            f"A lesion counts from {card.min_lesion_volume:g} mm³ and is {card.criterion.describe()}; threshold "
            f"{card.threshold:g} on the probability.",
            "",
            _scores(with_lesions),
            "",
            _by_size(lesions, volume_edges_mm3),
            "",
            "Intervals are over new patients; what another training would give they do not say.",
            "",
            "## Known failures",
            *_failures(cases),
            "",
        ]
    )


def _seen(card: ModelCard) -> str:
    voxel = card.training_images.get("voxel")
    if voxel is None:
        return "what the scans looked like is not known"
    low, high = (" × ".join(f"{edge:.3g}" for edge in edges) for edges in voxel)
    return f"scans of {low} mm" + ("" if low == high else f" to {high} mm")


def _scores(cases: pd.DataFrame) -> str:
    rows = []
    for column, name in _SCORES.items():
        found = summarise(cases[column].to_numpy(float))
        reach = stats.t.ppf(0.975, found.n - 1) * found.standard_error if found.n > 1 else inf
        rows.append([name, f"{found.mean:.2f}", _interval(found.mean - reach, found.mean + reach), found.n])
    return tabulate(rows, ["score", "mean", "95 % interval", "studies"], "github", disable_numparse=True)


def _by_size(lesions: pd.DataFrame, edges: Sequence[float]) -> str:
    """Return sensitivity and PPV by lesion volume, lesions of one study being found or missed together."""
    rows = []
    for low, high in pairwise((0.0, *edges, inf)):
        cells = [f"{low:g} mm³ and more" if high == inf else f"{low:g} to {high:g} mm³"]
        for side in ("reference", "prediction"):
            own = lesions[(lesions["side"] == side) & lesions["volume_mm3"].between(low, high, inclusive="left")]
            counts = own.assign(hit=own["verdict"].isin(("detected", "true"))).groupby("study")["hit"]
            found = clustered_ratio(counts.sum().to_numpy(float), counts.size().to_numpy(float))
            cells.append(f"{found.ratio:.2f} {_interval(found.low, found.high)} of {len(own)}" if len(own) else "none")
        rows.append(cells)
    return tabulate(rows, ["lesion volume", "sensitivity", "PPV"], "github", disable_numparse=True)


def _interval(low: float, high: float) -> str:
    return "" if isnan(low) or low == -inf else f"[{max(0.0, low):.2f}, {min(1.0, high):.2f}]"


def _failures(cases: pd.DataFrame) -> list[str]:
    with_lesions, without = cases[cases["n_reference"] > 0], cases[cases["n_reference"] == 0]
    worst = with_lesions.sort_values(["lesion_f1", "study"]).head(_WORST)
    named = [f"{row.study} ({row.detected_reference} of {row.n_reference})" for row in worst.itertuples()]
    lines = [f"- it finds the smallest share of lesions in {joined(named)}"] if named else []
    empty = with_lesions[with_lesions["n_prediction"] == 0]["study"]
    lines += [f"- it marks nothing in {joined(empty)}, where there are lesions"] if len(empty) else []
    false = cases["false_positives"].mean()
    lines.append(f"- it marks {false:.1f} places a study where no lesion was drawn")
    merged = int(cases["merged_lesions"].sum()) if "merged_lesions" in cases else 0
    lines += [f"- {merged} lesions share one marked place with another lesion"] if merged else []
    if len(without):
        lines.append(f"- in the {len(without)} studies without lesion it marks {without['false_positives'].mean():.1f}")
    return lines
