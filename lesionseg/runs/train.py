"""One training run, from its configuration to its scores. The story of ``lesionseg train``."""

import json
import shutil
import time
import traceback
from contextlib import suppress
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
from lesionseg.errors import InputError
from lesionseg.metrics import Averages
from lesionseg.report import save_slices
from lesionseg.runs.assemble import assemble, machine_of
from lesionseg.runs.cohort import load_cohort
from lesionseg.runs.initialise import initialise, model_card, source_model
from lesionseg.runs.learning_rate import choose_learning_rate, with_learning_rate
from lesionseg.runs.pictures import picture_cases, picture_study
from lesionseg.runs.plan import (
    Plan,
    cache_of,
    config_hash,
    grid_entry,
    make_plan,
    outputs,
    run_name,
    run_seed,
    store_of,
    sweep_folder,
    triple,
)
from lesionseg.runs.score_tables import ScoreTables
from lesionseg.runs.scoring import segment
from lesionseg.runs.sharing import await_claim, settle
from lesionseg.runs.threshold import set_threshold
from lesionseg.runs.versions import versions
from lesionseg.tracking import (
    ERROR_TAG,
    HASH_TAG,
    HEARTBEAT_TAG,
    KEY_TAG,
    KIND_TAG,
    SECONDS_TAG,
    SWEEP_TAG,
    VERSIONS_TAG,
    Attendant,
    Claim,
    ClaimLostError,
    Courier,
    Holder,
    Journal,
    Store,
    scores_by_size,
    take_claim,
)
from lesionseg.training import fit, keep
from lesionseg.weights import ModelCard, TransferReport, load_model

RATE_RECORD = "learning_rate.json"
_LAST_WORDS = 5.0  # seconds that a run which is stopped waits for MLflow


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Args:
        status: ``skipped``: the same configuration was finished before; ``elsewhere``: another process works on it.
        run_id: in MLflow; None: it was not to be reached.
        folder: with the run's files.
        checkpoint: the best one; None if the run failed, or is another process's.
    """

    status: Literal["finished", "skipped", "failed", "elsewhere"]
    run_id: str | None
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


@dataclass(frozen=True)
class _Desk:
    """What a run works with while it is claimed."""

    journal: Journal
    attendant: Attendant


def train(config: TrainConfig, *, position: str = "", wait: bool = False) -> TrainResult:
    """Train, test and log one configuration; skip it if it is finished, go on with it if it was cut off, leave it to
    another process that works on it.

    Args:
        config: the run.
        position: such as ``[3/12]``, for the lines on the terminal.
        wait: for another process that works on it to end, rather than leave it to that one.

    Raises:
        InputError: configuration or data are wrong; nothing was started.
        SystemExit: stopped by a signal; the run is KILLED and goes on when started again.
    """
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    store = _reachable_store(config)
    this = _prepare(config, store, position)
    claim = take_claim(this.folder, expires=config.claim.expires)
    if isinstance(claim, Holder) and wait:
        _say(f"{this.title}  is being worked on by {claim.worker}; waiting for it")
        claim = await_claim(this.folder, config.claim.expires)
    if isinstance(claim, Holder):
        _say(f"{this.title}  is left to {claim.worker}, who works on it")
        return TrainResult("elsewhere", None, this.folder, None)
    try:
        return _claimed(this, store, claim)
    finally:
        claim.release()


def _claimed(this: _Run, store: Store | None, claim: Claim) -> TrainResult:
    """What becomes of a run that is nobody else's."""
    config, journal = this.config, Journal(this.folder)
    courier = Courier(journal, lambda: store_of(config.tracking, config.paths), _say, this.title)
    found = settle(store, journal, courier, this.identity, config.sweep, force=config.force)
    if found.state == "elsewhere":
        _say(f"{this.title}  is left to {found.worker}, who works on it with a folder of its own")
        return TrainResult("elsewhere", found.run_id, this.folder, None)
    if found.state == "finished":
        _tidy(this.folder)
        _say(f"{this.title}  is finished already (run {found.run_id}); force=true runs it again")
        return TrainResult("skipped", found.run_id, this.folder, _kept(this.folder))
    if found.state == "new":
        shutil.rmtree(this.folder / "checkpoints", ignore_errors=True)
        (this.folder / RATE_RECORD).unlink(missing_ok=True)
    else:
        run = f" (run {found.run_id})" if found.run_id else ""
        _say(f"{this.title}  was {found.before} before and goes on{run}")
    attendant = Attendant(claim, courier, every=config.claim.heartbeat, expires=config.claim.expires)
    _begin(this, journal, attendant)
    return _accompany(this, _Desk(journal, attendant), resumed=found.state == "goes on")


