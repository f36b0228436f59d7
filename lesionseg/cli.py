"""The command line: arguments, exit codes, and a table of the commands.

Exit codes: 0 done, 1 a run failed, 2 configuration or data are wrong, 130 stopped by Ctrl-C, 143 by SIGTERM. Heavy
libraries are imported where they are needed, so that help and errors in a configuration come at once.
"""

import argparse
import atexit
import gc
import hashlib
import importlib
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from traceback import walk_stack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lesionseg.config.compose import Job, Request
    from lesionseg.config.schema import TrainConfig

COMMANDS = {
    "train": ("train one configuration, or a sweep of them with --multirun", "train:train"),
    "status": ("how far a sweep is: what is finished, running, waiting, interrupted, failed", "status:status"),
    "evaluate": (
        "score a trained model on labelled studies, or a sweep's predictions under other criteria",
        "evaluate:evaluate",
    ),
    "score": ("score anybody's masks against reference masks; needs no model", "score:score"),
    "compare": ("what the arms of a sweep gain over the first of them", "compare:compare"),
    "predict": ("segment studies with a trained model", "predict:predict"),
    "export": ("write a trained model as ONNX", "export:export"),
    "check": ("list what a dataset holds for a task, and every fault", "check:check"),
    "synthesize": (
        "write a synthetic dataset, as BIDS: brains, lesions and scans, without a patient's data",
        "synthesize:synthesize",
    ),
    "sync": ("send to MLflow what runs could not send while it was away", "sync:sync"),
    "ui": ("open MLflow's pages on what was run", "ui:ui"),
}


