"""A training run before anything of it is done."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lesionseg.config.schema import TrainConfig
from lesionseg.data.cache import CachedStudy
from lesionseg.runs.cohort import load_cohort
from lesionseg.runs.initialise import initialise, model_card, source_model
from lesionseg.runs.plan import (
    Plan,
    cache_of,
    config_hash,
    make_plan,
    outputs,
    run_name,
    run_seed,
    sweep_folder,
    triple,
)
from lesionseg.tracking import Store
from lesionseg.weights import ModelCard, TransferReport


@dataclass(frozen=True)
class PlannedRun:
    """A run before anything of it is done: all that can be wrong with it has been looked at.

    Args:
        config: of the run.
        plan: cohort, studies and split.
        studies: prepared, by part: train, validation, test.
        network: with its first weights.
        card: of the model.
        report: where its weights come from.
        identity: the run's hash.
        folder: of the run's files.
        title: begins its lines on the terminal.
    """

    config: TrainConfig
    plan: Plan
    studies: dict[str, list[CachedStudy]]
    network: nn.Module
    card: ModelCard
    report: TransferReport
    identity: str
    folder: Path
    title: str

    @property
    def params(self) -> dict[str, Any]:
        """What MLflow shows of it."""
        config = self.config
        return {
            "task": config.task.name,
            "dataset": config.dataset.name,
            "model": config.model.name,
            "init": config.init.name,
            "train_size": config.train_size,
            "repeat": config.repeat,
            "seed": run_seed(config),
            "steps": config.trainer.steps if config.init.train else 0,
            "batch_size": config.trainer.batch_size,
            "learning_rate": list(config.candidate_rates) or config.optim.learning_rate,
        }


def plan_run(config: TrainConfig, store: Store | None, position: str) -> PlannedRun:
    """Look at data, weights and network, and tell which run this is.

    Args:
        config: of the run.
        store: to look a source model up in; None: it is away.
        position: such as ``[3/12]``.

    Raises:
        InputError: everything that can be wrong before work starts.
    """
    plan = make_plan(config, load_cohort(config.dataset))
    cache = cache_of(config.paths)
    spacing = triple(config.task.spacing)
    parts = {"train": plan.split.train, "validation": plan.split.validation, "test": plan.split.test}
    studies = {name: cache.get_all(plan.part(who), spacing) for name, who in parts.items()}
    seed = run_seed(config)
    card = model_card(config, [*plan.split.train, *plan.split.validation])
    source = source_model(config, store, outputs(config.paths) / "cache" / "models")
    network, report = initialise(config, card, seed, source, plan.split.test)
    everything = [study for part in studies.values() for study in part]
    identity = config_hash(config, plan.split, everything, report.source_digest)
    folder = sweep_folder(config) / f"{run_name(config)}-{identity[:8]}"
    title = f"{position} {config.task.name} {config.init.name} n={config.train_size} repeat={config.repeat}"
    return PlannedRun(config, plan, studies, network, card, report, identity, folder, title.strip())