def _reachable_store(config: TrainConfig) -> Store | None:
    """The store, or None while it is away: what is logged is kept, and what was done is known from the run's folder."""
    try:
        return store_of(config.tracking, config.paths)
    except InputError as error:
        _say(f"{error}\nThe run starts all the same; what it logs is kept, and sent when MLflow is back.")
        return None


def _accompany(this: _Run, desk: _Desk, *, resumed: bool) -> TrainResult:
    """Do the work and see that the run ends with the status that is true."""
    try:
        with desk.attendant:
            return _ended(this, desk, resumed)
    except ClaimLostError as lost:  # whatever else happened: the run and its end are another's
        _say(f"{this.title}  stops here: {lost}")
        return TrainResult("elsewhere", desk.journal.run_id, this.folder, None)


def _ended(this: _Run, desk: _Desk, resumed: bool) -> TrainResult:
    began, patience = time.monotonic(), this.config.tracking.patience
    try:
        checkpoint, averages = _work(this, desk)
    except ClaimLostError:
        raise
    except (KeyboardInterrupt, SystemExit):
        with suppress(ClaimLostError):
            desk.attendant.end("KILLED", min(_LAST_WORDS, patience))
        raise
    except Exception as error:
        _fail(this, desk, error)
        return TrainResult("failed", desk.journal.run_id, this.folder, None)
    if not resumed:
        desk.journal.set_tag(SECONDS_TAG, f"{time.monotonic() - began:.1f}")
    delivered = desk.attendant.end("FINISHED", patience)
    _tidy(this.folder)  # only now: it would go on from there
    _say(f"{this.title}  test {_in_words(averages)}")
    if not delivered:
        _say(f"{this.title}  waits to be sent to MLflow; lesionseg sync sends it")
    elif not this.config.sweep:
        _say(f"Its files are in {this.folder}, and in MLflow as run {desk.journal.run_id}.")
    return TrainResult("finished", desk.journal.run_id, this.folder, checkpoint)


def _work(this: _Run, desk: _Desk) -> tuple[Path, Averages]:
    """Train, choose, test; returns the best checkpoint and its scores."""
    _describe(this, desk)
    checkpoint = _fit(this, desk, _choose_learning_rate(this, desk))
    _choose_threshold(this, desk, checkpoint)
    desk.journal.log_file(checkpoint, "checkpoints")
    return checkpoint, _test(this, desk, checkpoint)


def _fail(this: _Run, desk: _Desk, error: Exception) -> None:
    """Tell the reason at once, and keep it with the run as far as the disk allows."""
    text = traceback.format_exc()
    _say(f"{this.title}  FAILED\n{text}")
    error_file = this.folder / "error.txt"
    try:
        with written_whole(error_file) as partial:
            partial.write_text(text, encoding="utf-8")
        desk.journal.log_file(error_file)
        desk.journal.set_tag(ERROR_TAG, _first_line(error))
    except OSError as full:
        _say(f"{this.title}  {error_file} cannot be written ({full})")
    desk.attendant.end("FAILED", this.config.tracking.patience)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:1000]


def _prepare(config: TrainConfig, store: Store | None, position: str) -> _Run:
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
    folder = sweep_folder(config) / f"{run_name(config)}-{identity[:8]}"
    title = f"{position} {config.task.name} {config.init.name} n={config.train_size} repeat={config.repeat}"
    return _Run(config, plan, studies, network, card, report, identity, folder, title.strip())


