"""Files that anybody may hand us, at random: each is read, or refused by name; nothing else comes out of it."""

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lesionseg.config.compose import Request, compose_jobs
from lesionseg.data.nifti import UnreadableScanError, read_volume
from lesionseg.data.readers.table import read_rows
from lesionseg.errors import InputError
from lesionseg.transfer.checkpoint import METADATA_KEY, ModelCard, own_model

FUZZ = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.filterwarnings("ignore")  # NumPy's of what an affine of huge numbers comes to
@FUZZ
@given(
    st.lists(st.tuples(st.integers(0, 347), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4), st.booleans()
)
def test_headers(tmp_path, changes, zipped):
    content = bytearray(nib.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4)).to_bytes())
    for place, value in changes:
        content[place : place + len(value)] = value
    path = tmp_path / ("a.nii.gz" if zipped else "a.nii")
    path.write_bytes(gzip.compress(bytes(content)) if zipped else bytes(content))
    try:
        voxels, grid = read_volume(path, strict=True)
    except UnreadableScanError as error:
        assert str(error)  # noqa: PT017
    else:
        assert voxels.shape == grid.shape
        assert np.isfinite(grid.affine).all()


@FUZZ
@given(
    st.binary(max_size=60) | st.text(alphabet='a,;\t"\n\r\ufeffé0', max_size=60).map(str.encode),
    st.sampled_from(["csv", "tsv"]),
)
def test_tables(tmp_path, content, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    try:
        table = read_rows(path)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert not table.isna().any(axis=None)


@settings(FUZZ, max_examples=25)
@given(st.text(alphabet="name: x\n-[]{}&*!#@\t'\"|>%0", max_size=60) | JSON.map(json.dumps))
def test_configurations(tmp_path, text):
    (tmp_path / "task").mkdir(exist_ok=True)
    (tmp_path / "task" / "mine.yaml").write_text(text, encoding="utf-8")
    try:
        compose_jobs(Request("train", ("task=mine",), tmp_path))
    except InputError as error:
        assert len(str(error)) < 20_000  # noqa: PT017


@FUZZ
@given(st.dictionaries(st.sampled_from([*ModelCard.__dataclass_fields__, "other"]), JSON, min_size=1, max_size=3))
def test_cards(changes):
    card: dict[str, Any] = {
        **{"network": {"_target_": "lesionseg.models.UNet3D"}, "task": "t", "inputs": ["flair"], "target": "lesion"},
        **{"spacing": [1.0, 1.0, 1.0], "patch_size": [8, 8, 8], "normalisation": "z", "threshold": 0.5},
        **{"matching": {"_target_": "lesionseg.metrics.AnyOverlap"}, "min_lesion_volume": 3.0, "dataset": "d"},
        **{"train_subjects": [], "init": "scratch"},
    }
    content = {METADATA_KEY: card | changes, "state_dict": {"network.a": torch.ones(1)}}
    try:
        found = own_model(content, Path("a.ckpt")).card
    except InputError as error:
        assert str(error).startswith("checkpoint a.ckpt: its card is not")  # noqa: PT017
    else:
        assert 0 < found.threshold < 1
        assert len(found.spacing) == 3
        assert min(found.spacing) > 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: mine\n\tinputs: [flair]\n", "mine.yaml, line 2: "),
        ("name: !!python/object/apply:os.system [true]\n", "mine.yaml, line 1: has a tag"),
        (
            "a: &a [x,x,x]\n" + "".join(f"b{i}: &b{i} [{', '.join(['*a'] * 9)}]\n" for i in range(9)),
            "more than 50 aliases",
        ),
        ("- a\n- b\n", "task"),
        ("name: [unclosed\n", "mine.yaml, line 2: "),
    ],
)
def test_a_configuration_that_cannot_be_read_is_told_with_its_line(tmp_path, text, said):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        compose_jobs(Request("train", ("task=mine",), tmp_path))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
