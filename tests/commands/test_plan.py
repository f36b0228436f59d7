"""Who a run works on, and what makes it this run and no other."""

import shutil
from collections.abc import Callable

import pytest

from lesionseg.commands.plan import (
    RunSpec,
    choose_studies,
    counted_settings,
    grid_entry,
    load_dataset,
    outputs,
    sweep_folder,
    to_paste,
    triple,
)
from lesionseg.config.schema import TrainConfig
from lesionseg.data.cache import Cache
from lesionseg.data.splits import Split
from lesionseg.errors import InputError

Configure = Callable[..., TrainConfig]


def _split(config: TrainConfig) -> Split:
    return choose_studies(config, load_dataset(config.dataset))[0]


def _spec(config: TrainConfig, cache: Cache) -> RunSpec:
    split, studies = choose_studies(config, load_dataset(config.dataset))
    prepared = {
        part: tuple(cache.get(one, triple(config.task.spacing)) for one in found) for part, found in studies.items()
    }
    return RunSpec(config, config.dataset.root, split, prepared)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("plan") / "cache")


@pytest.fixture
def identity(configure: Configure, cache: Cache) -> Callable[..., str]:
    """The hash of a configuration."""

    def of(*overrides: str, weights: str = "") -> str:
        return _spec(configure(*overrides), cache).identity(weights)

    return of


HARMLESS = """
paths.outputs=elsewhere trainer.num_workers=2 trainer.threads=2 trainer.log_every=7 trainer.checkpoint_every=1
sweep=another force=true tracking.experiment=another init.checkpoint=ignored.ckpt init.source=[x]
metrics.volume_edges=[5.0] metrics.surface_tolerance=2.0 metrics.false_positives=[1] ~metrics.criteria.anima
metrics.thresholds=[0.4,0.5] optim.search_steps=1
"""


@pytest.mark.parametrize("override", HARMLESS.split())
def test_what_cannot_change_the_result_does_not_count(identity, override):
    assert identity(override) == identity()


DECISIVE = """
trainer.steps=5 trainer.precision=bf16-mixed trainer.devices=2 train_size=3 repeat=1 seed=1 split.seed=1
split.test=2 task.min_lesion_volume=9 task.spacing=[1,1,2] task.sessions=last optim.learning_rate=0.02
model.network.widths=[4,12] loss.function.dice_weight=2 augment=none metrics.threshold=0.4 metrics.monitor=val/dice
metrics.threshold_criterion=anima metrics.threshold_criterion=task task.matching={_target_:lesionseg.metrics.Anima}
"""


@pytest.mark.parametrize("override", DECISIVE.split())
def test_what_can_change_the_result_counts(identity, override):
    assert identity(override) != identity()


def test_where_the_learning_rate_is_searched_the_search_counts_and_not_what_it_replaces(identity):
    searched = ("optim.learning_rates=[0.01,0.02]", "optim.search_steps=2")
    assert identity(*searched, "optim.learning_rate=0.02") == identity(*searched)
    assert len({identity(), identity(*searched), identity(*searched, "optim.search_steps=3")}) == 3


def test_what_counts_of_an_older_configuration_without_newer_keys(configure):
    content = configure().model_dump()
    older = {**content, "model": {key: value for key, value in content["model"].items() if key != "parts"}}
    older["optim"] = {k: v for k, v in content["optim"].items() if k not in ("learning_rates", "search_steps")}
    older["metrics"] = {key: content["metrics"][key] for key in ("monitor", "threshold")}
    same = counted_settings(content)
    del same["metrics"]["save_predictions"]
    assert counted_settings(older) == same


def test_initial_weights_count_by_their_content(identity):
    pretrained = ("init=pretrained", "init.checkpoint=a.ckpt")
    assert identity(*pretrained, weights="1") == identity("init=pretrained", "init.checkpoint=b.ckpt", weights="1")
    assert identity(*pretrained, weights="1") != identity(*pretrained, weights="2")
    assert identity(*pretrained, weights="1") != identity()


def test_the_same_scans_elsewhere_are_the_same_data(identity, cohort, tmp_path, make_cohort):
    copy = tmp_path / "copy"
    shutil.copytree(cohort.root, copy)
    assert identity(f"dataset.root={copy}") == identity()
    make_cohort(copy, 10, seed=9, two_sessions=6)
    assert identity(f"dataset.root={copy}") != identity()


