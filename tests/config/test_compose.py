"""Everything that is wrong with a command line and with what it composes, told at once."""

import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

import lesionseg.config as location
from lesionseg.config import conf_dir
from lesionseg.config.compose import (
    Request,
    check_launcher,
    compose_jobs,
    expand,
    forget_plugin_configs,
    quoted,
)
from lesionseg.config.schema import SCHEMAS, TrainConfig, register_resolvers
from lesionseg.config.sections import described_keys
from lesionseg.errors import InputError

GROUPS = sorted(path.name for path in conf_dir().iterdir() if path.is_dir())
STRATEGIES = sorted(path.stem for path in (conf_dir() / "init").glob("[!_]*.yaml"))
NEEDED = {
    "dataset=bids": ("dataset.root=scans",),
    "dataset=manifest": ("dataset.root=table.csv",),
    "dataset=nnunet": ("dataset.root=raw",),
    **{f"init={name}": ("init.checkpoint=best.ckpt",) for name in STRATEGIES if name != "scratch"},
    "tracking=server": ("tracking.uri=http://localhost:5000",),
    "evaluate": ("dataset.root=scans", "checkpoint=best.ckpt"),
    "score": ("reference=masks", "prediction=predicted"),
    "predict": ("dataset.root=scans", "checkpoint=best.ckpt"),
    "export": ("checkpoint=best.ckpt",),
    "check": ("dataset.root=scans",),
    "synthesize": ("output=cohort", "subjects=2"),
    "compare": ("sweep=first",),
    "status": ("sweep=first",),
}


def _choices(group: str) -> list[str]:
    return [f"{group}={file.stem}" for file in sorted((conf_dir() / group).glob("[!_]*.yaml"))]


