"""Judge one composed configuration: missing values, unknown keys, types, ranges, ``_target_``s."""

import difflib
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from lesionseg.build import target_faults
from lesionseg.config.schema import SCHEMAS
from lesionseg.errors import InputError


def validate(command: str, config: DictConfig) -> BaseModel:
    """The configuration as plain, frozen values.

    Raises:
        InputError: every fault, each with its key.
    """
    register_resolvers()
    schema = SCHEMAS[command]
    raw: Any = OmegaConf.to_container(config)
    needless = schema.needless(raw)
    raw = {key: value for key, value in raw.items() if key not in needless}
    missing = sorted(key for key, value in _leaves(raw) if value == "???")
    faults = [f"{key}: has no value; give it as {key}=..." for key in missing]
    dangling = _dangling(config, raw)
    faults += dangling
    values = OmegaConf.to_container(config, resolve=not (missing or dangling))
    assert isinstance(values, dict)
    plain: dict[str, Any] = {str(key): value for key, value in values.items() if key not in needless}
    judged: BaseModel | None = None
    try:
        judged = schema.model_validate(plain)
    except ValidationError as error:
        faults += [
            fault
            for fault in (_fault(detail, schema) for detail in error.errors())
            if fault.partition(":")[0] not in missing and not _unresolved(fault)
        ]
    faults += _targets(plain)
    if faults or judged is None:
        raise InputError(faults)
    return judged


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that holds no others, with its key."""
    if not isinstance(values, dict | list):
        yield path, values
        return
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        yield from _leaves(value, f"{path}.{key}" if path else str(key))


def _dangling(config: DictConfig, raw: Any) -> list[str]:
    """Interpolations that lead nowhere, those with the same reason together; a missing value is no such reason."""
    keys: dict[str, list[str]] = {}
    for key, text in _leaves(raw):
        if not (isinstance(text, str) and "${" in text):
            continue
        try:
            OmegaConf.select(config, key, throw_on_resolution_failure=True)
        except InterpolationToMissingValueError:
            continue
        except OmegaConfBaseException as error:
            keys.setdefault(str(error).splitlines()[0], []).append(key)
    return [f"{', '.join(found)}: {reason[0].lower()}{reason[1:]}" for reason, found in keys.items()]


def _unresolved(fault: str) -> bool:
    """An interpolation can only be judged once what it points to has a value."""
    return "found '${" in fault


def _fault(detail: Any, schema: type[BaseModel]) -> str:
    where = [str(part) for part in detail["loc"] if part != "[key]"]  # pydantic's mark for the name of an entry
    key = ".".join(where) or "configuration"
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where[-1], _keys(schema, where[:-1]), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_keys(schema, where[:-1]))}"
        return f"{key}: unknown key{hint}"
    if detail["type"] == "missing":
        return f"{key}: is missing"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if detail["type"] == "value_error" and isinstance(detail["input"], dict):
        return message if key == "configuration" else f"{key}: {message}"
    return f"{key}: {message}, found {detail['input']!r}"


def _keys(schema: type[BaseModel], path: list[str]) -> list[str]:
    """The keys that may stand at a place of the configuration."""
    kind: Any = schema
    for part in path:
        fields = getattr(kind, "model_fields", None)
        if fields is not None:
            kind = _present(fields[part].annotation) if part in fields else None
        else:  # an entry of a list or of a mapping
            kind = _present(get_args(kind)[-1]) if get_origin(kind) in (list, dict) else None
    return list(getattr(kind, "model_fields", {}))


def _present(annotation: Any) -> Any:
    """What there is where there is something: ``X`` for ``X | None``."""
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return kinds[0] if get_origin(annotation) is UnionType else annotation


def _targets(values: Any, path: str = "") -> list[str]:
    """Faults of every ``_target_`` below, each with its key."""
    if isinstance(values, dict):
        found = [fault for key, value in values.items() for fault in _targets(value, f"{path}.{key}" if path else key)]
        if isinstance(values.get("_target_"), str):
            found += [f"{path}: {fault}" for fault in target_faults(values)]
        return found
    if isinstance(values, list):
        return [fault for index, value in enumerate(values) for fault in _targets(value, f"{path}.{index}")]
    return []


def register_resolvers() -> None:
    """Teach OmegaConf what the shipped files interpolate with: ``${count:${task.inputs}}``."""
    OmegaConf.register_new_resolver("count", len, replace=True)
