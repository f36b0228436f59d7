"""The figure of the strategies: the F1 of each beside that of scratch, a panel per number of training studies."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lesionseg.report.analysis import Analysis
from lesionseg.report.text import training_studies

APART = ("pretrained_shuffled", "zero_shot")  # a control, and no training at all


def draw_strategies(analysis: Analysis, arms: Sequence[str], reference: str) -> Figure:
    """Mean and standard error of each strategy, its repeats small below; the reference runs through as line and band.

    Args:
        analysis: with F1, 0 … 1; where there is none, the panel says so.
        arms: from top to bottom.
        reference: the arm that the others are held against.
    """
    table = analysis.estimates[analysis.estimates["score"] == "lesion_f1"]
    means = {(row["train_size"], row["quantity"]): row for row in table.to_dict("records") if isfinite(row["mean"])}
    curves = analysis.curves[analysis.curves["score"] == "lesion_f1"].set_index(["train_size", "arm"])
    sizes = analysis.basis.sizes
    figure = Figure(figsize=(2.2 + 2.9 * len(sizes), 1.5 + 0.36 * len(arms)), layout="constrained")
    panels = figure.subplots(1, len(sizes), sharex=True, sharey=True, squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        for height, arm in enumerate(arms):
            mean = means.get((size, arm))
            repeats = curves.loc[(size, arm)].filter(like="repeat_").dropna().tolist() if mean else []
            _draw_arm(axes, height, mean, repeats, hollow=arm in APART, through=arm == reference)
        axes.set_title(training_studies(size), fontsize=11)
        axes.set_xlabel("lesion F1 (0 to 1, higher is better)", fontsize=9)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set(yticks=range(len(arms)), yticklabels=arms, ylim=(len(arms) - 0.4, -0.6))
    caption = (
        f"Dot and bar: mean ± standard error over {table['n_patients'].max():.0f} test patients; small dots: "
        f"each repeat; dashed line and band: {reference}.\nHollow: weights shuffled (control), or not trained at all."
    )
    figure.supxlabel(caption, fontsize=8.5, color="dimgray")
    return figure


def _draw_arm(axes: Axes, height: int, mean: Any, repeats: Sequence[float], *, hollow: bool, through: bool) -> None:
    if mean is None:
        right = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center"}
        axes.text(0.98, height, "not finished", color="dimgray", fontsize=8, **right)
        return
    axes.axhline(height, color="0.95", linewidth=0.8, zorder=0.5)
    error = mean["standard_error"] if isfinite(mean["standard_error"]) else 0
    if through:
        axes.axvspan(mean["mean"] - error, mean["mean"] + error, color="0.91", linewidth=0, zorder=0)
        axes.axvline(mean["mean"], color="dimgray", linewidth=1.2, linestyle="--", zorder=1)
    axes.plot(repeats, [height + 0.27] * len(repeats), ".", color="dimgray")
    fill = "white" if hollow else "black"
    axes.errorbar(mean["mean"], height, xerr=error, fmt="o", color="black", markerfacecolor=fill, zorder=3)
