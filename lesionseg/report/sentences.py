"""What the numbers say, and what they cannot carry, in plain words."""

from collections.abc import Sequence
from math import isnan

from lesionseg.report.cases import SCORE_NAMES, Score
from lesionseg.report.results import Results, SizeDifference
from lesionseg.report.words import joined, training_studies
from lesionseg.stats import PairedDifference

_FINDS_NOTHING = 0.01
_FEW_PATIENTS = 10
_READ_OUT: tuple[Score, Score] = ("lesion_sensitivity", "lesion_ppv")


def answer(results: Results) -> tuple[str, ...]:
    """What the numbers say at the smallest and the largest size, and where intervals exclude zero: at most three
    sentences."""
    sizes = sorted({results.sizes[0], results.sizes[-1]})
    return (*(_at_size(results, size) for size in sizes), _verdict(results))


def caveats(results: Results) -> tuple[str, ...]:
    """What the numbers can and cannot carry, an item each; only what applies."""
    return (
        *_finds_nothing(results),
        *_basis(results),
        *_tests(results),
        *_undefined(results),
        *_missing(results),
        "The test patients are of one cohort: another scanner, centre or reader may give other numbers.",
    )


def format_p(p: float) -> str:
    """`p = 0.034`, `p < 0.001`, or `no test` where it is NaN."""
    if isnan(p):
        return "no test"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _at_size(results: Results, size: int) -> str:
    studies = training_studies(size)
    rows = [results.mean(arm, size, "lesion_sensitivity") for arm in results.arms]
    there = [row.arm for row in rows if row is not None and not isnan(row.mean)]
    if not there:
        return f"With {studies} no test patient has a score."
    sensitivity, ppv = (_percentages(results, size, score, there) for score in _READ_OUT)
    tested = [results.difference(size, score) for score in _READ_OUT] if len(there) == 2 else [None, None]
    found = ", ".join(
        f"{arm} found {share} of a patient's lesions on average" if number == 0 else f"{arm} {share}"
        for number, (arm, share) in enumerate(zip(there, sensitivity, strict=True))
    )
    others = [arm for arm in results.arms if arm not in there]
    absent = f" ({others[0]} has no score there)" if others else ""
    whose = "they" if len(there) == 2 else "it"
    return (
        f"With {studies} {found}{_tested(tested[0], spelled=True)}; "
        f"{' and '.join(ppv)} of the lesions that {whose} marked were true{_tested(tested[1])}{absent}."
    )


def _percentages(results: Results, size: int, score: Score, arms: Sequence[str]) -> list[str]:
    rows = [results.mean(arm, size, score) for arm in arms]
    return ["–" if row is None or isnan(row.mean) else f"{100 * row.mean:.0f} %" for row in rows]


def _tested(difference: PairedDifference | None, spelled: bool = False) -> str:
    if difference is None:
        return ""
    points = f"{'difference ' if spelled else ''}{_points(difference.mean)} points"
    if isnan(difference.p):
        return f" ({points}, not testable)"
    interval = f"{'95 % interval ' if spelled else ''}{_points(difference.low)} to {_points(difference.high)}"
    return f" ({points}, {interval}, {format_p(difference.p)})"


def _points(value: float) -> str:
    return f"{100 * value:+.0f}".replace("-", "−").replace("+0", "0").replace("−0", "0")


def _verdict(results: Results) -> str:
    if len(results.arms) < 2:
        return "There is one arm, so that nothing is compared."
    tested = [
        (score, size, difference)
        for score in _READ_OUT
        for size in results.sizes
        if (difference := results.difference(size, score)) is not None and not isnan(difference.p)
    ]
    first, second = results.arms
    ahead = {
        second: [(score, str(size)) for score, size, difference in tested if difference.low > 0],
        first: [(score, str(size)) for score, size, difference in tested if difference.high < 0],
    }
    clear = [f"{arm} ahead in {_where(found)}" for arm, found in ahead.items() if found]
    open_ = len(tested) - sum(map(len, ahead.values()))
    if not tested:
        return "None of these differences can be tested."
    if not clear:
        return "Every interval of sensitivity and PPV includes zero: these runs do not tell the arms apart."
    rest = "; the other intervals include zero" if open_ > 1 else "; the other interval includes zero"
    return f"The intervals that exclude zero put {' and '.join(clear)}{rest if open_ else ''}."


