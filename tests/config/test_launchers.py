"""The launchers' configurations, and what is said of one that cannot launch."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lesionseg.config.launchers import Share, check_launcher, forget_plugins_configs, share_of
from lesionseg.config.location import conf_dir
from lesionseg.config.validate import register_resolvers
from lesionseg.errors import InputError

CHOICES = sorted(file.stem for file in (conf_dir() / "hydra" / "launcher").glob("*.yaml"))


@pytest.fixture
def launcher() -> Iterator[Any]:
    """Composes ``lesionseg train`` with a launcher and gives ``hydra.launcher``."""
    register_resolvers()
    forget_plugins_configs()
    stored = {key: dict(value) for key, value in ConfigStore.instance().repo["hydra"].items() if key == "launcher"}

    def composed(choice: str, *overrides: str) -> DictConfig:
        config = compose("train", [f"hydra/launcher={choice}", *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        found: DictConfig = config.hydra.launcher
        return found

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield composed
    ConfigStore.instance().repo["hydra"].update(stored)


def plain(config: DictConfig) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(config, resolve=True)
    return values


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
        assert set(launcher(choice)) == set(OmegaConf.create(text)), "neither more keys than the file's nor fewer"


@pytest.mark.usefixtures("with_plugins", "with_programs")
def test_every_launcher_that_is_shipped_can_launch_where_all_is_installed(launcher: Any) -> None:
    for choice in CHOICES:
        check_launcher(plain(launcher(choice)))


def test_a_plugins_own_configuration_of_the_same_name_is_not_mixed_in(launcher: Any) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    assert launcher("joblib").n_jobs == 2, "the plugin has -1"
    assert "prefer" not in launcher("joblib")


def test_what_is_not_shipped_is_still_the_plugins_own(launcher: Any) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    assert launcher("submitit_local")._target_.endswith("LocalLauncher")
    check_launcher(plain(launcher("submitit_local")))
    check_launcher(plain(launcher("basic")))


def test_joblib_is_handed_the_function_that_its_processes_begin_with(launcher: Any) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    from lesionseg.runs.worker import begin

    made = instantiate(launcher("joblib", "paths.outputs=/somewhere", "hydra.launcher.n_jobs=3", "trainer.devices=2"))
    assert made.joblib["initializer"] is begin
    assert list(made.joblib["initargs"]) == ["/somewhere", 3, 2]


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
    composed = plain(launcher(choice))

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
    composed = plain(launcher("submitit_slurm"))
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
        ("joblib", "n_jobs=0", "n_jobs: 0 jobs at once do nothing; -1: as many as there are cores"),
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
        check_launcher(plain(launcher(choice, f"hydra.launcher.{override}")))
    assert caught.value.faults == (f"hydra.launcher.{said}",)


def test_a_misspelt_key_is_refused(launcher: Any) -> None:
    with pytest.raises(Exception, match=r"Could not override 'hydra\.launcher\.n_job'"):
        launcher("joblib", "hydra.launcher.n_job=3")


def test_cores_are_divided_and_gpus_dealt_out_in_turn() -> None:
    shares = [share_of(4, slot, cores=10, gpus=["0", "1"]) for slot in range(4)]
    assert shares == [Share(2, ("0",)), Share(2, ("1",)), Share(2, ("0",)), Share(2, ("1",))]


def test_a_process_too_many_shares_with_an_earlier_one() -> None:
    assert share_of(2, 2, cores=8, gpus=["0", "1"]) == share_of(2, 0, cores=8, gpus=["0", "1"])


def test_every_job_has_a_thread_and_needs_no_gpu() -> None:
    assert share_of(8, 5, cores=2) == Share(1, ())


def test_a_job_on_several_gpus_has_them_for_itself_while_there_are_enough() -> None:
    gpus = ["a", "b", "c", "d"]
    assert [share_of(2, slot, cores=8, gpus=gpus, gpus_per_job=2).gpus for slot in (0, 1)] == [("a", "b"), ("c", "d")]
    assert [share_of(2, slot, cores=8, gpus=gpus, gpus_per_job=3).gpus[0] for slot in (0, 1)] == ["a", "d"]
    assert share_of(2, 0, cores=8, gpus=["a"], gpus_per_job=2).gpus == ("a",), "never the same one twice"


def test_without_a_number_all_gpus_are_divided() -> None:
    gpus = ["a", "b", "c", "d"]
    assert [share_of(2, slot, cores=8, gpus=gpus, gpus_per_job=None).gpus for slot in (0, 1)] == [
        ("a", "b"),
        ("c", "d"),
    ]
    assert share_of(8, 5, cores=8, gpus=gpus, gpus_per_job=None).gpus == ("b",)


@pytest.mark.parametrize(("n_jobs", "slot"), [(0, 0), (2, -1)])
def test_no_jobs_and_no_slot_are_no_share(n_jobs: int, slot: int) -> None:
    with pytest.raises(ValueError, match=f"n_jobs={n_jobs} must be at least 1 and slot={slot} at least 0"):
        share_of(n_jobs, slot, cores=1)


def test_the_page_tells_of_every_launcher() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "launchers.md").read_text(encoding="utf-8")
    for choice in CHOICES:
        assert f"hydra/launcher={choice}" in page
