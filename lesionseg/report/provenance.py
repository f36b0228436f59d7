"""What was run, and whether the arms can be compared: records, settings, learning rates, validation. Values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lesionseg.instantiate import build
from lesionseg.metrics import Criterion
from lesionseg.report.analysis import RunKey
from lesionseg.report.text import counted, shown, spread

FIRST_WEIGHTS = "the first weights"
SUBJECTS = "the subjects that they train, validate and test on"
_RATES = ("optim.learning_rate", "optim.learning_rates", "optim.search_steps")


@dataclass(frozen=True, eq=False)
class RunRecord:
    """What a finished run left besides its tables."""

    arm: str  # value of init
    train_size: int  # training studies
    repeat: int  # which repeat
    config: Mapping[str, Any]  # ``config.yaml``, resolved
    # dotted key to value of all that can change the result, but for ``init`` and the axes of a grid
    settings: Mapping[str, Any]
    split: Mapping[str, Any]  # ``split.json``
    transfer: Mapping[str, Any]  # ``transfer_report.json`` without its list of tensors
    n_values: int = 0  # of the network, weights and buffers; 0 if nobody counted
    search: Mapping[str, Any] | None = None  # ``learning_rate.json``; None without a search
    threshold: float = 0.5  # the probability from which a voxel is lesion in its masks
    # the highest value of the score that chose its checkpoint; None if it never had any
    best_validation: float | None = None

    @property
    def key(self) -> RunKey:
        """Its place in the grid."""
        return self.arm, self.train_size, self.repeat

    @property
    def monitor(self) -> str:
        """The validation score that chose its checkpoint, as ``val/dice``."""
        return str(self.config["metrics"]["monitor"])

    @property
    def is_trained(self) -> bool:
        """Whether anything of it was trained."""
        return bool(self.config["init"].get("train", True))


@dataclass(frozen=True, eq=False)
class Provenance:
    """What was run, as the runs' own files have it; of what differs between runs, every value in the order of sizes."""

    config: Mapping[str, Any]  # of the first run, resolved
    n_subjects: int  # that serve the task
    n_validation: int  # validation subjects
    n_test: int  # test subjects
    sizes: tuple[int, ...]  # training studies, ascending
    repeats: tuple[int, ...]  # ascending
    n_values: int  # of the network; 0 if nobody counted
    steps: str  # optimiser steps, as text: ``2000``, or ``500 at 2, 2000 at 10``
    batch_size: str  # patches per step, likewise
    patch_size: str  # voxels, likewise
    criterion: Criterion  # the rule that decides which lesions are found and true
    min_volume: float  # smallest lesion that counts, in mm³
    rescored: bool  # whether criterion or smallest lesion are other ones than the runs'
    # a row per arm, of its first run: source, source_task, source_digest, loaded_share, adapted, fresh, skipped,
    # trained_share, strategy, differences
    transfers: pd.DataFrame
    splits: pd.DataFrame  # a row per size and repeat: the hash of its subjects, as ``split.json`` has it
    versions: Mapping[str, str]  # name to version of the programs that made the runs
    command: str  # that makes the report again
    train_command: str = ""  # that makes the runs again; empty where nobody wrote it down


def provenance_of(
    runs: Sequence[RunRecord],
    arms: Sequence[str],
    *,
    criterion: Criterion | None,
    min_volume: float | None,
    versions: Mapping[str, str],
    command: str,
    train_command: str = "",
) -> Provenance:
    """Gather what was run; ``criterion`` and ``min_volume`` are those of a second scoring, None: the runs' own."""
    first = runs[0]
    task, split = first.config["task"], first.split
    rule: Criterion = build(task["matching"], Criterion) if criterion is None else criterion
    smallest = task["min_lesion_volume"] if min_volume is None else min_volume
    trained = [run for run in runs if run.is_trained] or list(runs)

    def over_runs(section: str, key: str) -> str:
        return spread({(run.train_size, run.repeat): run.config[section][key] for run in trained})

    hashes = {(run.train_size, run.repeat, str(run.split.get("sha256", ""))) for run in runs}
    return Provenance(
        config=first.config,
        n_subjects=len({*split["test"], *split["validation"], *split["pool"]}),
        n_validation=len(split["validation"]),
        n_test=len(split["test"]),
        sizes=tuple(sorted({run.train_size for run in runs})),
        repeats=tuple(sorted({run.repeat for run in runs})),
        n_values=first.n_values,
        steps=over_runs("trainer", "steps"),
        batch_size=over_runs("trainer", "batch_size"),
        patch_size=over_runs("task", "patch_size"),
        criterion=rule,
        min_volume=smallest if rule.min_volume_mm3 is None else rule.min_volume_mm3,
        rescored=criterion is not None or min_volume is not None,
        transfers=pd.DataFrame([_transfer(next(run for run in runs if run.arm == arm)) for arm in arms]),
        splits=pd.DataFrame(sorted(hashes), columns=["train_size", "repeat", "sha256"]),
        versions=versions,
        command=command,
        train_command=train_command,
    )


