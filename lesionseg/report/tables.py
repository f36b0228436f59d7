"""What a reader sees of a comparison: tables for terminal, Markdown and HTML, and the report as one HTML page."""

import re
from collections.abc import Callable, Mapping, Sequence
from math import isinf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from lesionseg.report import write_html
from lesionseg.report.analysis import DIFFERENCE, SCORES, Analysis
from lesionseg.report.comparison import Comparison
from lesionseg.report.methods import dimensions, model_name, rates_text, threshold_text
from lesionseg.report.provenance import Provenance
from lesionseg.report.text import (
    LEVEL,
    NOTHING,
    bounded,
    interval_of_studies,
    joined,
    number,
    p_value,
    power_sentences,
    savings_sentences,
    signed,
    volume_range,
    with_error,
)
from lesionseg.stats.paired import FEWEST_REPEATS

if TYPE_CHECKING:
    from lesionseg.report.figures import Drawing

SIZE, VOLUME = "training studies", "volume in mm³"
Row = Mapping[Any, Any]
Style = Literal["simple", "github"]
_NAMES: Mapping[str, Callable[[Row], str]] = {  # how a row of a frame is named in the index of a table
    SIZE: lambda row: str(row["train_size"]),
    "arm": lambda row: str(row["arm"]),
    "score": lambda row: SCORES[row["score"]],
    VOLUME: lambda row: volume_range(row["low_mm3"], row["high_mm3"]),
}


def with_interval(row: Row, mean: str = "mean") -> str:
    """Return ``+0.12 [+0.03, +0.21]``, with a dash for what is NaN and ``needs 3 repeats`` where that is why."""
    unknown = NOTHING if row["n_repeats"] >= FEWEST_REPEATS else f"needs {FEWEST_REPEATS} repeats"
    ends = unknown if isnan(row["low"]) else f"{signed(row['low'])}, {signed(row['high'])}"
    return NOTHING if isnan(row[mean]) else f"{signed(row[mean])} [{ends}]"


def score_table(analysis: Analysis) -> pd.DataFrame:
    """Return the table as a paper prints it: rows are sizes and scores, and arms where there are more than two."""
    several = len(analysis.arms) > 2
    against = f"difference from {analysis.arms[0]} [95 % CI]" if several else "difference [95 % CI]"

    def cells(row: Row) -> dict[str, str]:
        basis = {"patients × repeats": f"{row['n_patients']} × {row['n_repeats']}"}
        if not row["reference"]:
            return {"mean ± SE" if several else row["arm"]: with_error(row["mean"], row["standard_error"]), **basis}
        tests = {"p": p_value(row["p"]), "Holm's p": p_value(row["holm_p"])}
        return {against: with_interval(row), **tests, **basis}

    ours = analysis.estimates[analysis.estimates["score"].isin(SCORES)]
    table = _table(ours, [SIZE, "score", *(["arm"] if several else [])], cells)
    arms = ["mean ± SE"] if several else list(analysis.arms)
    compared = [against, "p", "Holm's p"] if len(analysis.arms) > 1 else []
    return table.reindex(columns=[*arms, *compared, "patients × repeats"]).fillna(NOTHING)


def savings_table(analysis: Analysis) -> pd.DataFrame:
    """Return how many studies the reference arm needs for what an arm has at each size."""

    def cells(row: Row) -> dict[str, str]:
        if isnan(row["needed"]):
            return {"the reference needs [95 % CI]": NOTHING, "times as many, at least": NOTHING}
        ends = NOTHING if isnan(row["needed_low"]) else interval_of_studies(row)
        return {
            "the reference needs [95 % CI]": f"{bounded(row['needed'], row['needed_bound'])} [{ends}]",
            "times as many, at least": bounded(row["multiplier_low"], "exact") if row["claimed"] else "not told",
        }

    return _table(analysis.savings, ["score", "arm", SIZE], cells)


def without_lesions_table(analysis: Analysis) -> pd.DataFrame:
    """Return the false positives in the studies without reference lesion."""
    return _table(
        analysis.without_lesions,
        [SIZE, "arm"],
        lambda row: {
            "studies without lesion": str(row["n_studies"]),
            "with false positives": f"{100 * row['marked']:.0f} %",
            "false positives per study": number(row["false_positives"]),
            "volume per study (ml)": number(row["false_positive_volume_ml"], 3),
        },
    )


def coverage_table(analysis: Analysis) -> pd.DataFrame:
    """Return how much the predictions cover."""

    def cells(row: Row) -> dict[str, str]:
        merged, ratio = number(row["merged_lesions"], 1), number(row["volume_ratio"])
        return {"merged lesions per study": merged, "predicted over reference volume": ratio}

    return _table(analysis.coverage, [SIZE, "arm"], cells)


