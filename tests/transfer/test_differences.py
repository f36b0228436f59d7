import pytest

from lesionseg.transfer import differences


def test_the_same_task_elsewhere_has_none_but_the_dataset(card) -> None:
    assert differences(card(), card(dataset="other")) == ["dataset 'clinic' there, 'other' here"]


def test_what_does_not_matter_is_no_difference(card) -> None:
    other = card(
        train_subjects=["09"],
        init="pretrained",
        matching={"_target_": "lesionseg.metrics.Anima"},
        min_lesion_volume=1.0,
    )
    assert differences(card(), other) == []


@pytest.mark.parametrize(
    ("there", "here", "warned"),
    [
        ([1, 1, 1], [1.0, 1.0, 1.5], False),
        ([1.0, 1.0, 3.0], [1.0, 1.0, 2.0], False),
        ([1.0, 1.0, 1.0], [1.0, 1.6, 1.0], True),
        ([1.6, 1.0, 1.0], [1.0, 1.0, 1.0], True),
    ],
)
def test_another_spacing_is_warned_of_from_half_as_much_again(card, there, here, warned: bool) -> None:
    warning = " (WARNING: more than 1.5 times)" if warned else ""
    assert differences(card(spacing=there), card(spacing=here, train_subjects=[])) == [
        f"spacing {there} mm there, {here} mm here{warning}"
    ]


def test_a_spacing_in_whole_numbers_is_no_other_spacing(card) -> None:
    assert differences(card(spacing=[1, 1, 1]), card(spacing=[1.0, 1.0, 1.0], train_subjects=[])) == []


def test_each_field_in_its_own_sentence(card) -> None:
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


def test_subjects_of_one_name_in_another_dataset_are_other_people(card) -> None:
    assert differences(card(), card(dataset="other", task="new_lesions")) == ["dataset 'clinic' there, 'other' here"]


def test_a_source_that_has_seen_the_test_subjects_is_warned_of(card) -> None:
    source = card(train_subjects=["01", "02", "03"])
    assert differences(source, card(train_subjects=["09"]), ["02", "03", "04"]) == [
        "WARNING: the source was trained on 2 of the test subjects (02, 03): its scores here say nothing of new "
        "patients"
    ]
    assert differences(source, card(train_subjects=["09"]), ["04"]) == []


def test_a_threshold_that_is_yet_to_be_chosen_is_no_difference(card) -> None:
    source, target = card(threshold=0.35), card(train_subjects=[])
    assert differences(source, target) == ["threshold 0.35 there, 0.5 here"]
    assert differences(source, target, threshold_to_be_chosen=True) == []
