"""What a run directory holds arrives in MLflow once, however often and whenever it is sent."""

from pathlib import Path
from typing import Any

import pytest

from lesionseg.tracking.artifacts import artifacts_of
from lesionseg.tracking.mirror import Uploader, is_mirrored, mirror
from lesionseg.tracking.mlflow_store import HASH_TAG, KIND_TAG, SWEEP_TAG, Run, Store
from lesionseg.tracking.run_dir import RunDir


@pytest.fixture
def run_dir(tmp_path: Path, request: pytest.FixtureRequest) -> RunDir:
    """A run that has logged two steps and a file."""
    made = RunDir(tmp_path / "run")
    made.path.mkdir()
    tags = {HASH_TAG: request.node.name, KIND_TAG: "run", SWEEP_TAG: ""}
    dataset = {"name": "tiny", "digest": "0123456789abcdef", "source": "/data"}
    made.begin(name="scratch-n2-r0", sweep=None, params={"init": "scratch"}, tags=tags, dataset=dataset)
    for step in (1, 2):
        made.log_metrics({"train/loss": 1.0 / step}, step=step)
    (made.path / "cases.csv").write_text("study\n")
    made.log_file(made.path / "cases.csv")
    return made


def _run(store: Store, run_dir: RunDir) -> Any:
    return store.client.get_run(run_dir.sent()["run_id"])


def _losses(store: Store, run_dir: RunDir) -> list[tuple[int, float]]:
    history = store.client.get_metric_history(run_dir.sent()["run_id"], "train/loss")
    return sorted((entry.step, entry.value) for entry in history)


def test_what_was_logged_arrives_and_a_second_time_changes_nothing(store, run_dir):
    mirror(run_dir, store)
    first = _run(store, run_dir)
    assert (first.info.status, first.data.params) == ("RUNNING", {"init": "scratch"})
    run_dir.end("FINISHED")
    assert not is_mirrored(run_dir)
    mirror(run_dir, store)
    mirror(run_dir, store)
    run = _run(store, run_dir)
    assert run.info.run_id == first.info.run_id
    assert run.info.status == "FINISHED"
    assert is_mirrored(run_dir)
    assert _losses(store, run_dir) == [(1, 1.0), (2, 0.5)]
    assert [file.path for file in store.client.list_artifacts(run.info.run_id)] == ["cases.csv"]


def test_of_a_file_the_newest_content_counts(store, run_dir, tmp_path):
    mirror(run_dir, store)
    (run_dir.path / "cases.csv").write_text("study\nsub-1\n")
    mirror(run_dir, store)
    fetched = store.client.download_artifacts(run_dir.sent()["run_id"], "cases.csv", str(tmp_path))
    assert Path(fetched).read_text() == "study\nsub-1\n"


def test_what_lies_outside_of_the_run_is_not_sent(store, run_dir, tmp_path, caplog):
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    (run_dir.path / "link.txt").symlink_to(secret)
    run_dir._update(files={"../secret.txt": None, str(secret): None, "link.txt": None, "cases.csv": None})
    mirror(run_dir, store)
    assert [file.path for file in store.client.list_artifacts(run_dir.sent()["run_id"])] == ["cases.csv"]
    assert caplog.text.count("lies elsewhere and is not sent") == 3


def test_an_upload_that_a_kill_broke_off_is_taken_away_when_the_run_ends(store, run_dir):
    mirror(run_dir, store)
    folder = artifacts_of(store, _run(store, run_dir)).folder
    (folder / ".artifact.uploading.b9_xjwh2").touch()
    run_dir.end("FINISHED")
    mirror(run_dir, store)
    assert [file.name for file in folder.iterdir()] == ["cases.csv"]


def test_what_a_run_no_longer_has_is_taken_away(store, run_dir):
    (run_dir.path / "error.txt").write_text("no")
    run_dir.log_file(run_dir.path / "error.txt")
    mirror(run_dir, store)
    run_dir.forget_failure()
    run_dir.end("FINISHED")
    mirror(run_dir, store)
    assert [file.path for file in store.client.list_artifacts(run_dir.sent()["run_id"])] == ["cases.csv"]


def test_without_the_note_of_what_was_sent_the_same_run_is_found_again(store, run_dir):
    mirror(run_dir, store)
    before = run_dir.sent()["run_id"]
    (run_dir.path / "sent.json").unlink()
    mirror(run_dir, store)
    assert run_dir.sent()["run_id"] == before
    assert _losses(store, run_dir) == [(1, 1.0), (2, 0.5)]


@pytest.mark.parametrize("method", ["log_params", "log_metrics", "log_file", "set_status"])
def test_cut_off_at_any_call_it_is_whole_after_the_next(store, run_dir, monkeypatch, method):
    run_dir.end("FINISHED")

    def cut(*_: Any, **__: Any) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(Run, method, cut)
        with pytest.raises(ConnectionError):
            mirror(run_dir, store)
    mirror(run_dir, store)
    run = _run(store, run_dir)
    assert (run.info.status, run.data.params) == ("FINISHED", {"init": "scratch"})
    assert _losses(store, run_dir) == [(1, 1.0), (2, 0.5)]
    found = store.client.search_runs([store.experiment_id], f"tags.`{HASH_TAG}` = '{run.data.tags[HASH_TAG]}'")
    assert len(found) == 1


def test_the_uploader_ends_a_run_and_says_whether_all_arrived(store, run_dir):
    said: list[str] = []
    with Uploader(run_dir, lambda: store, said.append) as uploader:
        assert uploader.end("FINISHED", 30.0)
    assert _run(store, run_dir).info.status == "FINISHED"
    assert said == []


def test_while_mlflow_is_away_the_run_goes_on_and_is_told_once(store, run_dir):
    said: list[str] = []

    def away() -> Store:
        raise ConnectionError("no server answers")

    with Uploader(run_dir, away, said.append) as uploader:
        assert not uploader.end("FINISHED", 0.2)
    assert run_dir.read()["status"] == "FINISHED"
    assert len(said) == 1
    assert not is_mirrored(run_dir)
    mirror(run_dir, store)
    assert is_mirrored(run_dir)


def test_images_over_steps_are_mlflows_own_and_lie_nowhere_twice(store, run_dir):
    from PIL import Image

    for step in (5, 10, 10):  # a run that goes on draws some again
        path = run_dir.path / "validation" / f"step-{step}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (step, 0, 0)).save(path)
        run_dir.log_image(path, "validation", step)
        mirror(run_dir, store)
    mirror(run_dir, store)
    names = [Path(file.path).name for file in store.client.list_artifacts(run_dir.sent()["run_id"], "images")]
    pngs = [name for name in names if name.endswith(".png")]
    assert len(pngs) == 2
    assert all("validation" in name for name in pngs)
    assert not list((run_dir.path / "validation").iterdir())
    assert is_mirrored(run_dir)


def test_an_artifact_on_this_machine_is_the_same_file(store, run_dir):
    mirror(run_dir, store)
    folder = artifacts_of(store, _run(store, run_dir)).folder
    assert (folder / "cases.csv").samefile(run_dir.path / "cases.csv")
