"""The statistics of a cohort, those published of 30 patients, and the table with both."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd
from tabulate import tabulate

Numbers = Mapping[str, float]

PUBLISHED_NAME = "30 patients"
PUBLISHED: dict[str, float] = {
    "patients": 30,
    "count_median": 85,
    "count_p25": 30,
    "count_p75": 116,
    "count_min": 17,
    "count_max": 390,
    "load_ml_median": 13.5,
    "load_ml_p25": 1.6,
    "load_ml_p75": 27.4,
    "load_ml_min": 0.3,
    "load_ml_max": 51,
    "volume_mm3_median": 15,
    "volume_mm3_p25": 5,
    "volume_mm3_p75": 44,
    "volume_mm3_p99": 2268,
    "ln_volume_mean": 2.80,
    "ln_volume_sd": 1.65,
    "below_10_mm3_percent": 38,
    "below_50_mm3_percent": 77,
    "percent_of_lesions_holding_71_percent": 1.6,
    "percent_of_volume_in_largest_lesions": 71,
    "count_load_rank_correlation": 0.69,
    "axis_ratio_first_second": 1.6,
    "axis_ratio_second_third": 1.4,
}
PUBLISHED_CONTRAST = (1.3, 1.9)  # SD of the brain
HELD_SHARE, LARGEST_SHARE = 0.71, 0.016
MIN_AXIS_VOXELS = 10  # of a smaller lesion the axes are those of the grid

BANDS: dict[str, tuple[float, float]] = {  # mm³, the lower bound included
    "below_10_mm3": (0, 10),
    "10_to_30_mm3": (10, 30),
    "30_to_100_mm3": (30, 100),
    "100_to_1000_mm3": (100, 1000),
    "from_1000_mm3": (1000, np.inf),
}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what the line tells.
        template: how its numbers are written; three significant digits where nothing else is said.
        published: stands in the column of the published numbers instead.
    """

    name: str
    template: str
    published: str = ""


ROWS = (
    Row("patients", "{patients:.0f}"),
    Row(
        "lesions per patient: median (IQR; range)",
        "{count_median} ({count_p25}–{count_p75}; {count_min:.0f}–{count_max:.0f})",
    ),
    Row(
        "load, ml: median (IQR; range)",
        "{load_ml_median} ({load_ml_p25}–{load_ml_p75}; {load_ml_min:.2g}–{load_ml_max})",
    ),
    Row("rank correlation of count and load", "{count_load_rank_correlation:.2f}"),
    Row("volume, mm³: median (IQR)", "{volume_mm3_median} ({volume_mm3_p25}–{volume_mm3_p75})"),
    Row("volume, mm³: 99th percentile", "{volume_mm3_p99:,.0f}"),
    Row("ln of the volume in mm³: mean, SD", "{ln_volume_mean:.2f}, {ln_volume_sd:.2f}"),
    Row("lesions below 10 mm³", "{below_10_mm3_percent:.0f} %"),
    Row("lesions below 50 mm³", "{below_50_mm3_percent:.0f} %"),
    Row("lesions that hold 71 % of the volume", "{percent_of_lesions_holding_71_percent:.1f} %"),
    Row("volume in the largest 1.6 % of lesions", "{percent_of_volume_in_largest_lesions:.0f} %"),
    Row("axis ratios, first : second, second : third", "{axis_ratio_first_second}, {axis_ratio_second_third}"),
    Row("FLAIR contrast, brain SD: median over lesions", "{contrast_median:.2f}"),
    Row("… lesions below 10 mm³", "{contrast_below_10_mm3:.2f}"),
    Row("… 10 to 30 mm³", "{contrast_10_to_30_mm3:.2f}"),
    Row("… 30 to 100 mm³", "{contrast_30_to_100_mm3:.2f}"),
    Row("… 100 to 1,000 mm³", "{contrast_100_to_1000_mm3:.2f}"),
    Row("… from 1,000 mm³", "{contrast_from_1000_mm3:.2f}"),
    Row("… mean over lesion voxels", "{contrast_voxel_mean:.2f}", f"{PUBLISHED_CONTRAST[0]}–{PUBLISHED_CONTRAST[1]}"),
    Row("FLAIR noise, share of the brain's mean", "{noise_percent:.1f} %"),
    Row("brain, ml: median (range)", "{brain_ml_median:,.0f} ({brain_ml_min:,.0f}–{brain_ml_max:,.0f})"),
)
NOTES = f"""\
First session of each patient; lesions are 26-connected on the mask's own grid; – where there is nothing to measure.
Axis ratios: medians over lesions of {MIN_AXIS_VOXELS} voxels or more, from the covariance of the voxels in mm, that
within a voxel included. FLAIR contrast: mean inside minus median of the 4 voxels around, without background, other
lesions and the voxels next to these, in standard deviations (SD) of the whole brain. Noise: median absolute difference
between a voxel and the mean of its six neighbours, well inside the brain (0.73 SD of white noise), median of patients.

{PUBLISHED_NAME}: masks of the open database of the Laboratory of Imaging Technologies, Ljubljana (Lesjak et al.,
Neuroinformatics 2017, doi 10.1007/s12021-017-9348-7), at 1 mm; of the contrast no more than the range is known."""


