"""The input channels of a task: a contrast, one of the session before, or the difference of two."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SOURCE = re.compile(r"(?P<prior>prior\.)?(?P<contrast>[A-Za-z][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class Source:
    """An image that a channel is read from: a contrast of the study, or of its prior session."""

    contrast: str
    prior: bool = False

    def __str__(self) -> str:
        return f"prior.{self.contrast}" if self.prior else self.contrast


@dataclass(frozen=True)
class Channel:
    """One input channel: ``plus``, or ``plus - minus`` after both were normalised."""

    plus: Source
    minus: Source | None = None

    def __str__(self) -> str:
        return f"{self.plus} - {self.minus}" if self.minus else str(self.plus)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The images it needs."""
        return (self.plus, self.minus) if self.minus else (self.plus,)


def parse_channel(text: str) -> Channel:
    """Read ``flair``, ``prior.flair`` or ``t1_post - t1``.

    Raises:
        ValueError: the text is none of these.
    """
    parts = [_SOURCE.fullmatch(part.strip()) for part in text.split(" - ")]
    if len(parts) > 2 or not all(parts):
        raise ValueError(
            f"{text!r} is no input channel: write a contrast ('flair'), a contrast of the session before "
            "('prior.flair'), or the difference of two ('t1_post - t1', with spaces around the minus)"
        )
    sources = [Source(part["contrast"], bool(part["prior"])) for part in parts if part]
    return Channel(*sources)


def sources_of(channels: Iterable[Channel]) -> tuple[Source, ...]:
    """Every image the channels need, each once, in order of first use."""
    return tuple(dict.fromkeys(source for channel in channels for source in channel.sources))
