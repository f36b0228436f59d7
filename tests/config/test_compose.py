"""Everything that is wrong with a command line and with what it composes, told at once."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lesionseg.config import conf_dir
from lesionseg.config.compose import (
    Job,
    Request,
    compose_jobs,
    compose_one,
    differing_overrides,
    expand,
    quoted,
    without_hydra,
)
from lesionseg.config.schema import SCHEMAS, TrainConfig, UiConfig
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
    "check": ("dataset.root=scans",),
    "synthesize": ("output=cohort", "subjects=2"),
    "compare": ("sweep=first",),
    "status": ("sweep=first",),
}


def _choices() -> list[str]:
    return [
        f"{group}={file.stem}"
        for group in GROUPS
        for file in sorted((conf_dir() / group).glob("*.yaml"))
        if not file.stem.startswith("_")
    ]


def _faults(*overrides: str, **request: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        compose_jobs(Request("train", overrides, **request))
    return caught.value.faults


def _config(*overrides: str, **request: Any) -> TrainConfig:
    (job,), _ = compose_jobs(Request("train", overrides, **request))
    assert isinstance(job.config, TrainConfig)
    return job.config


@pytest.mark.parametrize("choice", _choices())
def test_every_shipped_file_composes_and_is_sound(choice: str) -> None:
    group, _, name = choice.partition("=")
    command = "synthesize" if group == "pathology" else "train"
    needed = NEEDED[command] if group == "pathology" else NEEDED.get(choice, ())
    (job,), _ = compose_jobs(Request(command, (choice, *needed)))
    section = getattr(job.config, group)
    named_otherwise = {"dataset=synthetic_source": "synthetic_infarct"}  # by what it is drawn from
    assert group == "paths" or section.name == named_otherwise.get(choice, name)


@pytest.mark.parametrize("pathology", sorted(path.stem for path in (conf_dir() / "pathology").glob("[!_]*.yaml")))
def test_every_pathology_can_be_the_source(pathology: str) -> None:
    dataset = _config("dataset=synthetic_source", f"pathology@dataset.synthetic.pathology={pathology}").dataset
    assert dataset.name == f"synthetic_{pathology}", "so that tables and MLflow tell them apart"
    assert dataset.root == f"outputs/synthetic/{pathology}-24-seed2"
    assert dataset.synthetic is not None
    assert (dataset.synthetic.pathology.name, dataset.synthetic.workers) == (pathology, None)
    assert dataset.synthetic.pathology.spacing == [1.5, 1.5, 1.5]


def test_the_embedded_cohorts_are_of_two_and_of_one_session() -> None:
    sections = {name: _config(f"dataset={name}").dataset for name in ("synthetic", "synthetic_source")}
    sessions = {name: section.synthetic.pathology.sessions for name, section in sections.items() if section.synthetic}
    assert sessions == {"synthetic": 2, "synthetic_source": 1}
    assert {tuple(section.images) for section in sections.values()} == {("flair", "t1", "t1_post", "t2")}


def test_what_a_cohort_is_drawn_from_can_be_set_within_a_dataset() -> None:
    config = _config("dataset.synthetic.pathology.spacing=[2,2,2]", "dataset.synthetic.workers=3")
    assert config.dataset.synthetic is not None
    assert (config.dataset.synthetic.pathology.spacing, config.dataset.synthetic.workers) == ([2.0, 2.0, 2.0], 3)
    assert _faults("dataset.synthetic.workers=0", "+dataset.synthetic.pathology.scan.gost=1") == (
        "dataset.synthetic.workers: input should be greater than or equal to 1, found 0",
        "dataset.synthetic.pathology.scan.gost: unknown key; did you mean 'ghost'?",
    )


@pytest.mark.parametrize("command", sorted(SCHEMAS))
def test_every_command_composes_and_is_sound(command: str) -> None:
    overrides = () if command == "train" else NEEDED.get(command, ())
    (job,), _ = compose_jobs(Request(command, overrides))
    assert isinstance(job.config, SCHEMAS[command])
    assert job.overrides == overrides


def test_every_command_has_a_file_and_every_file_a_command() -> None:
    files = {path.stem for path in conf_dir().glob("*.yaml")}
    assert files - {"job_output"} == set(SCHEMAS)


def test_a_task_may_be_matched_by_a_criterion_that_the_metrics_name() -> None:
    config = _config("task.matching=${metrics.criteria.anima}")
    assert config.task.matching == config.metrics.criteria["anima"]
    assert config.task.matching["_target_"] == "lesionseg.metrics.Anima"


def test_the_input_channels_are_counted_from_the_task() -> None:
    assert _config("task=enhancing_lesions").model.network["in_channels"] == 3
    assert _config("task=new_lesions").model.network["in_channels"] == 2


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        (
            "trian_size=2",
            "trian_size=2: there is no key 'trian_size' in the configuration (--cfg job shows them all)",
        ),
        (
            "model.network={_target_: x, kind: y}",
            "model.network={_target_: x, kind: y}: there is no key 'model.network.kind' in the configuration (--cfg "
            "job shows them all)",
        ),
        (
            "paths.outputs.here=1",
            "paths.outputs.here=1: there is no key 'paths.outputs.here' in the configuration (--cfg job shows them "
            "all)",
        ),
        ("optim=null", "optim=null: Config group override must be a string or a list. Got NoneType"),
        ("+optim.lerning_rate=3", "optim.lerning_rate: unknown key; did you mean 'learning_rate'?"),
        (
            "+paths.zzz=3",
            "paths.zzz: unknown key; known are outputs",
        ),
        ("~trainer.steps", "trainer.steps: is missing"),
        ("dataset=bids", "dataset.root: has no value; give it as dataset.root=..."),
        ("optim.learning_rate=abc", "optim.learning_rate: input should be a valid number, found 'abc'"),
        ("optim.learning_rate=inf", "optim.learning_rate: input should be a finite number, found inf"),
        ("trainer.steps=2.5", "trainer.steps: input should be a valid integer, found 2.5"),
        ("train_size='3'", "train_size: input should be a valid integer, found '3'"),
        ("force=yes", "force: input should be a valid boolean, found 'yes'"),
        ("task.target=null", "task.target: input should be a valid string, found None"),
        ("train_size=0", "train_size: input should be greater than or equal to 1, found 0"),
        ("optim.learning_rate=-1", "optim.learning_rate: input should be greater than 0, found -1"),
        ("metrics.threshold=1.5", "metrics.threshold: input should be less than 1, found 1.5"),
        (
            "metrics.threshold_criterion=anime",
            "metrics: threshold_criterion 'anime' is none of task, any_overlap_26, any_overlap_18, any_overlap_6, "
            "anima, iou_0.25, iou_0.5, one_to_one_iou_0.1, one_to_one_iou_0.5; null keeps the threshold",
        ),
        (
            "metrics.volume_edges=[50,10]",
            "metrics.volume_edges: write them in ascending order, each once, found [50, 10]",
        ),
        (
            "metrics.false_positives=[1,1]",
            "metrics.false_positives: write them in ascending order, each once, found [1, 1]",
        ),
        (
            "+metrics.criteria.task={_target_:lesionseg.metrics.Anima}",
            "metrics.criteria: the name 'task' stands for the task's own criterion; choose another name",
        ),
        (
            "+metrics.criteria={a+b:{_target_:lesionseg.metrics.Anima}}",
            "metrics.criteria: a criterion's name must not hold '+': a+b; choose another name",
        ),
        ("metrics.surface_tolerance=0", "metrics.surface_tolerance: input should be greater than 0, found 0"),
        ("metrics.lowest_probability=1", "metrics.lowest_probability: input should be less than 1, found 1"),
        ("metrics.criteria.anima.beta=2", "metrics.criteria.anima: beta must lie within 0 … 1, found 2"),
        (
            "+metrics.criteria.anima.betta=0.7",
            "metrics.criteria.anima: betta: lesionseg.metrics.Anima takes no such argument; it takes connectivity, "
            "min_volume_mm3, exclusive, alpha, beta, gamma",
        ),
        ("+task.matching.connectivity=8", "task.matching: connectivity must be 6, 18 or 26, found 8"),
        (
            "++task.matching={_target_:torch.nn.Linear,in_features:1,out_features:1}",
            "task.matching: _target_ 'torch.nn.Linear' is no Criterion",
        ),
        ("optim.learning_rates=0.1", "optim.learning_rates: input should be a valid list, found 0.1"),
        (
            "optim.learning_rates=[0.1]",
            "optim.learning_rates: write two rates or more, each once; a single one is optim.learning_rate=..., found "
            "[0.1]",
        ),
        (
            "optim.learning_rates=[0.1,0.2,0.1]",
            "optim.learning_rates: write two rates or more, each once; a single one is optim.learning_rate=..., found "
            "[0.1, 0.2, 0.1]",
        ),
        ("optim.learning_rates=[0.1,0]", "optim.learning_rates.1: input should be greater than 0, found 0"),
        ("optim.search_steps=0", "optim.search_steps: input should be greater than or equal to 1, found 0"),
        ("optim.schedule=linear", "optim.schedule: input should be 'cosine' or 'constant', found 'linear'"),
        (
            "trainer.strategy=ddp",
            "trainer: strategy=ddp would start the whole command again for each device; write ddp_spawn, or auto, "
            "which takes it where there are several devices",
        ),
        (
            "trainer.devices=3",
            "trainer: batch_size=2 cannot be shared out among devices=3; give a multiple of 3",
        ),
        ("trainer.checkpoint_every=0", "trainer.checkpoint_every: input should be greater than or equal to 1, found 0"),
        (
            "task.spacing=[1,1]",
            "task.spacing: list should have at least 3 items after validation, not 2, found [1, 1]",
        ),
        (
            "task.patch_size=[4,8,8]",
            "task.patch_size.0: input should be greater than or equal to 8, found 4",
        ),
        (
            "task.inputs=[flair,flair]",
            "task.inputs: channels are matched by name, and 'flair' stands there twice, found ['flair', 'flair']",
        ),
        (
            "task.inputs=[t1-t2]",
            "task.inputs.0: 't1-t2' is no input channel: write a contrast ('flair'), a contrast of the session "
            "before ('prior.flair'), or the difference of two ('t1_post - t1', with spaces around the minus), "
            "found 't1-t2'",
        ),
        *(
            (
                f"split.test={value}",
                "split.test: write a share of the subjects (between 0 and 1) or how many they are (1, 2, ...), "
                f"found {shown}",
            )
            for value, shown in (("0", "0"), ("1.0", "1.0"), ("true", "True"), ("half", "'half'"))
        ),
        (
            "dataset.images.flair=x",
            "dataset: images.flair must be a list of file patterns for format=bids, found 'x'",
        ),
        (
            "init=pretrained",
            "init: init=pretrained needs a source model: init.checkpoint=<path or runs:/<run id>>, or init.source "
            "with the overrides of a run that trains one",
        ),
        (
            "model.network._target_=torch.nn.Nope",
            "model.network: _target_ 'torch.nn.Nope': module 'torch.nn' has no 'Nope'",
        ),
        (
            "model.network._target_=nowhere.Nope",
            "model.network: _target_ 'nowhere.Nope' cannot be imported: No module named 'nowhere'",
        ),
        ("~model.network._target_", "model.network: needs a key '_target_': the dotted name of a class"),
        (
            "+model.network.depth=3",
            "model.network: depth: lesionseg.models.UNet3D takes no such argument; it takes in_channels, "
            "out_channels, widths, block, norm, convolutions",
        ),
        (
            "~model.network.in_channels",
            "model.network: in_channels: lesionseg.models.UNet3D needs this argument",
        ),
        (
            "task=nothing",
            "task=nothing: In 'train': Could not find 'task/nothing' Available options in 'task': _defaults "
            "enhancing_lesions flair_lesions new_lesions",
        ),
        ("train_size=[", "train_size=[: no Hydra override: no viable alternative at input '['"),
        (
            "train_size=interval(1,3)",
            "train_size=interval(1,3): no list of values; give one, as in a=1,2 or a=range(1,3)",
        ),
        ("sweep=${nope}", "sweep: interpolation key 'nope' not found"),
        (
            "paths.outputs=${nope}",
            "dataset.root, paths.outputs, tracking.artifacts, tracking.uri: interpolation key 'nope' not found",
        ),
        *(
            (
                f"{key}={name}",
                f"{key}: a name is made of letters, digits, '-', '_', '+' and '.', and does not start with '.', "
                f"found '{name}'",
            )
            for key, name in (("sweep", "a/b"), ("task.name", ".hidden"), ("init.name", "a b"))
        ),
    ],
)
def test_a_fault_names_key_value_and_way_out(override: str, fault: str) -> None:
    assert _faults(override) == (fault,)


def test_all_faults_are_listed_at_once() -> None:
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


def test_all_overrides_that_are_none_are_listed_at_once() -> None:
    assert [fault.partition(":")[0] for fault in _faults("train_size=[", "x", "train_size=0")] == [
        "train_size=[",
        "x",
    ]


def test_several_values_ask_for_multirun() -> None:
    assert _faults("train_size=2,3", "repeat=0,1") == (
        "train_size, repeat: several values make a sweep; add --multirun",
    )


def test_a_sweep_is_every_combination_and_judged_as_a_whole() -> None:
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


def test_a_key_given_twice_counts_once_as_the_last() -> None:
    jobs, _ = compose_jobs(Request("train", ("train_size=2,3", "train_size=4"), multirun=True))
    assert [job.overrides for job in jobs] == [("train_size=4",)]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text(
        "# @package _global_\ndefaults: [train, _self_]\nsweep: grid\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      train_size: 2,5\n      repeat: 0,1,2\n"
    )
    return tmp_path


def test_a_study_file_is_a_sweep(study: Path) -> None:
    jobs, _ = compose_jobs(Request("train", ("seed=3",), config_dir=study, config_name="study"))
    assert [job.overrides for job in jobs] == [
        (f"train_size={size}", f"repeat={repeat}", "seed=3") for size in (2, 5) for repeat in (0, 1, 2)
    ]
    assert {(job.config.sweep, job.config.seed) for job in jobs} == {("grid", 3)}  # type: ignore[attr-defined]


def test_the_command_line_has_the_last_word_over_a_study_file(study: Path) -> None:
    jobs, _ = compose_jobs(Request("train", ("train_size=4",), config_dir=study, config_name="study"))
    assert [job.overrides for job in jobs] == [("train_size=4", f"repeat={repeat}") for repeat in (0, 1, 2)]


def test_files_in_a_folder_of_ones_own_count(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text("name: mine\ninputs: [t2]\ntarget: plaque\n")
    config = _config("task=mine", config_dir=tmp_path)
    assert (config.task.inputs, config.task.target) == (["t2"], "plaque")
    assert config.task.matching == {"_target_": "lesionseg.metrics.AnyOverlap"}, (
        "what it does not say is as in task/_defaults"
    )
    (tmp_path / "task" / "mine.yaml").write_text("name: mine\ninputs: [t2]\n")
    assert _faults("task=mine", config_dir=tmp_path) == ("task.target: has no value; give it as task.target=...",)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert _faults(config_dir=tmp_path / "gone") == (f"--config-dir {tmp_path / 'gone'}: no such folder",)


def test_one_configuration_unjudged() -> None:
    config = without_hydra(compose_one(Request("train", ("train_size=0",))))
    assert config.train_size == 0
    assert "hydra" not in config
    with pytest.raises(InputError, match="there is no key 'nope' in the configuration"):
        compose_one(Request("train", ("nope=1",)))


def test_expand_gives_the_values_of_each_override() -> None:
    assert expand(["a=1", "b=1,2", "c=[1,2]", "d=range(3)"]) == [
        ["a=1"],
        ["b=1", "b=2"],
        ["c=[1,2]"],
        ["d=0", "d=1", "d=2"],
    ]


@pytest.mark.parametrize(
    ("axes", "differing"),
    [
        ([], [""]),
        ([["seed=7"]], [""]),
        ([["init=scratch", "init=lora"], ["force=true"], ["train_size=2", "train_size=3"], ["repeat=0"]], [""] * 4),
        ([["train_size=2", "train_size=3"], ["seed=1", "seed=2"]], ["seed=1", "seed=2"] * 2),
        ([["a.b=1", "a.b=2"], ["seed=1", "seed=2"]], ["a.b=1 seed=1", "a.b=1 seed=2", "a.b=2 seed=1", "a.b=2 seed=2"]),
        (
            [["init=scratch"], ["init.layer_decay=1", "init.layer_decay=0.5"]],
            ["init.layer_decay=1", "init.layer_decay=0.5"],
        ),
    ],
)
def test_jobs_differ_in_what_a_sweep_varies_beside_arm_size_and_repeat(
    axes: list[list[str]], differing: list[str]
) -> None:
    config = UiConfig.model_construct()  # what it holds does not matter
    assert differing_overrides([Job(combination, config) for combination in itertools.product(*axes)]) == differing


def test_jobs_that_were_composed_differ_in_their_overrides() -> None:
    jobs, _ = compose_jobs(Request("train", ("seed=1,2", "force=true"), multirun=True))
    assert differing_overrides(jobs) == ["seed=1", "seed=2"]


@pytest.mark.parametrize(
    "text", ["/plain", "with space, comma (and) more=x", "it's", "back\\slash", "ends\\", "a\\'b", ""]
)
def test_quoted_text_comes_back_as_it_was(text: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"key={quoted(text)}"])
    assert override.value() == text
