"""The files of a synthetic cohort: whole or absent, the same bytes always, and never mixed."""

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from joblib.externals.loky import get_reusable_executor
from scipy import ndimage

from lesionseg.config import conf_dir
from lesionseg.errors import InputError
from lesionseg.metrics.components import label_components
from lesionseg.synthetic.cohort import Session, Subject, grid_of, make_cohort, make_subject
from lesionseg.synthetic.config import ENHANCED, Pathology

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


def test_every_scan_and_mask_has_its_file_and_its_grid(make, pathology, tmp_path):
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


def test_the_folder_says_how_it_was_made(root, pathology):
    described = [json.loads((folder / "dataset_description.json").read_text()) for folder in _homes(root)]
    assert [content["DatasetType"] for content in described] == ["raw", "derivative"]
    settings = described[0]["GeneratedBy"][0]["Settings"]
    assert described[1]["GeneratedBy"][0]["Settings"] == settings
    assert settings["seed"] == 4
    assert Pathology.model_validate(settings["pathology"]) == pathology("ms", "contrasts=[FLAIR]")


def _homes(root: Path) -> tuple[Path, Path]:
    return root, root / "derivatives" / "lesions"


def test_participants_are_listed_with_what_was_drawn(root):
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


def test_the_number_of_workers_changes_no_byte(root, make, tmp_path):
    calls: list[tuple[int, int]] = []
    make(tmp_path, SUBJECTS, workers=2, progress=lambda *counts: calls.append(counts))
    assert digests(tmp_path) == digests(root)
    assert calls == [(done, SUBJECTS) for done in range(SUBJECTS + 1)]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_subject_that_fails_is_named_and_the_others_remain(root, make, tmp_path, workers):
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


@pytest.mark.slow
def test_workers_that_the_system_ends_are_told(root, make, tmp_path):
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
def test_other_settings_are_never_mixed_into_a_cohort(root, make, pathology, overrides, seed, told):
    drawn = pathology("ms", "contrasts=[FLAIR]", *overrides)
    said = fault(root, make, pathology=drawn, seed=seed)
    assert said.startswith(f"{root} already holds another dataset: {told}")
    assert said.endswith("; delete the folder or choose another one")
    assert len(said) < 500


def test_a_folder_of_something_else_is_left_alone(make, tmp_path):
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


def test_a_label_map_that_is_not_there_is_told_before_anything_is_written(make, pathology, tmp_path):
    found = fault(tmp_path / "new", make, pathology=pathology("ms", "anatomy.labels=/nowhere/labels.nii.gz"))
    assert found.startswith("anatomy.labels: /nowhere/labels.nii.gz cannot be read (")
    assert not list(tmp_path.iterdir())


NAMES = sorted(path.stem for path in (conf_dir() / "pathology").glob("[!_]*.yaml"))
NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
SEED, INDEX = 4, 3
Make = Callable[..., Subject]


@pytest.fixture(scope="module")
def ms(pathology: Callable[..., Pathology]) -> Pathology:
    """Heads of ellipsoids in voxels of 4 mm, without ghosts; always with new and enhancing lesions."""
    overrides = ("evolution.nothing_new=0.0", "enhancement.subjects=1.0", "enhancement.new_lesions=1.0")
    return pathology("ms", "scan.ghost_share=0.0", *(f"lesions.{text}" for text in overrides))


@pytest.fixture(scope="module")
def make_of_subject(ms: Pathology) -> Make:
    """A subject, which is for reading only, of ``ms`` with these changes: ``make_of_subject(sessions=1)``."""
    kept: dict[str, Subject] = {}

    def call(seed: int = SEED, index: int = INDEX, **changes: Any) -> Subject:
        key = repr((seed, index, changes))
        if key not in kept:
            kept[key] = make_subject(seed, index, ms.model_copy(update=changes))
        return kept[key]

    return call


def arrays(session: Session) -> dict[str, bytes]:
    return {name: volume.tobytes() for name, volume in (session.images | session.masks).items()}


def same(first: Subject, second: Subject) -> bool:
    return [arrays(session) for session in first.sessions] == [arrays(session) for session in second.sessions]


