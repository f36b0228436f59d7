"""What was run, from the files that the runs left."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lesionseg.build import build
from lesionseg.metrics import UNDEFINED_POLICY, Criterion
from lesionseg.report import Conduct, RecordedRun, SplitDigest, TransferSummary
from lesionseg.report.cases import Cell
from lesionseg.report.learning_rates import rates_of_arm
from lesionseg.report.words import shown, spread
from lesionseg.runs.recorded import RunRecord


def conduct_of(
    sweep: str,
    records: Mapping[Cell, RunRecord],
    runs: Sequence[RecordedRun],
    *,
    arms: Sequence[str],
    rule: Criterion | None,
    min_volume: float | None,
    command: str,
    train_command: str,
    versions: Mapping[str, str],
) -> Conduct:
    """Tell what was run.

    Args:
        sweep: its name.
        records: the small files of each run, at least one.
        runs: what they say.
        arms: with a run, the reference first.
        rule: that the stored predictions were scored under; None: the runs' own.
        min_volume: likewise the smallest lesion in mm³.
        command: that makes the report.
        train_command: that made the runs; empty where nobody wrote it down.
        versions: name to version of the programs that made them, or that make the report where nobody wrote it down.
    """
    first = next(iter(records.values()))
    config, split = first.config, first.split
    task, metrics = config["task"], config["metrics"]
    criterion = build(task["matching"], Criterion) if rule is None else rule
    smallest = task["min_lesion_volume"] if min_volume is None else min_volume
    return Conduct(
        sweep=sweep,
        task=task["name"],
        inputs=tuple(task["inputs"]),
        target=task["target"],
        spacing=_times(task["spacing"]),
        dataset=config["dataset"]["name"],
        n_subjects=len({*split["test"], *split["validation"], *split["pool"]}),
        n_validation=len(split["validation"]),
        n_test=len(split["test"]),
        splits=_splits(records),
        sizes=tuple(sorted({size for _, size, _ in records})),
        repeats=tuple(sorted({repeat for _, _, repeat in records})),
        model=_model(first),
        steps=_over_runs(records, lambda config: config["trainer"]["steps"]),
        batch_size=_over_runs(records, lambda config: config["trainer"]["batch_size"]),
        patch_size=_over_runs(records, lambda config: _times(config["task"]["patch_size"])),
        learning_rates=tuple(_rates(arm, [run for run in runs if run.arm == arm]) for arm in arms),
        monitor=metrics["monitor"],
        criterion=criterion.describe(),
        min_volume=smallest if criterion.min_volume_mm3 is None else criterion.min_volume_mm3,
        rescored=rule is not None or min_volume is not None,
        threshold=_threshold(metrics),
        transfers=tuple(_transfer(arm, records, runs) for arm in arms),
        undefined=UNDEFINED_POLICY.removeprefix("Undefined scores: "),
        versions=versions,
        command=command,
        train_command=train_command,
    )


def _over_runs(records: Mapping[Cell, RunRecord], value: Callable[[Mapping[str, Any]], Any]) -> str:
    """A setting of all runs, with sizes where it depends on them; of arms that train something."""
    trained = {cell: record for cell, record in records.items() if record.config["init"].get("train", True)}
    # With several arms at one size and repeat the last one is told; that they differ, the settings tell.
    return spread({cell[1:]: value(record.config) for cell, record in (trained or records).items()})


def _splits(records: Mapping[Cell, RunRecord]) -> tuple[SplitDigest, ...]:
    """One for each size, repeat and set of subjects, which is the same for all arms unless something is wrong."""
    found = {(size, repeat, str(record.split.get("sha256", ""))) for (_, size, repeat), record in records.items()}
    return tuple(SplitDigest(*one) for one in sorted(found))


def _model(record: RunRecord) -> str:
    model = record.config["model"]
    network = str(model["network"]["_target_"]).rpartition(".")[2]
    values = f", {record.n_values:,} values" if record.n_values else ""
    return f"{model['name']} ({network}{values})"


def _rates(arm: str, runs: Sequence[RecordedRun]) -> str:
    trained = [run for run in runs if run.learning_rate is not None]
    told = rates_of_arm(trained) if trained else "trains nothing"
    given = told.removeprefix("not tuned: ")
    return f"{arm} {told}" if given == told else f"{arm} {given}, not tuned"


def _threshold(metrics: Mapping[str, Any]) -> str:
    rule = metrics.get("threshold_criterion")
    if rule is None:
        return f"a voxel is lesion from a probability of {shown(metrics['threshold'])} on"
    low, *_, high = metrics["thresholds"] if len(metrics["thresholds"]) > 1 else metrics["thresholds"] * 2
    which = "the task's own criterion" if rule == "task" else f"the criterion {rule}"
    return (
        f"chosen for each run on its validation studies, by the highest lesion F1 under {which}, among "
        f"{len(metrics['thresholds'])} probabilities from {low:g} to {high:g}"
    )


def _transfer(arm: str, records: Mapping[Cell, RunRecord], runs: Sequence[RecordedRun]) -> TransferSummary:
    """Of the arm's first run; where its runs differ, the settings tell."""
    cell = min(cell for cell in records if cell[0] == arm)
    record = records[cell]
    source = next(run.source for run in runs if (run.arm, run.train_size, run.repeat) == cell)
    report, tensors = record.report, record.report.get("tensors", {})
    return TransferSummary(
        arm=arm,
        source=source.name if source else "",
        source_task=source.task if source else "",
        source_digest=source.digest if source else "",
        loaded_share=float(report["loaded_share"]),
        adapted=int(tensors.get("adapted", 0)),
        fresh=int(tensors.get("fresh", 0)),
        skipped=len(report.get("skipped", ())),
        trained_share=record.trained_share,
        differences=tuple(report.get("differences", ())),
        strategy={key: shown(value) for key, value in report.get("strategy", {}).items()},
    )


def _times(values: Sequence[float]) -> str:
    return " × ".join(f"{value:g}" for value in values)
