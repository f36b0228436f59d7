"""The main job: two arms, two sizes, two repeats, from scans to the comparison."""

import json
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lesionseg.cli import main
from lesionseg.tracking.mlflow_store import metric_maximum

AXES = list(product(("scratch", "pretrained"), (2, 4), (0, 1)))


@dataclass(frozen=True)
class Sweep:
    """A finished sweep, and the same command given again.

    Args:
        folder: where the commands were run.
        first: what the first one said.
        again: what the second one said.
        source: the run of the source model.
        parent: the sweep's own run.
        children: (init, train_size, repeat) to run.
    """

    folder: Path
    first: Any
    again: Any
    source: Any
    parent: Any
    children: dict[tuple[str, int, int], Any]


@pytest.fixture(scope="module")
def sweep(lesionseg, inside, cohort, source_cohort, tiny, runs_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep, (first) 'one'")  # a folder's name may have anything in it
    arguments = (
        "train",
        "--multirun",
        "dataset=bids",
        f"dataset.root={cohort.root}",
        *tiny,
        "task=flair_lesions",
        "init=scratch,pretrained",
        f'init.source=["dataset=bids","dataset.root={source_cohort.root}","dataset.name=other","train_size=3"]',
        "metrics.threshold_criterion=task",
        "train_size=2,4",
        "repeat=0,1",
        "sweep=first",
    )
    first = lesionseg(folder, *arguments)
    assert first.code == 0, first.out + first.err
    shutil.rmtree(folder / "outputs" / "runs" / "flair_lesions")  # the source's own files; MLflow has its checkpoint
    again = inside(folder, *arguments)
    runs = runs_in(folder)
    children = {
        (run.data.params["init"], int(run.data.params["train_size"]), int(run.data.params["repeat"])): run
        for run in runs
        if run.data.tags.get("mlflow.parentRunId")
    }
    parent, source, *others = (run for run in runs if not run.data.tags.get("mlflow.parentRunId"))
    assert not others, "a run too many"
    return Sweep(folder, first, again, source, parent, children)


@pytest.fixture(scope="module")
def comparison(sweep: Sweep, inside: Any) -> Any:
    return inside(sweep.folder, "compare", "sweep=first")


def test_one_parent_and_eight_children_are_finished(sweep, runs_in):
    assert sorted(sweep.children) == sorted(AXES)
    assert {run.info.status for run in sweep.children.values()} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in sweep.children.values()} == {sweep.parent.info.run_id}
    assert (sweep.parent.info.run_name, sweep.parent.info.status) == ("first", "FINISHED")
    assert (sweep.source.info.run_name, sweep.source.info.status) == ("scratch-n3-r0 source", "FINISHED")
    assert len(runs_in(sweep.folder)) == 10


def test_the_names_are_those_of_the_contract(sweep):
    for (init, size, repeat), run in sweep.children.items():
        params, metrics, tags = run.data.params, run.data.metrics, run.data.tags
        expected = {"task": "flair_lesions", "dataset": "bids", "model": "tiny_unet", "init": init}
        assert expected.items() <= params.items()
        assert (params["train_size"], params["repeat"]) == (str(size), str(repeat))
        assert set(metrics) >= {
            "train/loss",
            *(f"val/{name}" for name in ("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice")),
            *(f"test/{name}" for name in ("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice")),
        }
        assert tags["lesionseg.sweep"] == "first"
        assert len(tags["lesionseg.config_hash"]) == 64
    assert len({run.data.tags["lesionseg.config_hash"] for run in sweep.children.values()}) == 8
    seeds = {(repeat, run.data.params["seed"]) for (_, _, repeat), run in sweep.children.items()}
    assert len(seeds) == 2, "a seed for each repeat, the same for arms and sizes"


def test_every_step_has_its_metrics_and_the_test_is_scored_once(sweep, store_in):
    client = store_in(sweep.folder).client
    run_id = sweep.children["pretrained", 4, 1].info.run_id
    steps = {
        name: [entry.step for entry in client.get_metric_history(run_id, name)]
        for name in ("train/loss", "val/dice", "test/dice")
    }
    assert steps == {"train/loss": [1, 2, 3, 4], "val/dice": [2, 4], "test/dice": [0]}


