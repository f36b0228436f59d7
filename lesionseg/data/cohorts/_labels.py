"""Labels of subjects and sessions: their order, their prefixes, their use in file names."""

import re

_DIGITS = re.compile(r"([0-9]+)")
_UNSAFE = re.compile(r'[\x00-\x1f/\\:*?"<>|]|^[.\s]|[.\s]$')


def natural_key(label: str) -> tuple[str | int, ...]:
    """Sort key in which ``2`` comes before ``10``; ISO dates (``2019-03-01``, ``20190301``) sort by time.

    Text and numbers alternate, starting with text, so that any two keys can be compared.
    """
    parts = _DIGITS.split(label.lower())
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))


def without_prefix(label: str, prefix: str) -> str:
    """The label without BIDS's ``sub-`` or ``ses-``, where it has it."""
    return label.removeprefix(prefix)


def is_safe_in_file_names(label: str) -> bool:
    """Whether a file or folder can be named by the label on every common system."""
    return not _UNSAFE.search(label)
