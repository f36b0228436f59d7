"""Hold every strategy of the sweep, finished or not, against training from scratch: a table and a figure.

python experiments/transfer_strategies/strategies.py sweep=transfer_strategies paths.outputs=outputs --output DIR
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from strategies_figure import draw_strategies
from tabulate import tabulate

from lesionseg.commands.plan import store_of
from lesionseg.commands.sweep_runs import RunFiles, best_validation, finished_runs, read_cases, read_record
from lesionseg.config.compose import Request, compose_jobs
from lesionseg.errors import InputError
from lesionseg.report.analysis import Analysis, analyse
from lesionseg.report.methods import missing_sentences
from lesionseg.report.provenance import RunRecord
from lesionseg.stats import holm

STUDY = yaml.safe_load(Path(__file__).with_name("study.yaml").read_text(encoding="utf-8"))
GRID = {key: str(values).split(",") for key, values in STUDY["hydra"]["sweeper"]["params"].items()}
REFERENCE = "scratch"
Runs = Sequence[tuple[RunRecord, float]]  # each with the share of the network's values that its first step trains
COLUMNS = {  # of the Markdown table: how a cell is written, of which numbers
    "training studies": ("{}", "train_size"),
    "strategy": ("{}", "strategy"),
    "F1": ("{:.2f} ± {:.2f}", "lesion_f1", "standard_error"),
    "sensitivity": ("{:.2f}", "lesion_sensitivity"),
    "PPV": ("{:.2f}", "lesion_ppv"),
    "F1 − scratch [95 % CI]": ("{:+.2f} [{:+.2f}, {:+.2f}]", "difference_mean", "difference_low", "difference_high"),
    "p": ("{:.2g}", "difference_p"),
    "Holm's p": ("{:.2g}", "holm_p"),
    "best validation": ("{:.2f}", "best_validation"),
    "weights taken": ("{:.3g} %", "taken_percent"),
    "values trained": ("{:.3g} %", "trained_percent"),
    "repeats": (f"{{}} of {len(GRID['repeat'])}", "n_repeats"),
}
NOTES = """\
± is the standard error over test patients, each averaged over repeats first. The difference is paired by patient and
repeat; its interval and p are for new patients and, from two repeats on, for new trainings. An interval that includes
zero does not say that a strategy is as good as scratch. Best validation: the highest value of the score that chose the
checkpoint, mean of the repeats. Weights taken come from the source; values trained are those of the first step, to
which head_first and gradual_unfreeze add the others later; both are shares of the network's values."""


