"""What the numbers say, and what they cannot carry, in plain words."""

from collections.abc import Sequence
from math import isnan

from lesionseg.report.cases import PRIMARY, SCORE_NAMES, Score
from lesionseg.report.matched import MatchedPpv
from lesionseg.report.results import Results, SizeDifference
from lesionseg.report.savings import ArmSavings
from lesionseg.report.words import joined, training_studies

_FINDS_NOTHING = 0.01
_FEW_PATIENTS = 10
_MOST_NAMED = 6  # missing runs that are named one by one
_READ_OUT: tuple[Score, Score] = ("lesion_sensitivity", "lesion_ppv")
_LEVEL = 0.05


def answer(results: Results, savings: Sequence[ArmSavings] = ()) -> tuple[str, ...]:
    """What the numbers say at the smallest and the largest size, which differences are more than chance, and how many
    studies are saved: at most three sentences."""
    sizes = sorted({results.sizes[0], results.sizes[-1]})
    at_size = _at_size if len(results.arms) < 3 else _ranked_at_size
    return (*(at_size(results, size) for size in sizes), _verdict(results, savings))


def caveats(results: Results, matched: Sequence[MatchedPpv] = ()) -> tuple[str, ...]:
    """What the numbers can and cannot carry, an item each; only what applies."""
    return (
        *_finds_nothing(results),
        *_basis(results),
        *_tests(results),
        *_matched(matched),
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
    tested = [results.difference(there[-1], size, score) if len(there) == 2 else None for score in _READ_OUT]
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


def _tested(row: SizeDifference | None, spelled: bool = False, adjusted: bool = False) -> str:
    """``(difference +30 points, 95 % interval +29 to +31, p < 0.001)``, or Holm's p."""
    if row is None:
        return ""
    found = row.difference
    points = f"{'difference ' if spelled else ''}{_points(found.mean)} points"
    if isnan(found.p):
        return f" ({points}, not testable)"
    interval = f"{'95 % interval ' if spelled else ''}{_points(found.low)} to {_points(found.high)}"
    p = f"Holm's {format_p(row.holm_p)}" if adjusted else format_p(found.p)
    return f" ({points}, {interval}, {p})"


def _points(value: float) -> str:
    return f"{100 * value:+.0f}".replace("-", "−").replace("+0", "0").replace("−0", "0")


def _ranked_at_size(results: Results, size: int) -> str:
    """Of more than two arms who has the highest and the lowest F1, and the reference."""
    rows = [results.mean(arm, size, "lesion_f1") for arm in results.arms]
    there = sorted((row for row in rows if row is not None and not isnan(row.mean)), key=lambda row: -row.mean)
    studies = training_studies(size)
    if not there:
        return f"With {studies} no test patient has a score."
    best, *others = there
    if not others:
        return f"With {studies} only {best.arm} has a score: F1 {best.mean:.2f}."
    against = f"difference from {results.reference} "
    gain = _tested(results.difference(best.arm, size, "lesion_f1"), spelled=True, adjusted=True)
    said = f"With {studies} {best.arm} has the highest mean F1 of {len(there)} arms, {best.mean:.2f}"
    said += f"{gain.replace('difference ', against)}, and {others[-1].arm} the lowest, {others[-1].mean:.2f}"
    reference = next((row for row in others[:-1] if row.arm == results.reference), None)
    return f"{said}; {reference.arm} has {reference.mean:.2f}." if reference else f"{said}."


def _verdict(results: Results, savings: Sequence[ArmSavings]) -> str:
    if len(results.arms) < 2:
        return "There is one arm, so that nothing is compared."
    if not results.differences:
        return "No arm can be held against the one that was named first: it has no finished run at any of their sizes."
    tested = [row for row in results.differences if row.score in PRIMARY and not isnan(row.difference.p)]
    if not tested:
        return "None of these differences can be tested."
    saved = _saved(savings)
    return f"{_told(results, tested)}{f'; {saved}' if saved else ''}."


def _told(results: Results, tested: Sequence[SizeDifference]) -> str:
    clear = [row for row in tested if row.holm_p < _LEVEL]
    within = [row for row in tested if row.difference.p < _LEVEL]
    family = f"{len(tested)} tests of sensitivity, PPV and F1" if len(tested) > 1 else "one test"
    if clear:
        rest = len(tested) - len(clear)
        others = f" (the other {rest} {'does' if rest == 1 else 'do'} not tell the arms apart)" if rest else ""
        return f"After Holm's adjustment for {family}, {_who(results, clear)}{others}"
    if within:
        only = f"{len(within)} {'have' if len(within) > 1 else 'has'} p below 0.05 unadjusted"
        return (
            f"Of {family}, {only} ({_who(results, within)}), but none after Holm's adjustment: these runs do not tell "
            "the arms apart"
        )
    none = f"None of {len(tested)} tests of sensitivity, PPV and F1 has" if len(tested) > 1 else "The one test has no"
    return f"{none} p below 0.05: these runs do not tell the arms apart"


def _who(results: Results, rows: Sequence[SizeDifference]) -> str:
    """``pretrained is ahead of scratch in sensitivity at 2 and 5, and in PPV at 10``."""
    told = []
    for arm in results.others:
        for ahead, word in ((True, "ahead of"), (False, "behind")):
            found = [
                (row.score, str(row.train_size))
                for row in rows
                if row.arm == arm and (row.difference.mean > 0) is ahead
            ]
            if found:
                told.append((f"{word} {results.reference} in {_where(found)}", arm))
    by_text: dict[str, list[str]] = {}
    for text, arm in told:
        by_text.setdefault(text, []).append(arm)
    return "; ".join(f"{joined(arms)} {'is' if len(arms) == 1 else 'are'} {text}" for text, arms in by_text.items())


def _saved(savings: Sequence[ArmSavings]) -> str:
    """The label saving by F1, of one arm that is held against another; of more the table tells."""
    found = [one for one in savings if one.score == "lesion_f1" and one.savings is not None]
    return found[0].sentence.removesuffix(".").replace("With ", "with ", 1) if len(found) == 1 else ""


def _where(found: Sequence[tuple[Score, str]]) -> str:
    """``sensitivity at 2 and 5, and in PPV at 10``; scores with the same sizes together."""
    by_score: dict[Score, list[str]] = {score: [] for score in SCORE_NAMES}
    for score, size in found:
        by_score[score].append(size)
    by_sizes: dict[str, list[str]] = {}
    for score, sizes in by_score.items():
        if sizes:
            by_sizes.setdefault(joined(sizes), []).append(SCORE_NAMES[score])
    return ", and in ".join(f"{joined(scores)} at {sizes}" for sizes, scores in by_sizes.items())


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
    said = []
    if results.n_tests > 1:
        said.append(
            f"p is unadjusted; Holm's p is adjusted for the {results.n_tests} tests of sensitivity, PPV and F1 at all "
            "sizes. An unadjusted p below 0.05 is expected in one of twenty tests of nothing."
        )
    if any(found.low <= 0 <= found.high for found in tested):
        said.append("An interval that includes zero does not say that the arms are equal.")
    if any(row.mixed is None for row in results.differences):
        said.append("There are too many patients and repeats for the mixed model: it was left out.")
    return [*said, *_notes(results)]


def _notes(results: Results) -> list[str]:
    """What the tests noted, once each, with where it applies."""
    several = len(results.others) > 1
    places: dict[str, list[str]] = {}
    for row in results.differences:
        # With one repeat the basis says it already.
        if row.difference.note and len(results.repeats) > 1:
            where = f"{SCORE_NAMES[row.score]} at {row.train_size}{f' of {row.arm}' if several else ''}"
            places.setdefault(row.difference.note, []).append(where)
    every = len(results.differences)
    return [
        f"{joined(where) if len(where) <= 4 else f'{len(where)} of the {every} differences'}: {note}"
        for note, where in places.items()
    ]


def _matched(matched: Sequence[MatchedPpv]) -> list[str]:
    places: dict[str, list[str]] = {}
    for row in matched:
        if row.note:
            places.setdefault(row.note, []).append(f"{row.arm} at {row.train_size}")
    return [f"PPV at matched sensitivity, {joined(where)}: {note}" for note, where in places.items()]


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
        named = "; ".join(results.missing[:_MOST_NAMED])
        more = len(results.missing) - _MOST_NAMED
        said.append(f"The grid is not full: {named}{f'; and {more} more' if more > 0 else ''}.")
    uneven = sorted({row.train_size for row in results.differences if _is_uneven(results, row)})
    if uneven:
        said.append(
            f"At {joined(uneven)} the differences rest on the patients and repeats that "
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
    means = [results.mean(arm, row.train_size, row.score) for arm in (row.reference, row.arm)]
    paired = (row.difference.n_patients, row.difference.n_repeats)
    return any((mean.n_patients, mean.n_repeats) != paired for mean in means if mean is not None)