def test_every_run_keeps_the_artifacts_of_the_contract(sweep, artifacts):
    for (init, size, repeat), run in sweep.children.items():
        folder = artifacts(run)
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert files >= {
            "config.yaml",
            "split.json",
            "transfer_report.json",
            "cases.csv",
            "lesions.csv",
            "criteria.csv",
            "froc.csv",
            "threshold.json",
            "checkpoints/best.ckpt",
            "model/MLmodel",
            "model/README.md",
            "model/data/best.ckpt",
        }
        assert (folder / "model/data/best.ckpt").samefile(folder / "checkpoints/best.ckpt")
        images = {path.name.partition("+timestamp")[0] for path in (folder / "images").glob("*.png")}
        assert images == {"validation+step+2", "validation+step+4"}
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert (config["init"]["name"], config["train_size"], config["repeat"]) == (init, size, repeat)
        report = json.loads((folder / "transfer_report.json").read_text())
        assert report["loaded_share"] == (1.0 if init == "pretrained" else 0.0)
        card = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["lesionseg"]
        assert (card["task"], card["init"]) == ("flair_lesions", init)
        assert card["threshold"] == json.loads((folder / "threshold.json").read_text())["threshold"]


def test_the_threshold_is_chosen_on_the_validation_studies_alone(sweep, artifacts):
    for run in sweep.children.values():
        chosen = json.loads((artifacts(run) / "threshold.json").read_text())
        split = json.loads((artifacts(run) / "split.json").read_text())
        assert {name.partition("_")[0] for name in chosen["studies"]} == {f"sub-{name}" for name in split["validation"]}
        means = {entry["threshold"]: entry["lesion_f1"] for entry in chosen["mean_lesion_f1"]}
        best = max((mean for mean in means.values() if mean is not None), default=0)
        assert chosen["threshold"] == 0.5 if best == 0 else means[chosen["threshold"]] == pytest.approx(best)
        assert run.data.metrics["val/threshold"] == chosen["threshold"]


def test_every_run_is_scored_under_every_criterion_at_once(sweep, artifacts):
    for run in sweep.children.values():
        table = pd.read_csv(artifacts(run) / "criteria.csv", dtype={"subject": str})
        cases = pd.read_csv(artifacts(run) / "cases.csv", dtype={"subject": str})
        assert set(table["criterion"]) >= {"any_overlap_26", "anima", "iou_0.5", "one_to_one_iou_0.1"}
        own = table[table["criterion"] == "any_overlap_26"]
        assert own["sensitivity"].tolist() == pytest.approx(cases["lesion_sensitivity"].tolist(), nan_ok=True)
        for name in set(table["criterion"]):
            rows = table[(table["criterion"] == name) & (table["n_reference"] > 0)]
            assert run.data.metrics[f"verdict/{name}/lesion_f1"] == pytest.approx(rows["f1"].mean())
        curves = pd.read_csv(artifacts(run) / "froc.csv")
        assert (curves["false_positives"] <= curves["n_prediction"]).all()
        assert 0 <= run.data.metrics["test/froc_area"] <= run.data.metrics["test/froc_sensitivity_at_8_fp"] <= 1


