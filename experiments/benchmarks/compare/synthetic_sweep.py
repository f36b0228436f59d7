"""A finished sweep that no network was trained for: runs in a real MLflow store, with files as a run leaves them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lesionseg.config.compose import Request, compose_jobs
from lesionseg.config.schema import TrainConfig
from lesionseg.tracking.mlflow_store import HASH_TAG, KIND_TAG, SWEEP_TAG, Store, start_run
from lesionseg.tracking.sweep import close_sweep, sweep_parent

THRESHOLD = 0.5


@dataclass(frozen=True)
class Grid:
    """What the sweep holds.

    Attributes:
        arms: values of init; the first one is without a source.
        sizes: training studies.
        n_repeats: of each arm and size.
        n_patients: in the test part, each with one study.
        n_lesions: reference lesions of a patient on average; the last patient has none.
    """

    arms: Sequence[str] = ("scratch", "pretrained")
    sizes: Sequence[int] = (2, 5, 10, 20)
    n_repeats: int = 3
    n_patients: int = 12
    n_lesions: int = 20

    @property
    def runs(self) -> list[tuple[str, int, int]]:
        """init, train_size and repeat of every run."""
        return list(product(self.arms, self.sizes, range(self.n_repeats)))


def make_sweep(store: Store, sweep: str, grid: Grid, unfinished: int = 0) -> None:
    """Put a sweep into a store.

    Args:
        store: open for writing.
        sweep: its name.
        grid: what it holds.
        unfinished: so many of the last runs are still running.
    """
    parent = sweep_parent(store, sweep)
    base = _base_config(sweep)
    runs = grid.runs
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number, (arm, size, repeat) in enumerate(runs):
            config = _config(base, arm, size, repeat)
            digest = sha256(f"{sweep}/{arm}/{size}/{repeat}".encode()).hexdigest()
            params = {
                **{"task": config["task"]["name"], "dataset": config["dataset"]["name"], "model": "unet", "init": arm},
                **{"train_size": size, "repeat": repeat, "seed": repeat, "steps": config["trainer"]["steps"]},
                **{"batch_size": config["trainer"]["batch_size"], "learning_rate": config["optim"]["learning_rate"]},
            }
            tags = {SWEEP_TAG: sweep, HASH_TAG: digest, KIND_TAG: "run"}
            run = start_run(store, f"{arm}-n{size}-r{repeat}", tags, parent)
            run.log_params({key: str(value) for key, value in params.items()})
            if number >= len(runs) - unfinished:
                continue
            quality = 0.25 + 0.12 * np.log(size) + (0.25 if arm != grid.arms[0] else 0.0)
            monitor = config["metrics"]["monitor"]
            run.log_metrics([(step, step, monitor, float(quality * (0.8 + 0.05 * step))) for step in range(5)])
            for file in write_files(folder, config, grid, quality, repeat):
                run.log_file(file)
            run.set_status("FINISHED")
    close_sweep(store, store.lock.parent / "runs" / sweep)


def write_files(folder: Path, config: Mapping[str, Any], grid: Grid, quality: float, repeat: int) -> list[Path]:
    """The files of one run; cases, lesions and thresholds tell the same story."""
    arm, size = config["init"]["name"], config["train_size"]
    tables = _tables(grid, quality, np.random.default_rng([repeat, size, grid.arms.index(arm)]))
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, na_rep="nan")  # as runs write what is undefined
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))
    subjects = {"test": [_subject(number) for number in range(grid.n_patients)], "validation": ["v1", "v2"]}
    subjects["train"] = [f"t{number}" for number in range(size)]
    subjects["pool"] = [f"t{number}" for number in range(max(grid.sizes))]
    everyone = [name for part in ("test", "validation", "pool") for name in subjects[part]]
    split = {
        **{**subjects, "train_size": size, "sha256": sha256(f"{size}/{repeat}".encode()).hexdigest()},
        **{"seed": repeat, "repeat": repeat, "studies": {name: [f"sub-{name}"] for name in everyone}},
    }
    (folder / "split.json").write_text(json.dumps(split))
    (folder / "transfer_report.json").write_text(json.dumps(_transfer_report(arm != grid.arms[0])))
    return sorted(folder.iterdir())


def _base_config(sweep: str) -> dict[str, Any]:
    asked = ("dataset=bids", "dataset.root=/data", "train_size=2", f"sweep={sweep}")
    config = compose_jobs(Request("train", asked))[0][0].config
    assert isinstance(config, TrainConfig)
    return config.model_dump()


def _config(base: Mapping[str, Any], arm: str, size: int, repeat: int) -> dict[str, Any]:
    init = {**base["init"], "name": arm, **({} if arm == "scratch" else {"take": "all", "checkpoint": "source.ckpt"})}
    return {**base, "init": init, "train_size": size, "repeat": repeat}


def _subject(number: int) -> str:
    return f"{number + 1:03d}"


def _tables(grid: Grid, quality: float, random: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Each reference lesion appears at a threshold of its own, each false one too."""
    patients = np.random.default_rng(grid.n_patients)  # the same in every run
    cases: list[dict[str, Any]] = []
    lesions: list[pd.DataFrame] = []
    curves: list[pd.DataFrame] = []
    luck = random.normal(0, 0.15)
    for number in range(grid.n_patients):
        n_reference = max(1, patients.poisson(grid.n_lesions)) if number < grid.n_patients - 1 else 0
        volumes, ease = patients.lognormal(3.6, 1.2, n_reference), patients.normal(0, 0.5)
        logit = 4 * (quality - 0.5) + luck + ease + 0.5 * (np.log(volumes) - 3.6)
        true_at = 1 / (1 + np.exp(-logit - random.normal(0, 1.2, n_reference)))
        false_at = random.beta(1, 2 + 4 * quality, 4 * grid.n_lesions)
        false_volumes = random.lognormal(2.6, 0.8, false_at.size)
        found = true_at >= THRESHOLD
        n_false = int((false_at >= THRESHOLD).sum())
        subject, study = _subject(number), f"sub-{_subject(number)}"
        cases.append(
            {"study": study, "subject": subject, "session": "", **_case(n_reference, int(found.sum()), n_false)}
        )
        lesions.append(_lesion_rows(study, volumes, found, false_volumes[false_at >= THRESHOLD], random))
        curves.append(_curve_rows(study, true_at, false_at))
    tables = {"cases": pd.DataFrame(cases), "lesions": pd.concat(lesions), "froc": pd.concat(curves)}
    return {**tables, "criteria": tables["cases"][["study", "subject", "session"]].assign(criterion="own")}