_INTERRUPTED, _TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
_GO_ON = ("train", "synthesize", "sync")
_IMPORT = "<frozen importlib._bootstrap>"


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command in ("-h", "--help", "help"):
        print(_overview())
        raise SystemExit(0)
    if command == "--version":
        from lesionseg import __version__

        print(__version__)
        raise SystemExit(0)
    if command not in COMMANDS:
        near = get_close_matches(command, COMMANDS, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        print(f"lesionseg: there is no command {command!r}{guess}\n\n{_overview()}", file=sys.stderr)
        raise SystemExit(2)
    if {"-h", "--help"} & set(rest):
        print(_help(command))
        raise SystemExit(0)
    stopped = f"Stopped{'; the same command goes on where it was' if command in _GO_ON else ''}.\n".encode()

    def stop_at_once(number: int, frame: Any) -> None:
        os.write(2, stopped)
        os._exit(128 + number)

    atexit.register(gc.freeze)  # or Python looks at every object of torch once more at the end, for a second
    _on_signals(stop_at_once)  # as long as nothing is held that would have to be let go
    try:
        code = _run(command, rest)
        _on_signals(signal.SIG_DFL)
    except SystemExit as end:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if end.code == _INTERRUPTED:  # whatever threads there are: all that is kept is written
            sys.stdout.flush()
            stop_at_once(signal.SIGINT, None)
        if end.code == _TERMINATED:
            os.write(2, stopped)
        raise
    raise SystemExit(code)


def _run(command: str, arguments: list[str]) -> int:
    from lesionseg.config.compose import Request, compose_jobs, show_config
    from lesionseg.errors import InputError
    from lesionseg.io import DISK_FULL

    options = _parser(command).parse_intermixed_args(arguments)
    folder = Path(options.config_dir) if options.config_dir else None
    overrides = plain_words(command, options.overrides)
    request = Request(command, tuple(overrides), folder, options.config_name, options.multirun)
    try:
        if options.cfg:
            print(show_config(request, options.cfg, resolve=options.resolve), end="")
            return 0
        if command == "train":
            return _train(request, shlex.join(["lesionseg", command, *arguments]))
        jobs, _ = compose_jobs(request)
        if len(jobs) > 1:
            raise InputError(f"lesionseg {command} takes one configuration; sweeps are for lesionseg train")
        module, _, function = COMMANDS[command][1].partition(":")
        run = getattr(importlib.import_module(f"lesionseg.commands.{module}"), function)
        _on_signals(_stop)
        code: int = run(jobs[0].config)
        return code
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        print(
            f"{error.filename or 'the disk'}: {error.strerror}; make room, and the same command goes on",
            file=sys.stderr,
        )
        return 1


def plain_words(command: str, arguments: Sequence[str]) -> list[str]:
    """Return the overrides that arguments of a command which takes a model stand for: ``model=`` for ``checkpoint=``,
    and to predict ``flair=PATH`` for a scan of that contrast, ``input=`` of a BIDS folder for its dataset."""
    if command not in ("predict", "evaluate", "export"):
        return list(arguments)
    from lesionseg.config import conf_dir
    from lesionseg.config.compose import quoted
    from lesionseg.config.schema import SCHEMAS

    known = [*SCHEMAS[command].model_fields, *(folder.name for folder in conf_dir().iterdir())]
    words, files = [], []
    for argument in arguments:
        key, is_set, value = argument.partition("=")
        value = value.strip("'\"") if len(value) > 1 and value[0] == value[-1] else value
        if key in ("model", "run"):
            address = value if key == "model" or "/" in value else f"runs:/{value}"
            words.append(f"checkpoint={quoted(address)}")
        elif command == "predict" and key == "input" and any(Path(value).glob("sub-*/")):
            words.append(f"dataset.root={quoted(value)}")
        elif command == "predict" and key == "input":
            words.append(f"input={quoted(value)}")
        elif (
            command == "predict"
            and is_set
            and re.fullmatch(r"(prior\.)?\w+", key)
            and not get_close_matches(key, known, cutoff=0.8)
        ):
            files.append(quoted(f"{key}={value}"))
        else:
            words.append(argument)
    return [*words, f"files=[{','.join(files)}]"] if files else words


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"lesionseg {command}", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--resolve", action="store_true")
    return parser


def _train(request: "Request", command: str) -> int:
    """Check everything, train the source model if the jobs want one, and then the jobs."""
    from dataclasses import replace

    from lesionseg.config.compose import compose_jobs, differing_overrides, quoted

    jobs, at_once = compose_jobs(request)
    configs: list[TrainConfig] = [job.config for job in jobs]
    overrides = list(request.overrides)
    if at_once and any(config.sweep is None for config in configs):
        name = f"sweep-{hashlib.sha256(' '.join(sorted(request.overrides)).encode()).hexdigest()[:8]}"
        configs = [config.model_copy(update={"sweep": name}) for config in configs]
        overrides.append(f"sweep={name}")
    sources = _sources(request, jobs)

    from lesionseg.commands.preflight import announce, preflight
    from lesionseg.commands.sweep import Sweep, train_source
    from lesionseg.commands.train import train

    _on_signals(_stop)
    specs = preflight([*sources, *configs])
    source_specs, specs = [replace(spec, also="source") for spec in specs[: len(sources)]], specs[len(sources) :]
    announce(source_specs, specs, at_once)
    if configs[0].sweep is None:
        (spec,) = specs
        if source_specs:
            checkpoint = train_source(source_specs[0])
            if checkpoint is None:
                return 1
            spec = spec.with_checkpoint(checkpoint)
        return 0 if train(spec).status in ("finished", "skipped") else 1
    with Sweep(specs, differing_overrides(jobs), command) as sweep:
        checkpoints = [train_source(spec) for spec in source_specs]
        if None not in checkpoints:
            if source_specs:
                announce([], specs, at_once)
            overrides += [f"init.checkpoint={quoted(str(checkpoint))}" for checkpoint in checkpoints]
            sweep.run(lambda: _launch(request, overrides, len(specs)))
    return sweep.finish()


def _sources(request: "Request", jobs: "Sequence[Job]") -> "list[TrainConfig]":
    """Return the run that trains the source model which jobs ask for in ``init.source``, if any does."""
    from dataclasses import replace

    from lesionseg.config.compose import compose_one, expand, without_hydra
    from lesionseg.config.schema import validate
    from lesionseg.config.training_sections import FROM_SCRATCH
    from lesionseg.errors import InputError

    fixed = [values[0] for values in expand(request.overrides) if len(values) == 1]
    sources: dict[str, TrainConfig] = {}
    for job in jobs:
        init = job.config.init
        if init.from_scratch or init.checkpoint or not init.source:
            continue
        inherited = [text for text in fixed if _goes_for(text, init.source)]
        overrides = (*inherited, *init.source, "init=scratch", "sweep=null")
        composed = without_hydra(compose_one(replace(request, overrides=overrides)))
        composed.init = FROM_SCRATCH  # whatever a study's file sets for its arms
        sources[" ".join(init.source)] = validate("train", composed)
    if len(sources) > 1:
        raise InputError(
            "init.source: one sweep can train one source model; train the others first and give checkpoints"
        )
    return list(sources.values())


def _goes_for(text: str, source: "Sequence[str]") -> bool:
    """Return whether an override of the sweep holds for its source model, too: not the axes of the study, and nothing
    that belongs to a group for which the source chooses another file, such as the folder of another dataset."""
    key = _place(text)
    chosen = {_place(override) for override in source}
    own = {"init", "sweep", "train_size", "repeat", "force", *chosen}
    if "dataset" in chosen:
        own.add("split.file")  # it names subjects
    return not any(key == other or key.startswith(f"{other}.") for other in own)


def _place(override: str) -> str:
    """Return the key that an override sets: ``dataset.synthetic.pathology`` for
    ``pathology@dataset.synthetic.pathology=glioma``."""
    return override.lstrip("+~").partition("=")[0].rpartition("@")[2]


def _launch(request: "Request", overrides: Sequence[str], total: int) -> None:
    """Hand the jobs to Hydra's launcher, which runs them here or in other processes."""
    import hydra

    from lesionseg.config import conf_dir
    from lesionseg.config.compose import forget_plugin_configs
    from lesionseg.config.schema import register_resolvers

    register_resolvers()
    forget_plugin_configs()
    folder = ["--config-dir", str(request.config_dir)] if request.config_dir else []
    name = request.config_name or request.command
    sys.argv = [f"lesionseg {request.command}", *folder, *(["--multirun"] if request.multirun else []), *overrides]
    task = _task(total, time.time(), os.getpid())
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(task)()
    except SystemExit as end:
        if end.code != 1:  # 1 is Hydra's answer to a job that it lost, which the sweep's own end reports
            raise


def _task(total: int, began: float, launcher: int) -> Callable[[Any], str]:
    """Return what Hydra calls for each job, in whichever process."""

    def task(composed: Any) -> str:
        from hydra.core.hydra_config import HydraConfig

        number = int(HydraConfig.get().job.get("num", 0) or 0)
        in_turn = os.getpid() == launcher
        if not in_turn:
            _begin_worker(number)

        from lesionseg.commands.sweep import run_job
        from lesionseg.config.compose import without_hydra
        from lesionseg.config.schema import validate

        try:
            return run_job(validate("train", without_hydra(composed)), number, total, began if in_turn else None)
        finally:
            if not in_turn:  # a worker that ends by a signal ends once
                signal.setitimer(signal.ITIMER_REAL, 0)

    return task


def _begin_worker(number: int) -> None:
    """Give a job its GPU, if there are several and nobody has dealt them, and have it end with its scores kept."""
    import torch

    if "CUDA_VISIBLE_DEVICES" not in os.environ and torch.cuda.device_count() > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number % torch.cuda.device_count())
    before = signal.getsignal(signal.SIGTERM)
    _on_signals(_stop)
    if before is not signal.SIG_DFL:  # a launcher on a cluster has a handler of its own
        signal.signal(signal.SIGTERM, before)


