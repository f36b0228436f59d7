"""What was run: data, budgets, first weights, rules and versions."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SplitDigest:
    """Which subjects trained, validated and tested one size and repeat.

    Attributes:
        train_size: training studies.
        repeat: which repeat.
        sha256: of the subjects' names, hexadecimal, as `split.json` has it.
    """

    train_size: int
    repeat: int
    sha256: str


@dataclass(frozen=True)
class TransferSummary:
    """What became of an arm's first weights, from the transfer report of its first run.

    Attributes:
        arm: value of init.
        source: the checkpoint as it was asked for; empty: all weights are drawn from the seed.
        source_task: the source's task, or the program that wrote it.
        source_digest: SHA-256 of the source's weights, hexadecimal; empty without a source.
        loaded_share: of the network's values that come from the source, 0 … 1.
        adapted: tensors that were adapted, such as a first layer with other channels.
        fresh: tensors that were drawn anew.
        skipped: tensors of the source that found no place.
        trained_share: of the network's values that the first step trains, 0 … 1; NaN if nobody counted.
        differences: what source and target do not have in common, a sentence each.
        strategy: what the arm sets beside its weights, as ``init`` has it.
    """

    arm: str
    source: str
    source_task: str
    source_digest: str
    loaded_share: float
    adapted: int
    fresh: int
    skipped: int
    trained_share: float
    differences: tuple[str, ...] = ()
    strategy: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Conduct:
    """What was run, as the runs' own files have it; of what differs between runs, every value in the order of sizes.

    Attributes:
        sweep: its name.
        task: its name.
        inputs: the network's channels.
        target: the mask.
        spacing: of the working grid in mm; as text, such as ``1 × 1 × 1``.
        dataset: its name.
        n_subjects: subjects that serve the task.
        n_validation: validation subjects.
        n_test: test subjects.
        splits: the subjects of each size and repeat.
        sizes: training studies, ascending.
        repeats: ascending.
        model: name of the network and how it is made, as text.
        steps: optimiser steps, as text: ``2000``, or ``500 at 2, 2000 at 10``.
        batch_size: patches per step, likewise.
        patch_size: voxels, likewise.
        learning_rates: of each arm, as text.
        monitor: the validation score that chose each checkpoint, such as ``val/lesion_f1``.
        criterion: the rule that decides which lesions are found and true, in words.
        min_volume: smallest lesion that counts, in mm³.
        rescored: whether criterion or smallest lesion are other ones than the runs'.
        threshold: how probability becomes a mask, in words.
        transfers: of each arm.
        undefined: how undefined scores are treated, in words.
        versions: of the program that made the runs, if they tell, and of those that made this report: name to version.
        command: that makes this report again.
        train_command: that makes the runs again, as far as it is known; empty if not.
    """

    sweep: str
    task: str
    inputs: tuple[str, ...]
    target: str
    spacing: str
    dataset: str
    n_subjects: int
    n_validation: int
    n_test: int
    splits: tuple[SplitDigest, ...]
    sizes: tuple[int, ...]
    repeats: tuple[int, ...]
    model: str
    steps: str
    batch_size: str
    patch_size: str
    learning_rates: tuple[str, ...]
    monitor: str
    criterion: str
    min_volume: float
    rescored: bool
    threshold: str
    transfers: tuple[TransferSummary, ...]
    undefined: str
    versions: Mapping[str, str]
    command: str
    train_command: str = ""