def _case(n_reference: int, detected: int, n_false: int) -> dict[str, float]:
    n_prediction = detected + n_false
    sensitivity = detected / n_reference if n_reference else np.nan
    ppv = detected / n_prediction if n_prediction else (0.0 if n_reference else np.nan)
    f1 = 2 * sensitivity * ppv / (sensitivity + ppv) if sensitivity + ppv > 0 else 0.0
    others = ("dice", "voxel_sensitivity", "voxel_ppv", "cc_dice", "cc_dice_mm", "hd95_mm", "assd_mm", "nsd")
    return {
        **{"n_reference": n_reference, "n_prediction": n_prediction, "detected_reference": detected},
        **{"true_prediction": detected, "lesion_sensitivity": sensitivity, "lesion_ppv": ppv},
        **{"lesion_f1": f1 if n_reference else np.nan, "lesion_f1_counts": f1, **dict.fromkeys(others, f1 / 1.3)},
        **{"volume_reference_ml": 0.1 * n_reference, "volume_prediction_ml": 0.1 * n_prediction},
        **{"volume_difference_ml": 0.1 * (n_prediction - n_reference), "false_positives": n_false},
        **{"false_positive_volume_ml": 0.02 * n_false},
    }


def _lesion_rows(study: str, volumes: Any, found: Any, false_volumes: Any, random: np.random.Generator) -> pd.DataFrame:
    blocks = (
        ("reference", volumes, np.where(found, "detected", "missed")),
        ("prediction", np.concatenate([volumes[found], false_volumes]), None),
    )
    rows = []
    for side, volume, verdict in blocks:
        if verdict is None:
            verdict = np.array(["true"] * int(found.sum()) + ["false"] * false_volumes.size)
        place = random.random((volume.size, 8)) * 100
        extent = random.integers(1, 9, (volume.size, 3))
        rows.append(
            pd.DataFrame(
                {
                    **{"study": study, "side": side, "label": np.arange(1, volume.size + 1), "verdict": verdict},
                    **{
                        "volume_mm3": volume,
                        **dict(zip(("i", "j", "k", "x_mm", "y_mm", "z_mm"), place.T, strict=False)),
                    },
                    **dict(zip(("extent_i", "extent_j", "extent_k"), extent.T, strict=True)),
                    **{"mean_probability": place[:, 6] / 100, "max_probability": place[:, 7] / 100},
                    **{"dice": place[:, 6] / 100 if side == "reference" else np.nan, "touches": ""},
                }
            )
        )
    return pd.concat(rows)


def _curve_rows(study: str, true_at: Any, false_at: Any) -> pd.DataFrame:
    at = np.concatenate([true_at, false_at])
    order = np.argsort(-at)
    is_true = (np.arange(at.size) < true_at.size)[order]
    columns = {"study": study, "n_reference": true_at.size, "threshold": at[order]}
    counts = {"detected_reference": np.cumsum(is_true), "n_prediction": np.arange(1, at.size + 1)}
    return pd.DataFrame({**columns, **counts, "false_positives": np.cumsum(~is_true)})


def _transfer_report(pretrained: bool) -> dict[str, Any]:
    status = (
        {"status": "loaded", "loaded": 4000, "reason": ""}
        if pretrained
        else {"status": "fresh", "loaded": 0, "reason": ""}
    )
    parameters = [{"name": f"encoder.levels.{n}.weight", "count": 4000, **status} for n in range(100)]
    source = ("source.ckpt", sha256(b"source").hexdigest(), "flair_lesions") if pretrained else ("", "", "")
    return {
        **{"loaded_share": 1.0 if pretrained else 0.0, "tensors": {status["status"]: 100}},
        **dict(zip(("source", "source_digest", "source_task"), source, strict=True)),
        **{"source_inputs": ["flair"], "inputs": ["flair"], "parameters": parameters, "skipped": []},
        **{"differences": [], "taken_share": 1.0, "parts": {}, "strategy": {}, "trained": 400_000},
    }
