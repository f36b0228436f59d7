"""What a reader sees of a comparison: tables for terminal, Markdown and HTML, and the report as one HTML page."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from math import isinf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from lesionseg.io import written_whole
from lesionseg.report import tables
from lesionseg.report.analysis import SCORES, Analysis
from lesionseg.report.comparison import Comparison
from lesionseg.report.methods import dimensions, model_name, rates_text, threshold_text
from lesionseg.report.provenance import Provenance
from lesionseg.report.text import LEVEL, bounded, interval_of_studies, joined, savings_sentences

if TYPE_CHECKING:
    from lesionseg.report.figures import Drawing

NOTHING = "–"
SIZE = "training studies"
Style = Literal["simple", "github"]


def number(value: float, digits: int = 2) -> str:
    """Return a number with so many digits, a dash for NaN."""
    return NOTHING if isnan(value) else f"{value:.{digits}f}"


def signed(value: float) -> str:
    """Return two digits with a sign, the minus as in print: ``+0.12``, ``−0.03``, ``0.00``."""
    rounded = round(value, 2)
    return f"{rounded:+.2f}".replace("-", "−") if rounded else "0.00"


def with_error(mean: float, error: float, digits: int = 2) -> str:
    """Return ``0.52 ± 0.04``, with a dash for what is NaN."""
    return NOTHING if isnan(mean) else f"{mean:.{digits}f} ± {number(error, digits)}"


def with_interval(mean: float, low: float, high: float) -> str:
    """Return ``+0.12 [+0.03, +0.21]``, with a dash for what is NaN."""
    if isnan(mean):
        return NOTHING
    return f"{signed(mean)} [{NOTHING if isnan(low) else f'{signed(low)}, {signed(high)}'}]"


def p_value(p: float) -> str:
    """Return ``0.034`` or ``< 0.001``, a dash where there is no test."""
    return NOTHING if isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def score_table(analysis: Analysis) -> pd.DataFrame:
    """Return the table as a paper prints it: rows are sizes and scores, and arms where there are more than two."""
    several, compared = len(analysis.arms) > 2, len(analysis.arms) > 1
    against = f"difference from {analysis.arms[0]} [95 % CI]" if several else "difference [95 % CI]"
    ours = analysis.estimates[analysis.estimates["score"].isin(SCORES)]
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for row in ours.to_dict("records"):
        key = (str(row["train_size"]), SCORES[row["score"]], *([row["arm"]] if several else []))
        cells = rows.setdefault(key, {})
        basis = f"{row['n_patients']} × {row['n_repeats']}"
        if row["reference"]:
            cells[against] = with_interval(row["mean"], row["low"], row["high"])
            cells |= {"p": p_value(row["p"]), "Holm's p": p_value(row["holm_p"]), "patients × repeats": basis}
        else:
            cells["mean ± SE" if several else row["arm"]] = with_error(row["mean"], row["standard_error"])
            cells.setdefault("patients × repeats", basis)
    arms = ["mean ± SE"] if several else list(analysis.arms)
    columns = [*arms, *([against, "p", "Holm's p"] if compared else []), "patients × repeats"]
    return _indexed(rows, [SIZE, "score", *(["arm"] if several else [])], columns)


def savings_table(analysis: Analysis) -> pd.DataFrame:
    """Return how many studies the reference arm needs for what an arm has at each size."""
    rows = {}
    for row in analysis.savings.to_dict("records"):
        needed, factor = NOTHING, NOTHING
        if not isnan(row["needed"]):
            ends = NOTHING if isnan(row["needed_low"]) else interval_of_studies(row)  # type: ignore[arg-type]
            needed = f"{bounded(row['needed'], row['needed_bound'])} [{ends}]"
            factor = bounded(row["multiplier"], row["needed_bound"])
        key = (SCORES[row["score"]], row["arm"], str(row["train_size"]))
        rows[key] = {"the reference needs [95 % CI]": needed, "times as many": factor}
    return _indexed(rows, ["score", "arm", SIZE])


def other_tests_table(analysis: Analysis) -> pd.DataFrame:
    """Return the p values of every test, unadjusted, beside each other."""
    rows = {}
    for row in analysis.estimates[analysis.estimates["reference"] != ""].to_dict("records"):
        key = (str(row["train_size"]), row["arm"], SCORES[row["score"]])
        names = {"crossed test: p": "p", "sign flip: p": "sign_flip_p", "Wilcoxon: p": "wilcoxon_p"}
        rows[key] = {name: p_value(row[column]) for name, column in names.items()}
    return _indexed(rows, [SIZE, "arm", "score"])


def pooled_table(analysis: Analysis) -> pd.DataFrame:
    """Return means over patients beside the ratio of all patients' lesions together."""
    rows = {}
    for row in analysis.estimates[analysis.estimates["pooled"].notna()].to_dict("records"):
        rows[str(row["train_size"]), row["arm"], SCORES[row["score"]]] = {
            "mean over patients": with_error(row["mean"], row["standard_error"]),
            "all lesions pooled": with_error(row["pooled"], row["pooled_standard_error"]),
        }
    return _indexed(rows, [SIZE, "arm", "score"])


