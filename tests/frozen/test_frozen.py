"""A finished sweep of an earlier version: its comparison keeps every number.

``sweep.zip`` holds what twelve runs left in MLflow (two arms, two sizes, three repeats, six test patients),
``expected`` the tables that were made of it, and ``names.json`` the names that a run of that time gave its params,
metrics, tags and artifacts. Its intervals were cut at the scores' range since.
"""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

HERE = Path(__file__).parent
EXPECTED = sorted((HERE / "expected").glob("*.csv"))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, inside: Any, with_store: Any) -> Path:
    """The folder of the comparison of that sweep."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    folder = tmp_path_factory.mktemp("frozen")
    outputs = with_store(folder / "outputs")
    client = MlflowClient(tracking_uri=f"sqlite:///{outputs}/mlflow.db")
    experiment = client.create_experiment("lesionseg", artifact_location=(outputs / "artifacts").as_uri())
    with zipfile.ZipFile(HERE / "sweep.zip") as archive:
        archive.extractall(folder / "files")
    parent = None
    for number, run in enumerate(json.loads((folder / "files" / "runs.json").read_text())):
        tags = {**run["tags"], **({"mlflow.parentRunId": parent} if parent else {})}
        made = client.create_run(experiment, run_name=run["name"], tags=tags, start_time=1000 + number)
        run_id = made.info.run_id
        parent = parent or run_id
        for key, value in run["params"].items():
            client.log_param(run_id, key, value)
        metrics = [Metric(key, value, step, step) for key, points in run["metrics"].items() for step, value in points]
        client.log_batch(run_id, metrics=metrics)
        shutil.copytree(folder / "files" / run["name"], outputs / "artifacts" / run_id / "artifacts")
        client.set_terminated(run_id, run["status"])
    done = inside(folder, "compare", "sweep=first")
    assert (done.code, done.err) == (0, "")
    return outputs / "comparisons" / "first"


@pytest.mark.parametrize("file", EXPECTED, ids=lambda file: file.stem)
def test_every_number_of_the_comparison_is_what_it_was(compared, file):
    texts = {"patient": str}
    expected, found = pd.read_csv(file, dtype=texts), pd.read_csv(compared / file.name, dtype=texts)
    assert set(expected.columns) <= set(found.columns)
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_exact=False, rtol=1e-9, atol=1e-12)
