"""How long `lesionseg compare` takes on a large sweep, and how much memory; see README.md.

PYTHONPATH=. python experiments/benchmarks/compare/run.py --store DIR    # --repeats 50 --patients 50 --lesions 60
"""

import argparse
import os
import platform
import resource
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from synthetic_sweep import Grid, make_sweep
from tabulate import tabulate

from lesionseg.commands import compare as story
from lesionseg.config.compose import Request, compose_jobs
from lesionseg.tracking.mlflow_store import open_store
from lesionseg.tracking.sweep import sweep_children

PHASES = {
    "store_of": "open the store",
    "_sweeps": "find the runs",
    "_gather": "read the runs' files",
    "compare_cases": "statistics",
    "provenance_of": "what was run",
    "_pictures": "choose pictures",
    "_write": "write page, tables, figures",
}
Spent = dict[str, tuple[float, float]]


def main() -> None:
    """Make the sweep unless it is there, compare it, and print a line per phase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="for the store; kept, and used again")
    parser.add_argument("--arms", nargs="+", default=["scratch", "pretrained", "frozen_encoder", "lora"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[2, 5, 10, 20, 40])
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--patients", type=int, default=50)
    parser.add_argument("--lesions", type=int, default=60)
    arguments = parser.parse_args()
    grid = Grid(arguments.arms, arguments.sizes, arguments.repeats, arguments.patients, arguments.lesions)
    folder = arguments.store.resolve()
    prepare(folder, grid)
    spent = watch()
    config: Any = compose_jobs(Request("compare", ("sweep=big", f"paths.outputs={folder}")))[0][0].config
    began, cpu = perf_counter(), process_time()
    story.compare(config)
    whole = (perf_counter() - began, process_time() - cpu)
    print(table(spent, whole, len(grid.runs)))


def prepare(folder: Path, grid: Grid) -> None:
    """The sweep ``big`` in the folder's store; a sweep that is there must have as many runs."""
    store = open_store(f"sqlite:///{folder}/mlflow.db", "lesionseg", str(folder / "artifacts"), folder / ".lock")
    found = len(sweep_children(store, "big"))
    if found == 0:
        make_sweep(store, "big", grid)
    elif found != len(grid.runs):
        sys.exit(f"{folder} holds a sweep of {found} runs, not of {len(grid.runs)}: give another folder")


def watch() -> Spent:
    """From here on each phase adds its seconds, by the clock and of the processor."""
    spent: Spent = defaultdict(lambda: (0.0, 0.0))
    for name in PHASES:
        setattr(story, name, timed(getattr(story, name), name, spent))
    return spent


def timed(phase: Callable[..., Any], name: str, spent: Spent) -> Callable[..., Any]:
    """The same function, which notes how long it takes."""

    @wraps(phase)
    def measured(*arguments: Any, **keywords: Any) -> Any:
        began, cpu = perf_counter(), process_time()
        result = phase(*arguments, **keywords)
        seconds, processor = spent[name]
        spent[name] = seconds + perf_counter() - began, processor + process_time() - cpu
        return result

    return measured


def table(spent: Spent, whole: tuple[float, float], n_runs: int) -> str:
    """A line per phase, the whole and the machine."""
    rows = [[what, *spent[name]] for name, what in PHASES.items()] + [["all of it", *whole]]
    own, helper = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end, Python {platform.python_version()}"
    lines = tabulate(rows, ["phase", "seconds", "of the processor"], tablefmt="github", floatfmt=".1f")
    memory = f"Peak memory: {own:.0f} MB, and {helper:.0f} MB in the largest process beside it"
    return f"\n{n_runs} runs; {machine}\n\n{lines}\n\n{memory}"


if __name__ == "__main__":
    main()