def _faults(*overrides: str, **request: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        compose_jobs(Request("train", overrides, **request))
    return caught.value.faults


def _config(*overrides: str, **request: Any) -> TrainConfig:
    (job,), _ = compose_jobs(Request("train", overrides, **request))
    assert isinstance(job.config, TrainConfig)
    return job.config


def test_every_shipped_file_composes_and_is_sound():
    for choices in itertools.zip_longest(*(_choices(group) for group in GROUPS if group not in ("hydra", "pathology"))):
        chosen = [choice for choice in choices if choice]
        config = _config(*chosen, *(more for choice in chosen for more in NEEDED.get(choice, ())))
        for group, _, name in (choice.partition("=") for choice in chosen):
            # by what it is drawn from
            expected = "synthetic_infarct" if name == "synthetic_source" else name
            assert group == "paths" or getattr(config, group).name == expected
    for choice in _choices("pathology"):
        (job,), _ = compose_jobs(Request("synthesize", (choice, *NEEDED["synthesize"])))
        assert job.config.pathology.name == choice.partition("=")[2]


def test_the_embedded_cohorts_are_of_two_and_of_one_session():
    sections = {name: _config(f"dataset={name}").dataset for name in ("synthetic", "synthetic_source")}
    sessions = {name: section.synthetic.pathology.sessions for name, section in sections.items() if section.synthetic}
    assert sessions == {"synthetic": 2, "synthetic_source": 1}
    assert {tuple(section.images) for section in sections.values()} == {("flair", "t1", "t1_post", "t2")}


@pytest.mark.parametrize("command", sorted(SCHEMAS))
def test_every_command_composes_and_is_sound(command):
    overrides = () if command == "train" else NEEDED.get(command, ())
    (job,), _ = compose_jobs(Request(command, overrides))
    assert isinstance(job.config, SCHEMAS[command])
    assert job.overrides == overrides


def test_every_command_has_a_file_and_every_file_a_command():
    files = {path.stem for path in conf_dir().glob("*.yaml")}
    assert files - {"job_output"} == set(SCHEMAS)


def test_the_input_channels_are_counted_from_the_task():
    assert _config("task=enhancing_lesions").model.network["in_channels"] == 3
    assert _config("task=new_lesions").model.network["in_channels"] == 2


FAULTS = [
    ("trian_size=2", "trian_size=2: there is no key 'trian_size' in the configuration; did you mean 'train_size'?"),
    ("model.network={_target_: x, kind: y}", "model.network={_target_: x, kind: y}: there is no key "),
    (
        "paths.outputs.here=1",
        "paths.outputs.here=1: there is no key 'paths.outputs.here' in the configuration; a new entry",
    ),
    ("optim=null", "optim=null: Config group override must be a string or a list. Got NoneType"),
    ("+optim.lerning_rate=3", "optim.lerning_rate: unknown key; did you mean 'learning_rate'?"),
    ("+paths.zzz=3", "paths.zzz: unknown key; known are outputs"),
    ("~trainer.steps", "trainer.steps: is missing"),
    ("dataset=bids", "dataset.root: has no value; give it as dataset.root=..."),
    ("optim.learning_rate=abc", "optim.learning_rate: input should be a valid number, found 'abc'"),
    ("optim.learning_rate=inf", "optim.learning_rate: input should be a finite number, found inf"),
    ("trainer.steps=2.5", "trainer.steps: input should be a valid integer, found 2.5"),
    ("train_size='3'", "train_size: input should be a valid integer, found '3'"),
    ("force=yes", "force: input should be a valid boolean, found 'yes'"),
    ("task.target=null", "task.target: input should be a valid string, found None"),
    ("paths.outputs=", "paths.outputs: is empty; name a folder, such as outputs"),
    ("paths.outputs=a?b", "paths.outputs: '?', '#' and '%' have a meaning of their own in a database's address"),
    (
        "tracking.uri='http://me:secret@host'",
        "tracking: uri holds a user or a password, which would be written into every run",
    ),
    ("task.patch_size=[4096,16,16]", "task.patch_size.0: input should be less than or equal to 1024, found 4096"),
    ("trainer.threads=1000000", "trainer.threads: input should be less than or equal to 1024, found 1000000"),
    ("trainer.steps=1e20", "trainer.steps: input should be"),
    (
        "init.checkpoint=[a,b]",
        "init.checkpoint: write one checkpoint; sweep over several: init.checkpoint=a.ckpt,b.ckpt",
    ),
    ("train_size=0", "train_size: input should be greater than or equal to 1, found 0"),
    ("optim.learning_rate=-1", "optim.learning_rate: input should be greater than 0, found -1"),
    ("metrics.threshold=1.5", "metrics.threshold: input should be less than 1, found 1.5"),
    ("metrics.threshold_criterion=anime", "metrics: threshold_criterion 'anime' is none of task, any_overlap_26, "),
    ("metrics.volume_edges=[50,10]", "metrics.volume_edges: write them in ascending order, each once, found [50, "),
    ("metrics.false_positives=[1,1]", "metrics.false_positives: write them in ascending order, each once, found "),
    ("+metrics.criteria.task={_target_:lesionseg.metrics.Anima}", "metrics.criteria: the name 'task' stands for "),
    ("+metrics.criteria={a+b:{_target_:lesionseg.metrics.Anima}}", "metrics.criteria: a criterion's name must "),
    ("metrics.surface_tolerance=0", "metrics.surface_tolerance: input should be greater than 0, found 0"),
    ("metrics.lowest_probability=1", "metrics.lowest_probability: input should be less than 1, found 1"),
    ("metrics.criteria.anima.beta=2", "metrics.criteria.anima: beta must lie within 0 … 1, found 2"),
    ("+metrics.criteria.anima.betta=0.7", "metrics.criteria.anima: betta: lesionseg.metrics.Anima takes no such "),
    ("+task.matching.connectivity=8", "task.matching: connectivity must be 6, 18 or 26, found 8"),
    ("++task.matching={_target_:torch.nn.Linear,in_features:1,out_features:1}", "task.matching: _target_ "),
    ("optim.learning_rates=0.1", "optim.learning_rates: input should be a valid list, found 0.1"),
    ("optim.learning_rates=[0.1]", "optim.learning_rates: write two rates or more, each once; a single one is "),
    ("optim.learning_rates=[0.1,0.2,0.1]", "optim.learning_rates: write two rates or more, each once; a single "),
    ("optim.learning_rates=[0.1,0]", "optim.learning_rates.1: input should be greater than 0, found 0"),
    ("optim.search_steps=0", "optim.search_steps: input should be greater than or equal to 1, found 0"),
    ("optim.schedule=linear", "optim.schedule: input should be 'cosine' or 'constant', found 'linear'"),
    ("trainer.strategy=ddp", "trainer: strategy=ddp would start the whole command again for each device; write "),
    ("trainer.devices=3", "trainer: batch_size=2 cannot be shared out among devices=3; give a multiple of 3"),
    ("trainer.checkpoint_every=0", "trainer.checkpoint_every: input should be greater than or equal to 1, found 0"),
    ("task.spacing=[1,1]", "task.spacing: list should have at least 3 items after validation, not 2, found [1, 1]"),
    ("task.patch_size=[4,8,8]", "task.patch_size.0: input should be greater than or equal to 8, found 4"),
    ("task.inputs=[flair,flair]", "task.inputs: channels are matched by name, and 'flair' stands there twice, "),
    ("task.inputs=[t1-t2]", "task.inputs.0: 't1-t2' is no input channel: write a contrast ('flair'), a contrast "),
    *(
        (
            f"split.test={value}",
            "split.test: write a share of the subjects (between 0 and 1) or how many they are (1, 2, ...), "
            f"found {shown}",
        )
        for value, shown in (("0", "0"), ("1.0", "1.0"), ("true", "True"), ("half", "'half'"))
    ),
    ("dataset.images.flair=x", "dataset: images.flair must be a list of file patterns for format=bids, found 'x'"),
    ("init=pretrained", "init: init=pretrained needs a source model: init.checkpoint=<path or runs:/<run id>>, "),
    ("model.network._target_=torch.nn.Nope", "model.network: _target_ 'torch.nn.Nope': module 'torch.nn' has no "),
    ("model.network._target_=nowhere.Nope", "model.network: _target_ 'nowhere.Nope' cannot be imported: No "),
    ("~model.network._target_", "model.network: needs a key '_target_': the dotted name of a class"),
    ("+model.network.depth=3", "model.network: depth: lesionseg.models.UNet3D takes no such argument; it takes "),
    ("~model.network.in_channels", "model.network: in_channels: lesionseg.models.UNet3D needs this argument"),
    ("task=nothing", "task=nothing: there is no task 'nothing'; there are enhancing_lesions, flair_lesions, "),
    ("train_size=[", "train_size=[: no Hydra override: no viable alternative at input '['"),
    ("train_size=interval(1,3)", "train_size=interval(1,3): no list of values; give one, as in a=1,2 or "),
    ("sweep=${nope}", "sweep: interpolation key 'nope' not found"),
    ("paths.outputs=${nope}", "dataset.root, paths.outputs, tracking.artifacts, tracking.uri: interpolation key "),
    *(
        (
            f"{key}={name}",
            f"{key}: a name is made of letters, digits, '-', '_', '+' and '.', and starts with a letter or digit, "
            f"found '{name}'",
        )
        for key, name in (("sweep", "a/b"), ("task.name", ".hidden"), ("init.name", "a b"))
    ),
]


OF_HYDRA = [row for row in FAULTS if row[1].startswith(f"{row[0]}:")]


@pytest.mark.parametrize(("override", "fault"), OF_HYDRA)
def test_what_hydra_refuses_is_told_in_one_line(override, fault):
    (found,) = _faults(override)
    assert found.startswith(fault)


def test_a_fault_names_key_value_and_way_out(batches):
    for batch in batches([row for row in FAULTS if row not in OF_HYDRA]):
        found = _faults(*(override for override, _ in batch))
        for override, fault in batch:
            assert [one for one in found if one.startswith(fault)], f"{override}: {fault} is not among {found}"
        assert len(found) == len(batch)


def test_all_faults_are_listed_at_once():
    faults = _faults(
        "task=nothing",
        "trian_size=2",
        "train_size=0",
        "dataset=bids",
        "model.network._target_=torch.nn.Nope",
        "+loss.function.a=1",
        "optim.schedule=linear",
        "sweep=a/b",
    )
    assert [fault.partition(":")[0] for fault in faults] == [
        "task=nothing",
        "trian_size=2",
        "dataset.root",
        "optim.schedule",
        "train_size",
        "sweep",
        "model.network",
        "loss.function",
    ]


def test_several_values_ask_for_multirun():
    assert _faults("train_size=2,3", "repeat=0,1") == (
        "train_size, repeat: several values make a sweep; add --multirun",
    )


def test_a_sweep_is_every_combination_and_judged_as_a_whole():
    jobs, _ = compose_jobs(Request("train", ("train_size=2,3", "seed=7", "repeat=range(0,2)"), multirun=True))
    assert [job.overrides for job in jobs] == [
        (f"train_size={size}", "seed=7", f"repeat={repeat}") for size in (2, 3) for repeat in (0, 1)
    ]
    assert [(job.config.train_size, job.config.repeat) for job in jobs] == [(2, 0), (2, 1), (3, 0), (3, 1)]  # type: ignore[attr-defined]
    assert _faults("train_size=2,0,-1", "optim.schedule=linear", multirun=True) == (
        "optim.schedule: input should be 'cosine' or 'constant', found 'linear'",
        "train_size: input should be greater than or equal to 1, found 0",
        "train_size: input should be greater than or equal to 1, found -1",
    )


def test_a_key_given_twice_counts_once_as_the_last():
    jobs, _ = compose_jobs(Request("train", ("train_size=2,3", "train_size=4"), multirun=True))
    assert [job.overrides for job in jobs] == [("train_size=4",)]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text(
        "# @package _global_\ndefaults: [train, _self_]\nsweep: grid\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      train_size: 2,5\n      repeat: 0,1,2\n"
    )
    return tmp_path


def test_a_study_file_is_a_sweep(study):
    jobs, _ = compose_jobs(Request("train", ("seed=3",), config_dir=study, config_name="study"))
    assert [job.overrides for job in jobs] == [
        (f"train_size={size}", f"repeat={repeat}", "seed=3") for size in (2, 5) for repeat in (0, 1, 2)
    ]
    assert {(job.config.sweep, job.config.seed) for job in jobs} == {("grid", 3)}  # type: ignore[attr-defined]


def test_the_command_line_has_the_last_word_over_a_study_file(study):
    jobs, _ = compose_jobs(Request("train", ("train_size=4",), config_dir=study, config_name="study"))
    assert [job.overrides for job in jobs] == [("train_size=4", f"repeat={repeat}") for repeat in (0, 1, 2)]


def test_files_in_a_folder_of_ones_own_count(tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text("name: mine\ninputs: [t2]\ntarget: plaque\n")
    config = _config("task=mine", config_dir=tmp_path)
    assert (config.task.inputs, config.task.target) == (["t2"], "plaque")
    assert config.task.matching == {"_target_": "lesionseg.metrics.AnyOverlap"}, (
        "what it does not say is as in task/_defaults"
    )
    (tmp_path / "task" / "mine.yaml").write_text("name: mine\ninputs: [t2]\n")
    assert _faults("task=mine", config_dir=tmp_path) == ("task.target: has no value; give it as task.target=...",)


def test_expand_gives_the_values_of_each_override():
    assert expand(["a=1", "b=1,2", "c=[1,2]", "d=range(3)"]) == [
        ["a=1"],
        ["b=1", "b=2"],
        ["c=[1,2]"],
        ["d=0", "d=1", "d=2"],
    ]


@pytest.mark.parametrize(
    "text", ["/plain", "with space, comma (and) more=x", "it's", "back\\slash", "ends\\", "a\\'b", ""]
)
def test_quoted_text_comes_back_as_it_was(text):
    (override,) = OverridesParser.create().parse_overrides([f"key={quoted(text)}"])
    assert override.value() == text


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


def test_every_launcher_that_is_shipped_is_composed_as_it_stands(launcher, with_plugins):
    assert CHOICES == ["joblib", "ray", "submitit_slurm"]
    for choice in CHOICES:
        text = (conf_dir() / "hydra" / "launcher" / f"{choice}.yaml").read_text(encoding="utf-8")
        assert set(launcher(choice).hydra.launcher) == set(OmegaConf.create(text)), (
            "neither more keys than the file's nor fewer"
        )


@pytest.mark.usefixtures("with_plugins", "with_programs")
def test_every_launcher_that_is_shipped_can_launch_where_all_is_installed(launcher):
    for choice in CHOICES:
        check_launcher(launcher(choice))


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
def test_a_launcher_that_is_not_installed(choice, said, launcher, monkeypatch):
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
def test_a_computer_from_which_nothing_can_be_submitted(launcher, monkeypatch):
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
def test_numbers_that_make_no_sense(choice, override, said, launcher):
    with pytest.raises(InputError) as caught:
        check_launcher(launcher(choice, f"hydra.launcher.{override}"))
    assert caught.value.faults == (f"hydra.launcher.{said}",)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (
            "task/mine.yaml",
            "# @package _global_\nhydra:\n  callbacks: {x: {_target_: os.system}}\n",
            "leave out '@pack",
        ),
        ("task/mine.yaml", "defaults:\n  - /init@_global_.init: lora\nname: mine\n", "leave out '@package' and '@'"),
        (
            "study.yaml",
            "hydra:\n  callbacks: {x: {_target_: os.system}}\n",
            "hydra.callbacks: is not for configurations",
        ),
        (
            "study.yaml",
            "hydra:\n  job_logging: {handlers: {x: {'()': os.system}}}\n",
            "hydra.job_logging: is not for configurations",
        ),
        ("study.yaml", "hydra:\n  sweeper: {_target_: os.system}\n", "hydra.sweeper: only Hydra's own is known"),
        ("study.yaml", "hydra:\n  job: {chdir: true}\n", "hydra.job.chdir: every run has a folder of its own"),
    ],
)
def test_a_file_of_somebody_elses_does_not_act(file, content, said, tmp_path):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    study = "# @package _global_\ndefaults: [train, _self_]\n" if file == "study.yaml" else ""
    path.write_text(study + content)
    name = "study" if study else None
    overrides = () if study else ("task=mine",)
    with pytest.raises(InputError) as caught:
        compose_jobs(Request("train", overrides, tmp_path, name))
    assert said in str(caught.value)


