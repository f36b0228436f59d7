"""Compose a command's configuration with Hydra and judge all of it before anything starts.

Hydra stops at the first fault. Here every override is tried, and every value of the result is judged, so that
the user sees the whole list at once.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from lesionseg.config.launchers import check_launcher, forget_plugins_configs
from lesionseg.config.location import conf_dir
from lesionseg.config.validate import validate
from lesionseg.errors import InputError


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Args:
        command: ``train``, ``check``, ... : the schema that the result is judged by.
        overrides: Hydra overrides, sweeps among them.
        config_dir: a folder with further configuration files, from ``--config-dir``.
        config_name: the primary file if it is not the command's own, from ``--config-name``.
        multirun: whether ``--multirun`` was given.
    """

    command: str
    overrides: tuple[str, ...] = ()
    config_dir: Path | None = None
    config_name: str | None = None
    multirun: bool = False


@dataclass(frozen=True)
class Job:
    """One configuration: the overrides that make it, and the judged result."""

    overrides: tuple[str, ...]
    config: BaseModel = field(repr=False)


def compose_jobs(request: Request) -> list[Job]:
    """Every job that the request asks for, one without a sweep.

    Raises:
        InputError: all that is wrong with the overrides and with the composed configurations.
    """
    with _hydra(request) as hydra:
        faults = _syntax_faults(request.overrides)
        if faults:
            raise InputError(faults)
        axes = _axes(request.overrides)
        first = [axis[0] for axis in axes]
        base = _compose(hydra, request, first)
        if isinstance(base, str):
            raise InputError(_override_faults(hydra, request, axes, base))
        if request.multirun or str(base.hydra.mode) == "RunMode.MULTIRUN":
            check_launcher(OmegaConf.to_container(base.hydra.launcher))  # type: ignore[arg-type]
            params: dict[str, str] = dict(base.hydra.sweeper.get("params") or {})
            axes = [*_axes([f"{key}={value}" for key, value in params.items()]), *axes]
            # as in Hydra, the last one given counts, in the first one's place
            axes = list({axis[0].partition("=")[0]: axis for axis in axes}.values())
        elif any(len(axis) > 1 for axis in axes):
            sweeps = [axis[0].partition("=")[0] for axis in axes if len(axis) > 1]
            raise InputError(f"{', '.join(sweeps)}: several values make a sweep; add --multirun")
        return _judge(hydra, request, axes)


def compose_one(request: Request) -> DictConfig:
    """The composed configuration of a request without a sweep, unjudged, its ``hydra`` part left out."""
    with _hydra(request) as hydra:
        config = _compose(hydra, request, list(request.overrides))
        if isinstance(config, str):
            raise InputError(config)
        return _without_hydra(config)


