"""One training run, from its configuration to its scores. The story of ``lesionseg train``."""

import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import nn

from lesionseg.config.schema import TrainConfig
from lesionseg.data.cache import CachedStudy
from lesionseg.data.files import write_json, written_whole
from lesionseg.data.volumes import write_volume
from lesionseg.metrics import Averages
from lesionseg.runs.assemble import assemble, machine_of
from lesionseg.runs.cohort import load_cohort
from lesionseg.runs.initialise import initialise, model_card, source_model
from lesionseg.runs.learning_rate import choose_learning_rate, with_learning_rate
from lesionseg.runs.pictures import picture_cases
from lesionseg.runs.plan import (
    Plan,
    cache_of,
    config_hash,
    make_plan,
    outputs,
    run_seed,
    store_of,
    triple,
)
from lesionseg.runs.score_tables import ScoreTables
from lesionseg.runs.scoring import segment
from lesionseg.runs.threshold import set_threshold
from lesionseg.tracking import (
    HASH_TAG,
    KIND_TAG,
    SWEEP_TAG,
    Run,
    Store,
    find_run,
    reopen,
    start_run,
    sweep_parent,
)
from lesionseg.training import fit, keep
from lesionseg.weights import ModelCard, TransferReport, load_model

RATE_RECORD = "learning_rate.json"


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Args:
        status: ``skipped``: the same configuration was finished before.
        run_id: in MLflow.
        folder: with the run's files.
        checkpoint: the best one; None if the run failed.
    """

    status: Literal["finished", "skipped", "failed"]
    run_id: str
    folder: Path
    checkpoint: Path | None


@dataclass(frozen=True)
class _Run:
    """What the chapters of the story share."""

    config: TrainConfig
    plan: Plan
    studies: dict[str, list[CachedStudy]]  # by part: train, validation, test
    network: nn.Module
    card: ModelCard
    report: TransferReport
    identity: str
    folder: Path
    title: str


def train(config: TrainConfig, *, position: str = "") -> TrainResult:
    """Train, test and log one configuration; skip it if it is finished, go on with it if it was cut off.

    Args:
        config: the run.
        position: such as ``[3/12]``, for the lines on the terminal.

    Raises:
        InputError: configuration or data are wrong; nothing was started.
        SystemExit: stopped by a signal; the run is KILLED and goes on when started again.
    """
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    store = store_of(config.tracking, config.paths)
    this = _prepare(config, store, position)
    found = find_run(store, this.identity, config.sweep)
    if found is not None and found.info.status == "FINISHED" and not config.force:
        _say(f"{this.title}  is finished already (run {found.info.run_id}); force=true runs it again")
        return TrainResult("skipped", found.info.run_id, this.folder, _kept(this.folder))
    if found is not None and found.info.status != "FINISHED":
        run = reopen(store, found.info.run_id)
        run.log_params(_params(this))  # it may have been cut off before it had any
        _say(f"{this.title}  was {found.info.status.lower()} before and goes on (run {run.run_id})")
    else:
        shutil.rmtree(this.folder / "checkpoints", ignore_errors=True)
        (this.folder / RATE_RECORD).unlink(missing_ok=True)
        run = _start(store, this)
    return _accompany(run, this)


def _accompany(run: Run, this: _Run) -> TrainResult:
    """Do the work and see that the MLflow run ends with the status that is true."""
    try:
        _describe(run, this)
        checkpoint = _fit(run, this, _choose_learning_rate(run, this))
        _choose_threshold(run, this, checkpoint)
        run.log_file(checkpoint, "checkpoints")
        averages = _test(run, this, checkpoint)
    except (KeyboardInterrupt, SystemExit):
        run.end("KILLED")
        raise
    except Exception:
        text = traceback.format_exc()
        error_file = this.folder / "error.txt"
        with written_whole(error_file) as partial:
            partial.write_text(text, encoding="utf-8")
        run.log_file(error_file)
        run.end("FAILED")
        _say(f"{this.title}  FAILED\n{text}")
        return TrainResult("failed", run.run_id, this.folder, None)
    run.end("FINISHED")
    (this.folder / "checkpoints" / "last.ckpt").unlink(missing_ok=True)  # only now: it would go on from there
    _say(f"{this.title}  test {_in_words(averages)}")
    if not this.config.sweep:
        _say(f"Its files are in {this.folder}, and in MLflow as run {run.run_id}.")
    return TrainResult("finished", run.run_id, this.folder, checkpoint)


def _prepare(config: TrainConfig, store: Store, position: str) -> _Run:
    """Data, network and identity: everything that can be wrong before work starts."""
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
    name = f"{config.init.name}-n{config.train_size}-r{config.repeat}-{identity[:8]}"
    folder = outputs(config.paths) / "runs" / (config.sweep or config.task.name) / name
    title = f"{position} {config.task.name} {config.init.name} n={config.train_size} repeat={config.repeat}"
    return _Run(config, plan, studies, network, card, report, identity, folder, title.strip())


def _start(store: Store, this: _Run) -> Run:
    """A new MLflow run."""
    config = this.config
    tags = {SWEEP_TAG: config.sweep or "", HASH_TAG: this.identity, KIND_TAG: "run"}
    name = f"{config.init.name}-n{config.train_size}-r{config.repeat}"
    parent = sweep_parent(store, config.sweep) if config.sweep else None
    return start_run(store, name, params=_params(this), tags=tags, parent=parent)


def _params(this: _Run) -> dict[str, Any]:
    config = this.config
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


def _describe(run: Run, this: _Run) -> None:
    """Everything that is known beforehand; the same when a run goes on."""
    config, seed = this.config, run_seed(this.config)
    _write_yaml(this.folder / "config.yaml", config.model_dump())
    write_json(this.folder / "split.json", this.plan.split_record(seed, config.repeat))
    write_json(this.folder / "transfer_report.json", this.report.to_json())
    for file in ("config.yaml", "split.json", "transfer_report.json"):
        run.log_file(this.folder / file)
    run.log_dataset(config.dataset.name, this.plan.split.digest, str(this.plan.cohort.root), "training")
    _say(f"{this.title}  {this.report.summary()}")


def _choose_learning_rate(run: Run, this: _Run) -> TrainConfig:
    """The configuration to train with: of several learning rates, the one that does best on the validation studies."""
    config = this.config
    if not config.candidate_rates:
        return config
    record = this.folder / RATE_RECORD
    choice = choose_learning_rate(config, this.network, this.card, this.report, this.studies, record)
    run.log_file(record)
    run.log_metrics({"train/learning_rate": choice.learning_rate})
    n_studies = len(this.studies["validation"])
    _say(
        f"{this.title}  learning rate {choice.learning_rate:g}, chosen on {n_studies} validation studies from "
        f"{choice.in_words()}"
    )
    return with_learning_rate(config, choice.learning_rate)


def _fit(run: Run, this: _Run, config: TrainConfig) -> Path:
    """Train to the end of the budget; returns the best checkpoint."""
    module, data = assemble(config, this.network, this.card, this.report, this.studies)
    folder, machine = this.folder / "checkpoints", machine_of(config.trainer)
    if not config.init.train:
        return keep(module, data, folder=folder, machine=machine, log=run.log_metrics, say=_say, title=this.title)
    return fit(
        module,
        data,
        folder=folder,
        machine=machine,
        monitor=config.metrics.monitor,
        gradient_clip=config.optim.gradient_clip,
        log_every=config.trainer.log_every,
        log=run.log_metrics,
        say=_say,
        title=this.title,
    )


def _choose_threshold(run: Run, this: _Run, checkpoint: Path) -> None:
    """Set the model's threshold by the validation studies, unless the configuration keeps it."""
    if this.config.metrics.threshold_criterion is None:
        return
    record = this.folder / "threshold.json"
    choice = set_threshold(this.config, checkpoint, this.studies["validation"], record)
    run.log_file(record)
    run.log_metrics({"val/threshold": choice.threshold}, step=this.config.trainer.steps)
    _say(f"{this.title}  threshold {choice.threshold:g}, chosen on {choice.n_studies} validation studies")


