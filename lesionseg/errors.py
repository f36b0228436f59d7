"""The error a user can mend: what is wrong, where, and the way out."""

from collections.abc import Iterable


class InputError(Exception):
    """The configuration or the data is wrong; the command ends with exit code 2.

    Args:
        faults: one message each: what is wrong, where (subject, file or key), what was found, how to mend it.
    """

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return self.faults[0]
        lines = [f"Found {len(self.faults)} faults:"]
        lines += [f"  {number}. {fault}" for number, fault in enumerate(self.faults, start=1)]
        return "\n".join(lines)