def matched_table(comparison: Comparison) -> pd.DataFrame:
    """Return PPV where both arms find as much."""
    rows = {
        (str(row["train_size"]), row["arm"]): {
            "sensitivity of both": number(row["sensitivity"]),
            "PPV": number(row["ppv"]),
            f"PPV of {row['reference']}": number(row["reference_ppv"]),
            "difference [95 % CI]": with_interval(row["difference"], row["low"], row["high"]),
            "p": p_value(row["p"]),
        }
        for row in comparison.matched.to_dict("records")
    }
    return _indexed(rows, [SIZE, "arm"])


def without_lesions_table(analysis: Analysis) -> pd.DataFrame:
    """Return the false positives in the studies without reference lesion."""
    rows = {
        (str(row["train_size"]), row["arm"]): {
            "studies without lesion": str(row["n_studies"]),
            "with false positives": f"{100 * row['marked']:.0f} %",
            "false positives per study": number(row["false_positives"]),
            "volume per study (ml)": number(row["false_positive_volume_ml"], 3),
        }
        for row in analysis.without_lesions.to_dict("records")
    }
    return _indexed(rows, [SIZE, "arm"])


def froc_table(comparison: Comparison) -> pd.DataFrame:
    """Return area and operating point of each FROC."""
    froc = comparison.froc
    firsts = froc.drop_duplicates(["train_size", "arm"]) if len(froc) else froc
    rows = {
        (str(row["train_size"]), row["arm"]): {
            f"area up to {row['area_up_to']:g} false positives": number(row["area"]),
            "false positives per study": number(row["operating_false_positives"]),
            "sensitivity": number(row["operating_sensitivity"]),
        }
        for row in firsts.to_dict("records")
    }
    return _indexed(rows, [SIZE, "arm"])


def volume_table(comparison: Comparison) -> pd.DataFrame:
    """Return sensitivity and PPV by lesion volume."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for row in comparison.by_lesion_size.to_dict("records"):
        key = (str(row["train_size"]), row["arm"], volume_range(row["low_mm3"], row["high_mm3"]))
        share = f"{with_error(row['mean'], row['standard_error'])} ({row['n_lesions']:.3g} lesions)"
        rows.setdefault(key, {})[row["score"]] = share
    return _indexed(rows, [SIZE, "arm", "volume in mm³"])


def volume_range(low: float, high: float) -> str:
    """Return ``< 10``, ``10–100`` or ``≥ 100``."""
    if isinf(high):
        return f"≥ {low:g}" if low else "all"
    return f"{low:g}–{high:g}" if low else f"< {high:g}"


def run_table(provenance: Provenance, rates: pd.DataFrame) -> pd.DataFrame:
    """Return what was run, an item a row."""
    config = provenance.config
    task, metrics = config["task"], config["metrics"]
    items = {
        "Task": f"{task['name']}: {', '.join(task['inputs'])} → {task['target']}",
        "Data": f"{config['dataset']['name']}, {provenance.n_subjects} subjects, of whom {provenance.n_validation} for "
        f"validation and {provenance.n_test} for the test; voxels of {dimensions(task['spacing'])} mm",
        "Training studies": joined(provenance.sizes),
        "Repeats": str(len(provenance.repeats)),
        "Network": model_name(provenance),
        "Optimiser steps": provenance.steps,
        "Patches per step": f"{provenance.batch_size}, of {provenance.patch_size} voxels",
        "Learning rates": rates_text(rates),
        "Checkpoint chosen by": metrics["monitor"],
        "Criterion": provenance.criterion.describe()
        + (" (scored again from the stored predictions)" if provenance.rescored else ""),
        "Smallest lesion": f"{provenance.min_volume:g} mm³",
        "Threshold": threshold_text(metrics),
        "Versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
    }
    return pd.DataFrame({"item": list(items), "what was run": list(items.values())}).set_index("item")


def transfer_table(provenance: Provenance) -> pd.DataFrame:
    """Return where each arm's first weights come from, and what became of them."""
    rows = {
        (row["arm"],): {
            "weights from": f"{row['source']} ({row['source_task']})" if row["source"] else "none: drawn from the seed",
            "SHA-256": row["source_digest"][:12] or NOTHING,
            "loaded": f"{100 * row['loaded_share']:.0f} %",
            "adapted / fresh / skipped": f"{row['adapted']} / {row['fresh']} / {row['skipped']}",
            "trained at first": NOTHING if isnan(row["trained_share"]) else f"{100 * row['trained_share']:.0f} %",
            "besides": "; ".join([*(f"{key}: {value}" for key, value in row["strategy"].items()), *row["differences"]]),
        }
        for row in provenance.transfers.to_dict("records")
    }
    return _indexed(rows, ["arm"])


