"""One training run, from its configuration to its scores. The story of ``lesionseg train``."""

import json
import shutil
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lesionseg.config.schema import TrainConfig
from lesionseg.data.files import written_whole
from lesionseg.errors import InputError
from lesionseg.metrics import Averages
from lesionseg.runs.plan import grid_entry, run_name, store_of
from lesionseg.runs.planned import PlannedRun, plan_run
from lesionseg.runs.sharing import await_claim, settle
from lesionseg.runs.versions import versions
from lesionseg.runs.work import RATE_RECORD, Desk, work
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
    take_claim,
)

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
    this = plan_run(config, store, position)
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


def _claimed(this: PlannedRun, store: Store | None, claim: Claim) -> TrainResult:
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
    return _accompany(this, Desk(journal, attendant, _say), resumed=found.state == "goes on")


def _reachable_store(config: TrainConfig) -> Store | None:
    """The store, or None while it is away: what is logged is kept, and what was done is known from the run's folder."""
    try:
        return store_of(config.tracking, config.paths)
    except InputError as error:
        _say(f"{error}\nThe run starts all the same; what it logs is kept, and sent when MLflow is back.")
        return None


def _accompany(this: PlannedRun, desk: Desk, *, resumed: bool) -> TrainResult:
    """Do the work and see that the run ends with the status that is true."""
    try:
        with desk.attendant:
            return _ended(this, desk, resumed)
    except ClaimLostError as lost:  # whatever else happened: the run and its end are another's
        _say(f"{this.title}  stops here: {lost}")
        return TrainResult("elsewhere", desk.journal.run_id, this.folder, None)


def _ended(this: PlannedRun, desk: Desk, resumed: bool) -> TrainResult:
    began, patience = time.monotonic(), this.config.tracking.patience
    try:
        checkpoint, averages = work(this, desk)
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


def _fail(this: PlannedRun, desk: Desk, error: Exception) -> None:
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


def _begin(this: PlannedRun, journal: Journal, attendant: Attendant) -> None:
    """What the run is called and made of; the same when it goes on."""
    config = this.config
    tags = {SWEEP_TAG: config.sweep or "", HASH_TAG: this.identity, KEY_TAG: grid_entry(config)["key"], KIND_TAG: "run"}
    tags |= {HEARTBEAT_TAG: attendant.heartbeat().to_text(), VERSIONS_TAG: json.dumps(versions())}
    journal.begin(run_name(config), this.params, tags, config.sweep)


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


def _say(line: str) -> None:
    print(line, flush=True)
