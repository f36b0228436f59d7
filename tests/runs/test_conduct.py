"""What was run, told from the files of runs."""

from dataclasses import replace
from math import nan
from typing import Any

import pytest

from lesionseg.metrics import Anima
from lesionseg.report import RecordedRun, WeightSource
from lesionseg.runs.conduct import conduct_of
from lesionseg.runs.recorded import RunRecord

SOURCE = WeightSource("runs:/4f2a", "flair_lesions", "1a2b", 0.9)
SPLIT = {"test": ["a", "b"], "validation": ["c"], "train": ["d"], "pool": ["d", "e"]}


@pytest.fixture
def record(configure: Any) -> RunRecord:
    report = {
        **{
            "loaded_share": 0.9,
            "tensors": {"adapted": 1, "fresh": 2},
            "skipped": ["x"],
            "differences": ["one more channel"],
        },
        "strategy": {"lora_rank": 4},
    }
    return RunRecord(configure().model_dump(), {**SPLIT, "sha256": "abc"}, report, 1000, 0.25, None, 0.5)


def told(records: dict[tuple[str, int, int], RunRecord], **further: Any) -> Any:
    runs = [RecordedRun(*cell, source=None if cell[0] == "scratch" else SOURCE, learning_rate=0.01) for cell in records]
    arms = list(dict.fromkeys(arm for arm, _, _ in records))
    given: dict[str, Any] = {
        "rule": None,
        "min_volume": None,
        "command": "x",
        "train_command": "",
        "versions": {"torch": "2.13.0"},
    }
    return conduct_of("first", records, runs, arms=arms, **{**given, **further})


def test_data_and_budget(record: RunRecord) -> None:
    found = told({("scratch", 2, 0): record, ("scratch", 2, 1): record})
    assert (found.sweep, found.task, found.inputs, found.target) == ("first", "flair_lesions", ("flair",), "lesion")
    assert (found.n_subjects, found.n_validation, found.n_test) == (5, 1, 2)
    assert (found.sizes, found.repeats) == ((2,), (0, 1))
    assert [(one.train_size, one.repeat, one.sha256) for one in found.splits] == [(2, 0, "abc"), (2, 1, "abc")]
    assert found.model == "tiny_unet (UNet3D, 1,000 values)"
    assert (found.steps, found.batch_size, found.patch_size, found.spacing) == ("4", "2", "16 × 16 × 16", "1 × 1 × 1")
    assert found.learning_rates == ("scratch 0.01, not tuned",)
    assert found.criterion == "found where one voxel of it overlaps the other side"
    assert (found.min_volume, found.rescored) == (3.0, False)
    assert found.threshold == "a voxel is lesion from a probability of 0.5 on"
    assert found.versions == {"torch": "2.13.0"}


def test_what_depends_on_the_size_is_told_with_it(record: RunRecord) -> None:
    config = record.config
    more = replace(record, config={**config, "trainer": {**config["trainer"], "steps": 9}})
    assert told({("scratch", 2, 0): record, ("scratch", 5, 0): more}).steps == "4 at 2, 9 at 5"


def test_an_arm_that_trains_nothing_has_neither_steps_nor_rate(record: RunRecord) -> None:
    config = record.config
    still = replace(
        record,
        config={**config, "init": {**config["init"], "train": False}, "trainer": {**config["trainer"], "steps": 0}},
    )
    records = {("scratch", 2, 0): record, ("zero_shot", 2, 0): still}
    assert told(records).steps == "4"
    alone = conduct_of(
        *("first", {("zero_shot", 2, 0): still}, [RecordedRun("zero_shot", 2, 0, source=SOURCE)]),
        **{"arms": ["zero_shot"], "rule": None, "min_volume": None, "command": "", "train_command": ""},
        versions={},
    )
    assert alone.learning_rates == ("zero_shot trains nothing",)


def test_what_became_of_the_weights(record: RunRecord) -> None:
    fresh = replace(record, report={"loaded_share": 0.0}, trained_share=nan)
    scratch, pretrained = told({("scratch", 2, 0): fresh, ("pretrained", 2, 0): record}).transfers
    assert (scratch.source, scratch.loaded_share, scratch.strategy) == ("", 0.0, {})
    assert (pretrained.source, pretrained.source_task, pretrained.source_digest) == (
        "runs:/4f2a",
        "flair_lesions",
        "1a2b",
    )
    assert (pretrained.adapted, pretrained.fresh, pretrained.skipped, pretrained.trained_share) == (1, 2, 1, 0.25)
    assert (pretrained.differences, pretrained.strategy) == (("one more channel",), {"lora_rank": "4"})


def test_another_rule_is_told_with_its_own_smallest_lesion(record: RunRecord) -> None:
    found = told({("scratch", 2, 0): record}, rule=Anima(), min_volume=7.0)
    assert found.rescored
    assert found.criterion == Anima().describe()
    assert found.min_volume == Anima().min_volume_mm3
    assert told({("scratch", 2, 0): record}, min_volume=7.0).min_volume == 7.0


def test_a_threshold_that_was_chosen(record: RunRecord) -> None:
    config = record.config
    for rule, words in (("task", "the task's own criterion"), ("anima", "the criterion anima")):
        chosen = replace(record, config={**config, "metrics": {**config["metrics"], "threshold_criterion": rule}})
        text = told({("scratch", 2, 0): chosen}).threshold
        assert text == (
            f"chosen for each run on its validation studies, by the highest lesion F1 under {words}, among 19 "
            "probabilities from 0.05 to 0.95"
        )
