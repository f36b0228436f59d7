"""Compose a command's configuration with Hydra and validate all of it before anything starts.

Hydra stops at the first fault. Here every override is tried, and every value of the result is validated, so that the
user sees the whole list at once.
"""

import difflib
import importlib.util
import itertools
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lesionseg.config import conf_dir
from lesionseg.config.schema import SCHEMAS, register_resolvers, validate
from lesionseg.config.sections import described_keys
from lesionseg.errors import InputError

AXES = ("init", "train_size", "repeat")
"""Of a study."""
_MOST_ALIASES = 50  # in one file
_NUMBERS = ("train_size", "repeat")  # single values that choose no file
# Hydra's launchers that are shipped with a configuration: package, extra, module, program that they need.
_LAUNCHERS = {
    "joblib": ("hydra-joblib-launcher", "joblib", "hydra_plugins.hydra_joblib_launcher", None),
    "submitit_slurm": ("hydra-submitit-launcher", "slurm", "hydra_plugins.hydra_submitit_launcher", "sbatch"),
    "ray": ("hydra-ray-launcher", "ray", "hydra_plugins.hydra_ray_launcher", None),
}
_LEAST: Mapping[str, Mapping[str, int]] = {
    "joblib": {"n_jobs": -1},
    "submitit_slurm": {
        **{"timeout_min": 1, "signal_delay_s": 1, "max_num_timeout": 0, "array_parallelism": 1},
        **{"nodes": 1, "tasks_per_node": 1, "cpus_per_task": 1, "gpus_per_node": 1},
    },
}


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    command: str  # ``train``, ``check``, ... : the schema that the result is validated by
    overrides: tuple[str, ...] = ()  # Hydra overrides, sweeps among them
    config_dir: Path | None = None  # a folder with further configuration files, from ``--config-dir``
    config_name: str | None = None  # the primary file if it is not the command's own, from ``--config-name``
    multirun: bool = False  # whether ``--multirun`` was given


@dataclass(frozen=True)
class Job:
    """One configuration: the overrides that make it, and the validated result."""

    overrides: tuple[str, ...]
    config: Any = field(repr=False)


def compose_jobs(request: Request) -> tuple[list[Job], int]:
    """Return every job that the request asks for, and of a sweep how many run at once as far as is known, else 0."""
    faults = _syntax_faults(request.overrides)
    if faults:
        raise InputError(faults)
    check_files(request)
    with _hydra(request):
        axes = expand(request.overrides)
        first = tuple(axis[0] for axis in axes)
        base = _compose(request, list(first))
        if isinstance(base, str):
            raise InputError(_override_faults(request, axes, base))
        if request.command == "train":
            check_hydra(base)
        sweep = request.multirun or str(base.hydra.mode) == "RunMode.MULTIRUN"
        if sweep:
            check_launcher(base)
            params: dict[str, str] = dict(base.hydra.sweeper.get("params") or {})
            axes = [*expand([f"{key}={value}" for key, value in params.items()]), *axes]
            # as in Hydra, the last one given counts, in the first one's place
            axes = list({_key(axis[0]): axis for axis in axes}.values())
        elif any(len(axis) > 1 for axis in axes):
            several = [_key(axis[0]) for axis in axes if len(axis) > 1]
            raise InputError(f"{', '.join(several)}: several values make a sweep; add --multirun")
        at_once = int(base.hydra.launcher.get("n_jobs") or 1) if sweep else 0
        jobs: list[Job] = []
        found: dict[str, None] = {}
        composed: dict[tuple[str, ...], DictConfig | str] = {
            tuple(text for text in first if _key(text) not in _NUMBERS): base
        }
        for combination in itertools.product(*axes):
            rest = tuple(text for text in combination if _key(text) not in _NUMBERS)
            if rest not in composed:  # to compose takes half a second
                composed[rest] = _compose(request, list(combination))
            config = composed[rest]
            if isinstance(config, str):
                found |= dict.fromkeys(_override_faults(request, axes, config))
                break
            try:
                jobs.append(Job(combination, validate(request.command, _with_numbers(config, combination))))
            except InputError as error:
                found |= dict.fromkeys(error.faults)
        if found:
            raise InputError(list(found))
        return jobs, at_once if at_once >= 0 else os.cpu_count() or 1


