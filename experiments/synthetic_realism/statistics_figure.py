"""The figure of the statistics: lesion volumes, load against count, FLAIR contrast against volume."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from summary import BANDS, PUBLISHED, PUBLISHED_CONTRAST, PUBLISHED_NAME

_LOOKS = (("#D55E00", "s", "-"), ("#0072B2", "o", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":"))
_PUBLISHED = {"color": "black", "marker": "P", "linestyle": "none", "markersize": 9, "zorder": 5}
_GREY = "#888888"


@dataclass(frozen=True)
class Measured:
    """A cohort's tables, as ``summary.summarise`` takes them."""

    patients: pd.DataFrame
    lesions: pd.DataFrame


def draw_statistics(cohorts: Mapping[str, Measured]) -> Figure:
    """Three panels side by side, each cohort in a colour, marker and dash of its own, the published numbers black."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    volumes, loads, contrasts = figure.subplots(1, 3)
    contrasts.sharex(volumes)
    for number, (name, measured) in enumerate(cohorts.items()):
        colour, marker, dash = _LOOKS[number % len(_LOOKS)]
        volumes.ecdf(measured.lesions["volume_mm3"], color=colour, linestyle=dash, linewidth=1.8, label=name)
        found = measured.patients.query("count > 0")
        loads.plot(found["count"], found["load_ml"], marker, color=colour, alpha=0.75, label=name)
        _draw_contrasts(contrasts, measured.lesions, colour, marker, dash, name)
    _finish_volumes(volumes)
    _finish_loads(loads)
    _finish_contrasts(contrasts)
    return figure


def _draw_contrasts(axes: Axes, lesions: pd.DataFrame, colour: str, marker: str, dash: str, name: str) -> None:
    """Each lesion faint, and the median of each volume band."""
    measured = lesions.dropna(subset=["contrast"])
    axes.plot(measured["volume_mm3"], measured["contrast"], ".", color=colour, markersize=3, alpha=0.2)
    edges = [low for low, _ in BANDS.values()] + [np.inf]
    band = pd.cut(measured["volume_mm3"], edges, right=False)
    medians = measured.groupby(band, observed=True)[["volume_mm3", "contrast"]].median()
    look = {"color": colour, "marker": marker, "linestyle": dash, "markeredgecolor": "white", "markersize": 8}
    axes.plot(medians["volume_mm3"], medians["contrast"], label=name, zorder=4, **look)


def _finish_volumes(axes: Axes) -> None:
    quantiles = {
        0.25: PUBLISHED["volume_mm3_p25"],
        0.5: PUBLISHED["volume_mm3_median"],
        0.75: PUBLISHED["volume_mm3_p75"],
        0.99: PUBLISHED["volume_mm3_p99"],
        PUBLISHED["below_10_mm3_percent"] / 100: 10,
        PUBLISHED["below_50_mm3_percent"] / 100: 50,
    }
    axes.plot(list(quantiles.values()), list(quantiles), label=PUBLISHED_NAME, **_PUBLISHED)
    axes.set(xscale="log", xlabel="lesion volume (mm³)", ylabel="share of lesions", ylim=(0, 1.02))
    _tidy(axes, "Volumes, cumulative", "lower right")


def _finish_loads(axes: Axes) -> None:
    middle = [[PUBLISHED[f"{name}_median"]] for name in ("count", "load_ml")]
    count, load = (
        [
            [PUBLISHED[f"{name}_median"] - PUBLISHED[f"{name}_p25"]],
            [PUBLISHED[f"{name}_p75"] - PUBLISHED[f"{name}_median"]],
        ]
        for name in ("count", "load_ml")
    )
    label = f"{PUBLISHED_NAME}: medians, IQR"
    axes.errorbar(*middle, xerr=count, yerr=load, capsize=4, label=label, **_PUBLISHED)
    axes.set(xscale="log", yscale="log", xlabel="lesions per patient", ylabel="load (ml)")
    _tidy(axes, "Load against count", "upper left")


def _finish_contrasts(axes: Axes) -> None:
    axes.axhspan(*PUBLISHED_CONTRAST, color="black", alpha=0.12, linewidth=0, label=f"{PUBLISHED_NAME}: range")
    axes.axhline(0, color=_GREY, linewidth=0.8)
    axes.set(xscale="log", xlabel="lesion volume (mm³)", ylabel="FLAIR, inside − around (SD of the brain)")
    _tidy(axes, "FLAIR contrast: lesions, medians", "upper left")


def _tidy(axes: Axes, title: str, place: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc=place, frameon=False, fontsize=9)