def power_table(analysis: Analysis) -> pd.DataFrame:
    """Return how many test patients would show a difference in F1."""

    def cells(row: Row) -> dict[str, str]:
        patients = "no number" if isinf(row["n_patients"]) else f"{row['n_patients']:,.0f}"
        return {f"{row['n_repeats']} repeats": patients}

    return _table(analysis.power, [SIZE, "arm"], cells)


def against_table(gains: pd.DataFrame, what: str) -> pd.DataFrame:
    """Return what each arm gains over one that is none of those compared."""
    return _table(
        gains,
        [SIZE, "score", "arm"],
        lambda row: {
            f"{row['other']} ({what})": number(row["other_mean"]),
            "difference [95 % CI]": with_interval(row, "difference"),
            "p": p_value(row["p"]),
        },
    )


def further_tables(comparison: Comparison) -> dict[str, tuple[pd.DataFrame, str]]:
    """Return what stands behind the table of scores, each with its caption."""
    estimates, reference = comparison.analysis.estimates, comparison.arms[0]
    tests = {"crossed test: p": "p", "sign flip: p": "sign_flip_p", "Wilcoxon: p": "wilcoxon_p"}
    return {
        "coverage": (
            coverage_table(comparison.analysis),
            "How much the predictions cover. Merged: reference lesions that share a predicted one with another.",
        ),
        "baseline": (
            against_table(comparison.baseline, "no learning"),
            "What each arm gains over no learning; p is not adjusted.",
        ),
        "control": (
            against_table(comparison.control, "shuffled"),
            "What pretrained arms gain over their control, the same weights shuffled; p is not adjusted.",
        ),
        "power": (
            power_table(comparison.analysis),
            f"Test patients that would show a difference of {DIFFERENCE:g} in F1 from {reference} in 80 % of studies, "
            "at a level of 5 %, by the variance of patients and trainings in this sweep.",
        ),
        "tests": (
            _table(
                estimates[estimates["reference"] != ""],
                [SIZE, "arm", "score"],
                lambda row: {name: p_value(row[column]) for name, column in tests.items()},
            ),
            "Differences by other tests. Sign flip and Wilcoxon take the trainings as they are. No p here is adjusted.",
        ),
        "pooled": (
            _table(
                estimates[estimates["pooled"].notna()],
                [SIZE, "arm", "score"],
                lambda row: {
                    "mean over patients": with_error(row["mean"], row["standard_error"]),
                    "all lesions pooled": with_error(row["pooled"], row["pooled_standard_error"]),
                },
            ),
            "Mean over patients, and the ratio of all lesions together; its standard error is over patients, too.",
        ),
        "matched": (
            _table(
                comparison.matched,
                [SIZE, "arm"],
                lambda row: {
                    "sensitivity of both": number(row["sensitivity"]),
                    "PPV": number(row["ppv"]),
                    f"PPV of {row['reference']}": number(row["reference_ppv"]),
                    "difference [95 % CI]": with_interval(row, "difference"),
                    "p": p_value(row["p"]),
                },
            ),
            f"PPV at the same sensitivity as {reference}: each model is cut at the threshold at which it finds as much "
            "as the weaker of the two.",
        ),
        "without-lesions": (
            without_lesions_table(comparison.analysis),
            "Test studies without a reference lesion, which enter no mean above.",
        ),
    }


def figure_tables(comparison: Comparison) -> dict[str, tuple[pd.DataFrame, str]]:
    """Return the numbers of the figures, each table with its caption."""
    froc = comparison.froc
    return {
        "froc": (
            _table(
                froc.drop_duplicates(["train_size", "arm"]) if len(froc) else froc,
                [SIZE, "arm"],
                lambda row: {
                    f"area up to {row['area_up_to']:g} false positives": number(row["area"]),
                    "false positives per study": number(row["operating_false_positives"]),
                    "sensitivity": number(row["operating_sensitivity"]),
                },
            ),
            "FROC: its area as a share of what is possible; operating point.",
        ),
        "volumes": (
            _table(
                comparison.by_lesion_size,
                [SIZE, "arm", VOLUME],
                lambda row: {
                    row["score"]: f"{with_error(row['mean'], row['standard_error'])} ({row['n_lesions']:.3g} lesions)"
                },
            ),
            "By lesion volume: mean ± standard error over patients.",
        ),
        "savings": (savings_table(comparison.analysis), "Label savings with their 95 % intervals."),
    }