def main() -> None:
    """Read the sweep from MLflow; print the table and write it, its numbers and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", metavar="KEY=VALUE", help="as lesionseg compare takes them")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for strategies.md, .csv and .png")
    arguments = parser.parse_intermixed_args()
    try:
        config: Any = compose_jobs(Request("compare", tuple(arguments.overrides)))[0][0].config
        store = store_of(config.tracking, config.paths, create=False)
        runs = finished_runs(store, config.paths, config.sweep[0])
        files = [RunFiles.of(store, run) for run in runs.finished]
        cases = pd.concat([read_cases(one) for one in files], ignore_index=True)
        records = [read_record(one) for one in files]
    except InputError as error:
        sys.exit(str(error))
    found = []
    for run, record in zip(runs.finished, records, strict=True):
        best = best_validation(store, run, record)
        found.append((replace(record, best_validation=best), record.transfer["trained"] / max(1, record.n_values)))
    write(cases, found, arguments.output, runs.unfinished)


def write(cases: pd.DataFrame, runs: Runs, folder: Path, unfinished: Sequence[str] = ()) -> None:
    """Write ``strategies.md``, ``strategies.csv`` and ``strategies.png``; print the first.

    Args:
        cases, runs: of all finished runs, as `lesionseg.report.analysis.analyse` takes the cases.
        folder: made if need be.
        unfinished: a sentence for each run that was begun and is not finished.
    """
    arms = list(dict.fromkeys([*GRID["init"], *sorted(set(cases["init"]))]))
    there = [arm for arm in arms if arm in {REFERENCE, *cases["init"]}]
    analysis = analyse(cases, there)
    frame = frame_of(arms, analysis, runs)
    notes = [f"- {note.rstrip('.')}." for note in [*notes_of(frame, analysis), *unfinished]]
    text = "\n".join([table_of(frame), "", NOTES, "", *notes])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "strategies.md").write_text(f"{text}\n", encoding="utf-8")
    frame.to_csv(folder / "strategies.csv", index=False)
    draw_strategies(analysis, arms, REFERENCE).savefig(folder / "strategies.png", dpi=150)
    print(text)


def frame_of(arms: Sequence[str], analysis: Analysis, runs: Runs) -> pd.DataFrame:
    """A row per training size of study.yaml or a run, and strategy; NaN and 0 repeats where no run is finished."""
    rows: list[dict[str, Any]] = []
    table = analysis.estimates.set_index(["train_size", "quantity", "score"]).to_dict("index")
    for size, arm in product(sorted({*map(int, GRID["train_size"]), *analysis.basis.sizes}), arms):
        rows.append({"train_size": size, "strategy": arm, "n_patients": 0, "n_repeats": 0})
        own = [(run, share) for run, share in runs if (run.arm, run.train_size) == (arm, size)]
        f1, gain = table.get((size, arm, "lesion_f1")), table.get((size, f"{arm} - {REFERENCE}", "lesion_f1"), {})
        if f1 is None or not own:
            continue
        first, trained = own[0]
        rows[-1] |= {score: row["mean"] for (n, one, score), row in table.items() if (n, one) == (size, arm)}
        rows[-1] |= {name: f1[name] for name in ("standard_error", "n_patients", "n_repeats")}
        rows[-1] |= {f"difference_{key}": gain.get(key, nan) for key in ("mean", "low", "high", "p", "n_repeats")}
        rows[-1] |= {"best_validation": pd.Series([run.best_validation for run, _ in own], dtype=float).mean()}
        rows[-1] |= {"taken_percent": 100 * first.transfer["loaded_share"], "trained_percent": 100 * trained}
    frame = pd.DataFrame(rows)
    p_values = frame.get("difference_p", pd.Series(nan, frame.index)).to_numpy(float)
    return frame.assign(holm_p=holm(p_values))


def table_of(frame: pd.DataFrame) -> str:
    """The rows of `frame_of` in Markdown, a dash where there is nothing."""
    cells = [[_cell(how, row, keys) for how, *keys in COLUMNS.values()] for row in frame.to_dict("records")]
    return tabulate(cells, list(COLUMNS), tablefmt="github", disable_numparse=True)


def notes_of(frame: pd.DataFrame, analysis: Analysis) -> list[str]:
    """How many tests there are, and what of the runs and test studies is missing; each without a full stop."""
    tests, finished = int(frame["holm_p"].count()), int(frame["n_repeats"].sum())
    asked = len(frame) * len(GRID["repeat"])
    notes = [f"Holm's p is adjusted for the {tests} tests of this table"] if tests > 1 else []
    begun = f"{finished} of {asked} runs are finished: where repeats lack, F1 may rest on others than scratch's"
    lacks = [
        line for line in missing_sentences(analysis.missing, analysis.basis.n_studies) if "no finished run" not in line
    ]
    return [*notes, *([begun] if finished < asked else []), *lacks]


def _cell(how: str, row: Mapping[Any, Any], keys: Sequence[str]) -> str:
    text = how.format(*(row.get(key, nan) for key in keys)).replace("+nan", "nan")
    number = "–" if text.startswith("nan") else text.replace("nan", "–").replace("-", "−")
    return number if ":" in how else text


if __name__ == "__main__":
    main()
