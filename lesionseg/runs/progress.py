"""How bars look: lively on a terminal, a line now and then in a log file."""

import sys
from typing import Any

from tqdm import tqdm


def bar(what: str, unit: str, total: int | None = None) -> Any:
    """A tqdm bar that shows itself only when the work takes more than two seconds."""
    lively = sys.stderr.isatty()
    seconds = 0.2 if lively else 10
    return tqdm(desc=what, unit=unit, total=total, delay=2, leave=not lively, mininterval=seconds)