def run_tables(provenance: Provenance, rates: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, str]]:
    """Return what was run, and where the first weights come from, each table with its caption."""
    config, count, value = provenance.config, provenance.n_subjects, provenance.over_runs
    task, metrics = config["task"], config["metrics"]
    again = " (scored again from the stored predictions)" if provenance.rescored else ""
    items = {
        "Task": f"{task['name']}: {', '.join(task['inputs'])} → {task['target']}",
        "Data": f"{config['dataset']['name']}, {count('test', 'validation', 'pool')} subjects, of whom "
        f"{count('validation')} for validation and {count('test')} for the test; voxels of "
        f"{dimensions(task['spacing'])} mm",
        "Training studies": joined(sorted({run.train_size for run in provenance.runs})),
        "Repeats": str(len({run.repeat for run in provenance.runs})),
        "Network": model_name(provenance),
        "Optimiser steps": value("trainer", "steps"),
        "Patches per step": f"{value('trainer', 'batch_size')}, of {value('task', 'patch_size')} voxels",
        "Learning rates": rates_text(rates),
        "Checkpoint chosen by": metrics["monitor"],
        "Criterion": f"{provenance.criterion.describe()}{again}",
        "Smallest lesion": f"{provenance.min_volume:g} mm³",
        "Threshold": threshold_text(metrics),
        "Versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
    }
    run = pd.DataFrame({"item": list(items), "what was run": list(items.values())}).set_index("item")
    transfer = _table(
        provenance.transfers(),
        ["arm"],
        lambda row: {
            "weights from": f"{row['source']} ({row['source_task']})" if row["source"] else "none: drawn from the seed",
            "SHA-256": row["source_digest"][:12] or NOTHING,
            "loaded": f"{100 * row['loaded_share']:.0f} %",
            "adapted / fresh / skipped": f"{row['adapted']} / {row['fresh']} / {row['skipped']}",
            "trained at first": NOTHING if isnan(row["trained_share"]) else f"{100 * row['trained_share']:.0f} %",
            "besides": "; ".join([*(f"{key}: {value}" for key, value in row["strategy"].items()), *row["differences"]]),
        },
    )
    return {"run": (run, "What was run."), "transfer": (transfer, "First weights of each arm, of its first run.")}


def _table(frame: pd.DataFrame, names: Sequence[str], cells: Callable[[Row], Mapping[str, str]]) -> pd.DataFrame:
    """Return a table of the texts that the rows of a frame give; rows of the same name share a row of the table."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for row in frame.to_dict("records"):
        rows.setdefault(tuple(_NAMES[name](row) for name in names), {}).update(cells(row))
    index = pd.MultiIndex.from_arrays(list(zip(*rows, strict=True)) or [[]] * len(names), names=list(names))
    return pd.DataFrame(list(rows.values()), index=index).fillna(NOTHING)


def as_text(table: pd.DataFrame, style: Style = "simple") -> str:
    """Return a table for the terminal or as Markdown; a name that repeats the one above it is left out."""
    whole = table.reset_index()
    flat = whole.copy()
    for place, name in enumerate(table.index.names[:-1], start=1):
        keys = list(whole.columns[:place])
        flat[name] = whole[name].mask((whole[keys] == whole[keys].shift()).all(axis=1), "")
    aligned = ["right" if column in (SIZE, "p", "Holm's p") else "left" for column in flat.columns]
    return flat.to_markdown(index=False, tablefmt=style, disable_numparse=True, colalign=aligned)


def as_html(table: pd.DataFrame, name: str, caption: str) -> str:
    """Return a table as HTML, Holm's p in bold where it is below the level; every cell is escaped."""
    style = table.style.set_uuid(name).set_caption(caption).format(escape="html").format_index(escape="html")
    style = style.format_index(escape="html", axis="columns")
    if "Holm's p" in table.columns:
        small = [text == "< 0.001" or (text != NOTHING and float(text) < LEVEL) for text in table["Holm's p"]]
        style = style.apply(lambda _: ["font-weight: bold" if one else "" for one in small], subset=["Holm's p"])
    return str(style.to_html(bold_headers=False))


def terminal(comparison: Comparison, *, named: bool = False) -> str:
    """Return the answer first and the table last: whoever reads it there may stop anywhere."""
    analysis = comparison.analysis
    tables = [against_table(comparison.baseline, "no learning"), against_table(comparison.control, "shuffled")]
    tables += [coverage_table(analysis), without_lesions_table(analysis)]
    blocks = [
        f"{comparison.sweep} ({comparison.task})" if named else "",
        "\n".join(comparison.answer),
        "\n".join(comparison.validation),
        *_lists(comparison),
        *(as_text(table) for table in tables if not table.empty),
        _power_block(analysis, "simple"),
        as_text(score_table(comparison.analysis)),
    ]
    return "\n\n".join(block for block in blocks if block)


