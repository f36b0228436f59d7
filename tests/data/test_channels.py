import pytest

from lesionseg.data.channels import Channel, Source, parse_channel, sources_of


@pytest.mark.parametrize(
    ("text", "channel"),
    [
        ("flair", Channel(Source("flair"))),
        (" prior.flair ", Channel(Source("flair", prior=True))),
        ("t1_post - t1", Channel(Source("t1_post"), Source("t1"))),
        ("flair - prior.flair", Channel(Source("flair"), Source("flair", prior=True))),
    ],
)
def test_a_channel_is_read_and_written_alike(text, channel):
    assert parse_channel(text) == channel
    assert str(channel) == text.strip()
    assert parse_channel(str(channel)) == channel


@pytest.mark.parametrize("text", ["", "t1-t2", "a - b - c", "prior.", "next.flair", "flair -", "1t", "prior.prior.t1"])
def test_what_is_no_channel_is_refused_with_the_forms_that_are(text):
    with pytest.raises(ValueError, match="is no input channel: write a contrast") as caught:
        parse_channel(text)
    assert repr(text) in str(caught.value)
    assert "'t1_post - t1', with spaces around the minus" in str(caught.value)


def test_every_image_is_needed_once_in_order_of_first_use():
    channels = [parse_channel(text) for text in ("t1_post", "t1_post - t1", "prior.t1", "t1")]
    assert sources_of(channels) == (Source("t1_post"), Source("t1"), Source("t1", prior=True))
    assert channels[1].sources == (Source("t1_post"), Source("t1"))
