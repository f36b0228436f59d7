"""What other programs' data sets call their channels, in our words."""

import re
from collections.abc import Mapping, Sequence

CONTRASTS: Mapping[str, str] = {
    "flair": "flair",
    "t2flair": "flair",
    "t2f": "flair",  # BraTS since 2023, as are t1n and t1c
    "t1": "t1",
    "t1w": "t1",
    "t1n": "t1",
    "t1pre": "t1",
    "t1post": "t1_post",
    "t1gd": "t1_post",
    "t1wgd": "t1_post",
    "t1ce": "t1_post",
    "t1wce": "t1_post",
    "t1c": "t1_post",
    "t2": "t2",
    "t2w": "t2",
}
"""The usual names, in small letters and without ``-``, ``_`` and blanks."""


def contrast_name(name: str) -> str:
    """A channel's name in our words, ``t1_post`` for ``T1Gd`` or ``T1-CE``; one that is not known in small letters."""
    return CONTRASTS.get(re.sub(r"[-_ ]", "", name.casefold()), name.lower())


def read_channels(names: Sequence[str]) -> tuple[list[str], str]:
    """Channels in our words, and in a sentence which name was read as which; that is empty where none was changed.

    Where two of them come to the same, as T1 and T1w, all are left as they are, in small letters.
    """
    read = [contrast_name(name) for name in names]
    if len(set(read)) < len(read):
        read = [name.lower() for name in names]
    changed = [f"{name} as {ours}" for name, ours in zip(names, read, strict=True) if name != ours]
    return read, f"its channels' names were read so: {', '.join(changed)}" if changed else ""
