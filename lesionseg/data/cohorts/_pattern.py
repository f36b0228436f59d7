"""File patterns such as ``sub-{subject}[/ses-{session}]/anat/*_FLAIR.nii*``."""

import re
from dataclasses import dataclass

BIDS_LABEL = r"[A-Za-z0-9]+"
ANYTHING = r".+?"

_TOKEN = re.compile(r"\{(?P<field>[^{}]*)\}|(?P<nifti>\.nii\*$)|(?P<mark>\*+|[\[\]{}])|(?P<text>[^\[\]{}*.]+|\.)")
_FIELDS = ("subject", "session")


@dataclass(frozen=True)
class Labels:
    """Whose file it is; the session is empty where the pattern's optional part was not there."""

    subject: str
    session: str


@dataclass(frozen=True)
class Pattern:
    """A pattern ready to be matched.

    Args:
        text: as it was written.
        expression: groups ``subject0``, ``session0``, ``subject1``, ... one for each mention.
    """

    text: str
    expression: re.Pattern[str]

    def match(self, path: str) -> Labels | None:
        """The labels in a path with forward slashes, or None where the pattern does not fit.

        Raises:
            ValueError: it fits, but two places name different subjects or sessions.
        """
        fit = self.expression.fullmatch(path)
        if fit is None:
            return None
        found = {field: _values(fit, field) for field in _FIELDS}
        for field, values in found.items():
            if len(values) > 1:
                raise ValueError(f"names two {field}s, {' and '.join(map(repr, values))}")
        return Labels(found["subject"][0], found["session"][0] if found["session"] else "")


def parse_pattern(text: str, subject: str = BIDS_LABEL) -> Pattern:
    """Read a pattern.

    ``{subject}`` and ``{session}`` stand for labels, ``[...]`` is optional, ``*`` is anything within one
    folder or file name, and ``.nii*`` at the end is ``.nii`` or ``.nii.gz``. Everything else stands for
    itself.

    Args:
        text: the pattern.
        subject: regular expression of a subject's label.

    Raises:
        ValueError: the pattern is not well formed; the message says why.
    """
    labels = {"subject": subject, "session": BIDS_LABEL}
    pieces: list[str] = []
    optional = False
    certain_subject = False
    for number, token in enumerate(_TOKEN.finditer(text)):
        field, mark = token["field"], token["mark"]
        if field is not None:
            if field not in labels:
                raise ValueError(f"{{{field}}} is unknown: write {{subject}} or {{session}}")
            pieces.append(f"(?P<{field}{number}>{labels[field]})")
            certain_subject |= field == "subject" and not optional
        elif token["nifti"]:
            pieces.append(r"\.nii(?:\.gz)?")
        elif mark:
            pieces.append(_regex_of_mark(mark, optional))
            optional = mark == "[" or (optional and mark != "]")
        else:
            pieces.append(re.escape(token["text"]))
    if optional:
        raise ValueError("a '[' is never closed")
    if not certain_subject:
        raise ValueError("it does not say whose file it is: it needs {subject} outside of square brackets")
    return Pattern(text, re.compile("".join(pieces)))


def _regex_of_mark(mark: str, optional: bool) -> str:
    """Regular expression of ``*``, ``[`` or ``]``, inside an optional part or not."""
    if mark == "*":
        return "[^/]*"
    if mark == "[" and not optional:
        return "(?:"
    if mark == "]" and optional:
        return ")?"
    reasons = {"[": "a '[' stands inside another", "]": "a ']' has no '[' before it"}
    raise ValueError(reasons.get(mark, f"{mark!r} is not understood ('*' stays within one folder or file name)"))


def _values(fit: re.Match[str], field: str) -> list[str]:
    """The different labels found for a field, in order of appearance."""
    found = (value for group, value in fit.groupdict().items() if group.startswith(field) and value)
    return list(dict.fromkeys(found))
