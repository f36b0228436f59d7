"""The command line: the one place with Hydra's main.

Heavy libraries are imported where they are needed, so that help and errors in a configuration come at once.
"""

import hashlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lesionseg.config.compose import Job, Request
    from lesionseg.config.schema import TrainConfig

COMMANDS = {
    "train": "train one configuration, or a sweep of them with --multirun",
    "status": "how far a sweep is: what is finished, running, waiting, cut off, failed",
    "evaluate": "score a trained model on labelled studies, or a sweep's predictions under other criteria",
    "score": "score anybody's masks against reference masks; needs no model",
    "compare": "what the arms of a sweep gain over the first of them",
    "predict": "segment studies with a trained model",
    "check": "list what a dataset holds for a task, and every fault",
    "synthesize": "write a synthetic cohort, as BIDS: brains, lesions and scans, without a patient's data",
    "sync": "send to MLflow what runs could not send while it was away",
    "ui": "open MLflow's pages on what was run",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 a run failed, 2 configuration or data wrong, 143 stopped by SIGTERM."""
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
        print(f"lesionseg: there is no command {command!r}\n\n{_overview()}", file=sys.stderr)
        raise SystemExit(2)
    if {"-h", "--help"} & set(rest):
        print(_help(command))
        raise SystemExit(0)
    signal.signal(signal.SIGTERM, _stopped)
    raise SystemExit(_run(command, rest))


def _run(command: str, arguments: list[str]) -> int:
    from lesionseg.errors import InputError

    try:
        if {"--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--hydra-help"} & {
            argument.partition("=")[0] for argument in arguments
        }:
            _hydra(command, arguments, lambda config: None)
            return 0
        request, arguments = _request(command, arguments)
        return _train(request, arguments) if command == "train" else _other(request)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def _request(command: str, arguments: list[str]) -> "tuple[Request, list[str]]":
    """What is asked for, and the arguments as Hydra's parser wants them: options first."""
    from hydra._internal.utils import get_args_parser

    from lesionseg.config.compose import Request

    parser = get_args_parser()
    parser.prog = f"lesionseg {command}"
    parsed = parser.parse_intermixed_args(arguments)
    options = [text for text in arguments if text not in parsed.overrides]
    request = Request(
        command=command,
        overrides=tuple(parsed.overrides),
        config_dir=Path(parsed.config_dir) if parsed.config_dir else None,
        config_name=parsed.config_name,
        multirun=parsed.multirun,
    )
    return request, [*options, *parsed.overrides]


def _train(request: "Request", arguments: list[str]) -> int:
    from lesionseg.config.compose import compose_jobs, differing_overrides

    jobs, command = compose_jobs(request), shlex.join(["lesionseg", "train", *arguments])
    configs: list[TrainConfig] = [job.config for job in jobs]  # type: ignore[misc]
    if (request.multirun or len(jobs) > 1) and any(config.sweep is None for config in configs):
        name = f"sweep-{hashlib.sha256(' '.join(sorted(request.overrides)).encode()).hexdigest()[:8]}"
        configs = [config.model_copy(update={"sweep": name}) for config in configs]
        arguments = [*arguments, f"sweep={name}"]
    sources = _sources(request, jobs)

    from lesionseg.runs.estimate import announce
    from lesionseg.runs.launch import Launch
    from lesionseg.runs.preflight import preflight

    preflight([*sources.values(), *configs])
    announce(list(sources.values()), configs)
    if configs[0].sweep is None:
        trained = _train_sources(list(sources.values()))
        ends = {"failed"} if trained is None else _launch([*arguments, *trained], total=1)
        return 0 if ends <= {"finished", "skipped"} else 1
    with Launch(configs, differing_overrides(jobs), command) as sweep:
        trained = _train_sources(list(sources.values()))
        if trained is not None:
            _launch([*arguments, *trained], total=len(configs))
            while sweep.has_more():
                _launch([*arguments, *trained], total=len(configs))
    return sweep.finish()


def _train_sources(sources: "Sequence[TrainConfig]") -> list[str] | None:
    """Train what the jobs start from; the overrides by which they find it, or None where it failed."""
    from lesionseg.config.compose import quoted
    from lesionseg.runs.train import train

    overrides = []
    for source in sources:
        result = train(source, position="[source]", wait=True)
        if result.status == "failed":
            print("The source model could not be trained; nothing else was started.", file=sys.stderr)
            return None
        checkpoint = str(result.checkpoint or f"runs:/{result.run_id}")  # its folder may be gone since
        overrides.append(f"init.checkpoint={quoted(checkpoint)}")
    return overrides


def _sources(request: "Request", jobs: "Sequence[Job]") -> "dict[str, TrainConfig]":
    """The runs that train the source models which jobs ask for in ``init.source``."""
    from dataclasses import replace

    from lesionseg.config.compose import compose_one, fixed_overrides
    from lesionseg.config.init_section import FROM_SCRATCH
    from lesionseg.config.validate import validate
    from lesionseg.errors import InputError

    sources: dict[str, TrainConfig] = {}
    for job in jobs:
        init = job.config.init  # type: ignore[attr-defined]
        if init.from_scratch or init.checkpoint or not init.source:
            continue
        inherited = [text for text in fixed_overrides(request.overrides) if _goes_for(text, init.source)]
        overrides = (*inherited, *init.source, "init=scratch", "sweep=null")
        composed = compose_one(replace(request, overrides=overrides))
        composed.init = FROM_SCRATCH  # whatever a study's file sets for its arms
        sources[" ".join(init.source)] = validate("train", composed)  # type: ignore[assignment]
    if len(sources) > 1:
        raise InputError(
            "init.source: one sweep can train one source model; train the others first and give checkpoints"
        )
    return sources


def _goes_for(text: str, source: "Sequence[str]") -> bool:
    """Whether an override of the sweep holds for its source model, too: not the axes of the study, and nothing that
    belongs to a group for which the source chooses another file, such as the folder of another dataset."""
    key = _place(text)
    chosen = {_place(override) for override in source}
    own = {"init", "sweep", "train_size", "repeat", "force", *chosen}
    if "dataset" in chosen:
        own.add("split.file")  # it names subjects
    return not any(key == other or key.startswith(f"{other}.") for other in own)


def _place(override: str) -> str:
    """Where in the configuration an override acts: ``dataset.synthetic.pathology`` for
    ``pathology@dataset.synthetic.pathology=glioma``."""
    return override.lstrip("+~").partition("=")[0].rpartition("@")[2]


def _launch(arguments: list[str], total: int) -> set[str]:
    """Hand the jobs to Hydra's launcher; how those ended that ran in this process."""
    from lesionseg.runs.orphan import workers_end_first

    began, launcher = time.time(), os.getpid()
    outcomes: set[str] = set()

    def task(composed: Any) -> None:
        """One job, in whichever process the launcher runs it."""
        in_turn = began if os.getpid() == launcher else None
        outcomes.add(_job(composed, total, in_turn))

    try:
        with workers_end_first():
            _hydra("train", arguments, task)
    except SystemExit as end:
        if end.code != 1:
            raise  # stopped; 1 is Hydra's answer to a job that it lost, and the sweep's own end tells of that
        outcomes.add("failed")
    return outcomes


def _job(composed: Any, total: int, began: float | None) -> str:
    """Train one configuration; how that ended.

    Args:
        composed: by Hydra.
        total: jobs of the sweep.
        began: seconds since 1970 when the first of them did, where they run one after the other.
    """
    from hydra.core.hydra_config import HydraConfig

    from lesionseg.config.validate import validate
    from lesionseg.errors import InputError
    from lesionseg.runs.orphan import at_work
    from lesionseg.runs.train import train

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # a launcher on a cluster has a handler of its own
        signal.signal(signal.SIGTERM, _stopped)
    number = int(HydraConfig.get().job.get("num", 0) or 0)
    position = f"[{number + 1}/{total}]" if total > 1 else ""
    if began is not None and number:
        left = timedelta(seconds=round((time.time() - began) / number * (total - number)))
        position = f"[{number + 1}/{total}, {left} left]"
    try:
        with at_work():
            config: TrainConfig = validate("train", composed)  # type: ignore[assignment]
            return train(config, position=position).status
    except InputError as error:  # something changed since it was looked at; the other jobs may still do
        print(f"{position} {error}".strip(), file=sys.stderr)
        return "failed"


def _hydra(command: str, arguments: list[str], task: Any) -> None:
    import hydra

    from lesionseg.config.launchers import forget_plugins_configs
    from lesionseg.config.location import conf_dir
    from lesionseg.config.validate import register_resolvers

    register_resolvers()
    forget_plugins_configs()
    sys.argv = [f"lesionseg {command}", *arguments]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(task)()


def _other(request: "Request") -> int:
    from lesionseg.config.compose import compose_jobs
    from lesionseg.errors import InputError

    jobs = compose_jobs(request)
    if len(jobs) > 1:
        raise InputError(f"lesionseg {request.command} takes one configuration; sweeps are for lesionseg train")
    config: Any = jobs[0].config
    if request.command == "check":
        from lesionseg.runs.check import check
        from lesionseg.runs.cohort import load_cohort

        output = Path(config.output) if config.output else None
        return check(load_cohort(config.dataset), config.task.channels, config.task.target, output=output)
    if request.command == "score":
        from lesionseg.runs.score import score

        return score(config)
    if request.command == "evaluate":
        if config.sweep is not None:
            from lesionseg.runs.rescore import rescore

            return rescore(config)
        from lesionseg.runs.evaluate import evaluate

        return evaluate(config)
    if request.command == "predict":
        from lesionseg.runs.predict import predict

        return predict(config)
    if request.command == "compare":
        from lesionseg.runs.compare import compare

        return compare(config)
    if request.command == "status":
        from lesionseg.runs.status import status

        return status(config)
    if request.command == "sync":
        from lesionseg.runs.sync import sync

        return sync(config)
    if request.command == "synthesize":
        from lesionseg.runs.synthesize import synthesize

        return synthesize(config)
    from lesionseg.runs.ui import ui

    return ui(config)


def _stopped(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _overview() -> str:
    lines = [f"  {name:<12}{what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "lesionseg: how many scans does a lesion segmentation need, and how many does pretraining save?",
            "",
            "usage: lesionseg COMMAND [key=value ...]    lesionseg COMMAND --help tells what can be set",
            "",
            *lines,
        ]
    )


def _help(command: str) -> str:
    """The command's own configuration file, and the choices of each group, read without Hydra."""
    from lesionseg.config.location import conf_dir

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
            f"{COMMANDS[command]}. What can be chosen:" if groups else f"{COMMANDS[command]}.",
            *groups,
            "",
            "The command's own settings, with their defaults; --cfg job shows the whole configuration:",
            "",
            text,
        ]
    )