def _transfer(run: RunRecord) -> dict[str, Any]:
    """Return what became of a run's first weights."""
    report, trained = run.transfer, run.transfer.get("trained")
    tensors = report.get("tensors", {})
    return {
        "arm": run.arm,
        "source": source_name(run),
        "source_task": report["source_task"] if report["source"] else "",
        "source_digest": report["source_digest"] if report["source"] else "",
        "loaded_share": float(report["loaded_share"]),
        "adapted": int(tensors.get("adapted", 0)),
        "fresh": int(tensors.get("fresh", 0)),
        "skipped": len(report.get("skipped", ())),
        "trained_share": trained / run.n_values if trained is not None and run.n_values else float("nan"),
        "strategy": {key: shown(value) for key, value in report.get("strategy", {}).items()},
        "differences": list(report.get("differences", ())),
    }


def source_name(run: RunRecord) -> str:
    """Return the checkpoint that the first weights come from: an address whole, a path by its run's folder and file."""
    if not run.transfer["source"]:
        return ""
    name = str(run.config["init"].get("checkpoint") or run.transfer["source"])
    if name.startswith(("runs:/", "models:/")):
        return name
    return "/".join([part for part in name.split("/") if part and part != "checkpoints"][-2:])


def differing_settings(runs: Sequence[RunRecord], arms: Sequence[str]) -> pd.DataFrame:
    """Return what differs between the arms, or between the runs of an arm.

    Runs of the same size and repeat are compared with each other; where the arms have none in common, all of the one
    with all of the other. A section's ``name`` alone is no difference.
    """
    searched = {run.search is not None for run in runs if run.is_trained}
    values: dict[str, dict[str, dict[tuple[int, int], str]]] = {}
    scopes: dict[str, str] = {}
    keyed = [(run, _settings(run, with_rates=len(searched) < 2)) for run in runs]
    for scope_and_key in dict.fromkeys(pair for _, settings in keyed for pair in settings):
        scope, key = scope_and_key
        scopes[key] = scope
        values[key] = {
            arm: {
                (run.train_size, run.repeat): own.get(scope_and_key, "not set") for run, own in keyed if run.arm == arm
            }
            for arm in arms
        }
    between = [key for key, of_arm in values.items() if _differ(list(of_arm.values()))]
    between = _without_bare_names(between)
    rows = [(key, scopes[key], arm, spread(values[key][arm])) for key in between for arm in arms if values[key][arm]]
    beyond = {key for key in between if scopes[key] == "beyond init"}
    for arm in arms:
        varying = [key for key in values if key not in beyond and len({*values[key][arm].values()}) > 1]
        varying = [key for key in _without_bare_names(varying) if key != SUBJECTS]
        rows += [(key, "within", arm, spread(values[key][arm])) for key in varying]
    return pd.DataFrame(rows, columns=["setting", "scope", "arm", "value"])


def learning_rates(runs: Sequence[RunRecord], arms: Sequence[str]) -> pd.DataFrame:
    """Return which learning rates the runs trained with, and what these were chosen from."""
    rows = []
    for arm in arms:
        own = [run for run in runs if run.arm == arm and run.is_trained]
        ways = {_way(run) for run in own}
        for candidates, steps in sorted(ways):
            alike = [run for run in own if _way(run) == (candidates, steps)]
            rates = [run.search["chosen"] if run.search else run.config["optim"]["learning_rate"] for run in alike]
            text = counted(rates) if candidates or len(set(rates)) > 1 else shown(float(rates[0]))
            rows.append((arm, candidates, steps, text, len(alike)))
    return pd.DataFrame(rows, columns=["arm", "candidates", "steps", "rates", "n_runs"])


