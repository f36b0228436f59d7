"""What was run: the record of one finished run, and what all runs of a sweep have in common. Values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lesionseg.instantiate import build
from lesionseg.metrics import Criterion
from lesionseg.report.analysis import RunKey
from lesionseg.report.text import shown, spread


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
