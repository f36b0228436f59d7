"""Cases and lesions under another rule, from masks that runs stored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from lesionseg.config.schema import TrainConfig
from lesionseg.data.selection import select_studies
from lesionseg.data.volumes import read_mask, write_volume
from lesionseg.errors import InputError
from lesionseg.metrics import Anima, AnyOverlap, score_study
from lesionseg.runs.cohort import load_cohort
from lesionseg.runs.rescored import rescored_tables, rule_of
from lesionseg.tracking import Store, open_store, start_run

SUBJECTS = ("01", "02", "03")
REPORT = '{"source": "", "loaded_share": 0}'


@pytest.fixture
def store(with_store: Any, tmp_path: Path) -> Store:
    folder = with_store(tmp_path / "outputs")
    return open_store(f"sqlite:///{folder}/mlflow.db", "exp", str(folder / "artifacts"), folder / ".lock")


@pytest.fixture
def run(store: Store, configure: Callable[..., TrainConfig], tmp_path: Path) -> Any:
    """A run whose masks lack the last voxels of the first lesion and have a lesion too many."""
    config = configure()
    made = start_run(store, "run", params={"init": "scratch", "train_size": 2, "repeat": 0}, tags={})
    rows = []
    task = config.task
    for study in select_studies(load_cohort(config.dataset), task.channels, task.target, task.sessions):
        if study.subject not in SUBJECTS:
            continue
        reference, grid = read_mask(study.mask)
        prediction = reference.astype(np.uint8)
        prediction[np.nonzero(reference)[0].max()] = 0
        prediction[0:3, 0:3, 0:3] = 1
        file = tmp_path / f"{study.name}_label-lesion_pred.nii.gz"
        write_volume(file, prediction, grid)
        made.log_file(file, "predictions")
        scores = score_study(reference, prediction, grid.affine, AnyOverlap(), min_volume_mm3=task.min_lesion_volume)
        named = {"study": study.name, "subject": study.subject, "session": study.study.session}
        rows.append({**named, **scores.case.as_row()})
    pd.DataFrame(rows).to_csv(tmp_path / "cases.csv", index=False)
    files = {
        "config.yaml": yaml.safe_dump(config.model_dump(), sort_keys=False),
        "split.json": "{}",
        "transfer_report.json": REPORT,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for name in ("cases.csv", *files):
        made.log_file(tmp_path / name)
    return store.client.get_run(made.run_id)


def test_the_runs_own_rule_gives_the_runs_own_scores(store: Store, run: Any, tmp_path: Path) -> None:
    tables, remarks = rescored_tables(store, [run], rule_of(store, run, None), None)
    cases, lesions = tables[run.info.run_id]
    stored = pd.read_csv(tmp_path / "cases.csv", dtype={"subject": str})
    assert remarks == []
    for name in (
        "n_reference",
        "n_prediction",
        "lesion_sensitivity",
        "lesion_ppv",
        "lesion_f1",
        "dice",
        "false_positives",
    ):
        assert cases[name].tolist() == pytest.approx(stored[name].tolist()), name
    assert cases[["init", "train_size", "repeat"]].drop_duplicates().to_numpy().tolist() == [["scratch", 2, 0]]
    counts = lesions.groupby(["side", "verdict"]).size()
    assert counts["prediction", "false"] == len(SUBJECTS)
    assert counts["reference", "detected"] == stored["detected_reference"].sum()
    assert set(lesions.loc[lesions["verdict"] == "false", "volume_mm3"]) == {27.0}


def test_another_rule_gives_other_scores(store: Store, run: Any) -> None:
    strict = {"_target_": "lesionseg.metrics.AnyOverlap", "min_fraction": 1.0}
    tables, _ = rescored_tables(store, [run], rule_of(store, run, strict), None)
    own, _ = rescored_tables(store, [run], rule_of(store, run, "task"), None)
    first, second = (found[run.info.run_id][0]["lesion_sensitivity"] for found in (tables, own))
    assert (first < second).all()


def test_the_smallest_lesion_is_the_one_that_is_asked_for(store: Store, run: Any) -> None:
    tables, remarks = rescored_tables(store, [run], AnyOverlap(), 28.0)
    cases, lesions = tables[run.info.run_id]
    assert cases["n_reference"].tolist() == [0, 0, 0]
    assert lesions.empty
    assert remarks == []
    _, remarks = rescored_tables(store, [run], AnyOverlap(), 1.0)
    assert remarks == [
        "The stored masks were made without components below 3 mm³: smaller predicted lesions are not in them."
    ]


def test_a_criterion_is_named_among_those_of_the_runs(store: Store, run: Any) -> None:
    assert isinstance(rule_of(store, run, "anima"), Anima)
    with pytest.raises(InputError, match=r"criterion=mine: the runs know task, any_overlap_26, .*iou_0\.5; name one"):
        rule_of(store, run, "mine")
    with pytest.raises(InputError, match=r"criterion: .*min_iou"):
        rule_of(store, run, {"_target_": "lesionseg.metrics.BestIoU", "min_iou": 7})


def test_scans_that_have_moved_are_found_where_they_are_said_to_be(
    store: Store, run: Any, configure: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    dataset = configure().dataset
    moved = tmp_path / "moved"
    moved.symlink_to(dataset.root)
    here, _ = rescored_tables(store, [run], AnyOverlap(), None, dataset.model_copy(update={"root": str(moved)}))
    assert len(here[run.info.run_id][0]) == 3
    with pytest.raises(InputError, match="nowhere"):
        rescored_tables(
            store, [run], AnyOverlap(), None, dataset.model_copy(update={"root": str(tmp_path / "nowhere")})
        )