def validation_means(runs: Sequence[RunRecord], arms: Sequence[str]) -> pd.DataFrame:
    """Return each arm's mean of its runs' best validation values, over the repeats that all arms have at that size."""
    columns = ["train_size", "score", "arm", "mean", "n_repeats"]
    best = _best(runs)
    if len(arms) < 2 or len({run.monitor for run in runs}) != 1:
        return pd.DataFrame(columns=columns)
    rows = []
    for size, own in best.groupby("train_size"):
        table = own.pivot(index="repeat", columns="arm", values="value").dropna()
        if table.shape[1] > 1 and len(table):
            there = [arm for arm in arms if arm in table.columns]
            rows += [(size, runs[0].monitor, arm, float(table[arm].mean()), len(table)) for arm in there]
    return pd.DataFrame(rows, columns=columns)


def behind_on_validation(runs: Sequence[RunRecord], arms: Sequence[str]) -> pd.DataFrame:
    """Return for each arm and size how it does on validation beside the reference, over the repeats that both have.

    Of an arm that starts from a source's weights and another that does not, the first is judged, even if it is the
    reference: if it is behind, that is negative transfer.
    """
    columns = ["arm", "other", "train_size", "mean", "other_mean", "n_repeats", "n_behind", "transfer"]
    best = _best(runs if len({run.monitor for run in runs}) == 1 else [])
    has_source = {arm: any(run.transfer["source"] for run in runs if run.arm == arm) for arm in arms}
    rows: list[tuple[Any, ...]] = []
    for arm in arms[1:]:
        turned = has_source[arms[0]] and not has_source[arm]
        judged, other = (arms[0], arm) if turned else (arm, arms[0])
        for size in sorted({run.train_size for run in runs if run.arm in (judged, other)}):
            own = best[(best["train_size"] == size) & best["arm"].isin([judged, other])]
            table = own.pivot(index="repeat", columns="arm", values="value").reindex(columns=[judged, other]).dropna()
            behind = int((table[judged] < table[other]).sum())
            means = (float(table[judged].mean()), float(table[other].mean()))
            transfer = has_source[judged] and not has_source[other]
            rows.append((judged, other, size, *means, len(table), behind, transfer))
    return pd.DataFrame(rows, columns=columns)


def _settings(run: RunRecord, *, with_rates: bool) -> dict[tuple[str, str], str]:
    """Return a run's settings as text, each with its scope."""
    report = run.transfer
    weights = "all drawn from the seed"
    if report["source"]:
        share, digest = 100 * report["loaded_share"], report["source_digest"][:8]
        weights = f"{share:.1f} % from {source_name(run)} ({report['source_task']}), digest {digest}"
    found = {("init", FIRST_WEIGHTS): weights, ("beyond init", SUBJECTS): str(run.split.get("sha256", ""))}
    found |= {("init", key): shown(value) for key, value in report.get("strategy", {}).items()}
    kept = {key: value for key, value in run.settings.items() if with_rates or key not in _RATES}
    return found | {("beyond init", key): shown(value) for key, value in kept.items()}


def _differ(of_arm: Sequence[Mapping[tuple[int, int], str]]) -> bool:
    first, *others = of_arm
    for other in others:
        common = first.keys() & other.keys()
        if any(first[key] != other[key] for key in common):
            return True
        if not common and {*first.values()} != {*other.values()}:
            return True
    return False


def _without_bare_names(keys: Sequence[str]) -> list[str]:
    """Leave out ``augment.name``, unless something else of that section is among the keys, too."""
    sections = {key.partition(".")[0] for key in keys if not key.endswith(".name")}
    return [
        key for key in keys if not key.endswith(".name") or key == "dataset.name" or key.partition(".")[0] in sections
    ]


def _way(run: RunRecord) -> tuple[str, int]:
    """Return what the learning rate was chosen from, empty without a search, and the steps of each candidate."""
    if run.search is None:
        return "", 0
    return ", ".join(shown(float(one["learning_rate"])) for one in run.search["candidates"]), int(run.search["steps"])


def _best(runs: Sequence[RunRecord]) -> pd.DataFrame:
    rows = [(*run.key, run.best_validation) for run in runs if run.best_validation is not None]
    return pd.DataFrame(rows, columns=["arm", "train_size", "repeat", "value"])
