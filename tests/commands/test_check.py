import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lesionseg.commands import check as command
from lesionseg.data.dataset import Dataset, MaskFile, Study, parse_channel

CHANNELS = [parse_channel("flair")]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Checks a dataset that is there already."""

    def run(dataset: Dataset, channels: Any, target: str, *, output: Path | None) -> int:
        monkeypatch.setattr(command, "load_dataset", lambda section: dataset)
        task = SimpleNamespace(channels=channels, target=target)
        config: Any = SimpleNamespace(dataset=None, task=task, output=str(output) if output else None)
        return command.check(config)

    return run


def _study(root: Path, subject: str, lesions: int | None) -> Study:
    """A study with that many lesions of 4 mm³, or without mask."""
    image = np.zeros((20, 20, 20), dtype=np.int16)
    image[4:16, 4:16, 4:16] = np.random.default_rng(int(subject)).integers(1, 999, (12, 12, 12))
    paths = [root / f"{subject}_{kind}.nii.gz" for kind in ("image", "mask")]
    nib.save(nib.Nifti1Image(image, np.eye(4)), paths[0])
    if lesions is None:
        return Study(subject, "", {"flair": paths[0]})
    mask = np.zeros((20, 20, 20), dtype=np.uint8)
    for lesion in range(lesions):
        mask[3 * lesion + 3, 5:9, 5] = 1
    nib.save(nib.Nifti1Image(mask, np.eye(4)), paths[1])
    return Study(subject, "", {"flair": paths[0]}, {"lesion": MaskFile(paths[1])})


def test_fit_data_ends_with_0_and_its_numbers(check, tmp_path, capsys):
    numbers = {"1": 0, "2": 2, "3": 5, "4": None, "5": None}
    cohort = Dataset("toy", tmp_path, tuple(_study(tmp_path, *item) for item in numbers.items()))
    output = tmp_path / "new" / "check.json"
    assert check(cohort, CHANNELS, "lesion", output=output) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[4].split()[0] == "sub-1"
    assert "Left out:\n  1. no mask for the target 'lesion' (2): sub-4, sub-5\n" in printed
    assert f"To note:\n  1. sub-1, mask lesion ({tmp_path}/1_mask.nii.gz): no lesion;" in printed
    assert "Faults" not in printed
    assert printed.splitlines()[-2:] == [
        "toy: 3 studies of 3 subjects, 7 lesions, median volume 0.01 ml, 2 left out, 0 faults",
        f"Written to {output}",
    ]
    content = json.loads(output.read_text())
    assert [row["mask"]["lesion_count"] for row in content["studies"]] == [0, 2, 5]
    assert [path.name for path in output.parent.iterdir()] == ["check.json"]


def test_a_fault_ends_with_2_and_is_told_and_written(check, tmp_path, capsys):
    cohort = Dataset("toy", tmp_path, (_study(tmp_path, "1", 1), _study(tmp_path, "2", 1)))
    (tmp_path / "2_mask.nii.gz").unlink()
    output = tmp_path / "check.json"
    output.write_text("old")
    assert check(cohort, CHANNELS, "lesion", output=output) == 2
    fault = (
        f"sub-2, mask lesion ({tmp_path}/2_mask.nii.gz): there is no such file; correct the dataset's "
        "patterns or put the file there"
    )
    printed = capsys.readouterr().out
    assert f"Faults:\n  1. {fault}\n\n" in printed
    assert "toy: 2 studies of 2 subjects, 1 lesion, median volume 0.00 ml, 0 left out, 1 fault\n" in printed
    assert json.loads(output.read_text())["faults"] == [fault]


def test_a_cohort_of_no_use_ends_with_2_and_no_table(check, tmp_path, capsys):
    cohort = Dataset("toy", tmp_path, (_study(tmp_path, "1", None),))
    assert check(cohort, CHANNELS, "lesion", output=None) == 2
    printed = capsys.readouterr().out
    assert printed.startswith("Left out:\n  1. no mask for the target 'lesion' (1): sub-1\n")
    assert "no study has a mask for the target 'lesion' (targets found: none)" in printed
    assert printed.endswith("toy: 0 studies of 0 subjects, 0 lesions, median volume undefined, 1 left out, 1 fault\n")
