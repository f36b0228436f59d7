"""The synthetic cohort: its files, its masks, and whether it is as hard as it says."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from lesionseg.data.synthetic import Pathology, make_cohort
from lesionseg.errors import InputError
from lesionseg.metrics.components import label_components

SHAPE, SPACING = (64, 72, 64), (1.5, 1.5, 1.5)
SUBJECTS = 10
NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Files:
    """Reads one subject of a cohort."""

    root: Path
    name: str

    def image(self, session: int, contrast: str = "FLAIR") -> npt.NDArray[np.float64]:
        stem = f"{self.name}_ses-{session}_{contrast}.nii.gz"
        return np.asarray(nib.load(self.root / self.name / f"ses-{session}/anat" / stem).dataobj, dtype=float)

    def mask(self, session: int, label: str = "lesion") -> npt.NDArray[np.bool_]:
        stem = f"{self.name}_ses-{session}_label-{label}_mask.nii.gz"
        folder = self.root / "derivatives/lesions" / self.name / f"ses-{session}/anat"
        return np.asarray(nib.load(folder / stem).dataobj) > 0

    def lesions(self) -> list[dict[str, Any]]:
        path = self.root / self.name / f"{self.name}_parameters.json"
        drawn: list[dict[str, Any]] = json.loads(path.read_text())["lesions"]
        return drawn


def make(root: Path, subjects: int, pathology: Pathology = "ms", seed: int = 4, **others: Any) -> None:
    make_cohort(
        root,
        **{"subjects": subjects, "seed": seed, "pathology": pathology, "shape": SHAPE, "spacing": SPACING} | others,
    )


def digests(root: Path) -> dict[str, str]:
    """What lies in a folder, the lock aside."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def brain_z(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    inside = image[image > 0]
    return np.where(image > 0, (image - inside.mean()) / inside.std(), -10)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ms")
    make(folder, SUBJECTS)
    return folder


@pytest.fixture(scope="module")
def cohort(root: Path) -> list[Files]:
    return [Files(root, f"sub-{index:03d}") for index in range(1, SUBJECTS + 1)]


def test_layout_types_and_background(root: Path, cohort: list[Files]) -> None:
    found = {str(path.relative_to(root)) for path in root.rglob("*sub-003*_*.*")}
    anat = "sub-003/ses-{0}/anat/sub-003_ses-{0}_"
    contrasts = ("FLAIR", "T1w", "ce-gadolinium_T1w")
    expected = {f"{anat.format(n)}{contrast}.nii.gz" for n in (1, 2) for contrast in contrasts}
    labels = ((1, "lesion"), (2, "lesion"), (2, "newlesion"), (1, "enhancing"), (2, "enhancing"))
    expected |= {f"derivatives/lesions/{anat.format(n)}label-{label}_mask.nii.gz" for n, label in labels}
    assert found == expected | {"sub-003/sub-003_parameters.json"}

    image = nib.load(root / f"{anat.format(1)}FLAIR.nii.gz")
    mask = nib.load(root / "derivatives/lesions" / f"{anat.format(1)}label-lesion_mask.nii.gz")
    assert image.shape == mask.shape == SHAPE
    assert image.header.get_zooms() == pytest.approx(SPACING)
    assert np.array_equal(image.affine, mask.affine)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert (image.get_data_dtype(), mask.get_data_dtype()) == (np.int16, np.uint8)
    brain = cohort[2].image(1) > 0
    assert all(np.array_equal(cohort[2].image(n, contrast) > 0, brain) for n in (1, 2) for contrast in contrasts)
    assert 0.35 < brain.mean() < 0.6
    assert not brain[0].any()
    assert not brain[..., -1].any()

    assert json.loads((root / "dataset_description.json").read_text())["DatasetType"] == "raw"
    derived = json.loads((root / "derivatives/lesions/dataset_description.json").read_text())
    assert derived["DatasetType"] == "derivative"
    rows = [line.split("\t") for line in (root / "participants.tsv").read_text().splitlines()]
    assert rows[0][:2] == ["participant_id", "site"]
    assert [row[0] for row in rows[1:]] == [files.name for files in cohort]
    assert {row[1] for row in rows[1:]} == {"A", "B", "C"}
    drawn = [sum(lesion["session"] == 1 for lesion in files.lesions()) for files in cohort]
    assert [int(row[3]) for row in rows[1:]] == drawn