def _begin(this: _Run, journal: Journal, attendant: Attendant) -> None:
    """What the run is called and made of; the same when it goes on."""
    config = this.config
    tags = {SWEEP_TAG: config.sweep or "", HASH_TAG: this.identity, KEY_TAG: grid_entry(config)["key"], KIND_TAG: "run"}
    tags |= {HEARTBEAT_TAG: attendant.heartbeat().to_text(), VERSIONS_TAG: json.dumps(versions())}
    params = {
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
    journal.begin(run_name(config), params, tags, config.sweep)


def _describe(this: _Run, desk: _Desk) -> None:
    """Everything that is known beforehand; the same when a run goes on."""
    config, seed = this.config, run_seed(this.config)
    _write_yaml(this.folder / "config.yaml", config.model_dump())
    write_json(this.folder / "split.json", this.plan.split_record(seed, config.repeat))
    write_json(this.folder / "transfer_report.json", this.report.to_json())
    for file in ("config.yaml", "split.json", "transfer_report.json"):
        desk.journal.log_file(this.folder / file)
    root = str(this.plan.cohort.root)
    desk.journal.log_dataset(config.dataset.name, this.plan.split.digest, root, "training")
    _say(f"{this.title}  {this.report.summary()}")


def _choose_learning_rate(this: _Run, desk: _Desk) -> TrainConfig:
    """The configuration to train with: of several learning rates, the one that does best on the validation studies."""
    config = this.config
    if not config.candidate_rates:
        return config
    record = this.folder / RATE_RECORD
    choice = choose_learning_rate(config, this.network, this.card, this.report, this.studies, record)
    desk.journal.log_file(record)
    desk.journal.log_metrics({"train/learning_rate": choice.learning_rate})
    n_studies = len(this.studies["validation"])
    _say(
        f"{this.title}  learning rate {choice.learning_rate:g}, chosen on {n_studies} validation studies from "
        f"{choice.in_words()}"
    )
    return with_learning_rate(config, choice.learning_rate)


def _fit(this: _Run, desk: _Desk, config: TrainConfig) -> Path:
    """Train to the end of the budget; returns the best checkpoint."""
    module, data = assemble(config, this.network, this.card, this.report, this.studies)
    folder, machine = this.folder / "checkpoints", machine_of(config.trainer)
    log = desk.journal.log_metrics
    if not config.init.train:
        return keep(module, data, folder=folder, machine=machine, log=log, say=_say, title=this.title)
    return fit(
        module,
        data,
        folder=folder,
        machine=machine,
        monitor=config.metrics.monitor,
        gradient_clip=config.optim.gradient_clip,
        log_every=config.trainer.log_every,
        log=log,
        say=_say,
        title=this.title,
        tell=desk.attendant.tell,
    )


def _choose_threshold(this: _Run, desk: _Desk, checkpoint: Path) -> None:
    """Set the model's threshold by the validation studies, unless the configuration keeps it."""
    if this.config.metrics.threshold_criterion is None:
        return
    desk.attendant.tell("validating")
    record = this.folder / "threshold.json"
    choice = set_threshold(this.config, checkpoint, this.studies["validation"], record)
    desk.journal.log_file(record)
    desk.journal.log_metrics({"val/threshold": choice.threshold}, step=this.config.trainer.steps)
    _say(f"{this.title}  threshold {choice.threshold:g}, chosen on {choice.n_studies} validation studies")


def _test(this: _Run, desk: _Desk, checkpoint: Path) -> Averages:
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


def _tidy(folder: Path) -> None:
    """Remove what only an interruption would have needed, or one left."""
    (folder / "checkpoints" / "last.ckpt").unlink(missing_ok=True)
    (folder / "error.txt").unlink(missing_ok=True)


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    with written_whole(path) as partial:
        partial.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _say(line: str) -> None:
    print(line, flush=True)