def _with_numbers(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return a configuration that combinations share, with this one's numbers of training subjects and repeat."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    own = without_hydra(config)
    for override in OverridesParser.create().parse_overrides([text for text in overrides if _key(text) in _NUMBERS]):
        own[override.get_key_element()] = override.value()
    return own


def compose_one(request: Request) -> DictConfig:
    """Return the composed configuration of a request without a sweep, not validated, with its ``hydra`` part."""
    with _hydra(request):
        config = _compose(request, list(request.overrides))
        if isinstance(config, str):
            raise InputError(config)
        return config


def show_config(request: Request, part: str, *, resolve: bool) -> str:
    """Return the composed configuration as YAML: the ``job``'s, the ``hydra`` part, or ``all``."""
    config = compose_one(request)
    if part == "hydra":
        return OmegaConf.to_yaml(OmegaConf.masked_copy(config, "hydra"))
    shown = config if part == "all" else without_hydra(config)
    return OmegaConf.to_yaml(shown, resolve=resolve)


def without_hydra(config: DictConfig) -> DictConfig:
    """Return the configuration without its ``hydra`` part."""
    OmegaConf.set_struct(config, False)
    config.pop("hydra", None)
    return config


def differing_overrides(jobs: Sequence[Job]) -> list[str]:
    """Return of each job the overrides in which the jobs of a sweep differ beside the axes of a study, as text."""
    columns = list(zip(*(job.overrides for job in jobs), strict=True))
    varied = [number for number, values in enumerate(columns) if len({*values}) > 1 and _key(values[0]) not in AXES]
    return [" ".join(job.overrides[number] for number in varied) for job in jobs]


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """Return for each override the values it takes, one unless it is a sweep."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    endless = [
        text
        for text, one in zip(overrides, parsed, strict=True)
        if one.is_sweep_override() and not one.is_discrete_sweep()
    ]
    if endless:
        raise InputError(f"{text}: no list of values; give one, as in a=1,2 or a=range(1,3)" for text in endless)
    return [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_discrete_sweep()
        else [text]
        for text, override in zip(overrides, parsed, strict=True)
    ]


def quoted(value: str) -> str:
    """Return a text as the value of an override, whatever characters it has."""
    escaped = re.sub(r"(\\*)(?='|$)", r"\1\1", value).replace("'", "\\'")
    return f"'{escaped}'"


def forget_plugin_configs() -> None:
    """Have Hydra take conf/hydra/launcher/*.yaml as they are: the plugins bring a configuration of the same name each,
    against which Hydra would match these files and refuse their keys."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # which makes them known
    stored = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for choice in _LAUNCHERS:
        stored.pop(f"{choice}.yaml", None)


@contextmanager
def _hydra(request: Request) -> Iterator[None]:
    """Compose from our configuration files and those of the user's folder, if there is one."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    if request.config_dir is not None and not request.config_dir.is_dir():
        raise InputError(f"--config-dir {request.config_dir}: no such folder")
    register_resolvers()
    forget_plugin_configs()
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(_folders(request)[0]), version_base="1.3", job_name="lesionseg"):
        yield


def _compose(request: Request, overrides: list[str]) -> DictConfig | str:
    """Return the configuration with its ``hydra`` part, or what Hydra says against it."""
    from hydra import compose
    from hydra.errors import HydraException

    for further in _folders(request)[1:]:
        overrides = [*overrides, f"hydra.searchpath=[{quoted(f'file://{further}')}]"]
    try:
        name = request.config_name or request.command
        config: DictConfig = compose(config_name=name, overrides=overrides, return_hydra_config=True)
        return config
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError) as error:
        return _readable(error, request.command)


def _folders(request: Request) -> list[Path]:
    """Return the folders of configuration files, the one with the primary file first."""
    if request.config_dir is None:
        return [conf_dir()]
    own = request.config_dir.resolve()
    primary = conf_dir() / f"{request.config_name or request.command}.yaml"
    return [conf_dir(), own] if primary.is_file() else [own, conf_dir()]


def _override_faults(request: Request, axes: list[list[str]], whole: str) -> list[str]:
    """Try each override by itself, on top of the group choices that work; then validate what is left."""
    values = [text for axis in axes for text in axis]
    choices = [text for text in values if "." not in _key(text) and _is_choice(request, text)]
    good: dict[str, str] = {}
    faults: list[str] = []
    for text in [*choices, *(text for text in values if text not in choices)]:
        others = [other for key, other in good.items() if key != _key(text)]
        composed = _compose(request, [*others, text])
        if isinstance(composed, str):
            faults.append(f"{text}: {composed}")
        else:
            good[_key(text)] = text
    rest = _compose(request, list(good.values()))
    if not isinstance(rest, str):
        try:
            validate(request.command, without_hydra(rest))
        except InputError as error:
            faults += error.faults
    return faults or [whole]


def _key(override: str) -> str:
    return override.partition("=")[0]


def _is_choice(request: Request, text: str) -> bool:
    group = _key(text).lstrip("+~").partition("@")[0]
    return any((folder / group).is_dir() for folder in _folders(request))


def _readable(error: BaseException, command: str) -> str:
    """Return Hydra's message on one line, without its hints on environment variables and object types, and with what
    may have been meant."""
    text = str(error.__cause__ or error) if "Could not override" not in str(error) else str(error)
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("full_key:", "object_type=", "Set the env"))]
    found = " ".join(lines).partition(" Config search path:")[0]
    above = re.search(r"Could not override '([^'@]+)'", found)
    if above:
        unknown = re.search(r"Key '(.+?)' is not in struct", str(error.__cause__))
        name = unknown.group(1) if unknown else above.group(1).split(".")[-1]
        key = above.group(1) if above.group(1).split(".")[-1] == name else f"{above.group(1)}.{name}"
        return f"there is no key {key!r} in the configuration{_meant(key, command)}"
    choice = re.search(r"Could not find '(.+)/(.+)' Available options in '.+': (.*)", found)
    if choice:
        group, name, others = choice.groups()
        names = [other for other in others.split() if not other.startswith("_")]
        near = difflib.get_close_matches(name, names, n=1)
        guess = f"did you mean {near[0]!r}? There" if near else "there"
        return f"there is no {group} {name!r}; {guess} are {', '.join(names)}, and those in --config-dir"
    return found


def _meant(key: str, command: str) -> str:
    """Return what to write in place of a key that is not there."""
    known = [name for name, _ in described_keys(SCHEMAS[command])]
    mapping = next((name for name in known if key.startswith(f"{name}.")), None)
    if mapping is not None:
        return f"; a new entry of {mapping} needs a '+': '+{key}=...'"
    sections = {".".join(name.split(".")[:depth]) for name in known for depth in (1, 2)}
    near = difflib.get_close_matches(key, [*known, *sorted(sections)], n=1, cutoff=0.7)
    return f"; did you mean {near[0]!r}?" if near else " (--cfg job shows them all)"


def _syntax_faults(overrides: Sequence[str]) -> list[str]:
    from hydra.errors import HydraException

    faults: list[str] = []
    for text in overrides:
        try:
            expand([text])
        except InputError as error:
            faults += error.faults
        except HydraException as error:
            key, _, value = text.partition("=")
            odd = any(letter in value for letter in "~=(){} ")  # that Hydra's grammar reads as its own
            quotes = f"""; in quotes of its own it may hold anything: '{key}="{value}"'""" if odd else ""
            faults.append(f"{text}: no Hydra override: {str(error).splitlines()[0]}{quotes}")
    return faults


def check_files(request: Request) -> None:
    """Raise InputError where one of the user's files is no YAML, or reaches beyond the group that it belongs to."""
    faults = []
    groups = {path.name for path in conf_dir().iterdir() if path.is_dir()}
    own = request.config_dir if request.config_dir is not None and request.config_dir.is_dir() else None
    for file in sorted(own.glob("**/*.yaml")) if own else ():
        group = file.relative_to(own).parts[0] in groups if own else False
        if not group and file.stem != request.config_name:
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        try:
            events = list(yaml.parse(text, Loader=yaml.SafeLoader))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f", line {mark.line + 1}" if mark else ""
            faults.append(f"{file}{where}: {error.problem or error.context}; mend the YAML")
            continue
        except yaml.YAMLError as error:
            faults.append(f"{file}: {str(error).splitlines()[0]}; mend the YAML")
            continue
        if sum(isinstance(event, yaml.AliasEvent) for event in events) > _MOST_ALIASES:
            faults.append(f"{file}: has more than {_MOST_ALIASES} aliases (*name); write the values out")
        tags = [(event.start_mark, tag) for event in events if (tag := getattr(event, "tag", None)) not in (None, "!")]
        faults += [f"{file}, line {mark.line + 1 if mark else 1}: has a tag {tag}; leave it out" for mark, tag in tags]
        if len(events) > 4 and not isinstance(events[2], yaml.MappingStartEvent):
            faults.append(f"{file}: holds no keys and values; write key: value")
        if group and re.search(r"^\s*#\s*@package|^\s*-\s*[^#\n]*@[\w.]+\s*:", text, re.MULTILINE):
            faults.append(f"{file}: a file of a group sets what the group owns; leave out '@package' and '@'")
    if faults:
        raise InputError(faults)


def check_hydra(config: DictConfig) -> None:
    """Raise InputError where a configuration has Hydra run something of its own, or change the folder."""
    faults = []
    for key in ("callbacks", "job_logging", "hydra_logging"):
        found = set(config.hydra.get(key) or {})
        if found - {"version", "root", "disable_existing_loggers"}:  # all that logging=none has
            faults.append(f"hydra.{key}: is not for configurations to set; leave it out")
    if not str(config.hydra.sweeper.get("_target_")).endswith(".BasicSweeper"):
        faults.append("hydra.sweeper: only Hydra's own is known; leave it out")
    if config.hydra.job.get("chdir"):
        faults.append("hydra.job.chdir: every run has a folder of its own already; leave it false")
    if faults:
        raise InputError(faults)


def check_launcher(config: DictConfig) -> None:
    """Raise InputError where a launcher's plugin or cluster is missing, or its numbers make no sense."""
    choice = str(config.hydra.runtime.choices.get("hydra/launcher"))
    launcher: Any = OmegaConf.to_container(config.hydra.launcher)
    faults = []
    if choice in _LAUNCHERS:
        package, extra, module, program = _LAUNCHERS[choice]
        try:
            installed = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # not even the packages around it
            installed = False
        if not installed:
            faults.append(f"hydra/launcher={choice}: needs {package}; pip install 'lesionseg[{extra}]'")
        if program is not None and shutil.which(program) is None:
            faults.append(
                f"hydra/launcher={choice}: there is no {program} here; start the sweep on a computer from which jobs "
                "can be submitted"
            )
    for key, least in _LEAST.get(choice, {}).items():
        value = launcher.get(key)
        if value is not None and (type(value) is not int or value < least or (key == "n_jobs" and value == 0)):
            faults.append(f"hydra.launcher.{key}: must be a whole number from {least} on, found {value!r}")
    limit, delay = launcher.get("timeout_min"), launcher.get("signal_delay_s")
    if isinstance(limit, int) and isinstance(delay, int) and delay >= 60 * limit:
        faults.append(
            f"hydra.launcher.signal_delay_s: {delay} s before its time limit of timeout_min={limit} a job has "
            "not begun yet; give fewer seconds or more minutes"
        )
    if faults:
        raise InputError(faults)