def as_text(table: pd.DataFrame, style: Style = "simple") -> str:
    """Return a table for the terminal or as Markdown; a name that repeats the one above it is left out."""
    flat = table.reset_index()
    for place, name in enumerate(table.index.names[:-1], start=1):
        keys = list(flat.columns[:place])
        flat[name] = flat[name].mask(flat.duplicated(keys) & (flat[keys] == flat[keys].shift()).all(axis=1), "")
    right = [column in (SIZE, "p", "Holm's p") for column in flat.columns]
    return flat.to_markdown(
        index=False, tablefmt=style, disable_numparse=True, colalign=["right" if one else "left" for one in right]
    )


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
    blocks = [
        f"{comparison.sweep} ({comparison.task})" if named else "",
        "\n".join(comparison.answer),
        "\n".join(comparison.validation),
        _listed("What was compared", comparison.compared),
        _listed("What these numbers can and cannot carry", [*comparison.caveats, *comparison.unfinished]),
        _text_or_nothing(without_lesions_table(comparison.analysis)),
        as_text(score_table(comparison.analysis)),
    ]
    return "\n\n".join(block for block in blocks if block)


def markdown(comparison: Comparison) -> str:
    """Return sentences, tables and methods."""
    analysis = comparison.analysis
    blocks = [
        f"# {comparison.sweep}: {joined(comparison.arms)}",
        "\n".join(comparison.answer),
        "\n".join(comparison.validation),
        as_text(score_table(analysis), "github"),
        _text_or_nothing(savings_table(analysis), "github"),
        _text_or_nothing(without_lesions_table(analysis), "github"),
        _listed("What was compared", comparison.compared),
        _listed("What these numbers can and cannot carry", [*comparison.caveats, *comparison.unfinished]),
        f"## Methods\n\n{comparison.methods}" if comparison.methods else "",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def note(comparison: Comparison, longest: int) -> str:
    """Return the answer in Markdown, and the table if there is room for it in so many characters."""
    said = [f"# {comparison.sweep}: {joined(comparison.arms)}", *comparison.answer, *comparison.validation]
    where = "All of it is in the artifact comparison/report.html."
    whole = "\n\n".join([*said, as_text(score_table(comparison.analysis), "github"), where])
    return whole if len(whole) <= longest else "\n\n".join([*said, where])[:longest]


def _indexed(
    rows: Mapping[Any, Mapping[str, Any]], names: Sequence[str], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return rows by their keys as a frame whose index has these names."""
    index = (
        pd.MultiIndex.from_tuples(list(rows), names=list(names))
        if rows
        else pd.MultiIndex.from_arrays([[]] * len(names), names=list(names))
    )
    frame = pd.DataFrame([dict(row) for row in rows.values()], index=index)
    return frame.reindex(columns=list(columns) if columns is not None else list(frame.columns)).fillna(NOTHING)


def _listed(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{heading}:", "", *(f"- {line}" for line in lines)]) if lines else ""


def _text_or_nothing(table: pd.DataFrame, style: Style = "simple") -> str:
    return "" if table.empty else as_text(table, style)


def write_page(comparisons: Sequence[Comparison], drawings: Sequence[Sequence["Drawing"]], path: Path) -> None:
    """Write the report of one sweep or several with their figures, whole or not at all."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("lesionseg.report").joinpath("report.html.j2").read_text(encoding="utf-8"))
    both = enumerate(zip(comparisons, drawings, strict=True), start=1)
    chapters = [_chapter(comparison, drawn, f"c{number}") for number, (comparison, drawn) in both]
    names = dict.fromkeys(comparison.sweep for comparison in comparisons if comparison.sweep)
    title = f"Comparison: {', '.join(names)}" if names else "Comparison of arms"
    with written_whole(path) as partial:
        partial.write_text(template.render(title=title, chapters=chapters, keys=_keys()), encoding="utf-8")


def _chapter(comparison: Comparison, drawings: Sequence["Drawing"], name: str) -> dict[str, Any]:
    """Return everything that the template says of one sweep."""
    from lesionseg.report.figures import as_data_uri
    from lesionseg.report.slices import slice_as_data_uri

    analysis, provenance = comparison.analysis, comparison.provenance
    reference, n_tests = comparison.arms[0], analysis.basis.n_tests
    against = (
        f", and the difference from {reference}, paired by patient and repeat, with its 95 % interval. p is "
        f"that of the crossed test of patients and repeats; Holm's p is adjusted for the {n_tests} tests of "
        "sensitivity, PPV and F1."
    )
    scores = f"Mean ± standard error over test patients{against if len(comparison.arms) > 1 else '.'}"
    further = {
        "tests": (
            tables.other_tests_table(analysis),
            "Differences by other tests. Sign flip and Wilcoxon take the trainings as they are. No p here is adjusted.",
        ),
        "pooled": (
            tables.pooled_table(analysis),
            "Mean over patients, and the ratio of all patients' lesions together, where patients with many lesions "
            "count more; its standard error is over patients, too.",
        ),
        "matched": (
            tables.matched_table(comparison),
            f"PPV at the same sensitivity as {reference}: each model is cut at the threshold at which it finds as much "
            "as the weaker of the two.",
        ),
        "without-lesions": (
            tables.without_lesions_table(analysis),
            "Test studies without a reference lesion, which enter no mean above.",
        ),
    }
    behind = {
        "froc": (tables.froc_table(comparison), "FROC: its area as a share of what is possible; operating point."),
        "volumes": (tables.volume_table(comparison), "By lesion volume: mean ± standard error over patients."),
        "savings": (tables.savings_table(analysis), "Label savings with their 95 % intervals."),
    }
    run = {}
    if provenance is not None:
        run["run"] = (tables.run_table(provenance, comparison.rates), "What was run.")
        run["transfer"] = (tables.transfer_table(provenance), "First weights of each arm, of its first run.")
    splits = provenance.splits.set_index(["train_size", "repeat"]) if provenance is not None else pd.DataFrame()
    return {
        "id": name,
        "title": comparison.task or comparison.sweep or "comparison",
        "comparison": comparison,
        "scores": tables.as_html(tables.score_table(analysis), f"{name}-scores", scores),
        "further": _as_html(further, name),
        "behind": _as_html(behind, name),
        "run": _as_html(run, name),
        "splits": _as_html({"splits": (splits, "SHA-256 of the subjects of each size and repeat.")}, name),
        "savings": savings_sentences(analysis.savings),
        "figures": [{**vars(one), "src": as_data_uri(one.figure) if one.figure else ""} for one in drawings],
        "pictures": [
            {"arm": arm, "which": which, "slice": one, "src": slice_as_data_uri(one)}
            for arm, which, one in comparison.pictures
        ],
    }


def _as_html(found: dict[str, tuple[pd.DataFrame, str]], name: str) -> list[str]:
    return [tables.as_html(table, f"{name}-{key}", text) for key, (table, text) in found.items() if not table.empty]


def _keys() -> list[dict[str, str]]:
    """Return what the outlines of the pictures mean, and how they look."""
    from lesionseg.report.slices import OUTLINES

    styles = {"-": "solid", ":": "dotted", "--": "dashed"}
    return [
        {"name": name, "color": look["color"], "style": styles[look["linestyle"]]} for name, look in OUTLINES.values()
    ]
