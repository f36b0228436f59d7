import pytest

from lesionseg.models import UNet3D
from lesionseg.transfer import DEFAULT_PARTS, Parts


def test_every_parameter_of_our_network_is_in_one_of_three_parts() -> None:
    names = list(UNet3D(1, widths=(4, 8, 16)).state_dict())
    parts = Parts()
    assert {parts.of(name) for name in names} == set(DEFAULT_PARTS)
    assert all(str(parts.of(name)) == name.partition(".")[0] for name in names)
    assert parts.without(names) == []
    assert parts.without(name for name in names if "head" not in name) == ["head"]


def test_layers_go_from_the_image_to_the_logits() -> None:
    names = list(UNet3D(1, widths=(4, 8, 16)).state_dict())
    layers = Parts().layers(names)
    expected = {
        "encoder.levels.0": 0,
        "encoder.levels.1": 1,
        "encoder.levels.2": 2,
        "decoder.upsamplings.0": 3,  # the coarsest
        "decoder.levels.0": 3,
        "decoder.upsamplings.1": 4,
        "decoder.levels.1": 4,
        "head": 5,
    }
    for name, layer in layers.items():
        (found,) = [number for stem, number in expected.items() if name.startswith(f"{stem}.")]
        assert layer == found, name
    assert list(layers) == names


def test_the_longest_prefix_counts_and_parts_follow_as_listed() -> None:
    parts = Parts({"trunk": ["down", "up"], "head": ["up.seg_layers"]})
    names = ["up.seg_layers.0.weight", "up.stages.1.weight", "down.stem.weight", "up.seg_layers_else.weight"]
    assert [parts.of(name) for name in names] == ["head", "trunk", "trunk", "trunk"]
    assert parts.layers(names[:3]) == {names[2]: 0, names[1]: 1, names[0]: 2}
    assert parts.of("upper.weight") is None
    with pytest.raises(ValueError, match=r"parameter 'upper.weight' belongs to none of the parts trunk, head"):
        parts.layers(["down.stem.weight", "upper.weight"])


def test_an_adapter_is_in_its_kernels_layer() -> None:
    beside = "encoder.levels.1.body.0.parametrizations.weight.0.up"
    names = ["encoder.levels.0.body.0.weight", "encoder.levels.1.body.1.weight", beside, "head.weight"]
    assert Parts().layers(names)[beside] == 1
