"""Validate one composed configuration: missing values, unknown keys, types, ranges, ``_target_``s."""

import difflib
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from lesionseg.config.schema import SCHEMAS
from lesionseg.errors import InputError
from lesionseg.instantiate import target_faults


def validate(command: str, config: DictConfig) -> Any:
    """Return the configuration as plain, frozen values."""
    register_resolvers()
    schema = SCHEMAS[command]
    raw: Any = OmegaConf.to_container(config)
    needless = schema.needless(raw)
    raw = {key: value for key, value in raw.items() if key not in needless}
    missing = sorted(key for key, value in _leaves(raw) if value == "???")
    faults = [f"{key}: has no value; give it as {key}=..." for key in missing]
    unresolved = {key for key, value in _leaves(raw) if isinstance(value, str) and "${" in value}
    dangling = _dangling(config, unresolved)
    faults += dangling
    values: Any = OmegaConf.to_container(config, resolve=not (missing or dangling))
    plain = {str(key): value for key, value in values.items() if key not in needless}
    validated: BaseModel | None = None
    try:
        validated = schema.model_validate(plain)
    except ValidationError as error:
        for detail in error.errors():
            # An interpolation can only be validated once what it points to has a value.
            key = ".".join(str(part) for part in detail["loc"])
            if key not in missing and not ((missing or dangling) and key in unresolved):
                faults.append(_fault(detail, schema))
    faults += _targets(plain)
    if faults or validated is None:
        raise InputError(faults)
    return validated


def register_resolvers() -> None:
    """Teach OmegaConf what the shipped files interpolate with: ``${count:${task.inputs}}``."""
    OmegaConf.register_new_resolver("count", len, replace=True)


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Return every value that holds no others, with its key."""
    if not isinstance(values, dict | list):
        yield path, values
        return
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        yield from _leaves(value, f"{path}.{key}" if path else str(key))


def _dangling(config: DictConfig, keys: set[str]) -> list[str]:
    """Return interpolations that lead nowhere, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for key in sorted(keys):
        try:
            OmegaConf.select(config, key, throw_on_resolution_failure=True)
        except InterpolationToMissingValueError:
            continue
        except OmegaConfBaseException as error:
            by_reason.setdefault(str(error).splitlines()[0], []).append(key)
    return [f"{', '.join(found)}: {reason[0].lower()}{reason[1:]}" for reason, found in by_reason.items()]


def _fault(detail: Any, schema: type[BaseModel]) -> str:
    where = [str(part) for part in detail["loc"] if part != "[key]"]  # pydantic's mark for the name of an entry
    key = ".".join(where)
    if detail["type"] == "extra_forbidden":
        known = _keys(schema, where[:-1])
        near = difflib.get_close_matches(where[-1], known, n=1)
        return f"{key}: unknown key; " + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}")
    if detail["type"] == "missing":
        return f"{key}: is missing"
    own = detail["type"] == "value_error"
    message = str(detail["ctx"]["error"]) if own else detail["msg"][0].lower() + detail["msg"][1:]
    if own and isinstance(detail["input"], dict):
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, found {detail['input']!r}"


def _keys(schema: type[BaseModel], path: list[str]) -> list[str]:
    """Return the keys that may stand at a place of the configuration."""
    kind: Any = schema
    for part in path:
        fields = getattr(kind, "model_fields", None)
        if fields is not None:
            kind = _present(fields[part].annotation) if part in fields else None
        else:  # an entry of a list or of a mapping
            kind = _present(get_args(kind)[-1]) if get_origin(kind) in (list, dict) else None
    return list(getattr(kind, "model_fields", {}))


def _present(annotation: Any) -> Any:
    """Return ``X`` for ``X | None``."""
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return kinds[0] if get_origin(annotation) is UnionType else annotation


def _targets(values: Any, path: str = "") -> list[str]:
    """Return the faults of every ``_target_`` below, each with its key."""
    entries = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    found = [fault for key, value in entries for fault in _targets(value, f"{path}.{key}" if path else str(key))]
    if isinstance(values, dict) and isinstance(values.get("_target_"), str):
        found += [f"{path}: {fault}" for fault in target_faults(values)]
    return found
