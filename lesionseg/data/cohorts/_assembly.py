"""From a reader's studies to a cohort: checked, and in order."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from lesionseg.data.cohorts._labels import is_safe_in_file_names, natural_key
from lesionseg.data.study import Cohort, Study
from lesionseg.errors import InputError

SPLITS = ("train", "validation", "test")


def assemble(name: str, root: Path, studies: Iterable[Study], faults: Sequence[str]) -> Cohort:
    """Put studies in order, give all sessions of a subject one split, and refuse what no reader may let by.

    Args:
        name: the cohort's name.
        root: the folder or table the studies came from.
        studies: in any order.
        faults: what the reader found wrong already.

    Raises:
        InputError: the reader's faults and those found here: labels that no file can be named by, studies of
            one name, sessions without an order, an image used twice, a subject in two splits, an unknown
            split.
    """
    ordered = sorted(studies, key=lambda s: (natural_key(s.subject), s.subject, natural_key(s.session), s.session))
    found = [*faults, *_label_faults(ordered), *_order_faults(ordered), *_image_faults(ordered)]
    found += _split_faults(ordered)
    if found:
        raise InputError(f"{name}: {fault}" for fault in dict.fromkeys(found))
    split_of = {study.subject: study.split for study in ordered if study.split}
    return Cohort(name, root, tuple(replace(study, split=split_of.get(study.subject)) for study in ordered))


def _label_faults(studies: Sequence[Study]) -> Iterator[str]:
    for kind, labels in (
        ("subject", dict.fromkeys(study.subject for study in studies)),
        ("session", dict.fromkeys(study.session for study in studies if study.session)),
    ):
        for label in labels:
            if not is_safe_in_file_names(label):
                yield (
                    f'{kind} {label!r} cannot be part of a file name; rename it: no / \\ : * ? " < > | or '
                    "line break, and no dot or blank at either end"
                )


def _order_faults(studies: Sequence[Study]) -> Iterator[str]:
    """Studies that carry one name, and sessions such as 1 and 01, of which neither comes first."""
    named: dict[str, Study] = {}
    for study in studies:
        first = named.setdefault(study.name, study)
        if first is not study:
            yield (
                f"two studies are called {study.name} (subject {first.subject!r} session {first.session!r}, "
                f"and subject {study.subject!r} session {study.session!r}); give each session of a subject a "
                "label of its own"
            )
    for earlier, later in pairwise(studies):
        same = earlier.subject == later.subject and natural_key(earlier.session) == natural_key(later.session)
        if same and earlier.session != later.session:
            yield (
                f"sub-{later.subject}: sessions {earlier.session!r} and {later.session!r} have no order in "
                "time; rename one of them"
            )


def _image_faults(studies: Sequence[Study]) -> Iterator[str]:
    """Images that stand for two contrasts or two studies."""
    used: dict[Path, str] = {}
    for study in studies:
        for contrast, path in study.images.items():
            use = f"{study.name}, {contrast}"
            first = used.setdefault(path, use)
            if first != use:
                yield (
                    f"{path} is used twice, as {first} and as {use}; one image is one contrast of one study: "
                    "make the pattern, column or channel of one of them more specific, or remove the row"
                )


def _split_faults(studies: Sequence[Study]) -> Iterator[str]:
    splits: dict[str, set[str]] = defaultdict(set)
    for study in studies:
        if study.split:
            splits[study.subject].add(study.split)
    for subject, found in splits.items():
        for split in sorted(found - set(SPLITS)):
            yield (f"sub-{subject}: split {split!r} is unknown; write one of {', '.join(SPLITS)}, or leave it empty")
        if len(found) > 1:
            yield (
                f"sub-{subject} is in the splits {' and '.join(sorted(found))}; all sessions of a subject "
                "belong to one, or the test would see patients of the training"
            )
