"""``lesionseg train``: one run, from its plan to its scores."""

import json
import platform
import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image

from lesionseg.commands.initialise import initialise, model_card, source_model
from lesionseg.commands.plan import RunSpec, grid_entry, outputs, store_of, sweep_folder, to_paste
from lesionseg.commands.preflight import machine_of, note_seconds
from lesionseg.commands.scoring import ScoreTables, reference_of, scores_text, segment
from lesionseg.commands.selection import (
    build_modules,
    choose_learning_rate,
    fit_baseline,
    set_threshold,
    with_learning_rate,
)
from lesionseg.config.schema import TrainConfig
from lesionseg.data.cache import CachedStudy
from lesionseg.data.nifti import write_volume
from lesionseg.data.preprocessing import facts_range
from lesionseg.errors import InputError
from lesionseg.io import DISK_FULL, write_json, written_whole
from lesionseg.metrics import Average, coverage
from lesionseg.report.analysis import arm_order
from lesionseg.report.slices import (
    StudySlice,
    cut_slice,
    paint,
    picture_study,
    save_slices,
    slices_to_watch,
    verdict_map,
    write_examples,
)
from lesionseg.tracking.mirror import Uploader, is_mirrored, mirror
from lesionseg.tracking.mlflow_store import (
    ERROR_TAG,
    HASH_TAG,
    KEY_TAG,
    KIND_TAG,
    SECONDS_TAG,
    SWEEP_TAG,
    VERSIONS_TAG,
    Store,
    fault_of,
    runs_of,
)
from lesionseg.tracking.run_dir import RunDir
from lesionseg.tracking.sweep import read_grid
from lesionseg.tracking.views import COLOUR_TAG, COLOURS, scores_by_size
from lesionseg.training.trainer import fit, keep
from lesionseg.transfer.checkpoint import ModelCard, SourceModel, load_model
from lesionseg.transfer.report import TransferReport

_LAST_WORDS = 3.0  # seconds that a run which is stopped waits for MLflow
_POLL = 1.0  # seconds between two looks at a lock that another process holds
Say = Callable[[str], None]
_PACKAGES = ("lesionseg", "torch", "pytorch-lightning", "mlflow", "numpy", "scipy", "statsmodels")


@dataclass(frozen=True)
class TrainResult:
    """How a run ended."""

    # ``skipped``: the same configuration was finished before; ``elsewhere``: another process works on it
    status: Literal["finished", "skipped", "failed", "elsewhere"]
    run_id: str | None  # in MLflow; None: it was not to be reached
    checkpoint: Path | None  # the best one; None if the run failed, or is another process's


def train(spec: RunSpec, *, position: str = "", wait: bool = False) -> TrainResult:
    """Train, test and log one run; skip it if it is finished, go on with it if it was interrupted, leave it to another
    process that works on it.
    """
    config = spec.config
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    title = f"{position} {config.task.name} {config.init.name} n={config.train_size} repeat={config.repeat}".strip()

    def say(text: str) -> None:
        print(f"{title}  {text}", flush=True)

    store = _reachable_store(config)
    source = source_model(config, store, outputs(config.paths) / "cache" / "models")
    identity = spec.identity(source.digest if source else "")
    run_dir = RunDir(sweep_folder(config) / f"{spec.name}-{identity[:8]}")
    while True:
        with run_dir.locked() as free:
            if free:
                state, run_id = resolve_run_state(run_dir, store, identity, config.sweep, force=config.force)
                if state == "finished":
                    _tidy(run_dir.path)
                    say(f"is finished already (run {run_id}); force=true runs it again")
                    kept = run_dir.path / "checkpoints" / "best.ckpt"
                    return TrainResult("skipped", run_id, kept if kept.is_file() else None)
                if state == "resumed":
                    say(f"was interrupted before and goes on{f' (run {run_id})' if run_id else ''}")
                seen = facts_range([study.facts() for study in spec.studies["train"]])
                card = model_card(config, [*spec.split.train, *spec.split.validation], seen)
                network, report = initialise(config, card, spec.seed, source, spec.split.test)
                begin(run_dir, spec, identity)
                watched = config.tracking.system_metrics
                with Uploader(
                    run_dir, lambda: store_of(config.tracking, config.paths), say, system_metrics=watched
                ) as uploader:
                    work = partial(_work, spec, run_dir, say, network, card, report)
                    return _end_truly(spec, run_dir, say, uploader, work, resumed=state == "resumed")
        worker = run_dir.read().get("worker", "another process")
        if not wait:
            say(f"is left to {worker}, which works on it")
            return TrainResult("elsewhere", None, None)
        say(f"is being trained by {worker}; waiting for it")
        wait_for(run_dir)


