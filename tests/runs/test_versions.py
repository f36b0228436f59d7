"""Which programs made something."""

import torch

from lesionseg.runs.versions import versions


def test_the_versions_are_those_that_run_here() -> None:
    found = versions()
    assert found["torch"] == torch.__version__
    assert set(found) >= {"Python", "lesionseg", "mlflow", "pytorch-lightning"}
