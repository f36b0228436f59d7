import pytest

from lesionseg.report.methods import comparability_sentences
from lesionseg.report.provenance import (
    FIRST_WEIGHTS,
    behind_on_validation,
    differing_settings,
    learning_rates,
    source_name,
    validation_means,
)

ARMS = ("scratch", "pretrained")


def test_arms_that_differ_in_first_weights_alone(record):
    runs = [
        record(arm, size, source=source) for arm, source in zip(ARMS, ("", "x/a.ckpt"), strict=True) for size in (2, 5)
    ]
    settings = differing_settings(runs, ARMS)
    assert settings["setting"].tolist() == [FIRST_WEIGHTS] * 2
    assert settings["value"].tolist() == [
        "all drawn from the seed",
        "90.0 % from x/a.ckpt (infarct), digest abababab",
    ]
    said = comparability_sentences(settings, learning_rates(runs, ARMS), 2)
    assert not any(sentence.startswith("WARNING") for sentence in said)


def test_a_setting_beyond_init_makes_the_comparison_unfair(record):
    runs = [record("scratch"), record("pretrained", source="a.ckpt", **{"optim.weight_decay": 0.1})]
    settings = differing_settings(runs, ARMS)
    beyond = settings[settings["scope"] == "beyond init"]
    assert beyond["value"].tolist() == ["not set", "0.1"]
    assert comparability_sentences(settings, learning_rates(runs, ARMS), 2)[0].startswith("WARNING: The arms differ")


def test_a_setting_that_varies_within_an_arm_is_told(record):
    runs = [record("scratch", 2), record("scratch", 5, **{"trainer.steps": 9}), record("pretrained", 2)]
    within = differing_settings(runs, ARMS).query("scope == 'within'")
    assert within[["arm", "setting", "value"]].values.tolist() == [["scratch", "trainer.steps", "not set at 2, 9 at 5"]]


def test_learning_rates_that_were_searched_for_in_one_arm_alone(record):
    search = {"chosen": 0.01, "steps": 7, "candidates": [{"learning_rate": 0.01}, {"learning_rate": 0.1}]}
    rates = learning_rates([record("scratch", search=search), record("pretrained")], ARMS)
    assert rates.values.tolist() == [["scratch", "0.01, 0.1", 7, "0.01 (1)", 1], ["pretrained", "", 0, "0.001", 1]]
    said = comparability_sentences(differing_settings([], ARMS), rates, 1)
    assert said[-1].startswith("WARNING: Learning rates were not chosen alike")


def test_validation_over_the_repeats_that_both_have(record):
    runs = [record("scratch", repeat=r, best=b) for r, b in ((0, 0.5), (1, 0.7), (2, 0.1))]
    runs += [record("pretrained", repeat=r, best=b, source="a") for r, b in ((0, 0.6), (1, 0.4))]
    means = validation_means(runs, ARMS)
    assert means["mean"].tolist() == pytest.approx([0.6, 0.5])
    (row,) = behind_on_validation(runs, ARMS).to_dict("records")
    assert (row["arm"], row["n_repeats"], row["n_behind"], row["transfer"]) == ("pretrained", 2, 1, True)


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [("runs:/12", "runs:/12"), ("/a/run-1/checkpoints/best.ckpt", "run-1/best.ckpt"), ("w.pt", "w.pt")],
)
def test_a_source_by_its_run_and_file(record, checkpoint, name):
    assert source_name(record("pretrained", source=checkpoint)) == name
