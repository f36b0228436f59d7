"""Studies prepared once, by whichever process asks first, and named by what they were made from."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionseg.data import cache as cache_module
from lesionseg.data.cache import Cache
from lesionseg.data.dataset import Channel, MaskFile, Source, TaskStudy, parse_channel
from lesionseg.data.preprocessing import prepare

MM = (1.0, 1.0, 1.0)


@pytest.fixture
def study(tmp_path: Path, write_scan, write_mask, task_study) -> TaskStudy:
    folder = tmp_path / "scans"
    images = {name: write_scan(folder / f"{name}.nii.gz") for name in ("t1_post", "t1", "prior.t1")}
    mask = write_mask(folder / "mask.nii.gz", (6, 6, 6), (10, 10, 10))
    return task_study(images, MaskFile(mask))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the studies that were prepared, in order."""
    names: list[str] = []

    def counted(study: TaskStudy, spacing: tuple[float, float, float]) -> Any:
        names.append(study.name)
        return prepare(study, spacing)

    monkeypatch.setattr(cache_module, "prepare", counted)
    return names


def test_a_cached_study_is_what_preparing_it_gives(cache, study):
    found, expected = cache.get(study, MM), prepare(study, MM)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.mask, expected.mask)
    voxels, starts = found.lesions()
    np.testing.assert_array_equal(voxels, expected.lesion_voxels)
    np.testing.assert_array_equal(starts, expected.lesion_starts)
    for grid, other in ((found.grid, expected.grid), (found.native, expected.native)):
        assert grid.shape == other.shape
        np.testing.assert_array_equal(grid.affine, other.affine)
    assert (found.name, found.subject, found.key) == ("sub-a", "a", cache.key(study, MM))
    assert found.images.dtype == np.float16


def test_a_study_is_prepared_once(cache, study, prepared):
    assert not cache.has(study, MM)
    first = cache.get(study, MM)
    assert cache.has(study, MM)
    again = Cache(cache.root).get(study, MM)
    assert prepared == ["sub-a"]
    assert (again.folder, again.key) == (first.folder, first.key)


def test_another_content_is_another_entry(cache, study, prepared, write_scan, write_mask):
    image, mask = study.sources[1][1], study.mask
    assert mask is not None
    keys = [cache.get(study, MM).key]
    keys.append(cache.get(study, (1.0, 1.0, 2.0)).key)
    write_scan(image)
    keys.append(cache.get(study, MM).key)
    write_mask(mask.path, (6, 6, 6))
    keys.append(cache.get(study, MM).key)
    keys.append(cache.get(TaskStudy(study.study, study.sources, MaskFile(mask.path, 1)), MM).key)
    keys.append(cache.get(TaskStudy(study.study, study.sources, None), MM).key)
    keys.append(cache.get(TaskStudy(study.study, study.sources[:2], mask), MM).key)
    keys.append(cache.get(TaskStudy(study.study, study.sources[1::-1], mask), MM).key)
    renamed = ((Source("t1", prior=True), study.sources[0][1]), study.sources[1])
    keys.append(cache.get(TaskStudy(study.study, renamed, mask), MM).key)
    assert len(set(keys)) == len(keys) == len(prepared)


def test_the_same_content_elsewhere_is_the_same_entry(cache, study, tmp_path, prepared, task_study):
    first = cache.get(study, MM)
    moved = tmp_path / "moved"
    shutil.copytree(study.sources[0][1].parent, moved)
    assert study.mask is not None
    images = {str(source): moved / path.name for source, path in study.sources}
    other = cache.get(task_study(images, MaskFile(moved / study.mask.path.name), subject="b"), MM)
    assert (other.folder, other.key) == (first.folder, first.key)
    assert prepared == ["sub-a"]
    assert other.name == "sub-b", "the entry is shared, the name is the study's own"


def test_channels_are_contrasts_and_their_differences_inside_a_box(cache, study):
    found = cache.get(study, MM)
    names = ("t1", "t1_post - t1", "prior.t1", "t1_post")
    channels = [parse_channel(name) for name in names]
    post, before, prior = found.images.astype(np.float32)
    expected = np.stack([before, post - before, prior, post])
    np.testing.assert_array_equal(found.channels(channels), expected)
    assert np.abs(expected[1]).max() > 1
    box = (slice(2, 9), slice(0, 5), slice(4, 5))
    part = found.channels(channels, box)
    assert (part.dtype, part.shape) == (np.float32, (4, 7, 5, 1))
    np.testing.assert_array_equal(part, expected[(slice(None), *box)])
    difference = Channel(Source("t1"), Source("t1"))
    assert not found.channels([difference]).any()