def test_stored_predictions_are_scored_again_without_a_model(sweep, inside, artifacts, runs_in):
    own = "+metrics.criteria.half={_target_:lesionseg.metrics.AnyOverlap,min_fraction:0.5}"
    done = inside(sweep.folder, "evaluate", "sweep=first", own)
    assert (done.code, done.err) == (0, "")
    assert "rank the same under every criterion" in done.out or "before" in done.out
    assert "task is the criterion of the runs themselves" in done.out.replace("\n", " ")
    assert "Undefined scores: a case without reference lesion has no sensitivity" in done.out
    folder = sweep.folder / "outputs" / "evaluation" / "first"
    table = pd.read_csv(folder / "criteria.csv", dtype={"subject": str})
    assert len(table) == 8 * 3 * 10, "runs × test studies × (the task's, eight published and one of our own)"
    for (init, size, repeat), run in sweep.children.items():
        cases = pd.read_csv(artifacts(run) / "cases.csv").set_index("study")
        place = (table["init"] == init) & (table["train_size"] == size) & (table["repeat"] == repeat)
        again = table[place & (table["criterion"] == "task")].set_index("study").loc[cases.index]
        for stored, name in (("lesion_sensitivity", "sensitivity"), ("lesion_ppv", "ppv"), ("lesion_f1", "f1")):
            assert again[name].tolist() == pytest.approx(cases[stored].tolist(), nan_ok=True)
    assert (folder / "criteria.md").read_text().startswith("# first under 10 criteria\n")
    logged = {path.name for path in (artifacts(sweep.parent) / "criteria").iterdir()}
    assert logged == {"criteria.csv", "criteria.md"}
    assert len(runs_in(sweep.folder)) == 10, "scoring again adds no run"


def test_cases_hold_the_exact_reference_lesions(sweep, artifacts, cohort):
    for run in sweep.children.values():
        cases = pd.read_csv(artifacts(run) / "cases.csv", dtype={"subject": str})
        split = json.loads((artifacts(run) / "split.json").read_text())
        assert sorted(cases["subject"]) == split["test"]
        assert dict(zip(cases["subject"], cases["n_reference"], strict=True)) == {
            subject: cohort.lesions[subject] for subject in split["test"]
        }
        lesions = pd.read_csv(artifacts(run) / "lesions.csv")
        of_reference = lesions[lesions["side"] == "reference"]
        assert len(of_reference) == sum(cohort.lesions[subject] for subject in split["test"])
        assert set(of_reference["volume_mm3"]) == {27.0}
        defined = cases["lesion_sensitivity"].dropna()
        assert run.data.metrics["test/lesion_sensitivity"] == pytest.approx(defined.mean())


def test_the_subjects_are_the_same_where_they_must_be(sweep, artifacts):
    splits = {axes: json.loads((artifacts(run) / "split.json").read_text()) for axes, run in sweep.children.items()}
    for size, repeat in product((2, 4), (0, 1)):
        arms = [
            (artifacts(sweep.children[arm, size, repeat]) / "split.json").read_bytes()
            for arm in ("scratch", "pretrained")
        ]
        assert arms[0] == arms[1]
    assert len({tuple(split["test"]) for split in splits.values()}) == 1
    assert len({tuple(split["validation"]) for split in splits.values()}) == 1
    for repeat in (0, 1):
        small, large = splits["scratch", 2, repeat]["train"], splits["scratch", 4, repeat]["train"]
        assert (len(small), len(large)) == (2, 4)
        assert set(small) < set(large)
        assert not {*large} & {*splits["scratch", 4, repeat]["test"], *splits["scratch", 4, repeat]["validation"]}
    assert splits["scratch", 4, 0]["train"] != splits["scratch", 4, 1]["train"]


def test_the_terminal_tells_what_comes_and_where_to_look(sweep):
    lines = sweep.first.out.splitlines()
    assert lines[0].startswith("9 runs (one of them the source model); how long they take is told once")
    assert lines[1] == "[source] flair_lesions scratch n=3 repeat=0  weights: all fresh (from scratch)"
    assert any(line.startswith("[8/8, 0:00:") and "  step 4/4  loss " in line for line in lines)
    answer = lines[lines.index("Sweep first: 8 of 8 runs finished (100 %).") + 1 :]
    assert answer[1].startswith("With 2 training studies scratch found ")
    assert any("on validation" in line for line in answer)
    assert lines[-4:-1] == [
        f"  {sweep.folder / 'outputs' / 'comparisons' / 'first' / 'report.html'}",
        "  lesionseg compare sweep=first    the answer, with tables, figures and a report",
        "  lesionseg ui sweep=first         MLflow's pages; the runs with their charts are then at",
    ]
    assert lines[-1].startswith("    http://127.0.0.1:5000/#/experiments/1/runs?compareRunsMode=CHART")
    assert "Traceback" not in sweep.first.out + sweep.first.err
    assert "arning" not in sweep.first.err


