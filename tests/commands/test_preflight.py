"""Everything that a sweep needs is tried before its first run starts."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from lesionseg.commands import preflight as preflight_module
from lesionseg.commands.preflight import announce, note_seconds, preflight
from lesionseg.errors import InputError
from lesionseg.io import check_writable


def test_after_it_every_study_is_prepared_and_the_store_is_there(configure, tmp_path, monkeypatch, capsys):
    jobs = [configure(), configure("train_size=4"), configure("repeat=1")]
    preflight(jobs)
    prepared = list((tmp_path / "outputs" / "cache").glob("*/images.npy"))
    assert len(prepared) == 10, "5 to test and validate, and the pool of 5 between the repeats"
    assert (tmp_path / "outputs" / "mlflow.db").is_file()

    monkeypatch.setattr(preflight_module, "audit", lambda *_, **__: pytest.fail("what is prepared was read before"))
    preflight(jobs)
    specs = preflight(jobs)
    capsys.readouterr()
    announce(specs[:1], specs[1:])
    assert capsys.readouterr().out.startswith("3 runs (one of them the source model); how long they take is told")
    note_seconds(specs[0], 10.0, 3.0, 4)
    announce([], specs)
    announce([], specs, 3)
    alone, together = capsys.readouterr().out.splitlines()
    assert alone.startswith("3 runs, about 0:0")
    assert " on this machine, 3 at once, less what is finished" in together


def test_a_file_that_changed_is_read_again(configure, make_cohort, with_store, tmp_path, tmp_path_factory):
    with_store(tmp_path / "outputs")
    own = make_cohort(tmp_path_factory.mktemp("own"), 4)
    config = configure(f"dataset.root={own.root}", "train_size=1")
    preflight([config])
    (scan,) = own.root.glob("sub-03/ses-1/anat/*FLAIR*")
    scan.write_bytes(scan.read_bytes()[:-500])
    with pytest.raises(InputError) as caught:
        preflight([config])
    (fault,) = caught.value.faults
    assert fault.startswith(f"sub-03_ses-1, flair ({scan}): it cannot be read to its end (")


@pytest.mark.parametrize(("part", "mend"), [("train", "train_size"), ("test", "split.test")])
def test_a_part_without_a_lesion_is_refused(part, mend, configure, make_cohort, with_store, tmp_path, tmp_path_factory):
    with_store(tmp_path / "outputs")
    own = make_cohort(tmp_path_factory.mktemp("own"), 4)
    config = configure(f"dataset.root={own.root}", "train_size=1")
    (spec,) = preflight([config])
    for study in spec.studies[part]:
        image = nib.load(study.study.mask.path)
        nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), study.study.mask.path)
    with pytest.raises(InputError) as caught:
        preflight([config])
    (fault,) = caught.value.faults
    subjects = ", ".join(getattr(spec.split, part))
    assert f"{part} subjects ({subjects}) has a lesion of at least 3 mm³ in its mask 'lesion'" in fault
    assert fault.endswith(f"or a larger {mend}")


def test_shared_memory_that_does_not_suffice_is_told(configure, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=10_000))
    preflight_module._check_shared_memory(configure())
    with pytest.raises(InputError, match=r"trainer\.num_workers=4: needs 4 MB of shared memory"):
        preflight_module._check_shared_memory(configure("trainer.num_workers=4", "task.patch_size=[32,32,32]"))


def test_a_loss_must_be_one_number(configure):
    config = configure()
    loss = {"_target_": "torch.nn.BCEWithLogitsLoss", "reduction": "none"}
    config = config.model_copy(update={"loss": config.loss.model_copy(update={"function": loss})})
    with pytest.raises(InputError) as caught:
        preflight([config])
    assert caught.value.faults == ("loss.function: gives values of shape (2, 1, 8, 8, 8), wanted is one number",)


def test_an_outputs_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    check_writable("paths.outputs", tmp_path / "new" / "er")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as caught:
        check_writable("paths.outputs", tmp_path / "file" / "below")
    assert str(caught.value) == (
        f"paths.outputs={tmp_path}/file/below: {tmp_path}/file is a file; choose another folder"
    )
    monkeypatch.setattr("os.access", lambda path, mode: False)  # whoever runs this may be root
    with pytest.raises(InputError) as caught:
        check_writable("paths.outputs", tmp_path / "new")
    assert str(caught.value) == f"paths.outputs={tmp_path}/new: {tmp_path} cannot be written to; choose another folder"