def resolve_run_state(
    run_dir: RunDir, store: Store | None, identity: str, sweep: str | None, *, force: bool
) -> tuple[Literal["new", "resumed", "finished"], str | None]:
    """Find out what there is of a run whose lock this process holds.

    What MLflow knows counts; while it is away, what the run directory knows. A directory that belongs to another run of
    MLflow, such as one that was deleted there, is cleared.
    """
    status, own = run_dir.read(), run_dir.sent()["run_id"]
    if store is not None and status.get("status") == "FINISHED" and not is_mirrored(run_dir):
        fault_of(lambda: mirror(run_dir, store))
        own = run_dir.sent()["run_id"]
    if store is None:
        if status.get("status") == "FINISHED" and not force:
            return "finished", own
    else:
        logged = {run.info.run_id: run.info.status for run in runs_of(store, identity, sweep)}
        finished = [run_id for run_id, ended in logged.items() if ended == "FINISHED"]
        if finished and not force:
            return "finished", finished[-1]
        if own is not None and logged.get(own, "FINISHED") == "FINISHED":  # run again, or deleted in MLflow
            status = {}
    if not status or status.get("status") == "FINISHED":
        run_dir.clear()
        return "new", None
    return "resumed", own


@dataclass
class ValidationPictures:
    """Draws the same slices of validation studies at each validation, for MLflow's slider to show what is learned."""

    run_dir: RunDir
    places: tuple[tuple[str, int], ...]  # study and axial slice
    card: ModelCard  # of the model
    cut: dict[tuple[str, int], StudySlice] = field(default_factory=dict)  # so far

    def __call__(self, study: CachedStudy, probability: torch.Tensor, step: int) -> None:
        """Take a validated study; with the last of those to be drawn a picture is logged."""
        card = self.card
        for name, z in self.places:
            if name == study.name:
                mask, image = (probability >= card.threshold).numpy(), study.images[0]
                verdict = verdict_map(study.mask, mask, study.grid.spacing, card.criterion, card.min_lesion_volume)
                plane = np.asarray(image[:, :, z], np.float32)
                plane[plane == 0] = plane.min()  # what is outside of the brain is black, not its mean
                self.cut[name, z] = cut_slice(name, f"step {step}", plane, verdict, study.grid.spacing, z)
        if len(self.cut) == len(self.places):
            path = self.run_dir.path / "validation" / f"step-{step:06d}.png"
            with written_whole(path) as partial:
                Image.fromarray(paint([self.cut[place] for place in self.places])).save(partial, "PNG")
            self.run_dir.log_image(path, "validation", step)
            self.cut.clear()


