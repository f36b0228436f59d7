"""The files of a synthetic cohort: whole or absent, the same bytes always, and never mixed."""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import threadpool_info

from lesionseg.errors import InputError
from lesionseg.synthetic import cohort as module
from lesionseg.synthetic.cohort import VERSION, grid_of, make_cohort, subject_name
from lesionseg.synthetic.config import Pathology

SUBJECTS = 3


@pytest.fixture(scope="module")
def make(pathology: Callable[..., Pathology]) -> Callable[..., None]:
    """Makes a cohort: of MS on FLAIR, unless told otherwise."""

    def call(root: Path, subjects: int = 1, **others: Any) -> None:
        drawn = others.pop("pathology", None) or pathology("ms", "contrasts=[FLAIR]")
        make_cohort(root, subjects=subjects, seed=others.pop("seed", 4), pathology=drawn, **others)

    return call


@pytest.fixture(scope="module")
def root(make: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole cohort, made in this process; for reading only."""
    folder = tmp_path_factory.mktemp("ms")
    make(folder, SUBJECTS)
    return folder


def digests(root: Path) -> dict[str, str]:
    """What lies in a folder, the lock aside."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def fault(root: Path, make: Callable[..., None], **arguments: Any) -> str:
    """What is said against these arguments; the folder stays as it is."""
    before = digests(root)
    with pytest.raises(InputError) as caught:
        make(root, **arguments)
    assert digests(root) == before
    return str(caught.value)


def test_every_scan_and_mask_has_its_file_and_its_grid(
    make: Callable[..., None], pathology: Callable[..., Pathology], tmp_path: Path
) -> None:
    contrasts = ("FLAIR", "ce-gadolinium_T1w")
    drawn = pathology("ms", f"contrasts=[{','.join(contrasts)}]")
    make(tmp_path, pathology=drawn)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*sub-001*_*.*")}
    anat = "sub-001/ses-{0}/anat/sub-001_ses-{0}_"
    expected = {f"{anat.format(n)}{contrast}.nii.gz" for n in (1, 2) for contrast in contrasts}
    labels = ((1, "lesion"), (2, "lesion"), (2, "newlesion"), (1, "enhancing"), (2, "enhancing"))
    expected |= {f"derivatives/lesions/{anat.format(n)}label-{label}_mask.nii.gz" for n, label in labels}
    assert found == expected | {"sub-001/sub-001_parameters.json"}

    image = nib.load(tmp_path / f"{anat.format(1)}FLAIR.nii.gz")
    mask = nib.load(tmp_path / "derivatives/lesions" / f"{anat.format(1)}label-lesion_mask.nii.gz")
    assert image.shape == mask.shape == grid_of(drawn).shape
    assert image.header.get_zooms() == pytest.approx((4, 4, 4))
    assert np.array_equal(image.affine, mask.affine)
    assert image.affine @ [*(np.array(image.shape) - 1) / 2, 1] == pytest.approx([0, 0, 0, 1]), "0 is in the middle"
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert (image.get_data_dtype(), mask.get_data_dtype()) == (np.int16, np.uint8)
    assert set(np.unique(mask.dataobj)) == {0, 1}


def test_the_folder_says_how_it_was_made(root: Path, pathology: Callable[..., Pathology]) -> None:
    described = [json.loads((folder / "dataset_description.json").read_text()) for folder in _homes(root)]
    assert [content["DatasetType"] for content in described] == ["raw", "derivative"]
    settings = described[0]["GeneratedBy"][0]["Settings"]
    assert described[1]["GeneratedBy"][0]["Settings"] == settings
    assert settings["seed"] == 4
    assert Pathology.model_validate(settings["pathology"]) == pathology("ms", "contrasts=[FLAIR]")


def _homes(root: Path) -> tuple[Path, Path]:
    return root, root / "derivatives" / "lesions"


def test_participants_are_listed_with_what_was_drawn(root: Path) -> None:
    header, *rows = [line.split("\t") for line in (root / "participants.tsv").read_text().splitlines()]
    assert header == ["participant_id", "site", "slice_thickness_mm", "lesions", "new_lesions", "enhancing_lesions"]
    assert [row[0] for row in rows] == [f"sub-{index:03d}" for index in range(1, SUBJECTS + 1)]
    for name, site, thickness, *counts in rows:
        drawn = json.loads((root / name / f"{name}_parameters.json").read_text())
        (scanner,) = [entry for entry in drawn["pathology"]["sites"] if entry["name"] == site]
        assert float(thickness) == scanner["slice_mm"]
        sessions = [lesion["session"] for lesion in drawn["lesions"]]
        enhancing = [lesion for lesion in drawn["lesions"] if lesion["enhancing"]]
        assert [int(count) for count in counts] == [sessions.count(1), sessions.count(2), len(enhancing)]


@pytest.mark.parametrize(
    ("name", "subject"),
    [("ms", "sub-007"), ("infarct", "sub-infarct007"), ("small_vessel", "sub-smallvessel007")],
)
def test_cohorts_can_be_put_side_by_side(pathology: Callable[..., Pathology], name: str, subject: str) -> None:
    assert subject_name(pathology(name), 7) == subject


def test_the_number_of_workers_changes_no_byte(root: Path, make: Callable[..., None], tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    make(tmp_path, SUBJECTS, workers=2, progress=lambda *counts: calls.append(counts))
    assert digests(tmp_path) == digests(root)
    assert calls == [(done, SUBJECTS) for done in range(SUBJECTS + 1)]


def test_a_subject_is_made_by_one_thread(
    make: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    real = module.make_subject

    def spy(*arguments: Any) -> Any:
        threads.update(pool["num_threads"] for pool in threadpool_info())
        return real(*arguments)

    monkeypatch.setattr(module, "make_subject", spy)
    make(tmp_path)
    assert threads == {1}


def test_broken_off_run_ends_in_the_same_bytes(root: Path, make: Callable[..., None], tmp_path: Path) -> None:
    make(tmp_path, 1)  # a smaller cohort is contained in the larger one
    stale = tmp_path / ".partial-sub-002" / "images"
    stale.mkdir(parents=True)
    (stale / "half.nii.gz").write_bytes(b"half")
    orphan = tmp_path / "derivatives/lesions/sub-002"  # masks renamed, killed before the images
    orphan.mkdir()
    (orphan / "old.nii.gz").write_bytes(b"old")
    shutil.rmtree(tmp_path / "derivatives/lesions/sub-001")
    make(tmp_path, 1)  # what lacks its masks is made again
    untouched = (tmp_path / "sub-001/sub-001_parameters.json").stat().st_mtime_ns
    calls: list[tuple[int, int]] = []
    make(tmp_path, SUBJECTS, progress=lambda *counts: calls.append(counts))
    assert digests(tmp_path) == digests(root)
    assert calls == [(done, SUBJECTS) for done in range(1, SUBJECTS + 1)], "first comes what was there already"
    assert (tmp_path / "sub-001/sub-001_parameters.json").stat().st_mtime_ns == untouched
    assert not list(tmp_path.glob(".partial-*"))


@pytest.mark.parametrize("last", ["masks", "images"])
def test_killed_while_writing_leaves_no_half_subject(
    root: Path, make: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self.name == last and target.name == "sub-002":
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path, SUBJECTS)
    for home in _homes(tmp_path):
        assert [path.name for path in home.glob("sub-*")] == ["sub-001"]
    assert not list(tmp_path.glob(".partial-*"))
    assert len((tmp_path / "participants.tsv").read_text().splitlines()) == 2, "those who are there are listed"
    make(tmp_path, SUBJECTS)
    assert digests(tmp_path) == digests(root)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_subject_that_fails_is_named_and_the_others_remain(
    root: Path, make: Callable[..., None], tmp_path: Path, workers: int
) -> None:
    make(tmp_path, 1)
    (tmp_path / "sub-003").write_text("in the way")
    with pytest.raises(RuntimeError, match=r"^sub-003 failed: NotADirectoryError: .*/sub-003"):
        make(tmp_path, SUBJECTS, workers=workers)
    there = [path.name for path in tmp_path.glob("sub-*") if path.is_dir()]
    assert "sub-001" in there
    assert sorted(path.name for path in _homes(tmp_path)[1].glob("sub-*")) == sorted(there)
    assert not list(tmp_path.glob(".partial-*"))
    (tmp_path / "sub-003").unlink()
    make(tmp_path, SUBJECTS)
    assert digests(tmp_path) == digests(root)


def test_what_a_user_can_mend_is_told_with_the_subject(
    make: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> Any:
        raise InputError(["too large", "too bright"])

    monkeypatch.setattr(module, "make_subject", refuse)
    with pytest.raises(InputError) as caught:
        make(tmp_path)
    assert caught.value.faults == ("sub-001: too large", "sub-001: too bright")


def test_workers_that_the_system_ends_are_told(root: Path, make: Callable[..., None], tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        if done == 1:
            for worker in list(get_reusable_executor(reuse=True)._processes):
                os.kill(worker, signal.SIGKILL)

    with pytest.raises(
        InputError, match=r"^workers is 2: a process was ended .* memory did not suffice; ask for fewer"
    ):
        make(tmp_path, 40, workers=2, progress=kill)
    make(tmp_path, SUBJECTS)
    whole = digests(root)
    whole.pop("participants.tsv")  # it may be that more were done
    assert whole.items() <= digests(tmp_path).items()


def test_subjects_seeds_and_pathologies_differ(
    root: Path, make: Callable[..., None], pathology: Callable[..., Pathology], tmp_path: Path
) -> None:
    make(tmp_path / "seed", seed=5)
    make(tmp_path / "pathology", pathology=pathology("infarct"))
    files = [*root.rglob("*_ses-1_FLAIR.nii.gz"), *tmp_path.rglob("*_ses-1_FLAIR.nii.gz")]
    assert len({(np.asarray(nib.load(file).dataobj) > 0).tobytes() for file in files}) == SUBJECTS + 2


@pytest.mark.parametrize(
    ("overrides", "seed", "told"),
    [
        ((), 5, "seed: 4 there, 5 asked for"),
        (("spacing=[4,4,5]",), 4, "pathology.spacing: [4.0, 4.0, 4.0] there, [4.0, 4.0, 5.0] asked for"),
        (
            ("sites.1.gain=901", "lesions.evolution=null", "sessions=1"),
            4,
            "pathology.sessions: 2 there, 1 asked for; pathology.sites.1.gain: 900.0 there, 901.0 asked for; "
            "pathology.lesions.evolution: {'nothing_new': ",
        ),
    ],
)
def test_other_settings_are_never_mixed_into_a_cohort(
    root: Path,
    make: Callable[..., None],
    pathology: Callable[..., Pathology],
    overrides: tuple[str, ...],
    seed: int,
    told: str,
) -> None:
    drawn = pathology("ms", "contrasts=[FLAIR]", *overrides)
    said = fault(root, make, pathology=drawn, seed=seed)
    assert said.startswith(f"{root} already holds another dataset: {told}")
    assert said.endswith("; delete the folder or choose another one")
    assert len(said) < 500


def test_another_version_of_the_generator_is_told(root: Path, make: Callable[..., None], tmp_path: Path) -> None:
    _describe(tmp_path, [{"Name": "lesionseg synthetic cohort", "Version": "1", "Settings": {"pathology": "ms"}}])
    assert fault(tmp_path, make) == (
        f"{tmp_path} already holds another dataset: Version: '1' there, '{VERSION}' asked for; delete the folder or "
        "choose another one"
    )


def _describe(folder: Path, generators: Any) -> None:
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "scans", "GeneratedBy": generators}))


def test_a_label_map_of_other_content_is_another_setting(
    make: Callable[..., None], pathology: Callable[..., Pathology], label_map: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.nii.gz"
    shutil.copy(label_map, labels)
    drawn = pathology("ms", "contrasts=[FLAIR]", f"anatomy.labels={labels}")
    root = tmp_path / "cohort"
    make(root, pathology=drawn)
    image = nib.load(label_map)
    nib.save(nib.Nifti1Image(np.flip(image.dataobj, axis=2), image.affine), labels)
    assert f"{root} already holds another dataset: labels: '" in fault(root, make, pathology=drawn)


def test_a_folder_of_something_else_is_left_alone(make: Callable[..., None], tmp_path: Path) -> None:
    masks = tmp_path / "derivatives" / "lesions" / "sub-001"
    masks.mkdir(parents=True)
    (masks / "mine.nii.gz").write_bytes(b"drawn by hand")
    way_out = "delete the folder or choose another one"
    assert fault(tmp_path, make) == (
        f"{tmp_path} holds 'derivatives', but no dataset_description.json of a synthetic cohort; {way_out}"
    )
    described = tmp_path / "dataset_description.json"
    for text in ("no JSON", "[]", '{"Name": "scans"}', '{"GeneratedBy": [{"Name": "dcm2bids"}]}'):
        described.write_text(text)
        assert fault(tmp_path, make) == (
            f"{tmp_path} already holds another dataset: {described} is of no synthetic cohort; {way_out}"
        )


def test_a_label_map_that_is_not_there_is_told_before_anything_is_written(
    make: Callable[..., None], pathology: Callable[..., Pathology], tmp_path: Path
) -> None:
    found = fault(tmp_path / "new", make, pathology=pathology("ms", "anatomy.labels=/nowhere/labels.nii.gz"))
    assert found.startswith("anatomy.labels: /nowhere/labels.nii.gz cannot be read (")
    assert not list(tmp_path.iterdir())