def test_the_same_command_again_trains_nothing_and_adds_no_run(sweep):
    assert sweep.again.code == 0
    assert sweep.again.out.count("force=true runs it again") == 9
    assert "step" not in sweep.again.out
    assert "Sweep first: 8 of 8 runs finished (100 %)." in sweep.again.out.splitlines()


def test_the_parent_has_the_grid_the_progress_and_the_command(sweep, artifacts, store_in):
    folder = artifacts(sweep.parent)
    grid = json.loads((folder / "grid.json").read_text())
    assert {(entry["init"], entry["train_size"], entry["repeat"]) for entry in grid} == set(AXES)
    assert {entry["key"] for entry in grid} == {
        run.data.tags["lesionseg.configuration"] for run in sweep.children.values()
    }
    assert (folder / "progress.txt").read_text().startswith("8 of 8 runs finished (100 %)\n")
    parent = store_in(sweep.folder).client.get_run(sweep.parent.info.run_id)
    assert (parent.data.metrics["sweep/finished"], parent.data.metrics["sweep/runs"]) == (8, 8)
    assert parent.data.tags["lesionseg.command"].startswith("lesionseg train --multirun dataset=bids ")


def test_status_lists_every_configuration(sweep, inside):
    done = inside(sweep.folder, "status", "sweep=first")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split() for line in lines[2:10]] == [[f"{i}-n{n}-r{r}", "finished"] for i, n, r in AXES]
    assert lines[-1] == "Sweep first: 8 of 8 runs finished (100 %)."
    absent = inside(sweep.folder, "status", "sweep=second")
    assert (absent.code, absent.out) == (2, "")
    assert absent.err.startswith("sweep=second: there is no sweep of that name in sqlite:///")


@pytest.mark.slow
def test_a_colleague_who_can_only_read_a_copy_has_everything(sweep, environment, command_line, tmp_path):
    outputs = shutil.copytree(sweep.folder / "outputs", tmp_path / "theirs" / "outputs")
    files = [outputs, *outputs.rglob("*")]
    for path in files:
        path.chmod(path.stat().st_mode & ~0o222)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    as_reader = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner"] if os.getuid() == 0 else []
    try:
        for arguments, last in (
            (("status", "sweep=first"), "Sweep first: 8 of 8 runs finished (100 %)."),
            (("compare", "sweep=first", f"output={tmp_path / 'mine'}"), f"Written to {tmp_path / 'mine'} (report.html"),
            (("ui", "sweep=first", f"port={port}"), "Ctrl-C stops it."),
        ):
            command = [*as_reader, *command_line(*arguments, f"paths.outputs='{outputs}'")]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as process:
                told = []
                for line in process.stdout:
                    told.append(line)
                    if arguments[0] == "ui" and line.startswith(last):
                        process.terminate()
            assert process.returncode == 0, "".join(told)
            assert any(line.startswith(last) for line in told), "".join(told)
    finally:
        for path in files:
            path.chmod(path.stat().st_mode | 0o200)


def test_everything_lies_below_outputs(sweep):
    assert [path.name for path in sweep.folder.iterdir()] == ["outputs"]
    assert not list(sweep.folder.rglob(".partial-*"))
    assert not list(sweep.folder.rglob("last.ckpt")), "what a resumed run would need is gone"


def test_the_comparison_prints_writes_and_logs_the_table(sweep, comparison, runs_in, artifacts):
    assert comparison.code == 0, comparison.err
    assert "scratch" in comparison.out
    assert "pretrained" in comparison.out
    written = sweep.folder / "outputs" / "comparisons" / "first"
    names = {path.relative_to(written).as_posix() for path in written.rglob("*.*")}
    tables = ("comparison", "label_savings", "learning_curves", "froc", "by_lesion_size", "matched_ppv", "patients")
    assert names >= {"report.html", "comparison.md", "figures/learning_curves.png", *(f"{name}.csv" for name in tables)}
    assert "Traceback" not in comparison.err
    assert f"Written to {written}" in comparison.out
    (parent,) = (run for run in runs_in(sweep.folder) if run.info.run_id == sweep.parent.info.run_id)
    logged = artifacts(parent) / "comparison"
    assert {path.relative_to(logged).as_posix() for path in logged.rglob("*.*")} == names
    assert parent.data.tags["mlflow.note.content"].startswith("# first: scratch and pretrained")
    assert len(runs_in(sweep.folder)) == 10, "comparing adds no run"


