"""The page's tables: rows of cells, as text that the template sets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isinf, isnan

from lesionseg.report.cases import SCORE_NAMES, SCORES, Score
from lesionseg.report.cells import NOTHING, difference_cell, mean_cell, p_cell, ratio_cell, with_error
from lesionseg.report.comparison import Comparison
from lesionseg.report.results import Results, SizeDifference
from lesionseg.report.strata import Share

LEVEL = 0.05


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        lines: its text; the lines after the first one are set smaller.
        rows: how many rows it spans.
        head: whether it is the head of its rows.
        strong: whether the lines after the first one are set bold.
    """

    lines: tuple[str, ...]
    rows: int = 1
    head: bool = False
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: for its id.
        caption: what it shows.
        header: of its columns.
        rows: a row has a cell for every column that no cell above reaches into.
    """

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def by_size(rows: Sequence[tuple[int, str, Sequence[str | Cell]]]) -> tuple[tuple[Cell, ...], ...]:
    """Rows by size that begin with it and their arm, each of which spans what it is the head of."""
    table: list[tuple[Cell, ...]] = []
    for size, of_size in groupby(sorted(rows, key=lambda row: row[0]), key=lambda row: row[0]):
        group = list(of_size)
        first: Iterable[Cell] = [Cell((str(size),), len(group), head=True)]
        for arm, of_arm in groupby(group, key=lambda row: row[1]):
            rest = list(of_arm)
            named: Iterable[Cell] = [Cell((arm,), len(rest), head=True)]
            for _, _, cells in rest:
                table.append((*first, *named, *(one if isinstance(one, Cell) else Cell((one,)) for one in cells)))
                first, named = (), ()
    return tuple(table)


def scores_table(results: Results) -> Table:
    """The table as a paper prints it: a row per size and arm, a column per score."""
    compared = f", and the difference from {results.reference}, paired by patient" if results.others else ""
    holm = (
        f" p is that of the crossed test of patients and repeats; Holm's p is adjusted for the {results.n_tests} tests "
        f"of sensitivity, PPV and F1 (bold where below {LEVEL})."
        if results.n_tests
        else ""
    )
    return Table(
        "scores",
        f"Mean ± standard error over test patients{compared}, with its 95 % interval.{holm}"
        if results.others
        else "Mean ± standard error over test patients.",
        ("Training studies", "Arm", *(_capital(SCORE_NAMES[score]) for score in SCORES), "Patients × repeats"),
        by_size([(size, arm, _score_cells(results, arm, size)) for size in results.sizes for arm in results.arms]),
    )


def tests_table(results: Results) -> Table | None:
    """What the other tests say; None with one arm."""
    if not results.differences:
        return None
    order = {arm: number for number, arm in enumerate(results.arms)}
    rows = sorted(results.differences, key=lambda row: (row.train_size, order[row.arm]))
    return Table(
        "tests",
        f"Differences from {results.reference} by other tests. Sign flip and Wilcoxon take the trainings as they are; "
        "the mixed model keeps patients who lack a repeat, and is left out where it would take too long. No "
        "p here is adjusted.",
        ("Training studies", "Arm", "Score", "Crossed test: p", "Sign flip: p", "Wilcoxon: p", "Mixed model", "Its p"),
        by_size([(row.train_size, row.arm, _test_cells(row)) for row in rows]),
    )


def pooled_table(results: Results) -> Table | None:
    """All patients' lesions together; None where the counts are not known."""
    pooled: tuple[Score, ...] = ("lesion_sensitivity", "lesion_ppv")
    rows = []
    for size in results.sizes:
        for arm in results.arms:
            means = [results.mean(arm, size, score) for score in pooled]
            if any(mean is not None and mean.pooled is not None for mean in means):
                cells = [
                    cell for mean in means for cell in (mean_cell(mean), ratio_cell(mean.pooled if mean else None))
                ]
                rows.append((size, arm, tuple(cells)))
    if not rows:
        return None
    return Table(
        "pooled",
        "Mean over patients, and the ratio of all patients' lesions together, where patients with many lesions count "
        "more (its standard error is over patients, too).",
        ("Training studies", "Arm", "Sensitivity", "Pooled sensitivity", "PPV", "Pooled PPV"),
        by_size(rows),
    )


