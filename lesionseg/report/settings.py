"""What the arms of a comparison differ in, in plain words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lesionseg.report.recorded import RecordedRun
from lesionseg.report.words import joined, shown, spread

_MOST = 6  # keys in one sentence
_LONGEST = 80  # characters that a key's values may take
_RATES = ("optim.learning_rate", "optim.learning_rates", "optim.search_steps")
_WEIGHTS = "the first weights"

OfArm = Mapping[tuple[int, int], Any]  # by size and repeat
Values = Mapping[str, OfArm]


def describe_settings(runs: Sequence[RecordedRun], arms: Sequence[str]) -> tuple[str, ...]:
    """What the arms differ in, with a warning where it is more than their init, and what differs within an arm.

    Runs of the same size and repeat are compared with each other; where the arms have none in common, all of the one
    with all of the other. A section's ``name`` alone is no difference. Of learning rates that were searched for in some
    runs only, `describe_rates` speaks.

    Args:
        runs: of these arms.
        arms: values of init.
    """
    settings = _table(runs, arms, lambda run: run.settings)
    if len({run.search is None for run in runs if run.learning_rate is not None}) > 1:
        settings = {key: values for key, values in settings.items() if key not in _RATES}
    init = _table(runs, arms, lambda run: run.init)
    first = _table(runs, arms, lambda run: {_WEIGHTS: _first_weights(run)})
    if len(arms) < 2:
        return tuple(_within({**settings, **init, **first}, 1))
    outside = _without_bare_names({key: values for key, values in settings.items() if _differ(values)})
    subjects = _table(runs, arms, lambda run: {"the subjects that they train, validate and test on": run.subjects})
    more = [key for key, values in subjects.items() if _differ(values)]
    more += [_between(key, values) for key, values in outside.items()]
    differs = _in_init({key: values for key, values in {**first, **init}.items() if _differ(values)})
    if more:
        loud = f"WARNING: The arms differ in more than their init: {_cut(more)}; this is no fair comparison."
        said = (loud, differs)
    else:
        said = (differs, "Steps, patches, augmentation, schedule and validation are the same.")
    told = {key: values for key, values in {**settings, **init, **first}.items() if key not in outside}
    return (*said, *_within(told, len(arms)))


def _table(
    runs: Sequence[RecordedRun], arms: Sequence[str], of: Callable[[RecordedRun], Mapping[str, Any]]
) -> dict[str, Values]:
    """Key to arm to value; None where a run does not have the key."""
    keys = dict.fromkeys(key for run in runs for key in of(run))
    return {
        key: {arm: {(run.train_size, run.repeat): of(run).get(key) for run in runs if run.arm == arm} for arm in arms}
        for key in keys
    }


def _differ(values: Values) -> bool:
    first, *others = values.values()
    return any(_differ_between(first, other) for other in others)


def _differ_between(first: OfArm, second: OfArm) -> bool:
    common = first.keys() & second.keys()
    if common:
        return any(first[cell] != second[cell] for cell in common)
    return {*map(shown, first.values())} != {*map(shown, second.values())}


def _without_bare_names(found: Mapping[str, Values]) -> dict[str, Values]:
    """``augment.name`` tells which augmentation it is, if something else of it differs, too."""
    sections = {key.partition(".")[0] for key in found if not key.endswith(".name")}
    return {
        key: values
        for key, values in found.items()
        if not key.endswith(".name") or key == "dataset.name" or key.partition(".")[0] in sections
    }


def _in_init(apart: Mapping[str, Values]) -> str:
    if not apart:
        return "The arms differ in nothing of their init but its name."
    return f"The arms differ in: {_cut([_between(key, values) for key, values in apart.items()])}."


def _within(settings: Mapping[str, Values], n_arms: int) -> list[str]:
    """What differs between the runs of one arm."""
    varying: dict[str, dict[str, Values]] = {}
    for key, values in settings.items():
        for arm, of_arm in values.items():
            if len({*map(shown, of_arm.values())}) > 1:
                varying.setdefault(arm, {})[key] = {arm: of_arm}
    told = {
        arm: _cut([_with(key, spread(values[arm])) for key, values in _without_bare_names(found).items()])
        for arm, found in varying.items()
    }
    if len(told) > 1 and len({*told.values()}) == 1:
        which = "both" if len(told) == 2 else "all" if len(told) == n_arms else joined(list(told))
        text = next(iter(told.values()))
        return [f"The runs of an arm differ from each other, in {which} arms alike: {text}."]
    return [f"WARNING: The runs of {arm} differ from each other: {text}." for arm, text in told.items() if text]


def _between(key: str, values: Values) -> str:
    if key == _WEIGHTS:
        return f"{key} ({'; '.join(f'{names}: {text}' for text, names in _alike(values))})"
    return _with(key, ", ".join(f"{names} {text}" for text, names in _alike(values)))


def _alike(values: Values) -> list[tuple[str, str]]:
    """Values with the names of the arms that have them: of two arms each its own, of more also ``the others``."""
    texts = {arm: spread(of_arm) for arm, of_arm in values.items()}
    if len(texts) < 3:
        return [(text, arm) for arm, text in texts.items()]
    groups: dict[str, list[str]] = {}
    for arm, text in texts.items():
        groups.setdefault(text, []).append(arm)
    ranked = sorted(groups.items(), key=lambda item: len(item[1]))
    *few, (text, arms) = ranked
    last = "the others" if few and len(arms) > 1 else joined(arms)
    return [*((text, joined(arms)) for text, arms in few), (text, last)]


def _with(key: str, text: str) -> str:
    return f"{key} ({text})" if len(text) <= _LONGEST or key == _WEIGHTS else key


def _first_weights(run: RecordedRun) -> str:
    source = run.source
    if source is None:
        return "all drawn from the seed"
    return f"{100 * source.share:.1f} % from {source.name} ({source.task}), digest {source.digest[:8]}"


def _cut(told: Sequence[str]) -> str:
    more = f" and {len(told) - _MOST} more (see their config.yaml)" if len(told) > _MOST else ""
    return ", ".join(told[:_MOST]) + more
