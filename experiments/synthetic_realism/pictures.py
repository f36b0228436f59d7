"""Draw scans of a synthetic cohort next to real and semi-real ones, a PNG for each task.

python experiments/synthetic_realism/pictures.py --synthetic DIR --real DIR --semireal DIR --output DIR
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from cohort_files import read_cohort, read_cohorts
from examples import Example, choose, has_inputs, load
from strips import Panel, Strip, View, busiest, cut, draw_strips, save_small
from tqdm import tqdm

from lesionseg.data.dataset import Dataset
from lesionseg.data.preprocessing import zscore
from lesionseg.errors import InputError

Cohorts = Mapping[str, Dataset]
Rows = list[list[Strip | None]]

CONTRASTS = {"flair": "FLAIR", "t1": "T1w", "t1_post": "T1w + Gd", "t2": "T2w"}
LEVELS = (0.36, 0.48, 0.6)  # of the brain's height: circle of Willis, choroid plexus, roof of the ventricles
DIFFERENCE = (-3.0, 3.0)  # SD of the brain
SIDE = "The patient's right is on the left."


def main() -> None:
    """Draw what the folders have, and say what they have not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("synthetic", "real", "semireal"):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", required=name == "synthetic", help="a BIDS folder")
    parser.add_argument("--source", nargs="+", default=[], metavar="NAME=DIR", help="synthetic, of other pathologies")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the PNG go")
    arguments = parser.parse_args()
    try:
        folders = {name: getattr(arguments, name) for name in ("synthetic", "real", "semireal")}
        cohorts = {name: read_cohort(name, folder) for name, folder in folders.items() if folder is not None}
        draw_all(cohorts, read_cohorts(arguments.source), arguments.output)
    except InputError as error:
        sys.exit(str(error))