def begin(run_dir: RunDir, spec: RunSpec, identity: str) -> None:
    """Note in the run directory what the run is called and made of."""
    config = spec.config
    versions = {"Python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
    tags = {SWEEP_TAG: config.sweep or "", HASH_TAG: identity, KEY_TAG: grid_entry(config)["key"], KIND_TAG: "run"}
    arms = arm_order((config.init.name, *(entry["init"] for entry in read_grid(sweep_folder(config)))))
    tags[COLOUR_TAG] = f"#{COLOURS[arms.index(config.init.name) % len(COLOURS)]}"
    run_dir.begin(
        name=spec.title,
        sweep=config.sweep,
        params=spec.params,
        tags={**tags, VERSIONS_TAG: json.dumps(versions)},
        dataset={"name": config.dataset.name, "digest": spec.split.digest, "source": spec.root},
    )


def wait_for(run_dir: RunDir) -> None:
    """Wait until no process works on a run."""
    while run_dir.is_locked():
        time.sleep(_POLL)


def _work(
    spec: RunSpec, run_dir: RunDir, say: Say, network: torch.nn.Module, card: ModelCard, report: TransferReport
) -> tuple[Path, dict[str, Average]]:
    """Describe the run, choose its learning rate, train it, choose its threshold, test it."""
    config, began = spec.config, time.monotonic()
    _describe(spec, run_dir, report)
    say(report.summary())
    if config.candidate_rates:
        config = _search_rate(spec, run_dir, say, network, card, report)
    if config.init.baseline:
        card = fit_baseline(spec, network, card)
        two = ", ".join(f"{name} {value:g}" for name, value in network.named_buffers())
        say(f"no network: {two}, chosen on {len(spec.studies['train'])} training studies")
    module, data = build_modules(spec, config, network, card, report)
    if config.metrics.save_predictions:
        module.watch = ValidationPictures(run_dir, tuple(slices_to_watch(spec.studies["validation"])), card)
    folder, machine = run_dir.path / "checkpoints", machine_of(config)
    resumed_from = (folder / "last.ckpt").exists()
    if config.init.trains:
        checkpoint = fit(
            module,
            data,
            folder=folder,
            machine=machine,
            monitor=config.metrics.monitor,
            gradient_clip=config.optim.gradient_clip,
            log_every=config.trainer.log_every,
            log=run_dir.log_metrics,
            say=say,
            progress=run_dir.note_progress,
        )
    else:
        checkpoint = keep(module, data, folder=folder, machine=machine, log=run_dir.log_metrics, say=say)
    if config.metrics.threshold_criterion is not None:
        run_dir.note_progress("validating")
        record = run_dir.path / "threshold.json"
        choice = set_threshold(spec, checkpoint, record)
        run_dir.log_file(record)
        run_dir.log_metrics({"val/threshold": choice.threshold}, step=config.trainer.steps)
        say(f"threshold {choice.threshold:g}, chosen on {choice.n_studies} validation studies")
    run_dir.log_file(checkpoint, "checkpoints")
    fitted = time.monotonic()
    model = load_model(checkpoint, trust=True)
    tables, slices = _test(spec, run_dir, model)
    tested = time.monotonic()
    _leave_scores(spec, run_dir, checkpoint, model.card, report, tables, slices)
    if warning := coverage(tables.cases).warning:
        say(f"WARNING: {warning}")
    if not resumed_from and config.init.trains:
        note_seconds(spec, fitted - began, tested - fitted, time.monotonic() - tested)
    return checkpoint, tables.averages


def _search_rate(
    spec: RunSpec, run_dir: RunDir, say: Say, network: torch.nn.Module, card: ModelCard, report: TransferReport
) -> TrainConfig:
    """Return the configuration with the learning rate that is best on the validation studies."""
    record = run_dir.path / "learning_rate.json"
    chosen, candidates = choose_learning_rate(spec, network, card, report, record)
    run_dir.log_file(record)
    run_dir.log_metrics({"train/learning_rate": chosen.learning_rate})
    tried = ", ".join(
        f"{one.learning_rate:g} ({'not finite' if one.loss != one.loss else f'{one.score:.2f}'})" for one in candidates
    )
    n_studies = len(spec.studies["validation"])
    say(f"learning rate {chosen.learning_rate:g}, chosen on {n_studies} validation studies from {tried}")
    return with_learning_rate(spec.config, chosen.learning_rate)


def _describe(spec: RunSpec, run_dir: RunDir, report: TransferReport) -> None:
    """Write everything that is known beforehand; the same when a run goes on."""
    folder = run_dir.path
    with written_whole(folder / "config.yaml") as partial:
        partial.write_text(yaml.safe_dump(spec.config.model_dump(), sort_keys=False), encoding="utf-8")
    write_json(folder / "split.json", spec.split_record())
    write_json(folder / "transfer_report.json", report.to_json())
    for name in ("config.yaml", "split.json", "transfer_report.json"):
        run_dir.log_file(folder / name)


def _test(spec: RunSpec, run_dir: RunDir, model: SourceModel) -> tuple[ScoreTables, list[StudySlice]]:
    """Score the best checkpoint on the test studies, on the grids they were drawn on, and cut a picture of each."""
    config, folder, card = spec.config, run_dir.path, model.card
    tables, slices = ScoreTables(config.metrics), list[StudySlice]()
    studies = spec.studies["test"]
    for found in segment([model.network()], card, studies, config.trainer, threshold=card.threshold):
        run_dir.note_progress("testing")
        tables.add(found, card)
        if config.metrics.save_predictions:
            file = folder / "predictions" / f"{found.study.name}_label-{card.target}_pred.nii.gz"
            write_volume(file, found.mask, found.study.native)
            run_dir.log_file(file, "predictions")
            reference, grid = reference_of(found.study)
            image, rule, least = found.study.study.sources[0][1], card.criterion, card.min_lesion_volume
            case = tables.cases[-1]
            slices.append(picture_study(found.study.name, image, reference, found.mask, grid, rule, least, case))
    return tables, slices


def _leave_scores(
    spec: RunSpec,
    run_dir: RunDir,
    checkpoint: Path,
    card: ModelCard,
    report: TransferReport,
    tables: ScoreTables,
    slices: Sequence[StudySlice],
) -> None:
    """Write tables and pictures, log the metrics, and leave the model as one of MLflow's, with its card."""
    from lesionseg.commands.export import save_mlflow_model
    from lesionseg.report.model_card import model_card_text

    folder = run_dir.path
    run_dir.note_progress("logging")
    for file in tables.write(folder):
        run_dir.log_file(file)
    if slices:
        save_slices(slices, folder / "slices.npz")
        run_dir.log_file(folder / "slices.npz")
        write_examples(tables.cases, slices, folder / "figures" / "test_studies.png")
        run_dir.log_file(folder / "figures" / "test_studies.png", "figures")
    metrics = tables.metrics()
    run_dir.log_metrics(metrics)
    run_dir.log_metrics(scores_by_size(metrics), step=spec.config.train_size)
    model, edges = folder / "model", spec.config.metrics.volume_edges
    shutil.rmtree(model, ignore_errors=True)
    cases, lesions = pd.DataFrame(tables.cases), pd.DataFrame(tables.lesions)
    text = model_card_text(card, report, {**spec.split_record(), "digest": spec.split.digest}, cases, lesions, edges)
    save_mlflow_model(model, checkpoint, card.inputs, text, outputs(spec.config.paths) / "cache" / "code")
    for file in sorted(path for path in model.rglob("*") if path.is_file()):
        run_dir.log_file(file, file.parent.relative_to(folder).as_posix())


def _end_truly(
    spec: RunSpec,
    run_dir: RunDir,
    say: Say,
    uploader: Uploader,
    work: Callable[[], tuple[Path, dict[str, Average]]],
    *,
    resumed: bool,
) -> TrainResult:
    """Do the work and see that the run ends with the status that is true."""
    config = spec.config
    began, patience = time.monotonic(), config.tracking.patience
    try:
        checkpoint, averages = work()
    except (KeyboardInterrupt, SystemExit):
        uploader.end("KILLED", min(_LAST_WORDS, patience))
        raise
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in DISK_FULL
        text = f"{error}; make room, and the same command goes on\n" if full else traceback.format_exc()
        text = f"{error}\n" if isinstance(error, InputError) else text
        first = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:1000]
        say(f"FAILED\n{text}")
        file = run_dir.path / "error.txt"
        try:
            with written_whole(file) as partial:
                partial.write_text(text, encoding="utf-8")
            run_dir.log_file(file)
            run_dir.set_tag(ERROR_TAG, first)
        except OSError as reason:
            say(f"{file} cannot be written ({reason})")
        uploader.end("FAILED", patience, first)
        return TrainResult("failed", run_dir.sent()["run_id"], None)
    if not resumed:
        run_dir.set_tag(SECONDS_TAG, f"{time.monotonic() - began:.1f}")
    run_dir.forget_failure()
    delivered = uploader.end("FINISHED", patience)
    _tidy(run_dir.path)  # only now: it would go on from there
    run_id = run_dir.sent()["run_id"]
    say(f"test {scores_text(averages)} ({averages['lesion_sensitivity'].n} studies with lesions)")
    if not delivered:
        say(f"waits to be sent to MLflow; {to_paste('sync', config.paths, config.tracking)} sends it")
    elif not config.sweep:
        print(f"Its files are in {run_dir.path}, and in MLflow as run {run_id}.", flush=True)
    return TrainResult("finished", run_id, checkpoint)


def _reachable_store(config: TrainConfig) -> Store | None:
    """Return the store, or None while it is away: what is logged is kept, and what was done the run directory knows."""
    try:
        return store_of(config.tracking, config.paths)
    except InputError as error:
        print(f"{error}\nThe run starts all the same; what it logs is kept, and sent when MLflow is back.", flush=True)
        return None


def _tidy(folder: Path) -> None:
    """Remove what only an interruption would have needed, or one left."""
    (folder / "checkpoints" / "last.ckpt").unlink(missing_ok=True)
    (folder / "error.txt").unlink(missing_ok=True)
