"""``lesionseg check``: is the data fit for a task?"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from lesionseg.commands.plan import load_dataset
from lesionseg.config.schema import CheckConfig
from lesionseg.data.quality_control import Audit, audit
from lesionseg.io import write_json


def check(config: CheckConfig) -> int:
    """Read all the data a task needs, print what was found, and write it as JSON; return 2 where anything is wrong."""
    result = audit(load_dataset(config.dataset), config.task.channels, config.task.target)
    for block in _blocks(result):
        print(block, end="\n\n")
    print(_summary(result))
    if config.output:
        write_json(Path(config.output), result.to_json())
        print(f"Written to {config.output}")
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
        f"{result.dataset}: {_count(len(result.studies), 'study', 'studies')} of "
        f"{_count(len({row.subject for row in result.studies}), 'subject')}, "
        f"{_count(sum(mask.lesion_count for mask in masks), 'lesion')}, median volume {volume}, "
        f"{len(result.left_out)} left out, {_count(len(result.faults), 'fault')}"
    )


def _count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"