def matched_table(comparison: Comparison) -> Table | None:
    """PPV where both arms find as much; None where it is not known."""
    if not comparison.matched:
        return None
    return Table(
        "matched",
        f"PPV at the same sensitivity as {comparison.results.reference}: each model is cut at the threshold at which "
        "it finds as much as the weaker of the two.",
        (
            "Training studies",
            "Arm",
            "Sensitivity of both",
            "PPV",
            "PPV of the reference arm",
            "Difference",
            "p",
            "Note",
        ),
        by_size(
            [
                (
                    row.train_size,
                    row.arm,
                    (
                        _two_digits(row.sensitivity),
                        _two_digits(row.ppv),
                        _two_digits(row.reference_ppv),
                        difference_cell(row.difference),
                        p_cell(row.difference.p) if row.difference is not None else NOTHING,
                        row.note or NOTHING,
                    ),
                )
                for row in comparison.matched
            ]
        ),
    )


def without_lesions_table(results: Results) -> Table | None:
    """What is marked where there is nothing; None where every study has a lesion."""
    if not results.without_lesions:
        return None
    return Table(
        "without-lesions",
        "Test studies without a reference lesion, which enter no mean above.",
        (
            "Training studies",
            "Arm",
            "Studies",
            "With false positives",
            "False positives per study",
            "Their volume in ml",
        ),
        by_size(
            [
                (
                    row.train_size,
                    row.arm,
                    (
                        str(row.n_studies),
                        f"{100 * row.marked:.0f} %",
                        _two_digits(row.false_positives),
                        f"{row.false_positive_volume_ml:.3f}",
                    ),
                )
                for row in results.without_lesions
            ]
        ),
    )


def froc_table(comparison: Comparison) -> Table | None:
    """Area and operating point of each FROC; None where there is no FROC."""
    if not comparison.froc:
        return None
    limits = sorted({band.area_limit for band in comparison.froc})
    upto = f" up to {' or '.join(f'{limit:g}' for limit in limits)} false positives per study" if limits else ""
    return Table(
        "froc-areas",
        f"FROC: its area{upto}, as a share of what is possible, and the operating point. All lesions pooled, mean of "
        "the repeats.",
        ("Training studies", "Arm", "Area", "False positives per study", "Sensitivity"),
        by_size(
            [
                (band.train_size, band.arm, tuple(map(_two_digits, (band.area, *band.operating_point))))
                for band in comparison.froc
            ]
        ),
    )


def strata_table(comparison: Comparison) -> Table | None:
    """Sensitivity and PPV by lesion volume at every size; None where they are not known."""
    if not comparison.strata:
        return None
    return Table(
        "strata",
        "By lesion volume: mean ± standard error over patients, and of how many patients and lesions.",
        ("Training studies", "Arm", "Volume in mm³", "Sensitivity", "PPV"),
        by_size(
            [
                (
                    row.train_size,
                    row.arm,
                    (_volumes(row.low_mm3, row.high_mm3), _share(row.sensitivity), _share(row.ppv)),
                )
                for row in comparison.strata
            ]
        ),
    )


def _score_cells(results: Results, arm: str, size: int) -> list[Cell | str]:
    """Mean, difference and p of each score, then what they rest on."""
    cells: list[Cell | str] = []
    for score in SCORES:
        lines, strong = [mean_cell(results.mean(arm, size, score))], False
        row = results.difference(arm, size, score) if arm in results.others else None
        if row is not None:
            adjusted = "" if isnan(row.holm_p) else f", Holm {p_cell(row.holm_p)}"
            lines += [difference_cell(row.difference), f"p {p_cell(row.difference.p)}{adjusted}"]
            strong = row.holm_p < LEVEL
        cells.append(Cell(tuple(lines), strong=strong))
    mean = results.mean(arm, size, "lesion_sensitivity")
    return [*cells, NOTHING if mean is None else f"{mean.n_patients} × {mean.n_repeats}"]


def _test_cells(row: SizeDifference) -> tuple[str, ...]:
    """The score, and what each test says."""
    return (
        SCORE_NAMES[row.score],
        p_cell(row.difference.p),
        p_cell(row.sign_flip.p),
        p_cell(row.wilcoxon.p),
        difference_cell(row.mixed),
        p_cell(row.mixed.p) if row.mixed is not None else NOTHING,
    )


def _share(share: Share) -> Cell:
    counts = f"{share.n_patients} patients, {share.n_lesions:.3g} lesions"
    return Cell((with_error(share.mean, share.standard_error), counts))


def _volumes(low: float, high: float) -> str:
    if isinf(high):
        return f"from {low:g}"
    return f"{low:g} to {high:g}" if low else f"below {high:g}"


def _two_digits(value: float) -> str:
    return NOTHING if isnan(value) else f"{value:.2f}"


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