def test_broken_off_run_ends_in_the_same_bytes(root: Path, tmp_path: Path) -> None:
    whole = digests(root)
    make(tmp_path, 1)  # a smaller cohort is contained in the larger one
    stale = tmp_path / ".partial-sub-002" / "images"
    stale.mkdir(parents=True)
    (stale / "half.nii.gz").write_bytes(b"half")
    orphan = tmp_path / "derivatives/lesions/sub-002"  # masks renamed, killed before the images
    orphan.mkdir()
    (orphan / "old.nii.gz").write_bytes(b"old")
    untouched = (tmp_path / "sub-001/sub-001_parameters.json").stat().st_mtime_ns
    calls: list[tuple[int, int]] = []
    make(tmp_path, SUBJECTS, progress=lambda done, total: calls.append((done, total)))
    assert digests(tmp_path) == whole
    assert calls == [(index, SUBJECTS) for index in range(1, SUBJECTS + 1)]
    assert (tmp_path / "sub-001/sub-001_parameters.json").stat().st_mtime_ns == untouched
    assert not list(tmp_path.glob(".partial-*"))


def test_killed_while_writing_leaves_no_half_subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole"
    make(whole, 1, "infarct")
    rename = Path.rename
    broken = tmp_path / "broken"

    def killed(self: Path, target: Path) -> Path:
        if target.name == "sub-s001" and target.parent == broken:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            make(broken, 1, "infarct")
    assert not (broken / "sub-s001").exists()
    make(broken, 1, "infarct")
    assert digests(broken) == digests(whole)


def test_other_settings_are_never_mixed_into_a_cohort(root: Path) -> None:
    before = digests(root)
    with pytest.raises(InputError, match=r"already holds another dataset.*'seed': 4.*'seed': 5.*delete the folder"):
        make(root, SUBJECTS, seed=5)
    assert digests(root) == before


def test_every_fault_of_the_arguments_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        make(tmp_path, 0, seed=-1, pathology="tumour", shape=(64, 20, 64), spacing=(1, 0, 1))  # type: ignore[arg-type]
    assert [fault.split()[0] for fault in caught.value.faults] == [
        "subjects",
        "seed",
        "pathology",
        "shape",
        "spacing",
    ]
    assert "choose one of ms, infarct" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_masks_hold_the_lesions_that_were_drawn(cohort: list[Files]) -> None:
    for files in cohort:
        for session in (1, 2):
            labels, count = label_components(files.mask(session))
            drawn = [lesion for lesion in files.lesions() if lesion["session"] <= session]
            sizes = np.bincount(labels.ravel())[1:]
            assert count == len(drawn)
            assert sorted(sizes) == sorted(lesion["voxels"] for lesion in drawn)
            assert sizes.min() >= 3
            enhancing = [lesion for lesion in drawn if session in lesion["enhancing"]]
            assert label_components(files.mask(session, "enhancing"))[1] == len(enhancing)
            assert not (files.mask(session, "enhancing") & ~files.mask(session)).any()


def test_new_lesions_are_what_session_two_adds(cohort: list[Files]) -> None:
    counts = []
    for files in cohort:
        prior, current, new = files.mask(1), files.mask(2), files.mask(2, "newlesion")
        assert np.array_equal(new, current & ~prior)
        assert not (prior & ~current).any()
        counts.append(label_components(new)[1])
        assert counts[-1] == sum(lesion["session"] == 2 for lesion in files.lesions())
    assert 1 <= counts.count(0) <= 0.4 * SUBJECTS


def test_counts_and_volumes_are_heavy_tailed(cohort: list[Files]) -> None:
    counts = [label_components(files.mask(1))[1] for files in cohort]
    volumes = [lesion["voxels"] * 1.5**3 for files in cohort for lesion in files.lesions()]
    assert 15 <= np.median(counts) <= 40
    assert min(counts) >= 5
    assert max(counts) <= 120
    assert 18 <= np.median(volumes) <= 38
    assert 0.7 <= np.std(np.log(volumes)) <= 1.3
    assert np.max(volumes) > 10 * np.median(volumes)


