"""The founding study's three experiments compose, and their source models do, too."""

from pathlib import Path

import pytest

from lesionseg.config.compose import Request, compose_jobs

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.parametrize(
    ("study", "inputs", "source"),
    [
        ("flair_training_size", ["flair"], "infarct"),
        ("new_lesions_training_size", ["flair", "prior.flair"], "infarct"),
        ("enhancing_training_size", ["t1_post", "t1", "t1_post - t1"], "metastasis"),
    ],
)
def test_both_arms_of_a_size_differ_in_their_init_alone(study, inputs, source, tmp_path):
    given = (f"paths.outputs={tmp_path}", "train_size=5", "repeat=0")
    jobs, _ = compose_jobs(Request("train", given, config_dir=EXPERIMENTS / study, config_name="study"))
    scratch, pretrained = (job.config for job in jobs)
    assert (scratch.init.name, pretrained.init.name) == ("scratch", "pretrained")
    assert scratch.model_copy(update={"init": pretrained.init}) == pretrained
    assert (scratch.sweep, scratch.task.inputs) == (study, inputs)
    overrides = pretrained.init.source
    assert overrides is not None
    request = Request("train", (*given, *overrides), config_dir=EXPERIMENTS / study, config_name="study")
    trained = compose_jobs(request)[0][0].config
    assert trained.dataset.synthetic is not None
    assert trained.dataset.synthetic.pathology.name == source
    assert len(trained.task.inputs) == (1 if source == "infarct" else 3)