def draw_all(cohorts: Cohorts, sources: Cohorts, folder: Path) -> None:
    """Write the PNG files of which there is something to show."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, tuple[Callable[[Cohorts], Rows], Cohorts, str, float]] = {
        "flair_lesions.png": (flair_lesions, cohorts, "FLAIR, axial and coronal, where most lesion is.", 12),
        "new_lesions.png": (new_lesions, cohorts, "FLAIR: prior session, current session, new lesions outlined.", 11),
        "enhancing_lesions.png": (
            enhancing_lesions,
            cohorts,
            "T1w, T1w + Gd, difference (±3 SD), enhancing lesions outlined.",
            12,
        ),
        "contrasts.png": (
            contrasts,
            cohorts,
            f"FLAIR, lesions outlined, {', '.join(list(CONTRASTS.values())[1:])}.",
            9,
        ),
    }
    if sources:
        title = "Lesions outlined on FLAIR, enhancing ones after gadolinium."
        pictures["sources.png"] = (source_pathologies, sources, title, 2.4 * max(2, len(sources)))
    for name, (compose, shown, title, width) in tqdm(pictures.items(), unit="picture"):
        rows = compose(shown)
        if rows:
            save_small(draw_strips(rows, f"{title}\n{SIDE}", total_width=width), folder / name)
        else:
            tell(f"{name}: nothing to show, not written.")


def flair_lesions(cohorts: Cohorts) -> Rows:
    """Real and semi-real to the left, synthetic to the right; each slice without and with the outline."""

    def strips(name: str, count: int) -> list[Strip]:
        return [
            Strip(_caption(example, "lesion"), _with_outline(example, "flair", "lesion", ("axial", "coronal")))
            for example in examples_of(cohorts, name, ["flair"], "lesion", count)
        ]

    return _beside([*strips("real", 1), *strips("semireal", 3)], strips("synthetic", 4))


def new_lesions(cohorts: Cohorts) -> Rows:
    """Real and semi-real to the left, synthetic to the right: prior, current, current with the outline."""

    def strip(example: Example) -> Strip:
        level = busiest(example.masks["new_lesion"], "axial")
        panels = [_slice(example, "prior.flair", level)]
        return Strip(_caption(example, "new_lesion"), panels + _with_outline(example, "flair", "new_lesion", ["axial"]))

    def strips(name: str, count: int) -> list[Strip]:
        return [strip(one) for one in examples_of(cohorts, name, ["flair", "prior.flair"], "new_lesion", count)]

    return _beside([*strips("real", 2), *strips("semireal", 2)], strips("synthetic", 4))


def enhancing_lesions(cohorts: Cohorts) -> Rows:
    """Real scans without enhancing lesion, at three levels, to the left; synthetic ones with, to the right."""

    def strip(example: Example, level: int, caption: str) -> Strip:
        before, after = (zscore(example.images[name], example.brain) for name in ("t1", "t1_post"))
        panels = [_slice(example, "t1", level), _slice(example, "t1_post", level)]
        change = np.where(example.brain, after - before, DIFFERENCE[0])
        panels.append(cut(change, "axial", level, example.spacing, DIFFERENCE))
        if "enhancing_lesion" in example.masks:
            panels.append(_slice(example, "t1_post", level, "enhancing_lesion"))
        return Strip(caption, panels)

    synthetic = [
        strip(one, busiest(one.masks["enhancing_lesion"], "axial"), _caption(one, "enhancing_lesion"))
        for one in examples_of(cohorts, "synthetic", ["t1", "t1_post"], "enhancing_lesion", len(LEVELS))
    ]
    return _beside(
        [
            strip(one, round(share * one.brain.shape[2]), f"{one.name}, no enhancing lesion")
            for one in _without_enhancement(cohorts)
            for share in LEVELS
        ],
        synthetic,
    )


def contrasts(cohorts: Cohorts) -> Rows:
    """A row per patient: every contrast, and FLAIR with the lesions outlined."""
    rows: Rows = []
    for name, count in (("real", 1), ("synthetic", 3)):
        for example in examples_of(cohorts, name, ["flair"], "lesion", count, optional=["t1", "t1_post", "t2"]):
            level = busiest(example.masks["lesion"], "axial")
            panels = [_slice(example, contrast, level) for contrast in example.images]
            panels.insert(1, _slice(example, "flair", level, "lesion"))
            rows.append([Strip(_caption(example, "lesion"), panels)])
    return rows


def source_pathologies(sources: Cohorts) -> Rows:
    """A column per pathology: FLAIR and T1w after gadolinium, each without and with the outline."""
    columns = []
    for name in sources:
        found = examples_of(sources, name, ["flair"], "lesion", 1, optional=["t1_post"])
        columns.append(_source_column(found[0]) if found else [])
    return [list(row) for row in zip_longest(*columns)] if any(columns) else []


def examples_of(
    cohorts: Cohorts, name: str, inputs: Sequence[str], target: str, count: int, optional: Sequence[str] = ()
) -> list[Example]:
    """Load examples of a cohort, with what it has of the optional contrasts; what is missing is told."""
    if name not in cohorts:
        tell(f"No folder of {name} scans was given; left out.")
        return []
    cohort = cohorts[name]
    there = [one for one in optional if any(has_inputs(cohort, study, [one]) for study in cohort.studies)]
    if missing := [one for one in optional if one not in there]:
        tell(f"{name}: no {', '.join(missing)} in {cohort.root}; left out.")
    chosen = choose(cohort, [*inputs, *there], target, count)
    if not chosen:
        tell(f"{name}: no session with {', '.join([*inputs, *there])} and any {target} in {cohort.root}; left out.")
    return [load(cohort, study, [*inputs, *there], [target, "enhancing_lesion"]) for study in chosen]


def tell(sentence: str) -> None:
    """Say something without breaking the progress bar."""
    tqdm.write(sentence)


def _without_enhancement(cohorts: Cohorts) -> list[Example]:
    """The first real session with T1w before and after gadolinium."""
    inputs = ["t1", "t1_post"]
    real = cohorts.get("real")
    able = [study for study in real.studies if has_inputs(real, study, inputs)] if real else []
    if real is None or not able:
        tell("real: no session with t1 and t1_post; left out.")
        return []
    return [load(real, able[0], inputs, [])]


def _source_column(example: Example) -> list[Strip]:
    """Two strips of one panel for each contrast."""
    level = busiest(example.masks["lesion"], "axial")
    strips = []
    for contrast in example.images:
        target = "enhancing_lesion" if contrast == "t1_post" and "enhancing_lesion" in example.masks else "lesion"
        strips.append(Strip(f"{example.name}, {CONTRASTS[contrast]}", [_slice(example, contrast, level)]))
        strips.append(Strip(example.describe(target), [_slice(example, contrast, level, target)]))
    return strips


def _slice(example: Example, contrast: str, level: int, target: str | None = None) -> Panel:
    """The axial slice at a level, outlined where a target is named."""
    mask = None if target is None else example.masks[target]
    return cut(example.images[contrast], "axial", level, example.spacing, example.window(contrast), mask)


def _with_outline(example: Example, contrast: str, target: str, views: Sequence[View]) -> list[Panel]:
    """Of each view the slice with most of the mask, without and with the outline."""
    image, mask, window = example.images[contrast], example.masks[target], example.window(contrast)
    return [
        cut(image, view, busiest(mask, view), example.spacing, window, outline)
        for view in views
        for outline in (None, mask)
    ]


def _caption(example: Example, target: str) -> str:
    return f"{example.name}, {example.describe(target)}"


def _beside(left: Sequence[Strip], right: Sequence[Strip]) -> Rows:
    """Two columns, or one where the other has nothing."""
    if not (left and right):
        return [[strip] for strip in [*left, *right]]
    return [list(pair) for pair in zip_longest(left, right)]


if __name__ == "__main__":
    main()