def _test(run: Run, this: _Run, checkpoint: Path) -> Averages:
    """Score the best checkpoint on the test studies, on the grids they were drawn on."""
    config = this.config
    model = load_model(checkpoint)
    tables = ScoreTables(config.metrics)
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
        tables.add(prediction, model.card)
        if config.metrics.save_predictions:
            name = f"{prediction.study.name}_label-{this.card.target}_pred.nii.gz"
            file = this.folder / "predictions" / name
            write_volume(file, prediction.mask, prediction.study.native)
            run.log_file(file, "predictions")
    for file in tables.write(this.folder):
        run.log_file(file)
    if config.metrics.save_predictions:
        picture = this.folder / "figures" / "test_studies.png"
        picture_cases(tables.cases, this.studies["test"], this.folder / "predictions", this.card.target, picture)
        run.log_file(picture, "figures")
    run.log_metrics(tables.metrics())
    return tables.averages


def _in_words(averages: Averages) -> str:
    pairs = (
        ("sensitivity", averages.lesion_sensitivity),
        ("PPV", averages.lesion_ppv),
        ("F1", averages.lesion_f1),
        ("Dice", averages.dice),
    )
    scores = ", ".join(f"{label} {value.mean:.2f}" for label, value in pairs)
    return f"{scores} ({averages.lesion_sensitivity.n} studies with lesions)"


def _kept(folder: Path) -> Path | None:
    checkpoint = folder / "checkpoints" / "best.ckpt"
    return checkpoint if checkpoint.is_file() else None


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    with written_whole(path) as partial:
        partial.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _say(line: str) -> None:
    print(line, flush=True)