def fixed_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides that are no sweep."""
    return [text for text, axis in zip(overrides, _axes(overrides), strict=True) if len(axis) == 1]


def differing_overrides(jobs: Sequence[Job]) -> list[str]:
    """Of each job the overrides in which the jobs of a sweep differ beside init, train_size and repeat, as text."""
    varied = [set(column) for column in zip(*(job.overrides for job in jobs), strict=True)]
    axes = [
        number
        for number, values in enumerate(varied)
        if len(values) > 1 and next(iter(values)).partition("=")[0] not in ("init", "train_size", "repeat")
    ]
    return [" ".join(job.overrides[number] for number in axes) for job in jobs]


def quoted(value: str) -> str:
    """A text as the value of an override, whatever characters it has."""
    escaped = re.sub(r"(\\*)(?='|$)", r"\1\1", value).replace("'", "\\'")
    return f"'{escaped}'"


def _judge(hydra: Any, request: Request, axes: list[list[str]]) -> list[Job]:
    jobs: list[Job] = []
    faults: dict[str, None] = {}
    for combination in itertools.product(*axes):
        config = _compose(hydra, request, list(combination))
        if isinstance(config, str):
            faults |= dict.fromkeys(_override_faults(hydra, request, axes, config))
            break
        try:
            jobs.append(Job(combination, validate(request.command, _without_hydra(config))))
        except InputError as error:
            faults |= dict.fromkeys(error.faults)
    if faults:
        raise InputError(list(faults))
    return jobs


def _override_faults(hydra: Any, request: Request, axes: list[list[str]], whole: str) -> list[str]:
    """Try each override by itself, on top of the group choices that work; then judge what is left."""
    values = [text for axis in axes for text in axis]
    choices = [text for text in values if "." not in text.partition("=")[0] and _is_choice(request, text)]
    good: list[str] = []
    faults: list[str] = []
    for text in [*choices, *(text for text in values if text not in choices)]:
        composed = _compose(hydra, request, [*_last_per_key(good, text), text])
        if isinstance(composed, str):
            faults.append(f"{text}: {composed}")
        else:
            good.append(text)
    rest = _compose(hydra, request, _last_per_key(good, ""))
    if not isinstance(rest, str):
        try:
            validate(request.command, _without_hydra(rest))
        except InputError as error:
            faults += error.faults
    return faults or [whole]


def _last_per_key(overrides: Sequence[str], replaced: str) -> list[str]:
    keep = {text.partition("=")[0]: text for text in overrides}
    keep.pop(replaced.partition("=")[0], None)
    return list(keep.values())


def _is_choice(request: Request, text: str) -> bool:
    group = text.partition("=")[0].lstrip("+~").partition("@")[0]
    folders = [conf_dir(), *([request.config_dir] if request.config_dir else [])]
    return any((folder / group).is_dir() for folder in folders)


def _compose(hydra: Any, request: Request, overrides: list[str]) -> DictConfig | str:
    """The configuration with its ``hydra`` part, or what Hydra says against it."""
    from hydra.errors import HydraException
    from hydra.types import RunMode

    try:
        config: DictConfig = hydra.compose_config(
            config_name=request.config_name or request.command,
            overrides=overrides,
            run_mode=RunMode.RUN,
            with_log_configuration=False,
        )
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return _readable(error)
    return config


def _readable(error: BaseException) -> str:
    """Hydra's message on one line, without its hints on environment variables and object types."""
    text = str(error.__cause__ or error) if "Could not override" not in str(error) else str(error)
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("full_key:", "object_type=", "Set the env"))]
    found = " ".join(lines).partition(" Config search path:")[0]
    above = re.search(r"Could not override '([^'@]+)'", found)
    if above:
        unknown = re.search(r"Key '(.+?)' is not in struct", str(error.__cause__))
        name = unknown.group(1) if unknown else above.group(1).split(".")[-1]
        key = above.group(1) if above.group(1).split(".")[-1] == name else f"{above.group(1)}.{name}"
        return f"there is no key {key!r} in the configuration (--cfg job shows them all)"
    return found


def _syntax_faults(overrides: Sequence[str]) -> list[str]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    faults = []
    for text in overrides:
        try:
            parser.parse_overrides([text])
        except HydraException as error:
            quotes = f"; in quotes of its own it may hold anything: {_doubly_quoted(text)}" if _is_odd(text) else ""
            faults.append(f"{text}: no Hydra override: {str(error).splitlines()[0]}{quotes}")
            continue
        try:
            _axes([text])
        except HydraException as error:
            faults.append(f"{text}: no list of values: {str(error).splitlines()[0]}")
    return faults


def _is_odd(text: str) -> bool:
    """Whether the value, a path most likely, has letters that Hydra's grammar reads as its own."""
    return any(letter in text.partition("=")[2] for letter in "~=(){} ")


def _doubly_quoted(text: str) -> str:
    key, _, value = text.partition("=")
    return f"""'{key}="{value}"'"""


def _axes(overrides: Sequence[str]) -> list[list[str]]:
    """Per override the values it takes, one unless it is a sweep; as Hydra's basic sweeper splits them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    axes = []
    for text, override in zip(overrides, parsed, strict=True):
        if override.is_sweep_override():
            axes.append([job[0] for job in BasicSweeper.split_arguments([override], None)[0]])
        else:
            axes.append([text])
    return axes


@contextmanager
def _hydra(request: Request) -> Iterator[Any]:
    """Hydra with the search path that its own command line would make."""
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_automatic_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.global_hydra import GlobalHydra

    search_path = create_automatic_config_search_path(None, None, str(conf_dir()))
    if request.config_dir is not None:
        if not request.config_dir.is_dir():
            raise InputError(f"--config-dir {request.config_dir}: no such folder")
        search_path.prepend(
            provider="command-line",
            path=f"file://{request.config_dir.resolve()}",
            anchor=SearchPathQuery(provider="schema"),
        )
    GlobalHydra.instance().clear()
    forget_plugins_configs()
    try:
        yield Hydra.create_main_hydra2(task_name="lesionseg", config_search_path=search_path)
    finally:
        GlobalHydra.instance().clear()


def _without_hydra(config: DictConfig) -> DictConfig:
    OmegaConf.set_struct(config, False)
    config.pop("hydra", None)
    return config
