"""The work of a training run: describe, train, choose, test."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lesionseg.config.schema import TrainConfig
from lesionseg.data.files import write_json, written_whole
from lesionseg.data.volumes import write_volume
from lesionseg.metrics import Averages
from lesionseg.report import save_slices
from lesionseg.runs.assemble import assemble, machine_of
from lesionseg.runs.learning_rate import choose_learning_rate, with_learning_rate
from lesionseg.runs.pictures import picture_cases, picture_study
from lesionseg.runs.plan import run_seed
from lesionseg.runs.planned import PlannedRun
from lesionseg.runs.score_tables import ScoreTables
from lesionseg.runs.scoring import segment
from lesionseg.runs.threshold import set_threshold
from lesionseg.tracking import Attendant, Journal, scores_by_size
from lesionseg.training import fit, keep
from lesionseg.weights import load_model

RATE_RECORD = "learning_rate.json"


@dataclass(frozen=True)
class Desk:
    """What a run works with while it is claimed.

    Args:
        journal: takes what it logs.
        attendant: is told how far it is.
        say: takes a line for the terminal.
    """

    journal: Journal
    attendant: Attendant
    say: Callable[[str], None]


def work(this: PlannedRun, desk: Desk) -> tuple[Path, Averages]:
    """Train, choose, test; returns the best checkpoint and its scores."""
    _describe(this, desk)
    checkpoint = _fit(this, desk, _choose_learning_rate(this, desk))
    _choose_threshold(this, desk, checkpoint)
    desk.journal.log_file(checkpoint, "checkpoints")
    return checkpoint, _test(this, desk, checkpoint)


def _describe(this: PlannedRun, desk: Desk) -> None:
    """Everything that is known beforehand; the same when a run goes on."""
    config, seed = this.config, run_seed(this.config)
    _write_yaml(this.folder / "config.yaml", config.model_dump())
    write_json(this.folder / "split.json", this.plan.split_record(seed, config.repeat))
    write_json(this.folder / "transfer_report.json", this.report.to_json())
    for file in ("config.yaml", "split.json", "transfer_report.json"):
        desk.journal.log_file(this.folder / file)
    root = str(this.plan.cohort.root)
    desk.journal.log_dataset(config.dataset.name, this.plan.split.digest, root, "training")
    desk.say(f"{this.title}  {this.report.summary()}")


def _choose_learning_rate(this: PlannedRun, desk: Desk) -> TrainConfig:
    """The configuration to train with: of several learning rates, the one that does best on the validation studies."""
    config = this.config
    if not config.candidate_rates:
        return config
    record = this.folder / RATE_RECORD
    choice = choose_learning_rate(config, this.network, this.card, this.report, this.studies, record)
    desk.journal.log_file(record)
    desk.journal.log_metrics({"train/learning_rate": choice.learning_rate})
    n_studies = len(this.studies["validation"])
    desk.say(
        f"{this.title}  learning rate {choice.learning_rate:g}, chosen on {n_studies} validation studies from "
        f"{choice.in_words()}"
    )
    return with_learning_rate(config, choice.learning_rate)


def _fit(this: PlannedRun, desk: Desk, config: TrainConfig) -> Path:
    """Train to the end of the budget; returns the best checkpoint."""
    module, data = assemble(config, this.network, this.card, this.report, this.studies)
    folder, machine = this.folder / "checkpoints", machine_of(config.trainer)
    log = desk.journal.log_metrics
    if not config.init.train:
        return keep(module, data, folder=folder, machine=machine, log=log, say=desk.say, title=this.title)
    return fit(
        module,
        data,
        folder=folder,
        machine=machine,
        monitor=config.metrics.monitor,
        gradient_clip=config.optim.gradient_clip,
        log_every=config.trainer.log_every,
        log=log,
        say=desk.say,
        title=this.title,
        tell=desk.attendant.tell,
    )


def _choose_threshold(this: PlannedRun, desk: Desk, checkpoint: Path) -> None:
    """Set the model's threshold by the validation studies, unless the configuration keeps it."""
    if this.config.metrics.threshold_criterion is None:
        return
    desk.attendant.tell("validating")
    record = this.folder / "threshold.json"
    choice = set_threshold(this.config, checkpoint, this.studies["validation"], record)
    desk.journal.log_file(record)
    desk.journal.log_metrics({"val/threshold": choice.threshold}, step=this.config.trainer.steps)
    desk.say(f"{this.title}  threshold {choice.threshold:g}, chosen on {choice.n_studies} validation studies")


def _test(this: PlannedRun, desk: Desk, checkpoint: Path) -> Averages:
    """Score the best checkpoint on the test studies, on the grids they were drawn on."""
    config = this.config
    desk.attendant.tell("testing")
    model = load_model(checkpoint)
    tables, slices = ScoreTables(config.metrics), []
    predictions = segment(
        model.network(),
        model.card,
        this.studies["test"],
        threshold=model.card.threshold,
        overlap=config.trainer.window_overlap,
        accelerator=config.trainer.accelerator,
        precision=config.trainer.precision,
    )
    for prediction in predictions:
        desk.attendant.tell("testing")
        tables.add(prediction, model.card)
        if config.metrics.save_predictions:
            name = f"{prediction.study.name}_label-{this.card.target}_pred.nii.gz"
            file = this.folder / "predictions" / name
            write_volume(file, prediction.mask, prediction.study.native)
            desk.journal.log_file(file, "predictions")
            slices.append(picture_study(prediction, model.card, tables.cases[-1]))
    desk.attendant.tell("logging")
    for file in tables.write(this.folder):
        desk.journal.log_file(file)
    if slices:
        save_slices(slices, this.folder / "slices.npz")
        desk.journal.log_file(this.folder / "slices.npz")
        picture = this.folder / "figures" / "test_studies.png"
        picture_cases(tables.cases, slices, picture)
        desk.journal.log_file(picture, "figures")
    desk.journal.log_metrics(tables.metrics())
    desk.journal.log_metrics(scores_by_size(tables.metrics()), step=config.train_size)
    return tables.averages


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    with written_whole(path) as partial:
        partial.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