def test_a_preparation_that_fails_leaves_nothing_and_works_the_next_time(cache, study, write_scan):
    path = study.sources[2][1]
    write_scan(path, np.zeros((20, 20, 20)))
    with pytest.raises(ValueError, match=r"sub-a, prior.t1 .* no contrast"):
        cache.get(study, MM)
    assert not cache.has(study, MM)
    write_scan(path)
    assert cache.get(study, MM).images.shape[0] == 3


_ASK = """
import json, os, signal, sys, time
from pathlib import Path
import lesionseg.data.cache as module
from lesionseg.data.dataset import parse_channel
from lesionseg.data.dataset import TaskStudy
from lesionseg.data.dataset import MaskFile, Study

job = json.loads(sys.argv[1])
sources = tuple((parse_channel(name).plus, Path(path)) for name, path in job["sources"])
study = TaskStudy(Study("a", "", {}), sources, MaskFile(Path(job["mask"])))
prepare, flush = module.prepare, module.os.fsync

def slowly(*arguments):
    Path(job["marks"], str(os.getpid())).touch()
    time.sleep(0.5)
    return prepare(*arguments)

def dying(descriptor):
    if os.readlink(f"/proc/self/fd/{descriptor}").endswith("mask.npy"):
        os.kill(os.getpid(), signal.SIGKILL)
    flush(descriptor)

module.prepare = slowly
if job["die"]:
    module.os.fsync = dying
print(module.Cache(Path(job["root"])).get(study, (1.0, 1.0, 1.0)).images.astype(float).sum())
"""


def ask(cache: Cache, study: TaskStudy, marks: Path, die: bool = False) -> "subprocess.Popen[str]":
    """Another process that asks for the study, and leaves a mark where it prepares it."""
    marks.mkdir(exist_ok=True)
    assert study.mask is not None
    job = {
        "root": str(cache.root),
        "sources": [(str(source), str(path)) for source, path in study.sources],
        "mask": str(study.mask.path),
        "marks": str(marks),
        "die": die,
    }
    return subprocess.Popen(
        [sys.executable, "-c", _ASK, json.dumps(job)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("name", ["images.npy", "mask.npy", "lesion_starts.npy", "geometry.json"])
@pytest.mark.parametrize("damage", ["gone", "short", "zeros", "a flipped byte"])
def test_an_entry_that_is_not_as_it_was_written_is_made_again(cache, study, prepared, name, damage):
    whole = cache.get(study, MM)
    file = whole.folder / name
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    else:
        content[-1] ^= 255
        changes = {"short": content[:-9], "zeros": bytes(len(content)), "a flipped byte": content}
        file.write_bytes(changes[damage])
    assert not cache.has(study, MM)
    np.testing.assert_array_equal(cache.get(study, MM).images, prepare(study, MM).images)
    assert prepared == ["sub-a"] * 2
    assert cache.has(study, MM)


@pytest.mark.slow
def test_several_processes_prepare_a_study_once(cache, study, tmp_path):
    asking = [ask(cache, study, tmp_path / "marks") for _ in range(3)]
    answers = [process.communicate(timeout=60) for process in asking]
    assert [process.returncode for process in asking] == [0, 0, 0], answers
    assert len(os.listdir(tmp_path / "marks")) == 1
    assert {float(answer) for answer, _ in answers} == {cache.get(study, MM).images.astype(float).sum()}


@pytest.mark.slow
def test_a_process_killed_while_writing_leaves_nothing_broken(cache, study, tmp_path):
    killed = ask(cache, study, tmp_path / "marks", die=True)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not cache.has(study, MM)
    assert list(cache.root.glob("*.partial")), "it was in the midst of writing"
    found = cache.get(study, MM)
    np.testing.assert_array_equal(found.mask, prepare(study, MM).mask)
    assert not list(cache.root.glob("*.partial"))
