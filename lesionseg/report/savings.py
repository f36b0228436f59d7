"""How many training studies an arm saves, in numbers and in a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
import pandas as pd

from lesionseg.report.cases import PRIMARY, SCORE_NAMES, Score, Tables
from lesionseg.report.words import training_studies
from lesionseg.stats import Censored, CensoredInterval, LabelSaving, LabelSavings, label_savings


@dataclass(frozen=True)
class ArmSavings:
    """What an arm saves over the reference arm, by one score.

    Attributes:
        arm: value of init.
        reference: of the arm whose curve says how many studies would have been needed.
        score: which score.
        savings: at each size of the comparison; None where there are fewer than two sizes.
        sentence: what is to be said of it, at the smallest size that has a number, rather than a bound alone, if there
            is one; never empty.
    """

    arm: str
    reference: str
    score: Score
    savings: LabelSavings | None
    sentence: str


def arm_savings(tables: Tables, arms: Sequence[str]) -> tuple[ArmSavings, ...]:
    """Per score and arm but the first: how many studies the first one would need for the same.

    Args:
        tables: as from `patient_tables`.
        arms: that have a run; the first one is the reference.
    """
    return tuple(_savings(tables, arms[0], arm, score) for score in PRIMARY for arm in arms[1:])


def _savings(tables: Tables, reference: str, arm: str, score: Score) -> ArmSavings:
    own = {
        name: {size: table[score] for (other, size), table in tables.items() if other == name}
        for name in (reference, arm)
    }
    sizes = sorted({*own[reference], *own[arm]})
    if len(sizes) < 2:
        return ArmSavings(arm, reference, score, None, "One size makes no learning curve: no label saving can be told.")
    found = [table for by_size in own.values() for table in by_size.values()]
    # A patient whom every run leaves undefined, such as one without reference lesion, is no missing one.
    patients = sorted({patient for table in found for patient in table.dropna(how="all").index})
    repeats = sorted({repeat for table in found for repeat in table.columns})
    missing = pd.DataFrame(np.nan, patients, repeats)
    stacked = {
        name: np.stack([by_size.get(size, missing).reindex(patients, columns=repeats).to_numpy() for size in sizes])
        for name, by_size in own.items()
    }
    savings = label_savings(sizes, stacked[reference], stacked[arm])
    return ArmSavings(arm, reference, score, savings, _sentence(arm, reference, score, savings))


def _sentence(arm: str, reference: str, score: Score, savings: LabelSavings) -> str:
    told = [one for one in savings.savings if not isnan(one.needed.estimate.value)]
    if not told:
        return f"No label saving of {arm} can be told: {savings.note}"
    ranks = ("exact", "more than", "at most")
    chosen = min(told, key=lambda one: (ranks.index(one.needed.estimate.bound), one.size))
    return f"{describe_saving(arm, reference, score, chosen)}."


def describe_saving(arm: str, reference: str, score: Score, saving: LabelSaving) -> str:
    """``with 5 training studies pretrained reaches the F1 that scratch reaches with 14 (95 % interval 9 to more than
    20): 2.8 times as many``, the first letter large."""
    needed, what = saving.needed, SCORE_NAMES[score]
    start = f"With {training_studies(round(saving.size))} {arm} reaches"
    interval = "" if isnan(needed.low.value) else f" (95 % interval {studies_between(needed)})"
    if needed.estimate.bound == "more than":
        most = studies(Censored(needed.estimate.value))
        factor = f"{times(saving.multiplier.estimate)} times as many" if needed.estimate.value > saving.size else ""
        article = "an" if what == "F1" else "a"
        said = f"{start} {article} {what} that {reference} does not reach with {most}{interval}"
        return f"{said}: {factor}" if factor else said
    if needed.estimate.bound == "at most":
        return (
            f"{start} no higher {what} than {reference} has with {studies(Censored(needed.estimate.value))}{interval}"
        )
    return (
        f"{start} the {what} that {reference} reaches with {studies(needed.estimate)}{interval}: "
        f"{times(saving.multiplier.estimate)} times as many"
    )


def studies_between(needed: CensoredInterval) -> str:
    """``9 to more than 20``, or ``more than 20`` where all of the interval lies there."""
    low, high = studies(needed.low), studies(needed.high)
    return low if low == high and needed.low.bound != "exact" else f"{low} to {high}"


def studies(number: Censored) -> str:
    """``14``, ``2.4``, ``more than 20``; a decimal below ten alone."""
    digits = 1 if number.value < 10 else 0
    text = f"{number.value:.{digits}f}".removesuffix(".0")
    return text if number.bound == "exact" else f"{number.bound} {text}"


def times(number: Censored) -> str:
    """``2.8``, ``more than 4``."""
    text = f"{number.value:.1f}".removesuffix(".0")
    return text if number.bound == "exact" else f"{number.bound} {text}"
