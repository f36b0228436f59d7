"""Measure the lesions of cohorts and put the numbers beside those published of 30 patients.

python experiments/synthetic_realism/measure.py COHORT [REFERENCE ...] --output DIR
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from cohort_files import first_studies, read_cohorts
from lesions import Lesions, measure_lesions, noise_share
from statistics_figure import Measured, draw_statistics
from summary import NOTES, frame_of, summarise, table_of
from tqdm import tqdm

from lesionseg.data.dataset import Dataset, Study
from lesionseg.data.nifti import read_mask, read_volume
from lesionseg.data.preprocessing import brain_mask
from lesionseg.errors import InputError
from lesionseg.metrics import voxel_volume


def main() -> None:
    """Measure each cohort; print the table and write it, its numbers and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", nargs="+", metavar="COHORT", help="a BIDS folder, or NAME=FOLDER")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for statistics.md, .csv and .png")
    arguments = parser.parse_args()
    try:
        measured = measure_cohorts(read_cohorts(arguments.cohorts))
    except InputError as error:
        sys.exit(str(error))
    write(measured, arguments.output)


def measure_cohorts(cohorts: Mapping[str, Dataset]) -> dict[str, Measured]:
    """Measure the first session of every subject with a mask.

    Raises:
        InputError: a cohort has none or no lesion, or a scan and its mask do not share their grid.
    """
    studies = {name: first_studies(cohort) for name, cohort in cohorts.items()}
    empty = [f"{name}: no subject's first session has a lesion mask" for name, some in studies.items() if not some]
    if empty:
        raise InputError(empty)
    for name, cohort in cohorts.items():
        if without := len(cohort.subjects) - len(studies[name]):
            print(f"{name}: {without} subjects without a lesion mask in their first session, left out", file=sys.stderr)
    measured = {}
    with tqdm(total=sum(map(len, studies.values())), unit="subject") as bar:
        for name, some in studies.items():
            bar.set_description(name)
            parts = []
            for study in some:
                parts.append(measure_study(study))
                bar.update()
            measured[name] = Measured(
                pd.DataFrame([patient for patient, _ in parts]), pd.concat([lesions for _, lesions in parts])
            )
    if blank := [f"{name}: no mask has a lesion" for name, one in measured.items() if one.lesions.empty]:
        raise InputError(blank)
    return measured


def measure_study(study: Study) -> tuple[dict[str, float], pd.DataFrame]:
    """A patient's row and the table of his lesions, as ``summary.summarise`` takes them.

    Raises:
        InputError: scan and mask do not share their grid.
    """
    mask, grid = read_mask(study.masks["lesion"])
    if "flair" not in study.images:
        lesions = measure_lesions(mask, grid.spacing)
        return _patient(lesions), _table(lesions)
    image, image_grid = read_volume(study.images["flair"])
    if not image_grid.same_as(grid):
        raise InputError(
            f"{study.name}: {study.images['flair']} and {study.masks['lesion'].path} are on different grids"
        )
    brain = brain_mask(image)
    lesions = measure_lesions(mask, grid.spacing, image, brain)
    brain_ml = float(brain.sum()) * voxel_volume(grid.spacing) / 1000
    return _patient(lesions, brain_ml, noise_share(image, brain)), _table(lesions)


def write(measured: Mapping[str, Measured], folder: Path) -> None:
    """Write ``statistics.md``, ``statistics.csv`` and ``statistics.png``; print the table."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {name: summarise(cohort.patients, cohort.lesions) for name, cohort in measured.items()}
    table = table_of(numbers)
    (folder / "statistics.md").write_text(f"{table}\n\n{NOTES}\n", encoding="utf-8")
    frame_of(numbers).to_csv(folder / "statistics.csv")
    draw_statistics(measured).savefig(folder / "statistics.png", dpi=110)
    print(table)


def _patient(lesions: Lesions, brain_ml: float = float("nan"), noise: float = float("nan")) -> dict[str, float]:
    load_ml = float(lesions.volume_mm3.sum()) / 1000
    return {"count": lesions.voxels.size, "load_ml": load_ml, "brain_ml": brain_ml, "noise": noise}


def _table(lesions: Lesions) -> pd.DataFrame:
    first_second, second_third = lesions.axis_ratios.T
    return pd.DataFrame(
        {
            "voxels": lesions.voxels,
            "volume_mm3": lesions.volume_mm3,
            "axis_ratio_first_second": first_second,
            "axis_ratio_second_third": second_third,
            "contrast": lesions.contrast,
        }
    )


if __name__ == "__main__":
    main()
