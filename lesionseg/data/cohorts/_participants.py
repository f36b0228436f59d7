"""BIDS's table of subjects."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lesionseg.data.cohorts._labels import without_prefix
from lesionseg.data.cohorts._table import cell, read_table
from lesionseg.errors import InputError


@dataclass(frozen=True)
class Participant:
    """What ``participants.tsv`` says of a subject, where it says it."""

    site: str | None
    split: str | None


def read_participants(root: Path) -> Mapping[str, Participant]:
    """Site and split of each subject from ``participants.tsv``; empty where there is no such file.

    Raises:
        InputError: it cannot be read, has no column ``participant_id``, or lists a subject twice.
    """
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    table = read_table(path)
    if "participant_id" not in table.columns:
        raise InputError(
            f"{path} has no column participant_id (found: {', '.join(table.columns)}); add it, or remove the file"
        )
    participants: dict[str, Participant] = {}
    faults: list[str] = []
    for _, row in table.iterrows():
        subject = without_prefix(cell(row, "participant_id"), "sub-")
        if subject in participants:
            faults.append(f"{path} lists sub-{subject} twice; keep one of the rows")
        participants[subject] = Participant(cell(row, "site") or None, cell(row, "split") or None)
    if faults:
        raise InputError(dict.fromkeys(faults))
    return participants
