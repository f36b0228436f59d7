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
        init = self.config["init"]
        return bool(init.get("train", True)) and not init.get("baseline", False)


@dataclass(frozen=True, eq=False)
class Provenance:
    """What was run, as the runs' own files have it."""

    runs: Sequence[RunRecord]  # of the arms that are compared
    arms: Sequence[str]
    criterion: Criterion  # the rule that decides which lesions are found and true
    min_volume: float  # smallest lesion that counts, in mm³
    rescored: bool  # whether criterion or smallest lesion are other ones than the runs'
    versions: Mapping[str, str]  # name to version of the programs that made the runs
    command: str  # that makes the report again
    train_command: str  # that makes the runs again; empty where nobody wrote it down

    @property
    def config(self) -> Mapping[str, Any]:
        """The first run's, resolved."""
        return self.runs[0].config

    def over_runs(self, section: str, key: str) -> str:
        """Return a setting of the runs that were trained, as text: ``2000``, or ``500 at 2, 2000 at 10``."""
        trained = [run for run in self.runs if run.is_trained] or self.runs
        return spread({run.key[1:]: run.config[section][key] for run in trained})

    def n_subjects(self, *parts: str) -> int:
        """Return how many subjects are in these parts of the split: test, validation, pool."""
        return len({subject for part in parts for subject in self.runs[0].split[part]})

    def transfers(self) -> pd.DataFrame:
        """Return what became of the first weights, a row per arm, of its first run."""
        rows = []
        for run in (next(run for run in self.runs if run.arm == arm) for arm in self.arms):
            report, trained = run.transfer, run.transfer.get("trained")
            tensors, source = report.get("tensors", {}), report["source"]
            rows.append(
                {
                    **{"arm": run.arm, "source": source_name(run)},
                    **{key: report[key] if source else "" for key in ("source_task", "source_digest")},
                    "loaded_share": float(report["loaded_share"]),
                    **{key: int(tensors.get(key, 0)) for key in ("adapted", "fresh")},
                    "skipped": len(report.get("skipped", ())),
                    "trained_share": trained / run.n_values if trained is not None and run.n_values else float("nan"),
                    "strategy": {key: shown(value) for key, value in report.get("strategy", {}).items()},
                    "differences": list(report.get("differences", ())),
                }
            )
        return pd.DataFrame(rows)

    def splits(self) -> pd.DataFrame:
        """Return the hash of the subjects of each size and repeat, as ``split.json`` has it."""
        hashes = sorted({(*run.key[1:], str(run.split.get("sha256", ""))) for run in self.runs})
        return pd.DataFrame(hashes, columns=["train_size", "repeat", "sha256"]).set_index(["train_size", "repeat"])


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
    task = runs[0].config["task"]
    rule: Criterion = build(task["matching"], Criterion) if criterion is None else criterion
    smallest = task["min_lesion_volume"] if min_volume is None else min_volume
    smallest = smallest if rule.min_volume_mm3 is None else rule.min_volume_mm3
    rescored = criterion is not None or min_volume is not None
    return Provenance(runs, arms, rule, smallest, rescored, versions, command, train_command)


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
    with_rates = len({run.search is not None for run in runs if run.is_trained}) < 2
    settings = {run.key: _settings(run, with_rates=with_rates) for run in runs}
    values = {
        name: {
            arm: {key[1:]: own.get(name, "not set") for key, own in settings.items() if key[0] == arm} for arm in arms
        }
        for name in dict.fromkeys(name for own in settings.values() for name in own)
    }
    between = _without_bare_names([name for name, of_arm in values.items() if _differ(list(of_arm.values()))])
    rows = [(key, scope, arm, spread(own)) for scope, key in between for arm, own in values[scope, key].items() if own]
    beyond = {name for name in between if name[0] == "beyond init"}
    for arm in arms:
        varying = [name for name in values if name not in beyond and len({*values[name][arm].values()}) > 1]
        varying = [name for name in _without_bare_names(varying) if name[1] != SUBJECTS]
        rows += [(name[1], "within", arm, spread(values[name][arm])) for name in varying]
    return pd.DataFrame(rows, columns=["setting", "scope", "arm", "value"])


def learning_rates(runs: Sequence[RunRecord], arms: Sequence[str]) -> pd.DataFrame:
    """Return which learning rates the runs trained with, and what these were chosen from, in how many steps each."""
    rows = []
    for arm in arms:
        ways: dict[tuple[str, int], list[float]] = {}
        for run in (run for run in runs if run.arm == arm and run.is_trained):
            way, rate = ("", 0), run.config["optim"]["learning_rate"]
            if run.search is not None:
                tried = ", ".join(shown(float(one["learning_rate"])) for one in run.search["candidates"])
                way, rate = (tried, int(run.search["steps"])), run.search["chosen"]
            ways.setdefault(way, []).append(float(rate))
        for (candidates, steps), rates in sorted(ways.items()):
            text = counted(rates) if candidates or len(set(rates)) > 1 else shown(rates[0])
            rows.append((arm, candidates, steps, text, len(rates)))
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


def _without_bare_names(names: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out ``augment.name``, unless something else of that section is among the keys, too."""
    sections = {key.partition(".")[0] for _, key in names if not key.endswith(".name")}
    return [
        (scope, key)
        for scope, key in names
        if not key.endswith(".name") or key == "dataset.name" or key.partition(".")[0] in sections
    ]


def _best(runs: Sequence[RunRecord]) -> pd.DataFrame:
    rows = [(*run.key, run.best_validation) for run in runs if run.best_validation is not None]
    return pd.DataFrame(rows, columns=["arm", "train_size", "repeat", "value"])
