import hashlib
import json
import os

import pytest

from lesionseg.io import content_digest, write_json, written_whole


def test_a_file_takes_its_name_once_all_is_written(tmp_path):
    path = tmp_path / "deep" / "er" / "table.csv"
    with written_whole(path) as partial:
        partial.write_text("all of it")
        assert not path.exists()
        assert partial.parent == path.parent, "a rename is whole only within one file system"
    assert path.read_text() == "all of it"
    assert os.listdir(path.parent) == ["table.csv"]


def test_what_fails_halfway_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail() -> None:
        with written_whole(path) as partial:
            partial.write_text("half of")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_json_that_cannot_be_written_leaves_the_old(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_digest_is_sha_256_of_the_bytes(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert content_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    large = os.urandom(1 << 20) + b"end"
    path.write_bytes(large)
    assert content_digest(path) == hashlib.sha256(large).hexdigest()


def test_nan_becomes_null(tmp_path):
    write_json(tmp_path / "a.json", {"scores": [float("nan"), 0.5], "deep": ({"x": float("nan")},)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"scores": [None, 0.5], "deep": [{"x": None}]}
