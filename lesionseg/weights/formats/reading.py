"""Read a file of weights without running anything in it."""

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from lesionseg.errors import InputError

_WAY_OUT = "load it where it was made and save its state dict alone: torch.save(model.state_dict(), 'weights.pt')"


def read(path: Path, *, trust: bool = False) -> Any:
    """What a file of ``torch.save`` or safetensors holds, on the CPU.

    NumPy's numbers and arrays are let through beside what PyTorch itself holds to be safe: nnU-Net's checkpoints hold
    such scores. They are made of bytes, and no code runs.

    Args:
        path: the file.
        trust: unpickle whatever it holds; that may run any code in it.

    Raises:
        InputError: no such file, none of these formats, or one that holds more than values while it is not trusted.
    """
    if not path.is_file():
        raise InputError(
            f"checkpoint {path}: there is no such file; give a path, runs:/<run id> or models:/<name>/<version>"
        )
    if is_safetensors(path):
        return _read_safetensors(path)
    try:
        with safe_globals(_numbers()):
            return torch.load(path, map_location="cpu", weights_only=not trust)
    except (ImportError, AttributeError) as error:  # only what is trusted gets that far
        raise InputError(
            f"checkpoint {path}: holds objects of a program that is not installed here ({error}); install it, or "
            f"{_WAY_OUT}"
        ) from error
    except Exception as error:  # torch raises nearly anything for a file that is not its own
        raise InputError(f"checkpoint {path}: {_refusal(path, error)}") from error


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of length, then a JSON object."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return dict(load_file(path, device="cpu"))
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"checkpoint {path}: is no safetensors file that can be read ({error}); copy it again"
        ) from error


def _numbers() -> list[Any]:
    """What NumPy's numbers and arrays are pickled with, under the names of NumPy 1 and 2; none holds objects."""
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    aliases = [
        (function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for function, name in ((scalar, "scalar"), (array, "_reconstruct"))
    ]
    kinds = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"}
    return [*aliases, np.dtype, np.ndarray, *sorted(kinds, key=lambda kind: kind.__name__)]


def _refusal(path: Path, error: Exception) -> str:
    wanted = _wanted(path, error)
    if wanted:
        return (
            f"holds more than weights: it wants {', '.join(wanted[:5])}{', ...' if len(wanted) > 5 else ''}, and such "
            f"a file can run any code; if you trust whoever made it set init.trust=true, or {_WAY_OUT}"
        )
    if "TorchScript" in str(error):
        return (
            "is a TorchScript archive, which holds code beside the weights; save its state dict alone: "
            "torch.save(torch.jit.load(path).state_dict(), 'weights.pt')"
        )
    if isinstance(error, UnpicklingError):
        return "is no checkpoint that can be read (it is none of PyTorch's files); give a state dict or a checkpoint"
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return f"is no checkpoint that can be read ({reason}); give a state dict or a checkpoint"


def _wanted(path: Path, error: Exception) -> list[str]:
    """The classes and functions that the file needs beyond values; empty if it is refused for something else."""
    if not isinstance(error, UnpicklingError):
        return []
    try:
        with safe_globals(_numbers()):
            return sorted(get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # only files of today can be looked through whole; the error names the first one of others
        return re.findall(r"[Uu]nsupported (?:class|global)?:? ?GLOBAL ([\w.]+)", str(error))
