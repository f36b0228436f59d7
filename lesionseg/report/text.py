"""The answer of a comparison in sentences, made from its frames; and how values are written in a sentence."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import inf, isinf, isnan
from typing import Any

import pandas as pd

from lesionseg.report.analysis import DIFFERENCE, PLANNED_REPEATS, PRIMARY, SCORES, Analysis
from lesionseg.stats.paired import FEWEST_REPEATS

LEVEL = 0.05
NOTHING = "–"


def shown(value: Any) -> str:
    """Return a setting's value as text: ``0.001``, ``yes``, ``[1, 2]``, ``{encoder: never}``; None is ``not set``."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(shown, value)) + "]"
    return str(value)


def joined(names: Iterable[object]) -> str:
    """Return ``2``, ``2 and 5`` or ``2, 5 and 10``."""
    *first, last = map(str, names)
    return f"{', '.join(first)} and {last}" if first else last


def counted(values: Sequence[Hashable]) -> str:
    """Return how often there is which value: ``0.01 (4 of 6 runs), 0.003 (2)``, or ``0.01 (6)``."""
    texts = [shown(value) for value in values]
    distinct = sorted(dict.fromkeys(texts), key=lambda text: -texts.count(text))
    if len(distinct) == 1:
        return f"{distinct[0]} ({len(texts)})"
    first, *others = (f"{text} ({texts.count(text)}" for text in distinct)
    return ", ".join([f"{first} of {len(texts)} runs)", *(f"{other})" for other in others)])


def spread(values: Mapping[tuple[int, int], Any]) -> str:
    """Return a value by size and repeat as text: ``200``, ``200 at 2 and 5, 400 at 10``, ``200 (4 of 6 runs), 400
    (2)``."""
    texts = {key: shown(values[key]) for key in sorted(values)}
    sizes: dict[str, list[int]] = {}
    for (size, _), text in texts.items():
        if size not in sizes.setdefault(text, []):
            sizes[text].append(size)
    if len(sizes) == 1:
        return next(iter(sizes))
    if sum(map(len, sizes.values())) == len({size for size, _ in texts}):
        return ", ".join(f"{text} at {joined(at)}" for text, at in sizes.items())
    return counted(list(texts.values()))


def training_studies(size: float) -> str:
    """Return ``1 training study`` or ``2 training studies``."""
    return "1 training study" if size == 1 else f"{size:g} training studies"


def format_p(p: float) -> str:
    """Return ``p = 0.034``, ``p < 0.001``, or ``no test`` where it is NaN."""
    if isnan(p):
        return "no test"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def number(value: float, digits: int = 2) -> str:
    """Return a number with so many digits, a dash for NaN."""
    return NOTHING if isnan(value) else f"{value:.{digits}f}"


def with_error(mean: float, error: float) -> str:
    """Return ``0.52 ± 0.04``, with a dash for what is NaN."""
    return NOTHING if isnan(mean) else f"{mean:.2f} ± {number(error)}"


def signed(value: float) -> str:
    """Return two digits with a sign, the minus as in print: ``+0.12``, ``−0.03``, ``0.00``."""
    rounded = round(value, 2)
    return f"{rounded:+.2f}".replace("-", "−") if rounded else "0.00"


def p_value(p: float) -> str:
    """Return ``0.034`` or ``< 0.001``, a dash where there is no test."""
    return NOTHING if isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def volume_range(low: float, high: float) -> str:
    """Return ``< 10``, ``10–100`` or ``≥ 100``."""
    if isinf(high):
        return f"≥ {low:g}" if low else "all"
    return f"{low:g}–{high:g}" if low else f"< {high:g}"


def bounded(value: float, bound: str) -> str:
    """Return ``14``, ``2.4`` or ``more than 20``; a decimal below ten alone."""
    text = f"{value:.1f}" if value < 10 else f"{value:.0f}"
    text = text[:-2] if text.endswith(".0") else text
    return text if bound == "exact" else f"{bound} {text}"


def interval_of_studies(row: Mapping[str, Any]) -> str:
    """Return ``9 to more than 20`` for a row of label savings, or ``more than 20`` where all of it lies there."""
    low, high = (bounded(row[f"needed_{end}"], row[f"needed_{end}_bound"]) for end in ("low", "high"))
    return low if low == high and row["needed_low_bound"] != "exact" else f"{low} to {high}"


