"""The launchers' configurations, and what is said of one that cannot launch."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lesionseg.config import conf_dir
from lesionseg.config.compose import check_launcher, forget_plugin_configs
from lesionseg.config.validation import register_resolvers
from lesionseg.errors import InputError

CHOICES = sorted(file.stem for file in (conf_dir() / "hydra" / "launcher").glob("*.yaml"))


@pytest.fixture
def launcher() -> Iterator[Any]:
    """Composes ``lesionseg train`` with a launcher and gives ``hydra.launcher``."""
    register_resolvers()
    forget_plugin_configs()
    stored = {key: dict(value) for key, value in ConfigStore.instance().repo["hydra"].items() if key == "launcher"}

    def composed(choice: str, *overrides: str) -> DictConfig:
        config = compose("train", [f"hydra/launcher={choice}", *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        return config

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield composed
    ConfigStore.instance().repo["hydra"].update(stored)


@pytest.fixture
def with_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")


@pytest.fixture
def with_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())


def test_every_launcher_that_is_shipped_is_composed_as_it_stands(launcher: Any, with_plugins: None) -> None:
    assert CHOICES == ["joblib", "ray", "submitit_slurm"]
    for choice in CHOICES:
        text = (conf_dir() / "hydra" / "launcher" / f"{choice}.yaml").read_text(encoding="utf-8")
        assert set(launcher(choice).hydra.launcher) == set(OmegaConf.create(text)), (
            "neither more keys than the file's nor fewer"
        )


@pytest.mark.usefixtures("with_plugins", "with_programs")
def test_every_launcher_that_is_shipped_can_launch_where_all_is_installed(launcher: Any) -> None:
    for choice in CHOICES:
        check_launcher(launcher(choice))


def test_a_plugins_own_configuration_of_the_same_name_is_not_mixed_in(launcher: Any) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    assert launcher("joblib").hydra.launcher.n_jobs == 2, "the plugin has -1"
    assert "prefer" not in launcher("joblib").hydra.launcher


def test_what_is_not_shipped_is_still_the_plugins_own(launcher: Any) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    assert launcher("submitit_local").hydra.launcher._target_.endswith("LocalLauncher")
    check_launcher(launcher("submitit_local"))
    check_launcher(launcher("basic"))


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("joblib", "hydra/launcher=joblib: needs hydra-joblib-launcher; pip install 'lesionseg[joblib]'"),
        (
            "submitit_slurm",
            "hydra/launcher=submitit_slurm: needs hydra-submitit-launcher; pip install 'lesionseg[slurm]'",
        ),
        ("ray", "hydra/launcher=ray: needs hydra-ray-launcher; pip install 'lesionseg[ray]'"),
    ],
)
@pytest.mark.usefixtures("with_programs")
def test_a_launcher_that_is_not_installed(
    choice: str, said: str, launcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = launcher(choice)

    def missing(name: str) -> Any:
        if name.startswith("hydra_plugins."):
            raise ModuleNotFoundError(name)
        return object()

    monkeypatch.setattr(importlib.util, "find_spec", missing)
    with pytest.raises(InputError) as caught:
        check_launcher(composed)
    assert caught.value.faults == (said,)


@pytest.mark.usefixtures("with_plugins")
def test_a_computer_from_which_nothing_can_be_submitted(launcher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    composed = launcher("submitit_slurm")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError) as caught:
        check_launcher(composed)
    assert caught.value.faults == (
        "hydra/launcher=submitit_slurm: there is no sbatch here; start the sweep on a computer from which jobs can be "
        "submitted",
    )


@pytest.mark.parametrize(
    ("choice", "override", "said"),
    [
        ("joblib", "n_jobs=0", "n_jobs: must be a whole number from -1 on, found 0"),
        ("joblib", "n_jobs=-2", "n_jobs: must be a whole number from -1 on, found -2"),
        ("submitit_slurm", "timeout_min=0.5", "timeout_min: must be a whole number from 1 on, found 0.5"),
        ("submitit_slurm", "array_parallelism=0", "array_parallelism: must be a whole number from 1 on, found 0"),
        (
            "submitit_slurm",
            "timeout_min=2",
            "signal_delay_s: 120 s before its time limit of timeout_min=2 a job has not begun yet; "
            "give fewer seconds or more minutes",
        ),
    ],
)
@pytest.mark.usefixtures("with_plugins", "with_programs")
def test_numbers_that_make_no_sense(choice: str, override: str, said: str, launcher: Any) -> None:
    with pytest.raises(InputError) as caught:
        check_launcher(launcher(choice, f"hydra.launcher.{override}"))
    assert caught.value.faults == (f"hydra.launcher.{said}",)


def test_a_misspelt_key_is_refused(launcher: Any) -> None:
    with pytest.raises(Exception, match=r"Could not override 'hydra\.launcher\.n_job'"):
        launcher("joblib", "hydra.launcher.n_job=3")


def test_the_page_tells_of_every_launcher() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "launchers.md").read_text(encoding="utf-8")
    for choice in CHOICES:
        assert f"hydra/launcher={choice}" in page
