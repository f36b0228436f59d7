"""The comparison as a table for the terminal and for Markdown."""

from collections.abc import Sequence
from math import isnan
from typing import Literal

from tabulate import tabulate

from lesionseg.report.cases import SCORE_NAMES, SCORES, Score
from lesionseg.report.cells import NOTHING, difference_cell, mean_cell, p_cell
from lesionseg.report.results import ArmMean, Results
from lesionseg.report.savings import ArmSavings, studies, studies_between, times
from lesionseg.stats import LabelSaving, PairedDifference

Style = Literal["terminal", "markdown"]

_FORMATS = {"terminal": "simple", "markdown": "github"}


def format_table(results: Results, style: Style = "terminal") -> str:
    """Scores by size: mean ± standard error per arm, difference with its 95 % interval, p and Holm's p.

    Two arms stand beside each other, more below each other.

    Args:
        results: the numbers of a comparison.
        style: plain columns, or GitHub's Markdown.
    """
    several = len(results.arms) > 2
    against = f"difference from {results.reference} [95 % CI]" if several else "difference [95 % CI]"
    compared = [against, "p", "Holm's p"] if len(results.arms) > 1 else []
    arms = ["arm", "mean ± SE"] if several else [*results.arms]
    header = ["training studies", "score", *arms, *compared, "patients × repeats"]
    rows = []
    for size in results.sizes:
        for number, score in enumerate(SCORES):
            place = [str(size) if number == 0 else "", SCORE_NAMES[score]]
            if several:
                for arm in results.arms:
                    rows.append([*place, arm, *_cells(results, size, score, [arm])])
                    place = ["", ""]
            else:
                rows.append([*place, *_cells(results, size, score, results.arms)])
    return _layout(header, rows, style)


def format_without_lesions(results: Results, style: Style = "terminal") -> str:
    """False positives in the studies without reference lesion, per arm and size; empty where there is none."""
    if not results.without_lesions:
        return ""
    header = [
        "training studies",
        "arm",
        "studies without lesion",
        "with false positives",
        "false positives per study",
        "volume per study (ml)",
    ]
    rows = [
        [
            str(row.train_size),
            row.arm,
            str(row.n_studies),
            f"{100 * row.marked:.0f} %",
            f"{row.false_positives:.2f}",
            f"{row.false_positive_volume_ml:.3f}",
        ]
        for row in results.without_lesions
    ]
    return _layout(header, rows, style)


def format_savings(savings: Sequence[ArmSavings], style: Style = "terminal") -> str:
    """How many studies the reference arm needs for what an arm has at each size; empty where there is no curve."""
    header = ["score", "arm", "training studies", "the reference needs [95 % CI]", "times as many"]
    rows = [
        [SCORE_NAMES[one.score], one.arm, f"{saving.size:g}", _needed_cell(saving), _times_cell(saving)]
        for one in savings
        for saving in (one.savings.savings if one.savings else ())
    ]
    return _layout(header, rows, style) if rows else ""


def _needed_cell(saving: LabelSaving) -> str:
    needed = saving.needed
    if isnan(needed.estimate.value):
        return NOTHING
    ends = NOTHING if isnan(needed.low.value) else studies_between(needed)
    return f"{studies(needed.estimate)} [{ends}]"


def _times_cell(saving: LabelSaving) -> str:
    return NOTHING if isnan(saving.multiplier.estimate.value) else times(saving.multiplier.estimate)


def _cells(results: Results, size: int, score: Score, arms: Sequence[str]) -> list[str]:
    """The arms' means, the last one's difference from the reference where several are compared, and the basis."""
    means = [results.mean(arm, size, score) for arm in arms]
    cells = [mean_cell(mean) for mean in means]
    if len(results.arms) == 1:
        return [*cells, _basis_cell(means[0])]
    row = results.difference(arms[-1], size, score)
    difference = row.difference if row else None
    basis: ArmMean | PairedDifference | None = difference or next(filter(None, means), None)
    tests = [p_cell(row.difference.p), p_cell(row.holm_p)] if row else [NOTHING] * 2
    return [*cells, difference_cell(difference), *tests, _basis_cell(basis)]


def _basis_cell(basis: ArmMean | PairedDifference | None) -> str:
    return NOTHING if basis is None else f"{basis.n_patients} × {basis.n_repeats}"


def _layout(header: list[str], rows: list[list[str]], style: Style) -> str:
    aligned = ["right" if name in ("training studies", "p", "Holm's p") else "left" for name in header]
    return tabulate(rows, header, tablefmt=_FORMATS[style], disable_numparse=True, colalign=aligned)
