import pytest

from lesionseg.models import UNet3D
from lesionseg.transfer.finetuning import DEFAULT_PARTS, Parts
from lesionseg.transfer.report import differences


def test_the_same_task_elsewhere_has_none_but_the_dataset(card):
    assert differences(card(), card(dataset="other")) == ["dataset 'clinic' there, 'other' here"]


@pytest.mark.parametrize(
    ("there", "here", "warned"),
    [
        ([1, 1, 1], [1.0, 1.0, 1.5], False),
        ([1.0, 1.0, 3.0], [1.0, 1.0, 2.0], False),
        ([1.0, 1.0, 1.0], [1.0, 1.6, 1.0], True),
        ([1.6, 1.0, 1.0], [1.0, 1.0, 1.0], True),
    ],
)
def test_another_spacing_is_warned_of_from_half_as_much_again(card, there, here, warned):
    warning = " (WARNING: more than 1.5 times)" if warned else ""
    assert differences(card(spacing=there), card(spacing=here, train_subjects=[])) == [
        f"spacing {there} mm there, {here} mm here{warning}"
    ]


def test_each_field_in_its_own_sentence(card):
    other = card(
        task="flair_lesions",
        target="lesion",
        inputs=["flair"],
        patch_size=[16, 16, 16],
        threshold=0.4,
        normalisation="percentiles",
        train_subjects=["02", "03", "77"],
    )
    assert differences(card(), other) == [
        "task 'new_lesions' there, 'flair_lesions' here",
        "target 'new_lesion' there, 'lesion' here",
        "inputs ['flair', 'prior.flair'] there, ['flair'] here",
        "patch_size [8, 8, 8] there, [16, 16, 16] here",
        "threshold 0.5 there, 0.4 here",
        "WARNING: normalisation 'zscore_brain' there, 'percentiles' here",
        "the source was trained on 2 of this dataset's subjects",
    ]


def test_a_source_that_has_seen_the_test_subjects_is_warned_of(card):
    source = card(train_subjects=["01", "02", "03"])
    assert differences(source, card(train_subjects=["09"]), ["02", "03", "04"]) == [
        "WARNING: the source was trained on 2 of the test subjects (02, 03): its scores here say nothing of new "
        "patients"
    ]
    assert differences(source, card(train_subjects=["09"]), ["04"]) == []


def test_every_parameter_of_our_network_is_in_one_of_three_parts():
    names = list(UNet3D(1, widths=(4, 8, 16)).state_dict())
    parts = Parts()
    assert {parts.of(name) for name in names} == set(DEFAULT_PARTS)
    assert all(str(parts.of(name)) == name.partition(".")[0] for name in names)
    assert parts.without(names) == []
    assert parts.without(name for name in names if "head" not in name) == ["head"]


def test_layers_go_from_the_image_to_the_logits():
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


def test_an_adapter_is_in_its_kernels_layer():
    beside = "encoder.levels.1.body.0.parametrizations.weight.0.up"
    names = ["encoder.levels.0.body.0.weight", "encoder.levels.1.body.1.weight", beside, "head.weight"]
    assert Parts().layers(names)[beside] == 1