def test_the_page_tells_of_every_launcher():
    page = (Path(__file__).resolve().parents[2] / "docs" / "launchers.md").read_text(encoding="utf-8")
    for choice in CHOICES:
        assert f"hydra/launcher={choice}" in page


def test_a_broken_installation_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(location, "__file__", str(tmp_path / "lesionseg" / "config" / "__init__.py"))
    with pytest.raises(FileNotFoundError) as caught:
        location.conf_dir()
    assert str(caught.value) == (f"no conf/ folder beside or inside {tmp_path}/lesionseg: install lesionseg again")


@pytest.mark.parametrize("command", sorted(SCHEMAS))
def test_every_key_is_described(command):
    undescribed = [key for key, field in described_keys(SCHEMAS[command]) if not field.description]
    assert undescribed == []


@pytest.mark.parametrize(
    ("command", "override", "meant"),
    [
        ("train", "trainer.step=3", "did you mean 'trainer.steps'?"),
        ("train", "modle=tiny_unet", "did you mean 'model'?"),
        ("train", "task=flair_lesion", "did you mean 'flair_lesions'?"),
        ("check", "dataset.rot=x", "did you mean 'dataset.root'?"),
        ("train", "metrics.criteria.mine={_target_:a.B}", "needs a '+': '+metrics.criteria.mine=...'"),
        ("train", "nothing.like.it=1", "(--cfg job shows them all)"),
    ],
)
def test_what_may_have_been_meant_is_told(command, override, meant):
    with pytest.raises(InputError) as caught:
        compose_jobs(Request(command, (override, *NEEDED.get(command, ()))))
    assert meant in caught.value.faults[0]
