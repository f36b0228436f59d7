"""Objects from descriptions: what is made, and what is refused before anything is called."""

import pytest
from torch import nn

from lesionseg.instantiate import build, locate, target_faults


def test_a_name_is_found_and_what_it_names_is_made():
    assert locate("torch.nn.Conv3d") is nn.Conv3d
    layer = build({"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2}, nn.Module)
    assert isinstance(layer, nn.Linear)
    assert (layer.in_features, layer.out_features) == (3, 2)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_package.Net", "cannot be imported: No module named 'no_such_package'"),
        ("torch.nn.NoSuchNet", "module 'torch.nn' has no 'NoSuchNet'"),
        ("torch.nn.Conv3d.deeper", "cannot be imported: No module named 'torch.nn.Conv3d'"),
        ("math.pi", "is no class or function: write its full dotted name"),
        ("UNet3D", "is no class or function: write its full dotted name"),
        ("", "is no class or function: write its full dotted name"),
        (".UNet3D", "is no class or function: write its full dotted name"),
        ("..UNet3D", "cannot be imported: the 'package' argument is required"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(target, message):
    with pytest.raises(ValueError, match="_target_") as caught:
        locate(target)
    assert repr(target) in str(caught.value)
    assert message in str(caught.value)
    assert target_faults({"_target_": target, "in_channels": 1}) == [str(caught.value)]


def test_every_wrong_argument_is_listed():
    faults = target_faults({"_target_": "torch.nn.Linear", "in_features": 3, "out": 2, "biased": True})
    assert [fault.partition(":")[0] for fault in faults] == ["out", "biased", "out_features"]
    assert "takes no such argument; it takes in_features, out_features, bias" in faults[0]
    assert faults[2] == "out_features: torch.nn.Linear needs this argument"
    with pytest.raises(ValueError, match=r"^out: .*; biased: .*; out_features: torch.nn.Linear needs"):
        build({"_target_": "torch.nn.Linear", "in_features": 3, "out": 2, "biased": True}, nn.Module)


def test_a_description_without_target_is_a_fault():
    assert target_faults({"widths": [8], "norm": "batch"}) == [
        "there is no _target_ among ['widths', 'norm']: write the full dotted name of a class"
    ]
    with pytest.raises(ValueError, match="there is no _target_ among"):
        build({})


def test_a_class_of_another_kind_is_refused_before_it_is_called(tmp_path):
    archive = tmp_path / "made.zip"
    spec = {"_target_": "zipfile.ZipFile", "file": str(archive), "mode": "w"}
    with pytest.raises(ValueError, match=r"^_target_ 'zipfile.ZipFile' is no Module$"):
        build(spec, nn.Module)
    assert not archive.exists()
    build(spec).close()
    assert archive.exists(), "the very call that was refused would have written this file"


def test_what_the_class_itself_refuses_is_told():
    with pytest.raises(ValueError, match=r"^torch.nn.Linear: .*"):
        build({"_target_": "torch.nn.Linear", "in_features": "three", "out_features": 2}, nn.Module)
    with pytest.raises(ValueError, match="at least two levels"):
        build({"_target_": "lesionseg.models.UNet3D", "in_channels": 1, "widths": [8]}, nn.Module)