def summarise(patients: pd.DataFrame, lesions: pd.DataFrame) -> dict[str, float]:
    """Every statistic of a cohort; NaN where there is nothing to measure.

    Args:
        patients: a row each, with ``count``, ``load_ml``, ``brain_ml`` and ``noise`` (a share).
        lesions: a row each, with ``voxels``, ``volume_mm3``, ``axis_ratio_first_second``,
            ``axis_ratio_second_third`` and ``contrast`` (SD of the brain).
    """
    volumes = lesions["volume_mm3"].to_numpy(dtype=float)
    logs = pd.Series(np.log(volumes))
    return {
        "patients": len(patients),
        **_spread("count", patients["count"]),
        **_spread("load_ml", patients["load_ml"]),
        "count_load_rank_correlation": rank_correlation(patients["count"], patients["load_ml"]),
        **_spread("volume_mm3", lesions["volume_mm3"]),
        "volume_mm3_p99": float(lesions["volume_mm3"].quantile(0.99)),
        "ln_volume_mean": float(logs.mean()),
        "ln_volume_sd": float(logs.std()),
        "below_10_mm3_percent": _percent(volumes < 10),
        "below_50_mm3_percent": _percent(volumes < 50),
        "percent_of_lesions_holding_71_percent": 100 * share_that_holds(volumes, HELD_SHARE),
        "percent_of_volume_in_largest_lesions": 100 * held_by_largest(volumes, LARGEST_SHARE),
        **lesions.loc[lesions["voxels"] >= MIN_AXIS_VOXELS, ["axis_ratio_first_second", "axis_ratio_second_third"]]
        .median()
        .to_dict(),
        **_contrasts(lesions),
        "noise_percent": 100 * float(patients["noise"].median()),
        **_spread("brain_ml", patients["brain_ml"]),
    }


def share_that_holds(volumes: np.ndarray, held: float) -> float:
    """The smallest share of the lesions, 0 to 1, that together have this share of the volume; NaN without lesions."""
    if volumes.size == 0:
        return nan
    total = np.cumsum(np.sort(volumes)[::-1])
    return float((np.searchsorted(total, held * total[-1] * (1 - 1e-9)) + 1) / volumes.size)


def held_by_largest(volumes: np.ndarray, share: float) -> float:
    """The share of the volume, 0 to 1, in this share of the lesions, the largest, at least one; NaN without lesions."""
    if volumes.size == 0:
        return nan
    largest = max(1, round(share * volumes.size))
    return float(np.sort(volumes)[::-1][:largest].sum() / volumes.sum())


def rank_correlation(first: pd.Series, second: pd.Series) -> float:
    """Spearman's; NaN below three patients or where one of both is the same in all."""
    if len(first) < 3 or first.nunique() < 2 or second.nunique() < 2:
        return nan
    return float(first.rank().corr(second.rank()))


def table_of(cohorts: Mapping[str, Numbers]) -> str:
    """Markdown: a line per statistic, a column per cohort, the published numbers last."""
    cells = [
        [row.name, *(_cell(row.template, numbers) for numbers in cohorts.values()), _published_cell(row)]
        for row in ROWS
    ]
    return tabulate(cells, headers=["", *cohorts, PUBLISHED_NAME], tablefmt="github", disable_numparse=True)


def frame_of(cohorts: Mapping[str, Numbers]) -> pd.DataFrame:
    """A row per number, a column per cohort, the published numbers last."""
    return pd.DataFrame({**cohorts, PUBLISHED_NAME: PUBLISHED}, index=list(next(iter(cohorts.values())))).rename_axis(
        "statistic"
    )


def _published_cell(row: Row) -> str:
    return row.published or _cell(row.template, PUBLISHED)


def _cell(template: str, numbers: Numbers) -> str:
    """The template filled in, – where one of its numbers is missing or NaN."""
    text = template.format_map(defaultdict(lambda: nan, {name: _Number(number) for name, number in numbers.items()}))
    return "–" if "nan" in text else text


class _Number(float):
    """Written with three significant digits where the template says nothing else."""

    def __format__(self, form: str) -> str:
        return super().__format__(form) if form else f"{float(f'{self:.3g}'):,.12g}"


def _contrasts(lesions: pd.DataFrame) -> dict[str, float]:
    measured = lesions.dropna(subset=["contrast"])
    by_band = {
        f"contrast_{name}": float(
            measured.loc[measured["volume_mm3"].between(low, high, inclusive="left"), "contrast"].median()
        )
        for name, (low, high) in BANDS.items()
    }
    voxels = measured["voxels"].sum()
    mean = float((measured["contrast"] * measured["voxels"]).sum() / voxels) if voxels else nan
    return {"contrast_median": float(measured["contrast"].median()), **by_band, "contrast_voxel_mean": mean}


def _spread(name: str, values: pd.Series) -> dict[str, float]:
    quantiles = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "max": 1.0}
    return {f"{name}_{key}": float(values.quantile(share)) for key, share in quantiles.items()}


def _percent(condition: np.ndarray) -> float:
    return 100 * float(condition.mean()) if condition.size else nan
