"""Where the scans and masks of a cohort lie: BIDS, by the patterns of ``conf/dataset/bids.yaml``."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from lesionseg.data.dataset import Dataset, Study
from lesionseg.data.readers import read_bids
from lesionseg.errors import InputError

PATTERNS = Path(__file__).parents[2] / "conf" / "dataset" / "bids.yaml"


def split_name(argument: str) -> tuple[str, Path]:
    """``NAME=FOLDER``, or a folder that is called as it is."""
    name, equals, folder = argument.partition("=")
    if equals and name and folder and not Path(argument).is_dir():
        return name, Path(folder)
    return Path(argument).resolve().name, Path(argument)


def read_cohorts(arguments: Sequence[str]) -> dict[str, Dataset]:
    """Each cohort by its name, in order.

    Raises:
        InputError: two of the same name, or a folder that is none or holds no study.
    """
    named = [split_name(argument) for argument in arguments]
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        raise InputError(f"Cohorts must have different names, found {', '.join(names)}: write NAME=FOLDER")
    return {name: read_cohort(name, folder) for name, folder in named}


def read_cohort(name: str, folder: Path) -> Dataset:
    """The studies of a BIDS folder: contrasts ``flair``, ``t1``, ``t1_post``, ``t2``, targets ``lesion``,
    ``new_lesion``, ``enhancing_lesion``."""
    patterns = yaml.safe_load(PATTERNS.read_text(encoding="utf-8"))
    return read_bids(folder, name=name, images=patterns["images"], masks=patterns["masks"])


def first_studies(cohort: Dataset) -> list[Study]:
    """The earliest session of each subject, where it has a mask of all lesions."""
    first = {study.subject: study for study in reversed(cohort.studies)}
    return [first[subject] for subject in cohort.subjects if "lesion" in first[subject].masks]
