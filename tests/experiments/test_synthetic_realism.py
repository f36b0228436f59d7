"""The numbers and pictures that tell whether a synthetic cohort looks like real scans, on drawn cohorts of boxes."""

import importlib.util
import subprocess
import sys
from itertools import pairwise
from math import isnan, log
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from lesionseg.errors import InputError

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


def test_a_box_has_the_ratios_of_its_edges_in_mm(lesions):
    mask = np.zeros((12, 12, 12), dtype=np.uint8)
    mask[1:5, 1:5, 1:3] = 1  # 8 × 4 × 2 mm
    mask[9, 9, 9] = 1
    found = lesions.measure_lesions(mask, (2.0, 1.0, 1.0))
    np.testing.assert_array_equal(found.voxels, [32, 1])
    np.testing.assert_allclose(found.volume_mm3, [64, 2])
    np.testing.assert_allclose(found.axis_ratios, [[2, 2], [2, 1]])
    assert np.isnan(found.contrast).all()


def test_a_tilted_box_keeps_its_long_axis(lesions):
    mask = np.zeros((20, 20, 20), dtype=np.uint8)
    for step in range(15):
        mask[step + 1, step + 1, 5:7] = 1
    (ratios,) = lesions.measure_lesions(mask, (1.0, 1.0, 1.0)).axis_ratios
    variances = np.sort([2 * (15**2 - 1) / 12 + 1 / 12, 4 / 12, 1 / 12])[::-1]
    np.testing.assert_allclose(ratios, [(first / second) ** 0.5 for first, second in pairwise(variances)])


def test_voxels_that_share_a_corner_are_one_lesion(lesions):
    mask = np.zeros((4, 4, 4), dtype=np.uint8)
    mask[1, 1, 1] = mask[2, 2, 2] = 1
    np.testing.assert_array_equal(lesions.measure_lesions(mask, (1.0, 1.0, 1.0)).voxels, [2])


def test_contrast_is_inside_minus_around_in_sd_of_the_brain(lesions):
    mask, image = boxes([(8, 4, 2)]), cube()
    image[mask > 0] = 160
    share = 64 / 34**3
    expected = 60 / (60 * (share * (1 - share)) ** 0.5)
    found = lesions.measure_lesions(mask, (1.0, 1.0, 1.0), image, image > 0)
    np.testing.assert_allclose(found.contrast, [expected], rtol=1e-5)


def test_neither_background_nor_other_lesions_nor_what_touches_these_are_around(lesions):
    image, mask = cube(), np.zeros((SIDE, SIDE, SIDE), dtype=np.uint8)
    mask[INSIDE, INSIDE, 3] = 1  # at the brain's edge, half of its surroundings is background
    mask[INSIDE, INSIDE, 6:37] = 1  # leaves of the gap's two slices the one that touches it not
    image[..., 5] = np.where(image[..., 5] > 0, 500, 0)
    labels = mask.astype(np.int32)
    labels[..., 6:] *= 2
    thin, _ = lesions.lesion_contrasts(labels, 2, image, image > 0)
    assert thin == pytest.approx(0, abs=1e-9)


def test_contrast_is_nan_where_nothing_is_around(lesions):
    image = cube()
    found = lesions.measure_lesions((image > 0).astype(np.uint8), (1.0, 1.0, 1.0), image, image > 0)
    assert np.isnan(found.contrast).all()


def test_noise_is_the_residual_against_the_six_neighbours(lesions):
    signs = (-1.0) ** np.indices((SIDE, SIDE, SIDE)).sum(axis=0)
    brain = cube() > 0
    assert lesions.noise_share(np.where(brain, 100 + 10 * signs, 0), brain) == pytest.approx(0.2, rel=1e-6)
    white = 100 + np.random.default_rng(0).normal(0, 5, brain.shape)
    assert lesions.noise_share(np.where(brain, white, 0), brain) == pytest.approx(0.73 * 0.05, rel=0.02)
    assert isnan(lesions.noise_share(cube(), np.zeros_like(brain)))


def test_few_lesions_hold_most_of_the_volume(summary):
    volumes = np.array([10.0, 71.0, 10.0, 9.0])
    assert summary.share_that_holds(volumes, 0.71) == 0.25
    assert summary.share_that_holds(volumes, 0.72) == 0.5
    assert summary.held_by_largest(volumes, 0.016) == 0.71, "at least one lesion"
    assert summary.held_by_largest(volumes, 0.5) == 0.81
    assert isnan(summary.share_that_holds(np.array([]), 0.71))


def test_rank_correlation_needs_three_patients_that_differ(summary):
    assert summary.rank_correlation(pd.Series([1, 2, 3]), pd.Series([5.0, 50.0, 51.0])) == pytest.approx(1)
    assert isnan(summary.rank_correlation(pd.Series([1, 2]), pd.Series([5.0, 50.0])))
    assert isnan(summary.rank_correlation(pd.Series([1, 1, 1]), pd.Series([5.0, 50.0, 51.0])))


def test_contrast_by_volume_band_and_by_voxel(summary):
    patients = pd.DataFrame({"count": [3], "load_ml": [0.0], "brain_ml": [1.0], "noise": [0.1]})
    lesions = pd.DataFrame({"voxels": [9, 10, 31], "volume_mm3": [9.0, 10.0, 31.0], "contrast": [1.0, 2.0, 3.0]})
    lesions[["axis_ratio_first_second", "axis_ratio_second_third"]] = [[9.0, 9.0], [2.0, 1.0], [4.0, 1.0]]
    numbers = summary.summarise(patients, lesions)
    assert [numbers[f"contrast_{band}"] for band in summary.BANDS][:3] == [1, 2, 3]
    assert isnan(numbers["contrast_from_1000_mm3"])
    assert numbers["contrast_voxel_mean"] == pytest.approx((9 + 20 + 93) / 50)
    assert numbers["axis_ratio_first_second"] == 3, "lesions of 10 voxels and more"