def in_sd(image: npt.NDArray[np.int16], lesions: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Voxels in standard deviations around the mean of the brain without its lesions; the background far below."""
    healthy = image[(image > 0) & ~lesions].astype(float)
    return np.where(image > 0, (image - healthy.mean()) / healthy.std(), -10)


class TestAgain:
    def test_the_same_arguments_the_same_bytes(self, ms, make_of_subject):
        again = make_subject(SEED, INDEX, ms)
        assert same(make_of_subject(), again)
        assert make_of_subject().parameters == again.parameters

    def test_fewer_contrasts_leave_the_others_as_they_are(self, make_of_subject):
        whole = make_of_subject()
        for contrasts in (["FLAIR"], ["T1w", "FLAIR"]):
            fewer = make_of_subject(contrasts=contrasts)
            for ours, theirs in zip(fewer.sessions, whole.sessions, strict=True):
                assert sorted(ours.images) == sorted(contrasts)
                assert "enhancing" not in ours.masks, "which nothing shows"
                assert arrays(ours).items() <= arrays(theirs).items()
            assert fewer.parameters["lesions"] == whole.parameters["lesions"]


class TestContent:
    def test_masks_hold_the_lesions_that_the_json_tells(self, make_of_subject):
        for index in (INDEX, INDEX + 1, INDEX + 2):
            subject = make_of_subject(index=index)
            lesions = subject.parameters["lesions"]
            for number, session in enumerate(subject.sessions, start=1):
                there = [lesion for lesion in lesions if lesion["session"] <= number]
                labels, count = label_components(session.masks["lesion"])
                assert count == len(there) > 0
                sizes = np.bincount(labels.ravel())[1:]
                assert sorted(sizes) == sorted(lesion["voxels"][number - 1] for lesion in there)
                for lesion in there:
                    assert labels[tuple(lesion["centre"])], "at its centre"
                active = [lesion for lesion in there if number in lesion["enhancing"]]
                assert label_components(session.masks["enhancing"])[1] == len(active)
            new = [lesion for lesion in lesions if lesion["session"] == 2]
            assert label_components(subject.sessions[1].masks["newlesion"])[1] == len(new) > 0

    def test_new_lesions_are_those_of_the_second_session_alone(self, make_of_subject):
        for index in (INDEX, INDEX + 1, INDEX + 2):
            before, after = (session.masks for session in make_of_subject(index=index).sessions)
            new, old = after["newlesion"], after["lesion"] & ~after["newlesion"]
            assert new.any()
            assert not (new & ~after["lesion"]).any()
            assert not (new & ndimage.binary_dilation(before["lesion"] | old, NEIGHBOURS)).any(), "nor do they touch"
            labels, count = label_components(old)
            assert np.unique(labels[before["lesion"] & old]).size == count, "the others were there"
            for masks in (before, after):
                assert not (masks["enhancing"] & ~masks["lesion"]).any()
            assert not (new & ~after["enhancing"]).any(), "here, where every new one enhances"


class TestShipped:
    @pytest.mark.parametrize(
        "name",
        [name if name in ("metastasis", "ms") else pytest.param(name, marks=pytest.mark.slow) for name in NAMES],
    )
    def test_every_pathology_makes_subjects(self, pathology, name):
        own = pathology(name)
        subjects = [make_subject(SEED, index, own) for index in (1, 2)]
        enhancing = 0
        for subject in subjects:
            assert len(subject.sessions) == own.sessions
            for session in subject.sessions:
                assert list(session.images) == [contrast for contrast in own.signals if contrast in own.contrasts]
                assert ("enhancing" in session.masks) == (
                    own.lesions.enhancement is not None and ENHANCED in own.contrasts
                )
                lesion = session.masks["lesion"]
                assert 0 < lesion.sum() < 0.3 * (session.images["FLAIR"] > 0).sum()
                z = in_sd(session.images["FLAIR"], lesion)
                assert z[lesion & (z > -10)].mean() > 0.3
                enhancing += bool(session.masks.get("enhancing", np.zeros(1)).any())
        if name in ("glioma", "metastasis"):
            assert enhancing
        assert len({subject.sessions[0].masks["lesion"].tobytes() for subject in subjects}) == 2


@pytest.mark.parametrize("last", ["images", pytest.param("masks", marks=pytest.mark.slow)])
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