def answer_sentences(analysis: Analysis) -> list[str]:
    """Say what the numbers say at the smallest and the largest size, which differences are more than chance, and how
    many studies are saved: at most three sentences."""
    sizes = sorted({analysis.basis.sizes[0], analysis.basis.sizes[-1]})
    at_size = _at_size if len(analysis.arms) < 3 else _ranked_at_size
    return [*(at_size(analysis, size) for size in sizes), _verdict(analysis)]


def baseline_sentence(gains: pd.DataFrame) -> tuple[bool, str]:
    """Say at the largest size whether each arm is ahead of no learning in F1, and return whether all are.

    Ahead is one whose whole interval is above zero or, without an interval, whose mean is.
    """
    own = gains[(gains["score"] == "lesion_f1") & (gains["train_size"] == gains["train_size"].max())]
    ahead = (own["low"] if own["low"].notna().all() else own["difference"]) > 0
    told = joined(
        f"{row['arm']} by {_points(row['difference'])} points (95 % interval {_points(row['low'])} to "
        f"{_points(row['high'])})"
        if row["low"] == row["low"]
        else f"{row['arm']} by {_points(row['difference'])} points"
        for row in _records(own)
    )
    first = own.iloc[0]
    known = f"no learning ({first['other']}, F1 {first['other_mean']:.2f})"
    start = f"With {training_studies(first['train_size'])}"
    if ahead.all():
        return True, f"{start} the networks are ahead of {known} in F1: {told}."
    behind = joined(own["arm"][~ahead])
    return False, f"WARNING: {start} {behind} cannot be told to be ahead of {known}. Differences in F1: {told}."


def _rows(analysis: Analysis, size: int, score: str, *, differences: bool = False) -> dict[str, dict[str, Any]]:
    """Return the means of a size and score by arm, or the differences from the reference."""
    own = analysis.estimates
    own = own[(own["train_size"] == size) & (own["score"] == score) & ((own["reference"] != "") == differences)]
    return {str(row["arm"]): row for row in _records(own)}


def _at_size(analysis: Analysis, size: int) -> str:
    studies = training_studies(size)
    sensitivity, ppv = (_rows(analysis, size, score) for score in ("lesion_sensitivity", "lesion_ppv"))
    there = [arm for arm in analysis.arms if arm in sensitivity and not isnan(sensitivity[arm]["mean"])]
    if not there:
        return f"With {studies} no test patient has a score."
    tested = ["", ""]
    if len(there) == 2:
        for number, score in enumerate(("lesion_sensitivity", "lesion_ppv")):
            row = _rows(analysis, size, score, differences=True).get(there[1])
            tested[number] = _tested(row, named=number == 0) if row else ""
    shares = {arm: f"{100 * sensitivity[arm]['mean']:.0f} %" for arm in there}
    true = ["–" if isnan(ppv[arm]["mean"]) else f"{100 * ppv[arm]['mean']:.0f} %" for arm in there]
    _, *second = (f"{arm} {share}" for arm, share in shares.items())
    found = ", ".join([f"{there[0]} found {shares[there[0]]} of a patient's lesions on average", *second])
    absent = [arm for arm in analysis.arms if arm not in there]
    return (
        f"With {studies} {found}{tested[0]}; {' and '.join(true)} of the lesions that "
        f"{'they' if second else 'it'} marked were true{tested[1]}"
        f"{f' ({absent[0]} has no score there)' if absent else ''}."
    )


def _tested(row: Mapping[str, Any], named: bool = False, against: str = "", adjusted: bool = False) -> str:
    """Return `` (difference +30 points, 95 % interval +29 to +31, p < 0.001)``."""
    points = f"{f'difference {against}' if named else ''}{_points(row['mean'])} points"
    if isnan(row["p"]):
        return f" ({points}, {'not testable' if row['n_repeats'] >= FEWEST_REPEATS else 'no test below 3 repeats'})"
    p = f"Holm's {format_p(row['holm_p'])}" if adjusted else format_p(row["p"])
    return f" ({points}, {'95 % interval ' if named else ''}{_points(row['low'])} to {_points(row['high'])}, {p})"


def _points(value: float) -> str:
    points = round(100 * value)
    return f"+{points}" if points > 0 else f"−{-points}" if points < 0 else "0"