def _on_signals(handler: Callable[[int, Any], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
    signal.signal(signal.SIGALRM, _end)  # from the start: after a training Lightning puts back what there was


_signals: list[int] = []
"""What this process was told to end by."""


def _stop(number: int, frame: Any) -> None:
    """End in good order; at the second signal at once."""
    if _signals:
        os._exit(128 + number)
    _signals.append(number)
    sys.unraisablehook = lambda unraisable: None  # such as this end in a destructor
    _end(number, frame)


def _end(number: int, frame: Any) -> None:
    """Exit, but not in the middle of an import: a library's C++ that calls Python there aborts at an exception. Once
    more where that came to nothing, as in a destructor, whose exceptions Python ignores."""
    error = sys.exception()
    while error is not None and not isinstance(error, SystemExit):
        error = error.__context__
    if error is not None:  # it is ending
        return
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    if not any(caller.f_code.co_filename == _IMPORT for caller, _ in walk_stack(frame)):
        raise SystemExit(128 + _signals[0])


def _overview() -> str:
    return "\n".join(
        [
            "lesionseg: how many scans does a lesion segmentation need, and how many does pretraining save?",
            "",
            "usage: lesionseg COMMAND [key=value ...]    lesionseg COMMAND --help tells what can be set",
            "",
            *(f"  {name:<12}{summary}" for name, (summary, _) in COMMANDS.items()),
        ]
    )


def _help(command: str) -> str:
    """Return the command's own configuration file, and the choices of each group, read without Hydra."""
    from lesionseg.config import conf_dir

    conf = conf_dir()
    text = (conf / f"{command}.yaml").read_text(encoding="utf-8").rstrip()
    groups = []
    for folder in sorted(path for path in conf.iterdir() if path.is_dir()):
        if f"- {folder.name}: " in text and f"- {folder.name}: _" not in text:
            names = sorted(file.stem for file in folder.glob("*.yaml") if not file.stem.startswith("_"))
            groups.append(f"  {folder.name}={' | '.join(names)}")
    return "\n".join(
        [
            f"usage: lesionseg {command} [key=value ...] [--config-dir FOLDER]"
            + (" [--multirun]" if command == "train" else ""),
            "",
            f"{COMMANDS[command][0]}. What can be chosen:" if groups else f"{COMMANDS[command][0]}.",
            *groups,
            "",
            "The command's own settings, with their defaults; --cfg job shows the whole configuration:",
            "",
            text,
        ]
    )