def lesion_contrasts(files: Files) -> Iterator[float]:
    """Inside minus the median around, in SD of the brain, for every lesion of session 1."""
    z, mask = brain_z(files.image(1)), files.mask(1)
    labels, _ = label_components(mask)
    free = ~ndimage.binary_dilation(mask, NEIGHBOURS) & (z > -1)  # neither a lesion's halo nor fluid
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        wide = tuple(slice(max(0, side.start - 4), side.stop + 4) for side in box)
        inside = labels[wide] == label
        around = ndimage.binary_dilation(inside, NEIGHBOURS, iterations=4) & free[wide]
        yield float(z[wide][inside].mean() - np.median(z[wide][around]))


def test_lesions_are_brighter_than_their_surroundings_on_flair(cohort: list[Files]) -> None:
    for files in cohort:
        contrasts = list(lesion_contrasts(files))
        assert 1.0 <= np.mean(contrasts) <= 2.0
        assert np.mean(np.array(contrasts) > 0.5) > 0.9


def test_enhancing_lesions_light_up_after_gadolinium_only(cohort: list[Files]) -> None:
    active = [files for files in cohort if files.mask(1, "enhancing").any()]
    assert 0.2 * SUBJECTS <= len(active) <= 0.8 * SUBJECTS
    for files in active:
        lesion, enhancing = files.mask(1), files.mask(1, "enhancing")
        assert enhancing.sum() < 0.6 * lesion.sum()
        before, after = (brain_z(files.image(1, contrast)) for contrast in ("T1w", "ce-gadolinium_T1w"))
        gain = after - before
        assert gain[enhancing].mean() - gain[lesion & ~enhancing].mean() > 0.8
        assert before[enhancing].mean() < before[lesion & ~enhancing].mean() + 1


def test_subjects_seeds_and_pathologies_differ(cohort: list[Files], tmp_path: Path) -> None:
    make(tmp_path / "seed", 1, seed=5)
    make(tmp_path / "pathology", 1, "infarct")
    images = [files.image(1) for files in cohort]
    images.append(Files(tmp_path / "seed", "sub-001").image(1))
    images.append(Files(tmp_path / "pathology", "sub-s001").image(1))
    outlines = {(image > 0).tobytes() for image in images}
    assert len(outlines) == len(images)
    assert not np.array_equal(cohort[0].image(1), cohort[0].image(2))


def test_infarcts_are_few_and_large(tmp_path: Path) -> None:
    make(tmp_path, 4, "infarct", shape=(48, 56, 48), spacing=(3, 3, 3))
    assert not list(tmp_path.rglob("*T1w*"))
    volumes = []
    for index in range(1, 5):
        files = Files(tmp_path, f"sub-s{index:03d}")
        labels, count = label_components(files.mask(1))
        assert 1 <= count <= 6
        volumes += list(np.bincount(labels.ravel())[1:] * 27 / 1000)
        assert np.mean(list(lesion_contrasts(files))) > 1
    assert 0.8 <= np.median(volumes) <= 8
    assert max(volumes) < 30


def test_no_global_threshold_solves_it(cohort: list[Files]) -> None:
    """Lesionwise F1 of the best threshold on z-scored FLAIR, any overlap, over the whole cohort."""
    scans = [(brain_z(files.image(1)), *label_components(files.mask(1))) for files in cohort]
    scores = []
    for threshold in np.arange(1.0, 4.0, 0.25):
        hits = predicted = right = lesions = 0
        for z, reference, count in scans:
            prediction, found = label_components(z > threshold)
            both = (reference > 0) & (prediction > 0)
            hits += np.unique(reference[both]).size
            right += np.unique(prediction[both]).size
            lesions, predicted = lesions + count, predicted + found
        sensitivity, ppv = hits / lesions, right / max(predicted, 1)
        scores.append(2 * sensitivity * ppv / max(sensitivity + ppv, 1e-9))
    assert 0.03 < max(scores) < 0.45
