"""Make an object from a description: ``{"_target_": "package.module.Class", **arguments}``."""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def locate(target: str) -> Callable[..., Any]:
    """The class or function of that dotted name."""
    module_name, _, attribute = target.rpartition(".")
    try:
        found = getattr(import_module(module_name), attribute) if module_name else None
    except (ImportError, TypeError) as error:  # TypeError: the name begins with dots
        raise ValueError(f"_target_ {target!r} cannot be imported: {error}") from error
    except AttributeError as error:
        raise ValueError(f"_target_ {target!r}: module {module_name!r} has no {attribute!r}") from error
    if not callable(found):
        raise ValueError(f"_target_ {target!r} is no class or function: write its full dotted name")
    result: Callable[..., Any] = found
    return result


def target_faults(spec: Mapping[str, Any]) -> list[str]:
    """What is wrong with a description, without making the object: target, unknown and missing arguments."""
    if "_target_" not in spec:
        return [f"there is no _target_ among {list(spec)}: write the full dotted name of a class"]
    try:
        found = locate(str(spec["_target_"]))
    except ValueError as error:
        return [str(error)]
    try:
        signature = inspect.signature(found)
    except ValueError as error:  # some classes written in C do not tell
        return [f"_target_ {spec['_target_']!r} does not tell its arguments ({error}): name another class"]
    arguments = {key: value for key, value in spec.items() if key != "_target_"}
    parameters = signature.parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    faults = [
        f"{key}: {spec['_target_']} takes no such argument; it takes {', '.join(known)}"
        for key in arguments
        if key not in known and not takes_any
    ]
    faults += [
        f"{parameter.name}: {spec['_target_']} needs this argument"
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.name in known and parameter.name not in arguments
    ]
    return faults


def build(spec: Mapping[str, Any], kind: type[Any] = object) -> Any:
    """Make the object that a description names."""
    faults = target_faults(spec)
    if faults:
        raise ValueError("; ".join(faults))
    found = locate(str(spec["_target_"]))
    if not (isinstance(found, type) and issubclass(found, kind)):
        wanted = "class" if kind is object else kind.__name__
        raise ValueError(f"_target_ {spec['_target_']!r} is no {wanted}")
    arguments = {key: value for key, value in spec.items() if key != "_target_"}
    try:
        return found(**arguments)
    except TypeError as error:
        raise ValueError(f"{spec['_target_']}: {error}") from error


def nested_target_faults(values: Any, path: str = "") -> list[str]:
    """Return the faults of every ``_target_`` below, each with its key."""
    entries = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    found = [
        fault for key, value in entries for fault in nested_target_faults(value, f"{path}.{key}" if path else str(key))
    ]
    if isinstance(values, dict) and isinstance(values.get("_target_"), str):
        found += [f"{path}: {fault}" for fault in target_faults(values)]
    return found
