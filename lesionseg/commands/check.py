"""``lesionseg check``: is the data fit for a task?"""

from pathlib import Path

from lesionseg.commands.plan import load_dataset
from lesionseg.config.schema import CheckConfig
from lesionseg.data.quality_control import audit
from lesionseg.io import write_json


def check(config: CheckConfig) -> int:
    """Read all the data a task needs, print what was found, and write it as JSON; return 2 where anything is wrong."""
    result = audit(load_dataset(config.dataset), config.task.channels, config.task.target)
    if not result.studies.empty:
        print(result.table(), end="\n\n")
    left_out = [
        f"{reason} ({len(own)}): {', '.join(own['study'])}"
        for reason, own in result.left_out.groupby("reason", sort=False)
    ]
    for heading, lines in (
        ("Left out", left_out),
        ("To note", result.notes["text"]),
        ("Faults", result.faults["text"]),
    ):
        if len(lines):
            print("\n".join([f"{heading}:", *(f"  {n}. {line}" for n, line in enumerate(lines, start=1))]), end="\n\n")
    volume = f"{result.masks['volume_ml'].median():.2f} ml" if len(result.masks) else "undefined"
    print(
        f"{result.dataset}: {_count(len(result.studies), 'study', 'studies')} of "
        f"{_count(result.studies['subject'].nunique(), 'subject')}, "
        f"{_count(int(result.masks['lesion_count'].sum()), 'lesion')}, median volume {volume}, "
        f"{result.left_out['study'].nunique()} left out, {_count(len(result.faults), 'fault')}"
    )
    if config.output:
        write_json(Path(config.output), result.to_json())
        print(f"Written to {config.output}")
    return 2 if len(result.faults) else 0


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
