"""Whether the arms' learning rates were chosen alike, in plain words."""

from collections.abc import Sequence

from lesionseg.report.recorded import RecordedRun
from lesionseg.report.words import counted, shown


def describe_rates(runs: Sequence[RecordedRun], arms: Sequence[str]) -> tuple[str, ...]:
    """Which learning rates the runs trained with, and whether they were searched for on validation; a warning where
    that was done in some runs only, or from other candidates.

    Args:
        runs: of these arms; those in which nothing is trained have no rate and do not count.
        arms: values of init.
    """
    trained = [run for run in runs if run.learning_rate is not None]
    by_arm = {arm: [run for run in trained if run.arm == arm] for arm in arms}
    by_arm = {arm: found for arm, found in by_arm.items() if found}
    if not trained:
        return ()
    terms = {_terms(run) for run in trained}
    if terms == {""}:
        return (_not_tuned(by_arm),)
    if len(terms) == 1:
        chosen = "; ".join(f"{arm} {_chosen(found)}" for arm, found in by_arm.items())
        return (f"Learning rates were chosen per run on validation {terms.pop()}: {chosen}.",)
    told = "; ".join(f"{arm} {rates_of_arm(found)}" for arm, found in by_arm.items())
    return (f"WARNING: Learning rates were not chosen alike, which is unfair: {told}.",)


def _not_tuned(by_arm: dict[str, list[RecordedRun]]) -> str:
    rates = {arm: _given(found) for arm, found in by_arm.items()}
    if len(rates) > 1 and len({*rates.values()}) == 1:
        which = "both" if len(rates) == 2 else "all"
        return f"Learning rates were not tuned: {next(iter(rates.values()))} in {which} arms."
    return f"Learning rates were not tuned: {', '.join(f'{arm} {rate}' for arm, rate in rates.items())}."


def rates_of_arm(runs: Sequence[RecordedRun]) -> str:
    """``0.003 (6), chosen per run on validation from 0.001, 0.003 (100 steps each)`` or ``not tuned, 0.005``."""
    parts = []
    for terms in dict.fromkeys(_terms(run) for run in runs):
        alike = [run for run in runs if _terms(run) == terms]
        few = f" in {len(alike)} of {len(runs)} runs" if len(alike) < len(runs) else ""
        what = f"chosen per run on validation {terms}: {_chosen(alike)}" if terms else f"not tuned: {_given(alike)}"
        parts.append(what.replace(":", f"{few}:", 1))
    return " and ".join(parts)


def _terms(run: RecordedRun) -> str:
    """What it was chosen from; empty without a search."""
    if run.search is None:
        return ""
    return f"from {', '.join(map(shown, run.search.candidates))} ({run.search.steps} steps each)"


def _chosen(runs: Sequence[RecordedRun]) -> str:
    return counted([run.search.chosen for run in runs if run.search is not None])


def _given(runs: Sequence[RecordedRun]) -> str:
    rates = [run.learning_rate for run in runs]
    return shown(rates[0]) if len(set(rates)) == 1 else counted(rates)
