"""A trained model in other hands: as ONNX, and as an MLflow model in an environment without lesionseg."""

import base64
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from lesionseg.commands.export import save_mlflow_model
from lesionseg.models import IntensityThreshold, UNet3D
from lesionseg.transfer.checkpoint import METADATA_KEY, ModelCard

CARD = ModelCard(
    network={"_target_": "lesionseg.models.UNet3D", "in_channels": 1, "widths": [4, 8]},
    task="flair_lesions",
    inputs=["flair"],
    target="lesion",
    spacing=[1.0, 1.0, 1.0],
    patch_size=[16, 16, 16],
    normalisation="zscore_brain",
    threshold=0.5,
    matching={"_target_": "lesionseg.metrics.AnyOverlap", "connectivity": 26},
    min_lesion_volume=3.0,
    dataset="tiny",
    train_subjects=["01"],
    init="scratch",
)


def _checkpoint(path: Path, trained: torch.nn.Module, **changes: Any) -> Path:
    weights = {f"network.{name}": value for name, value in trained.state_dict().items()}
    torch.save({"state_dict": weights, METADATA_KEY: {**CARD.to_dict(), **changes}}, path)
    return path


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    return _checkpoint(tmp_path_factory.mktemp("unet") / "best.ckpt", UNet3D(1, widths=[4, 8]))


@pytest.fixture(scope="module")
def bundle(unet: Path, inside: Any) -> Path:
    """It, exported."""
    done = inside(unet.parent, "export", f"run={unet}", "output=bundle")
    assert done.code == 0, done.err
    return unet.parent / "bundle"


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow model of a threshold that finds the tiny cohort's lesions exactly."""
    folder = tmp_path_factory.mktemp("packaged")
    threshold = {"_target_": "lesionseg.models.IntensityThreshold"}
    checkpoint = _checkpoint(
        folder / "best.ckpt", IntensityThreshold(4.0, 1), network=threshold, patch_size=[32, 32, 32]
    )
    save_mlflow_model(folder / "model", checkpoint, CARD.inputs, "# a card", folder / "code")
    return folder / "model"


@pytest.fixture(scope="module")
def flair(cohort: Any) -> Path:
    return cohort.root / "sub-03" / "ses-1" / "anat" / "sub-03_ses-1_FLAIR.nii.gz"


@pytest.fixture(scope="module")
def reference(cohort: Any) -> np.ndarray:
    name = "sub-03/ses-1/anat/sub-03_ses-1_label-lesion_mask.nii.gz"
    return np.asarray(nib.load(cohort.root / "derivatives" / "lesions" / name).dataobj)


def _unpacked(mask: str) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(mask))).dataobj)


def test_onnx_predicts_what_the_checkpoint_does(unet, bundle, flair, inside, tmp_path):
    told = json.loads((bundle / "model.json").read_text())
    assert told["difference_from_pytorch"] <= 1e-3
    assert told["input"]["channels"] == ["flair"]
    assert told["output"]["threshold"] == 0.5
    maps, exact = {}, "trainer.precision=32-true"
    for model in (unet, bundle):
        done = inside(tmp_path, "predict", f"model={model}", f"flair={flair}", f"output=by-{model.name}", exact)
        assert done.code == 0, done.err
        (file,) = (tmp_path / f"by-{model.name}").glob("*_prob.nii.gz")
        maps[model] = np.asarray(nib.load(file).dataobj)
    np.testing.assert_allclose(maps[bundle], maps[unet], atol=1e-3)


def test_an_exported_file_that_was_changed_is_refused(bundle, flair, inside, tmp_path):
    shutil.copytree(bundle, tmp_path / "changed")
    with (tmp_path / "changed" / "model.onnx").open("ab") as stream:
        stream.write(b"more")
    done = inside(tmp_path, "predict", "model=changed", f"flair={flair}")
    assert done.code == 2
    assert "model.onnx is not the one that model.json describes" in done.err


def test_a_finished_run_leaves_a_model_of_mlflows_and_a_card(packaged):
    import mlflow.pyfunc

    loaded = mlflow.pyfunc.load_model(str(packaged))
    assert loaded.metadata.signature.inputs.input_names() == ["flair"]
    pins = (packaged / "requirements.txt").read_text().splitlines()
    assert f"torch=={torch.__version__.partition('+')[0]}" in pins
    assert all("==" in pin for pin in pins)
    assert (packaged / "data" / "best.ckpt").stat().st_nlink == 2


def test_paths_bytes_and_voxels_go_in_and_masks_and_lesions_come_out(packaged, flair, reference):
    import mlflow.pyfunc

    loaded, image = mlflow.pyfunc.load_model(str(packaged)), nib.load(flair)
    cells = [str(flair), base64.b64encode(flair.read_bytes()).decode(), (np.asarray(image.dataobj), image.affine)]
    found = loaded.predict(pd.DataFrame({"flair": cells}))
    masks = [_unpacked(found["mask"][0]), _unpacked(found["mask"][1]), found["mask"][2]]
    for mask in masks:
        np.testing.assert_array_equal(mask, reference)
    assert [[lesion["volume_mm3"] for lesion in lesions] for lesions in found["lesions"]] == [[27.0] * 3] * 3


ELSEWHERE = """
import sys
sys.path = [path for path in sys.path if path] + [sys.argv[1]]
import importlib.util
found = importlib.util.find_spec("lesionseg")
assert found is None or found.loader is None, "no more than its conf is there"
import mlflow.pyfunc, pandas
found = mlflow.pyfunc.load_model(sys.argv[2]).predict(pandas.DataFrame({"flair": [sys.argv[3]]}))
print(len(found["lesions"][0]))
"""


@pytest.mark.slow
def test_it_is_loaded_where_lesionseg_is_not_installed(packaged, flair, environment, tmp_path):
    packages = str(Path(torch.__file__).parents[1])
    command = [sys.executable, "-S", "-P", "-c", ELSEWHERE, packages, str(packaged), str(flair)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "3"


@pytest.mark.slow
def test_it_is_served(packaged, flair, reference, environment, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(packaged), "-p", str(port)]
    path = {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--env-manager", "local"],
            env={**environment, **path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        body = json.dumps({"dataframe_split": {"columns": ["flair"], "data": [[str(flair)]]}}).encode()
        request = Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
        until = time.monotonic() + 120
        while True:
            try:
                with urlopen(request, timeout=60) as answer:
                    (row,) = json.load(answer)["predictions"]
                break
            except URLError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < until, (tmp_path / "log").read_text()
                time.sleep(0.5)
        np.testing.assert_array_equal(_unpacked(row["mask"]), reference)
        assert len(row["lesions"]) == 3
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