def test_the_comparison_says_what_was_compared(sweep, comparison, artifacts):
    digest = json.loads((artifacts(sweep.children["pretrained", 2, 0]) / "transfer_report.json").read_text())[
        "source_digest"
    ]
    source = f"scratch-n3-r0-{sweep.source.data.tags['lesionseg.config_hash'][:8]}/best.ckpt"
    said = [
        "- The arms differ in: the first weights (scratch: all drawn from the seed; pretrained: 100.0 % from "
        f"{source} (flair_lesions), digest {digest[:8]}).",
        "- Steps, patches, augmentation, schedule and validation are the same.",
        "- Learning rates were not tuned: 0.01 in both arms.",
    ]
    written = (sweep.folder / "outputs" / "comparisons" / "first" / "comparison.md").read_text()
    for text in (comparison.out, written):
        assert "\n".join(["What was compared:", "", *said, ""]) in text


def test_the_report_shows_what_every_run_left(sweep, comparison):
    assert comparison.code == 0
    folder = sweep.folder / "outputs" / "comparisons" / "first"
    page = (folder / "report.html").read_text()
    for arm, which in product(("scratch", "pretrained"), ("median", "worst")):
        assert f"{arm}, {which} test study: sub-" in page
    assert "UNet3D" in page
    froc = pd.read_csv(folder / "froc.csv").drop_duplicates(["arm", "train_size"]).set_index(["arm", "train_size"])
    for (init, size), row in froc.iterrows():
        areas = [sweep.children[init, size, repeat].data.metrics["test/froc_area"] for repeat in (0, 1)]
        assert row["area"] == pytest.approx(sum(areas) / 2)
    strata = pd.read_csv(folder / "by_lesion_size.csv").query("score == 'sensitivity'")
    assert strata.groupby("low_mm3")["n_patients"].max().to_dict() == {0: 0, 10: 3, 50: 0, 250: 0}, "27 mm³ each"


def test_validation_is_judged_at_every_size(sweep, comparison, store_in):
    store, folder = store_in(sweep.folder), sweep.folder / "outputs" / "comparisons" / "first"
    table = pd.read_csv(folder / "comparison.csv")
    validation = table[table["score"] == "val/lesion_f1_one_to_one"].set_index(["quantity", "train_size"])["mean"]
    assert len(validation) == 4
    for (init, size), mean in validation.items():
        runs = [sweep.children[init, size, repeat].info.run_id for repeat in (0, 1)]
        assert mean == pytest.approx(
            sum(metric_maximum(store, run, "val/lesion_f1_one_to_one") or 0 for run in runs) / 2
        )
    behind = [size for size in (2, 4) if validation["pretrained", size] < validation["scratch", size]]
    for text in (comparison.out, (folder / "comparison.md").read_text()):
        for size in (2, 4):
            assert (f"Negative transfer at {size} training studies: " in text) == (size in behind)
        assert ("On validation pretrained is not behind scratch at any size." in text) == (not behind)


