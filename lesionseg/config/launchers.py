"""Hydra's launchers: which are shipped, what each needs, and what a job's share of the machine is.

The configurations are conf/hydra/launcher/*.yaml; the launchers themselves are plugins that a user installs as extras.
"""

import importlib.util
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lesionseg.errors import InputError


@dataclass(frozen=True)
class _Plugin:
    """A launcher that is shipped with a configuration.

    Args:
        choice: as in ``hydra/launcher=joblib``.
        package: on PyPI.
        extra: of lesionseg, that brings the package.
        module: that must be found.
        program: that must be found, if any.
    """

    choice: str
    package: str
    extra: str
    module: str
    program: str | None = None

    def needs(self) -> Iterator[str]:
        """What is missing here."""
        if not _is_installed(self.module):
            yield f"needs {self.package}; pip install 'lesionseg[{self.extra}]'"
        if self.program is not None and shutil.which(self.program) is None:
            yield f"there is no {self.program} here; start the sweep on a computer from which jobs can be submitted"


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the packages around it
        return False


_JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher"
_SLURM = "hydra_plugins.hydra_submitit_launcher.submitit_launcher"
_RAY = "hydra_plugins.hydra_ray_launcher.ray_launcher"
_PLUGINS = {
    f"{_JOBLIB}.JoblibLauncher": _Plugin("joblib", "hydra-joblib-launcher", "joblib", _JOBLIB),
    f"{_SLURM}.SlurmLauncher": _Plugin("submitit_slurm", "hydra-submitit-launcher", "slurm", _SLURM, "sbatch"),
    f"{_RAY}.RayLauncher": _Plugin("ray", "hydra-ray-launcher", "ray", _RAY),
}
_LOWEST: dict[str, dict[str, int]] = {
    "joblib": {"n_jobs": -1},
    "submitit_slurm": {
        "timeout_min": 1,
        "signal_delay_s": 1,
        "max_num_timeout": 0,
        "array_parallelism": 1,
        "nodes": 1,
        "tasks_per_node": 1,
        "cpus_per_task": 1,
        "gpus_per_node": 1,
    },
    "ray": {},
}


@dataclass(frozen=True)
class Share:
    """What one of several jobs at once gets of a computer.

    Args:
        threads: of torch.
        gpus: the GPUs that it sees, as ``CUDA_VISIBLE_DEVICES`` names them; empty: there are none.
    """

    threads: int
    gpus: tuple[str, ...]


def check_launcher(launcher: Mapping[str, Any]) -> None:
    """See that the launcher of a sweep can launch: its plugin is installed, its cluster within reach, its numbers make
    sense. A launcher that is not shipped here is left to Hydra.

    Args:
        launcher: the composed ``hydra.launcher``.

    Raises:
        InputError: every fault.
    """
    plugin = _PLUGINS.get(str(launcher.get("_target_")))
    if plugin is None:
        return
    chosen = f"hydra/launcher={plugin.choice}"
    faults = [f"{chosen}: {fault}" for fault in plugin.needs() if fault]
    faults += [f"hydra.launcher.{fault}" for fault in _number_faults(plugin.choice, launcher)]
    if faults:
        raise InputError(faults)


def forget_plugins_configs() -> None:
    """Have Hydra take conf/hydra/launcher/*.yaml as they are.

    The plugins bring a configuration of the same name each, against which Hydra would match these files, with a warning
    at every composition, and refuse the keys that only the files know. Call it before composing; workers of a launcher
    inherit it.
    """
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # which makes them known
    stored = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for plugin in _PLUGINS.values():
        stored.pop(f"{plugin.choice}.yaml", None)


def share_of(n_jobs: int, slot: int, *, cores: int, gpus: Sequence[str] = (), gpus_per_job: int | None = 1) -> Share:
    """The share of one job: cores are divided, GPUs dealt out in turn.

    Args:
        n_jobs: jobs at once.
        slot: which of them this is, from 0; one beyond ``n_jobs`` shares the GPUs of an earlier one.
        cores: that all jobs together may use.
        gpus: names, as in ``CUDA_VISIBLE_DEVICES``.
        gpus_per_job: never the same one twice, so that it may get fewer; None: all GPUs are divided like the cores.

    Raises:
        ValueError: no job, or a slot below 0.
    """
    if n_jobs < 1 or slot < 0:
        raise ValueError(f"n_jobs={n_jobs} must be at least 1 and slot={slot} at least 0")
    wanted = max(1, len(gpus) // n_jobs) if gpus_per_job is None else gpus_per_job
    dealt = [gpus[(slot * wanted + number) % len(gpus)] for number in range(min(wanted, len(gpus)))]
    return Share(max(1, cores // n_jobs), tuple(dealt))


def _number_faults(choice: str, launcher: Mapping[str, Any]) -> Iterator[str]:
    for key, lowest in _LOWEST[choice].items():
        value = launcher.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < lowest):
            yield f"{key}: must be a whole number from {lowest} on, found {value!r}"
    if choice == "joblib" and launcher.get("n_jobs") == 0:
        yield "n_jobs: 0 jobs at once do nothing; -1: as many as there are cores"
    limit, delay = launcher.get("timeout_min"), launcher.get("signal_delay_s")
    if isinstance(limit, int) and isinstance(delay, int) and delay >= 60 * limit:
        yield (
            f"signal_delay_s: {delay} s before its time limit of timeout_min={limit} a job has not begun yet; "
            "give fewer seconds or more minutes"
        )
