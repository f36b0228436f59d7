"""The numbers and pictures that tell whether a synthetic cohort looks like real scans, on drawn cohorts of boxes."""

import importlib.util
import subprocess
import sys
from math import isnan
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

FOLDER = Path(__file__).parents[2] / "experiments" / "synthetic_realism"
SIDE = 40
INSIDE = slice(3, 37)  # the brain is a cube
EDGES = {  # of each subject's lesions in mm, which are voxels
    "01": [(8, 4, 2), (2, 2, 2), (1, 1, 1)],
    "02": [(8, 4, 2)],
}
NEW = (slice(28, 31), slice(28, 31), slice(28, 31))


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lesions() -> ModuleType:
    return load_script("lesions")


@pytest.fixture(scope="module")
def summary() -> ModuleType:
    return load_script("summary")


def cube(brain_value: float = 100.0) -> np.ndarray:
    volume = np.zeros((SIDE, SIDE, SIDE), dtype=np.float32)
    volume[INSIDE, INSIDE, INSIDE] = brain_value
    return volume


def boxes(edges: list[tuple[int, int, int]]) -> np.ndarray:
    """Apart by more than the shell that they are compared with."""
    mask = np.zeros((SIDE, SIDE, SIDE), dtype=np.uint8)
    for number, (x, y, z) in enumerate(edges):
        start = 8 + 10 * number
        mask[8 : 8 + x, 8 : 8 + y, start : start + z] = 1
    return mask


def save(path: Path, volume: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, np.diag([-1.0, 1.0, 1.0, 1.0])), path)


def draw_cohort(root: Path, contrasts: tuple[str, ...]) -> Path:
    """Two subjects of two sessions; the second brings a new lesion, which enhances."""
    ramp = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None]
    for subject, edges in EDGES.items():
        for session in ("1", "2"):
            stem, anat = f"sub-{subject}_ses-{session}", Path(f"sub-{subject}", f"ses-{session}", "anat")
            lesion, new = boxes(edges), np.zeros((SIDE, SIDE, SIDE), dtype=np.uint8)
            if session == "2":
                new[NEW] = 1
            masks = {"lesion": lesion | new, "enhancing": new} | ({"newlesion": new} if session == "2" else {})
            for contrast in contrasts:
                image = cube() + 60 * (lesion | new)
                image += ramp * (cube() > 0) if contrast != "FLAIR" else 0
                save(root / anat / f"{stem}_{contrast}.nii.gz", image)
            for label, mask in masks.items():
                save(root / "derivatives" / "lesions" / anat / f"{stem}_label-{label}_mask.nii.gz", mask)
    sites = pd.DataFrame({"participant_id": ["sub-01", "sub-02"], "site": ["A", "B"]})
    sites.to_csv(root / "participants.tsv", sep="\t", index=False)
    return root


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_cohort(tmp_path_factory.mktemp("synthetic"), ("FLAIR", "T1w", "ce-gadolinium_T1w"))


@pytest.fixture(scope="module")
def flair_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_cohort(tmp_path_factory.mktemp("semireal"), ("FLAIR",))


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(FOLDER / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_contrast_is_inside_minus_around_in_sd_of_the_brain(lesions):
    mask, image = boxes([(8, 4, 2)]), cube()
    image[mask > 0] = 160
    share = 64 / 34**3
    expected = 60 / (60 * (share * (1 - share)) ** 0.5)
    found = lesions.measure_lesions(mask, (1.0, 1.0, 1.0), image, image > 0)
    np.testing.assert_allclose(found.contrast, [expected], rtol=1e-5)


def test_noise_is_the_residual_against_the_six_neighbours(lesions):
    signs = (-1.0) ** np.indices((SIDE, SIDE, SIDE)).sum(axis=0)
    brain = cube() > 0
    assert lesions.noise_share(np.where(brain, 100 + 10 * signs, 0), brain) == pytest.approx(0.2, rel=1e-6)
    white = 100 + np.random.default_rng(0).normal(0, 5, brain.shape)
    assert lesions.noise_share(np.where(brain, white, 0), brain) == pytest.approx(0.73 * 0.05, rel=0.02)
    assert isnan(lesions.noise_share(cube(), np.zeros_like(brain)))


@pytest.fixture(scope="module")
def measured(cohort, flair_cohort, tmp_path_factory) -> tuple[str, Path]:
    output = tmp_path_factory.mktemp("measured")
    done = run("measure.py", f"drawn={cohort}", flair_cohort, "--output", output)
    assert done.returncode == 0, done.stderr
    return done.stdout, output


def test_measure_writes_table_and_figure(measured):
    table, output = measured
    text = (output / "statistics.md").read_text(encoding="utf-8")
    assert text.startswith(table.strip()), "what is printed is what is written"
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:5]] for line in table.splitlines()}
    assert cells["lesions per patient: median (IQR; range)"] == ["2 (1.5–2.5; 1–3)"] * 2 + ["85 (30–116; 17–390)"]
    assert cells["lesions below 10 mm³"] == ["50 %", "50 %", "38 %"]
    assert cells["rank correlation of count and load"] == ["–", "–", "0.69"]
    assert imread(output / "statistics.png").shape[1] > 1000


def test_pictures_of_what_there_is_and_a_sentence_on_the_rest(cohort, flair_cohort, tmp_path):
    folders = ("--synthetic", cohort, "--real", cohort, "--semireal", flair_cohort)
    done = run("pictures.py", *folders, "--source", f"boxes={cohort}", f"flair={flair_cohort}", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    names = {"flair_lesions.png", "new_lesions.png", "enhancing_lesions.png", "contrasts.png", "sources.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert f"synthetic: no t2 in {cohort}; left out." in done.stdout
    assert f"flair: no t1_post in {flair_cohort}; left out." in done.stdout
    outlined = imread(tmp_path / "flair_lesions.png")[..., :3]
    assert (np.ptp(outlined, axis=-1) > 0.5).any(), "an outline is coloured"