def test_large_numbers_are_written_out_and_undefined_ones_are_a_dash(summary):
    volumes = {"volume_mm3_median": 12345.6, "volume_mm3_p25": 1.0, "volume_mm3_p75": float("nan")}
    assert "| volume, mm³: median (IQR)                     | –" in summary.table_of({"one": volumes})
    volumes["volume_mm3_p75"] = 0.12345
    assert "| 12,300 (1–0.123) |" in summary.table_of({"one": volumes})


def test_every_published_number_stands_in_the_table(summary):
    table = summary.table_of({"none": {}})
    for cell in ("85 (30–116; 17–390)", "13.5 (1.6–27.4; 0.3–51)", "15 (5–44)", "2,268", "2.80, 1.65", "1.6, 1.4"):
        assert f"| {cell} " in table
    for cell in ("0.69", "38 %", "77 %", "1.6 %", "71 %", "1.3–1.9"):
        assert f"| {cell} " in table


@pytest.fixture(scope="module")
def measured(cohort, flair_cohort, tmp_path_factory) -> tuple[str, Path]:
    output = tmp_path_factory.mktemp("measured")
    done = run("measure.py", f"drawn={cohort}", flair_cohort, "--output", output)
    assert done.returncode == 0, done.stderr
    return done.stdout, output


def test_measure_gives_what_was_drawn(measured, flair_cohort):
    numbers = pd.read_csv(measured[1] / "statistics.csv", index_col="statistic")
    assert list(numbers.columns) == ["drawn", flair_cohort.name, "30 patients"]
    drawn, volumes = numbers["drawn"], [64, 64, 8, 1]
    logs = pd.Series([log(volume) for volume in volumes])
    expected = {
        "patients": 2,
        "count_median": 2,
        "count_min": 1,
        "count_max": 3,
        "load_ml_median": (0.064 + 0.073) / 2,
        "volume_mm3_median": 36,
        "ln_volume_mean": logs.mean(),
        "ln_volume_sd": logs.std(),
        "below_10_mm3_percent": 50,
        "below_50_mm3_percent": 50,
        "percent_of_lesions_holding_71_percent": 50,
        "percent_of_volume_in_largest_lesions": 100 * 64 / 137,
        "axis_ratio_first_second": 2,
        "axis_ratio_second_third": 2,
        "brain_ml_median": 34**3 / 1000,
        "noise_percent": 0,
        "contrast_30_to_100_mm3": np.mean([(share * (1 - share)) ** -0.5 for share in (73 / 34**3, 64 / 34**3)]),
    }
    np.testing.assert_allclose(drawn[list(expected)], list(expected.values()), rtol=1e-5, atol=1e-9)
    assert np.isnan(drawn[["count_load_rank_correlation", "contrast_from_1000_mm3"]]).all()
    np.testing.assert_allclose(drawn, numbers[flair_cohort.name], err_msg="other contrasts change nothing")
    assert numbers.loc["count_median", "30 patients"] == 85


def test_measure_writes_table_and_figure(measured):
    table, output = measured
    text = (output / "statistics.md").read_text(encoding="utf-8")
    assert text.startswith(table.strip()), "what is printed is what is written"
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:5]] for line in table.splitlines()}
    assert cells["lesions per patient: median (IQR; range)"] == ["2 (1.5–2.5; 1–3)"] * 2 + ["85 (30–116; 17–390)"]
    assert cells["lesions below 10 mm³"] == ["50 %", "50 %", "38 %"]
    assert cells["rank correlation of count and load"] == ["–", "–", "0.69"]
    assert imread(output / "statistics.png").shape[1] > 1000


def test_cohorts_are_called_by_name_or_folder(cohort):
    files = load_script("cohort_files")
    assert files.split_name(f"drawn={cohort}") == ("drawn", cohort)
    assert files.split_name(str(cohort)) == (cohort.name, cohort)
    with pytest.raises(InputError, match="Cohorts must have different names, found drawn, drawn: write NAME=FOLDER"):
        files.read_cohorts([f"drawn={cohort}", f"drawn={cohort}"])


def test_measure_says_which_mask_does_not_fit(tmp_path):
    anat = Path("sub-01", "ses-1", "anat")
    save(tmp_path / anat / "sub-01_ses-1_FLAIR.nii.gz", cube())
    mask = "sub-01_ses-1_label-lesion_mask.nii.gz"
    save(tmp_path / "derivatives" / "lesions" / anat / mask, boxes(EDGES["01"])[:20])
    done = run("measure.py", tmp_path, "--output", tmp_path)
    assert done.returncode == 1
    assert "sub-01_ses-1" in done.stderr
    assert "different grids" in done.stderr


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


def test_pictures_without_anything_but_flair(flair_cohort, tmp_path):
    done = run("pictures.py", "--synthetic", flair_cohort, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"flair_lesions.png", "new_lesions.png", "contrasts.png"}
    assert "No folder of real scans was given; left out." in done.stdout
    assert "synthetic: no session with t1, t1_post and any enhancing_lesion" in done.stdout
    assert "enhancing_lesions.png: nothing to show, not written." in done.stdout