def markdown(comparison: Comparison) -> str:
    """Return sentences, tables and methods."""
    analysis = comparison.analysis
    tables = (score_table(analysis), savings_table(analysis), without_lesions_table(analysis))
    blocks = [
        f"# {comparison.sweep}: {joined(comparison.arms)}",
        "\n".join(comparison.answer),
        "\n".join(comparison.validation),
        *(as_text(table, "github") for table in tables if not table.empty),
        _power_block(analysis, "github"),
        *_lists(comparison),
        f"## Methods\n\n{comparison.methods}" if comparison.methods else "",
    ]
    text = "\n\n".join(block for block in blocks if block) + "\n"
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)  # HTML that a user's name or path may hold


def _power_block(analysis: Analysis, style: Style) -> str:
    title = f"Test patients that would show a difference of {DIFFERENCE:g} in F1 (power 80 %), by these runs' variance:"
    return "" if analysis.power.empty else f"{title}\n\n{as_text(power_table(analysis), style)}"


def note(comparison: Comparison, longest: int) -> str:
    """Return the answer in Markdown, and the table if there is room for it in so many characters."""
    said = [f"# {comparison.sweep}: {joined(comparison.arms)}", *comparison.answer, *comparison.validation]
    where = "All of it is in the artifact comparison/report.html."
    whole = "\n\n".join([*said, as_text(score_table(comparison.analysis), "github"), where])
    return whole if len(whole) <= longest else "\n\n".join([*said, where])[:longest]


def _lists(comparison: Comparison) -> list[str]:
    limits = [*comparison.caveats, *comparison.unfinished]
    lists = {"What was compared": comparison.compared, "What these numbers can and cannot carry": limits}
    return ["\n".join([f"{name}:", "", *(f"- {one}" for one in lines)]) for name, lines in lists.items() if lines]


def write_page(comparisons: Sequence[Comparison], drawings: Sequence[Sequence["Drawing"]], path: Path) -> None:
    """Write the report of one sweep or several with their figures, whole or not at all."""
    from lesionseg.report.slices import OUTLINES

    both = enumerate(zip(comparisons, drawings, strict=True), start=1)
    chapters = [_chapter(comparison, drawn, f"c{place}") for place, (comparison, drawn) in both]
    names = dict.fromkeys(comparison.sweep for comparison in comparisons if comparison.sweep)
    title = f"Comparison: {', '.join(names)}" if names else "Comparison of arms"
    lines = {"-": "solid", ":": "dotted", "--": "dashed"}
    keys = [
        {"name": name, "color": look["color"], "style": lines[look["linestyle"]]} for name, look in OUTLINES.values()
    ]
    write_html("report.html.j2", path, title=title, chapters=chapters, keys=keys)


def _chapter(comparison: Comparison, drawings: Sequence["Drawing"], name: str) -> dict[str, Any]:
    """Return everything that the template says of one sweep."""
    from lesionseg.report.figures import as_data_uri
    from lesionseg.report.slices import slice_as_data_uri

    def html(found: Mapping[str, tuple[pd.DataFrame, str]]) -> list[str]:
        return [as_html(table, f"{name}-{key}", text) for key, (table, text) in found.items() if not table.empty]

    analysis, provenance = comparison.analysis, comparison.provenance
    against = (
        f", and the difference from {comparison.arms[0]}, paired by patient and repeat, with its 95 % interval. p is "
        f"that of the crossed test of patients and repeats; Holm's p is adjusted for the {analysis.basis.n_tests} "
        "tests of sensitivity, PPV and F1."
    )
    scores = f"Mean ± standard error over test patients{against if len(comparison.arms) > 1 else '.'}"
    splits = provenance.splits() if provenance is not None else pd.DataFrame()
    return {
        "id": name,
        "title": comparison.task or comparison.sweep or "comparison",
        "comparison": comparison,
        "scores": as_html(score_table(analysis), f"{name}-scores", scores),
        "further": html(further_tables(comparison)),
        "behind": html(figure_tables(comparison)),
        "run": html(run_tables(provenance, comparison.rates)) if provenance is not None else [],
        "splits": html({"splits": (splits, "SHA-256 of the subjects of each size and repeat.")}),
        "savings": [*savings_sentences(analysis.savings), *power_sentences(analysis.power)],
        "figures": [{**vars(one), "src": as_data_uri(one.figure) if one.figure else ""} for one in drawings],
        "pictures": [
            {"arm": arm, "which": which, "slice": one, "src": slice_as_data_uri(one)}
            for arm, which, one in comparison.pictures
        ],
    }