def _ranked_at_size(analysis: Analysis, size: int) -> str:
    """Of more than two arms name the ones with the highest and the lowest F1, and the reference."""
    rows = _rows(analysis, size, "lesion_f1").values()
    there = sorted((row for row in rows if not isnan(row["mean"])), key=lambda row: -row["mean"])
    studies, reference = training_studies(size), analysis.arms[0]
    if not there:
        return f"With {studies} no test patient has a score."
    best, *others = there
    if not others:
        return f"With {studies} only {best['arm']} has a score: F1 {best['mean']:.2f}."
    gain = _rows(analysis, size, "lesion_f1", differences=True).get(best["arm"])
    tested = _tested(gain, named=True, against=f"from {reference} ", adjusted=True) if gain else ""
    said = f"With {studies} {best['arm']} has the highest mean F1 of {len(there)} arms, {best['mean']:.2f}{tested}"
    said += f", and {others[-1]['arm']} the lowest, {others[-1]['mean']:.2f}"
    between = next((row for row in others[:-1] if row["arm"] == reference), None)
    return f"{said}; {reference} has {between['mean']:.2f}." if between else f"{said}."


def _verdict(analysis: Analysis) -> str:
    if len(analysis.arms) < 2:
        return "There is one arm, so that nothing is compared."
    differences = analysis.estimates[analysis.estimates["reference"] != ""]
    if differences.empty:
        return "No arm can be compared with the one that was named first: it has no finished run at any of their sizes."
    tested = differences[differences["score"].isin(PRIMARY) & differences["p"].notna()]
    if tested.empty and (differences["n_repeats"] < FEWEST_REPEATS).all():
        return f"None of these differences is tested: that takes {FEWEST_REPEATS} repeats."
    if tested.empty:
        return "None of these differences can be tested."
    family = f"{len(tested)} tests of sensitivity, PPV and F1" if len(tested) > 1 else "one test"
    clear, unadjusted = tested[tested["holm_p"] < LEVEL], tested[tested["p"] < LEVEL]
    if len(clear):
        rest = len(tested) - len(clear)
        others = f" (the other {rest} {'does' if rest == 1 else 'do'} not tell the arms apart)" if rest else ""
        said = f"After Holm's adjustment for {family}, {_ahead_and_behind(clear)}{others}"
    elif len(unadjusted):
        only = f"{len(unadjusted)} {'have' if len(unadjusted) > 1 else 'has'} p below 0.05 unadjusted"
        said = (
            f"Of {family}, {only} ({_ahead_and_behind(unadjusted)}), but none after Holm's adjustment: these runs do "
            "not tell the arms apart"
        )
    else:
        none = f"None of {family} has" if len(tested) > 1 else "The one test has no"
        said = f"{none} p below 0.05: these runs do not tell the arms apart"
    saved = analysis.savings[analysis.savings["score"] == "lesion_f1"]
    clause = saving_clause(saved) if saved["arm"].nunique() == 1 else None
    if clause:
        said += f"; {clause}"
    return f"{said}."


def _ahead_and_behind(rows: pd.DataFrame) -> str:
    """Return ``pretrained is ahead of scratch in sensitivity at 2 and 5, and in PPV at 10``."""
    by_text: dict[str, list[str]] = {}
    signs = rows.assign(word=["ahead of" if mean > 0 else "behind" for mean in rows["mean"]])
    groups: Any = signs.groupby(["arm", "word", "reference"], sort=False)
    for (arm, word, reference), own in groups:
        by_sizes: dict[str, list[str]] = {}
        for score in [score for score in SCORES if score in set(own["score"])]:
            at = joined(own.loc[own["score"] == score, "train_size"])
            by_sizes.setdefault(at, []).append(SCORES[score])
        where = ", and in ".join(f"{joined(scores)} at {sizes}" for sizes, scores in by_sizes.items())
        by_text.setdefault(f"{word} {reference} in {where}", []).append(str(arm))
    return "; ".join(f"{joined(arms)} {'is' if len(arms) == 1 else 'are'} {text}" for text, arms in by_text.items())


def saving_clause(savings: pd.DataFrame) -> str | None:
    """Say how many studies an arm saves by one score, at the smallest size at which the whole interval says that it
    does; None where there is no such size."""
    for row in _records(savings.sort_values("train_size")):
        if not row["claimed"]:
            continue
        more = row["needed_low_bound"] == "more than"
        needed = bounded(row["needed"], "exact")
        reach = f"does not reach with {needed}" if row["needed_bound"] == "more than" else f"reaches with {needed}"
        return (
            f"with {training_studies(row['train_size'])} {row['arm']} reaches the {SCORES[row['score']]} that "
            f"{row['reference']} {reach} (95 % interval {interval_of_studies(row)}): "
            f"{'more than' if more else 'at least'} {bounded(row['multiplier_low'], 'exact')} times as many"
        )
    return None