def _where(found: Sequence[tuple[Score, str]]) -> str:
    """``sensitivity at 2 and 5, and in PPV at 10``."""
    by_score = {score: [size for other, size in found if other == score] for score, _ in found}
    return ", and in ".join(f"{SCORE_NAMES[score]} at {joined(sizes)}" for score, sizes in by_score.items())


def _finds_nothing(results: Results) -> list[str]:
    return [
        f"{row.arm} finds nothing with {row.train_size} training studies (sensitivity {row.mean:.2f}): a "
        "comparison there says that it failed to train, not by how much it is worse."
        for row in results.means
        if row.score == "lesion_sensitivity" and row.mean < _FINDS_NOTHING
    ]


def _basis(results: Results) -> list[str]:
    patients, repeats = results.n_patients_with_lesions, len(results.repeats)
    said = [
        f"Everything rests on {patients} test patients with reference lesions and "
        f"{repeats} repeat{'s' if repeats != 1 else ''}; ± is the standard error over patients."
    ]
    if patients < _FEW_PATIENTS:
        said.append(f"With {patients} test patients only large differences can show.")
    if repeats == 1:
        said.append(
            "One repeat: how much a result varies from training to training is unknown, so that a difference "
            "holds for these trained models only."
        )
    if repeats == 2 and results.differences:
        said.append(
            "Two repeats tell little of how much training varies: p values can be too small (in simulations up "
            "to 12 % of null differences had p < 0.05)."
        )
    return said


def _tests(results: Results) -> list[str]:
    tested = [row.difference for row in results.differences if not isnan(row.difference.p)]
    if not tested:
        return []
    said = [f"The {len(tested)} p values are not adjusted for one another." if len(tested) > 1 else ""]
    if any(found.low <= 0 <= found.high for found in tested):
        said.append("An interval that includes zero does not say that the arms are equal.")
    return [*filter(None, said), *_notes(results)]


def _notes(results: Results) -> list[str]:
    """What the tests noted, once each, with where it applies."""
    places: dict[str, list[str]] = {}
    for row in results.differences:
        # With one repeat the basis says it already.
        if row.difference.note and len(results.repeats) > 1:
            places.setdefault(row.difference.note, []).append(f"{SCORE_NAMES[row.score]} at {row.train_size}")
    every = len(results.differences)
    return [
        f"{joined(where) if len(where) <= 4 else f'{len(where)} of the {every} differences'}: {note}"
        for note, where in places.items()
    ]


def _undefined(results: Results) -> list[str]:
    said: list[str] = []
    without = results.n_patients - results.n_patients_with_lesions
    if without:
        said.append(
            f"Test patients without reference lesion: {without} of {results.n_patients}. They enter no mean, and "
            "their false positives are reported apart."
        )
    more = [row for row in results.means if row.n_undefined > without]
    said += [
        f"{SCORE_NAMES[row.score]} of {row.arm} at {row.train_size}: {row.n_undefined} of "
        f"{row.n_patients + row.n_undefined} patients have no value."
        for row in more
    ]
    return said


def _missing(results: Results) -> list[str]:
    said = []
    if results.missing:
        said.append(f"The grid is not full: {'; '.join(results.missing)}.")
    uneven = sorted({row.train_size for row in results.differences if _is_uneven(results, row)})
    if uneven:
        said.append(
            f"At {joined([str(size) for size in uneven])} the differences rest on the patients and repeats that "
            "both arms have, and the means on all that each has: they need not agree."
        )
    if results.n_inconsistent:
        said.append(
            f"The number of reference lesions differs between runs in {results.n_inconsistent} of "
            f"{results.n_studies} test studies: these runs were scored against different masks or by different "
            "rules and cannot be compared before that is mended."
        )
    return said


def _is_uneven(results: Results, row: SizeDifference) -> bool:
    means = [results.mean(arm, row.train_size, row.score) for arm in results.arms]
    paired = (row.difference.n_patients, row.difference.n_repeats)
    return any((mean.n_patients, mean.n_repeats) != paired for mean in means if mean is not None)