def test_both_arms_and_all_sizes_of_a_repeat_share_a_seed(configure, cache):
    seeds = {
        _spec(configure(*arm, f"train_size={size}"), cache).seed
        for arm in (("init=scratch",), ("init=pretrained", "init.checkpoint=x"))
        for size in (2, 4)
    }
    assert len(seeds) == 1
    assert _spec(configure("repeat=1"), cache).seed not in seeds
    assert _spec(configure("seed=1"), cache).seed not in seeds
    assert all(0 <= seed < 2**31 for seed in seeds)


def _fault(config: TrainConfig) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        _split(config)
    return caught.value.faults


def test_too_many_training_subjects_says_how_many_there_are(configure):
    assert _fault(configure("train_size=6")) == (
        "train_size=6: there are 5 subjects to train on (10 in all, of which 3 for the test and 2 for validation); "
        "ask for fewer, or set split.test and split.validation lower",
    )


def test_a_task_that_no_study_serves_says_what_there_is(configure, cohort):
    assert _fault(configure("task.inputs=[t2]", "task.target=plaque")) == (
        f"task=flair_lesions: no study of bids ({cohort.root}) has all of inputs=['t2'] and a mask 'plaque'; it has "
        "contrasts ['flair', 't1', 't1_post'] and masks ['enhancing_lesion', 'lesion', 'new_lesion'] (lesionseg "
        "check tells more)",
    )


def test_a_split_file_names_test_and_validation(configure, tmp_path):
    file = tmp_path / "split.yaml"
    file.write_text('test: ["03", "01"]\nvalidation: ["02"]\n')
    split = _split(configure(f"split.file={file}", "train_size=7"))
    assert (split.test, split.validation) == (("01", "03"), ("02",))
    assert sorted(split.train) == ["04", "05", "06", "07", "08", "09", "10"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("[a, b]", "needs lists of subjects 'test:' and 'validation:'"),
        ("test: [01, 02]", "test must be a list of subjects, each in quotes"),
        ("validation: abc", "validation must be a list of subjects, each in quotes"),
        ("test: ['99']", "test names subject '99', who is not in the dataset"),
        ("test: ['01']\nvalidation: ['01']", "subject '01' is in test and in validation"),
        ("{}", "names no test or validation subject; it needs lists 'test:' and 'validation:'"),
        ("a: [", "cannot be read (while parsing"),
        (None, "cannot be read ([Errno 2] No such file"),
    ],
)
def test_a_faulty_split_file_is_told(configure, tmp_path, content, fault):
    file = tmp_path / "split.yaml"
    if content is not None:
        file.write_text(content)
    (found,) = _fault(configure(f"split.file={file}"))
    assert found.startswith(f"split.file={file}: {fault}")


def test_the_runs_of_a_sweep_share_a_folder_and_those_of_none_that_of_their_task(configure):
    config = configure("sweep=first")
    assert sweep_folder(config) == outputs(config.paths) / "runs" / "first"
    assert sweep_folder(configure()) == outputs(config.paths) / "runs" / "flair_lesions"


@pytest.mark.parametrize(
    "override",
    ["paths.outputs=elsewhere", "trainer.threads=2", "sweep=another", "force=true", "init.source=['train_size=3']"],
)
def test_the_key_is_the_same_wherever_and_however_it_is_computed(configure, override):
    assert grid_entry(configure(override)) == grid_entry(configure())


def test_where_the_sweep_trains_its_own_source_the_key_is_known_before_the_checkpoint_is(configure):
    own = ("init=pretrained", "init.source=['task=flair_lesions']")
    before, after = configure(*own), configure(*own, "init.checkpoint=best.ckpt")
    assert grid_entry(before) == grid_entry(after)
    assert grid_entry(configure(*own, "init.layer_decay=0.8")) != grid_entry(after)


@pytest.mark.parametrize(
    ("outputs", "uri", "expected"),
    [
        ("outputs", "sqlite:///outputs/mlflow.db", "lesionseg ui sweep=a"),
        ("/data/a b", "sqlite:///x", "lesionseg ui sweep=a 'paths.outputs='\"'\"'/data/a b'\"'\"''"),
        ("outputs", "http://host:5000", "lesionseg ui sweep=a tracking=server tracking.uri=http://host:5000"),
    ],
)
def test_a_command_to_paste_looks_where_the_outputs_are(configure, outputs, uri, expected):
    config = configure()
    paths = config.paths.model_copy(update={"outputs": outputs})
    assert to_paste("ui sweep=a", paths, config.tracking.model_copy(update={"uri": uri})) == expected
