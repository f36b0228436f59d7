"""Other programs' names of channels."""

import pytest

from lesionseg.data.channels import parse_channel
from lesionseg.transfer import contrast_name
from lesionseg.transfer.checkpoint import CONTRASTS, read_channels


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("flair", ["FLAIR", "Flair", "T2-FLAIR", "t2f"]),
        ("t1", ["T1", "T1w", "T1W", "t1n"]),
        ("t1_post", ["T1Gd", "T1CE", "T1c", "T1-CE", "T1 post", "t1_post", "T1wCE"]),
        ("t2", ["T2", "T2w"]),
    ],
)
def test_usual_names_are_ours(ours: str, theirs: list[str]) -> None:
    assert {contrast_name(name) for name in theirs} == {ours}


def test_unknown_names_stay_in_small_letters() -> None:
    assert [contrast_name(name) for name in ("PD", "CT_bone", "prior.flair", "t1_post - t1")] == [
        "pd",
        "ct_bone",
        "prior.flair",
        "t1_post - t1",
    ]


def test_our_own_names_are_channels_and_stay() -> None:
    for name in set(CONTRASTS.values()):
        assert contrast_name(name) == name == str(parse_channel(name))


def test_what_was_read_is_told() -> None:
    assert read_channels(["FLAIR", "t1", "T1Gd"]) == (
        ["flair", "t1", "t1_post"],
        "its channels' names were read so: FLAIR as flair, T1Gd as t1_post",
    )
    assert read_channels(["flair"]) == (["flair"], "")


def test_two_names_of_one_contrast_are_kept_apart() -> None:
    assert read_channels(["T1", "T1w"]) == (["t1", "t1w"], "its channels' names were read so: T1 as t1, T1w as t1w")
