"""Is the data fit for a task? The story of ``lesionseg check``."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from lesionseg.data.audit import Audit, audit
from lesionseg.data.channels import Channel
from lesionseg.data.files import write_json
from lesionseg.data.study import Cohort


def check(cohort: Cohort, channels: Sequence[Channel], target: str, *, output: Path | None) -> int:
    """Read all the data a task needs, print what was found, and write it as JSON.

    Args:
        cohort: the studies.
        channels: the task's input channels.
        target: the mask it learns.
        output: JSON file that appears whole or not at all; None writes none.

    Returns:
        0 if the data is fit, 2 if anything is wrong with it.
    """
    result = audit(cohort, channels, target)
    for block in _blocks(result):
        print(block, end="\n\n")
    print(_summary(result))
    if output is not None:
        write_json(output, result.to_json())
        print(f"Written to {output}")
    return 2 if result.faults else 0


def _blocks(result: Audit) -> list[str]:
    """The table and the lists that are not empty."""
    blocks = [result.table()] if result.studies else []
    lists = {"Left out": _by_reason(result.left_out), "To note": result.notes, "Faults": result.faults}
    for heading, lines in lists.items():
        if lines:
            numbered = [f"  {number}. {line}" for number, line in enumerate(lines, start=1)]
            blocks.append("\n".join([f"{heading}:", *numbered]))
    return blocks


def _by_reason(left_out: Sequence[str]) -> list[str]:
    """One line for each reason, with the studies it holds for."""
    studies: dict[str, list[str]] = {}
    for line in left_out:
        study, _, reason = line.partition(": ")
        studies.setdefault(reason, []).append(study)
    return [f"{reason} ({len(names)}): {', '.join(names)}" for reason, names in studies.items()]


def _summary(result: Audit) -> str:
    """One line for the whole cohort."""
    masks = [row.mask for row in result.studies if row.mask is not None]
    volume = f"{median(mask.volume_ml for mask in masks):.2f} ml" if masks else "undefined"
    return (
        f"{result.cohort}: {_count(len(result.studies), 'study', 'studies')} of "
        f"{_count(len({row.subject for row in result.studies}), 'subject')}, "
        f"{_count(sum(mask.lesion_count for mask in masks), 'lesion')}, median volume {volume}, "
        f"{len(result.left_out)} left out, {_count(len(result.faults), 'fault')}"
    )


def _count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"