def test_a_trained_model_scores_as_it_did_in_its_run(sweep, cohort, artifacts, monkeypatch, capsys):
    run = sweep.children["pretrained", 4, 0]
    cases = pd.read_csv(artifacts(run) / "cases.csv", dtype={"subject": str})
    test = ",".join(f"'{subject}'" for subject in cases["subject"])
    sessions = cases.set_index("study")
    monkeypatch.chdir(sweep.folder)
    arguments = ["evaluate", f"checkpoint=runs:/{run.info.run_id}", f"dataset.root={cohort.root}", f"subjects=[{test}]"]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "output=scored", "trainer.precision=32-true", "trainer.window_overlap=0"])
    assert caught.value.code == 0
    again = pd.read_csv("scored/cases.csv", dtype={"subject": str}).set_index("study").loc[sessions.index]
    assert list(again["n_reference"]) == list(sessions["n_reference"])
    assert list(again["dice"]) == pytest.approx(list(sessions["dice"]), abs=1e-6)
    record = json.loads(Path("scored/scores.json").read_text())
    assert record["threshold"] == json.loads((artifacts(run) / "threshold.json").read_text())["threshold"]
    assert set(record) >= {"checkpoint", "weights", "test/dice"}
    out = capsys.readouterr().out
    assert (
        "A lesion counts from 3.0 mm³ (26-connected) and is found where one voxel of it overlaps the other side" in out
    )
    for path in (
        Path("scored") / name for name in ("cases.csv", "lesions.csv", "criteria.csv", "froc.csv", "scores.json")
    ):
        path.unlink()
    Path("scored").rmdir()


def test_the_repeats_of_a_sweep_and_a_registered_model_segment_a_scan(sweep, inside, cohort, store_in):
    scan = cohort.root / "sub-09" / "ses-1" / "anat" / "sub-09_ses-1_FLAIR.nii.gz"
    client, own = store_in(sweep.folder).client, [sweep.children["pretrained", 4, repeat] for repeat in (0, 1)]
    client.create_registered_model("lesions")
    client.create_model_version("lesions", f"runs:/{own[0].info.run_id}/model", own[0].info.run_id)
    exact, found = ("trainer.precision=32-true", "trainer.window_overlap=0"), {}
    models = [*(f"runs:/{run.info.run_id}" for run in own), "sweep:first/pretrained/4", "models:/lesions/1"]
    for number, model in enumerate(models):
        folder = sweep.folder / f"predicted{number}"
        done = inside(sweep.folder, "predict", f"model={model}", f"flair={scan}", f"output={folder.name}", *exact)
        assert done.code == 0, done.err
        names = ("prob", "disagreement")
        files = {name: folder / f"sub-09_ses-1_FLAIR_label-lesion_{name}.nii.gz" for name in names}
        found[number] = {name: np.asarray(nib.load(file).dataobj) for name, file in files.items() if file.exists()}
        shutil.rmtree(folder)
    first, second, both, registered = (found[number] for number in range(4))
    np.testing.assert_allclose(both["prob"], (first["prob"] + second["prob"]) / 2, atol=1e-6)
    np.testing.assert_allclose(both["disagreement"], np.abs(first["prob"] - second["prob"]) / 2, atol=1e-6)
    assert "disagreement" not in first
    np.testing.assert_array_equal(registered["prob"], first["prob"])


@pytest.mark.slow
def test_the_comparison_under_another_rule_is_that_of_the_stored_predictions(sweep, inside, artifacts):
    # the last one, since it logs another comparison to the parent run
    rule = ("arms=[pretrained,scratch]", "criterion=iou_0.5", "output=strict")
    done = inside(sweep.folder, "compare", "sweep=first", *rule)
    assert done.code == 0, done.err
    table = pd.read_csv(sweep.folder / "strict" / "patients.csv").query("score == 'lesion_sensitivity'")
    for (init, size), rows in table.groupby(["arm", "train_size"]):
        runs = [artifacts(sweep.children[init, size, repeat]) / "criteria.csv" for repeat in (0, 1)]
        own = pd.concat(map(pd.read_csv, runs)).query("criterion == 'iou_0.5'").groupby("subject")["sensitivity"].mean()
        assert rows.set_index("patient")["value"].to_dict() == pytest.approx(own.to_dict())
    assert "FROC, PPV at matched sensitivity and pictures are of the rule of the runs themselves." in done.out
    larger = inside(sweep.folder, "compare", "sweep=first", "min_volume=28", "output=strict")
    assert larger.code == 0, larger.err
    assert "With 2 training studies no test patient has a score." in larger.out