def savings_sentences(savings: pd.DataFrame) -> list[str]:
    """Say what each arm saves by each score, where its whole interval says that it does."""
    said = []
    for (_, arm), own in savings.groupby(["score", "arm"], sort=False):
        clause, reason = saving_clause(own), own["note"].iloc[0]
        unknown = f"Whether {arm} saves training studies in {SCORES[own['score'].iloc[0]]} these runs cannot tell"
        said.append(f"W{clause[1:]}." if clause else f"{unknown}: {reason}" if reason else f"{unknown}.")
    return said


def power_sentences(power: pd.DataFrame) -> list[str]:
    """Say for each arm what it takes to show a small difference in F1 at its smallest size, by the fewest repeats."""
    said = []
    for arm, own in power.groupby("arm", sort=False):
        there = own[own["train_size"] == own["train_size"].min()]
        enough = there[there["n_patients"] < inf]
        where = (
            f"To show a difference of {DIFFERENCE:g} in F1 of {arm} at {training_studies(there['train_size'].iloc[0])}"
        )
        if enough.empty:
            said.append(f"{where} takes more than {PLANNED_REPEATS[-1]} repeats.")
            continue
        repeats, patients = enough.iloc[0][["n_repeats", "n_patients"]]
        said.append(f"{where} takes {patients:,.0f} test patients with {repeats:.0f} repeats (power 80 %).")
    return said


def control_sentences(gains: pd.DataFrame) -> list[str]:
    """Say of each pretrained arm whether it is ahead of the same weights shuffled, in F1."""
    said = []
    for (arm, other), own in gains[gains["score"] == "lesion_f1"].groupby(["arm", "other"], sort=False):
        told = joined(f"{_points(row['difference'])} points at {row['train_size']}" for row in _records(own))
        ahead = own.loc[own["low"] > 0, "train_size"]
        control = f"its control {other}, the same weights shuffled"
        said.append(
            f"{arm} is ahead of {control}, in F1 at {joined(ahead)} ({told}): what the source learned is transferred."
            if len(ahead)
            else f"{arm} cannot be told to be ahead of {control}, in F1 ({told}): what it gains may be no more than a "
            "better scale of the first weights."
        )
    return said


def validation_sentences(behind: pd.DataFrame, monitors: Sequence[str]) -> list[str]:
    """Say where an arm is behind on validation, else that it is not, and what could not be judged."""
    said: list[str] = []
    nowhere: dict[tuple[str, str], list[str]] = {}
    unknown: list[str] = []
    for (arm, other), rows in behind.groupby(["arm", "other"], sort=False):
        whether = f"Whether {arm} is behind {other} on validation"
        if len(monitors) > 1:
            unknown.append(f"{whether} could not be judged: the runs watch {joined(monitors)}.")
            continue
        judged, lacking = rows[rows["n_repeats"] > 0], rows[rows["n_repeats"] == 0]
        if len(lacking):
            where = f" at {joined(lacking['train_size'])}" if len(judged) else ""
            reason = f"no repeat has a value of {monitors[0]} in both arms."
            unknown.append(f"{whether} could not be judged{where}: {reason}")
        worse = judged[judged["mean"] < judged["other_mean"]]
        said += [_behind(row, monitors[0]) for row in _records(worse)]
        if len(judged) and worse.empty:
            where = f"at {joined(judged['train_size'])}" if len(lacking) else "at any size"
            nowhere.setdefault((str(other), where), []).append(str(arm))
    said += [
        f"On validation {joined(arms)} {'is' if len(arms) == 1 else 'are'} not behind {other} {where}."
        for (other, where), arms in nowhere.items()
    ]
    return said + unknown


def _behind(row: Mapping[str, Any], monitor: str) -> str:
    mine, theirs = row["mean"], row["other_mean"]
    digits = next((count for count in range(2, 6) if f"{mine:.{count}f}" != f"{theirs:.{count}f}"), 6)
    repeats = row["n_repeats"]
    basis = "one repeat" if repeats == 1 else f"mean of {repeats} repeats; behind in {row['n_behind']} of {repeats}"
    numbers = f"({monitor} {mine:.{digits}f} against {theirs:.{digits}f}, {basis})"
    studies, who = training_studies(row["train_size"]), f"{row['arm']} is behind {row['other']}"
    if row["transfer"]:
        return f"Negative transfer at {studies}: on validation {who} {numbers}."
    return f"At {studies} {who} on validation {numbers}."


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]
