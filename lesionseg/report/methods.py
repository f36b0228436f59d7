"""What limits a comparison, what was compared, and how it was made, in sentences made from its frames and values."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lesionseg.report.analysis import SCORES, Analysis
from lesionseg.report.provenance import Provenance
from lesionseg.report.text import joined, shown
from lesionseg.stats.paired import FEWEST_REPEATS

_FINDS_NOTHING = 0.01  # sensitivity
_FEW_PATIENTS = 10
_MOST_NAMED = 6  # runs or settings that are named one by one


def comparability_sentences(settings: pd.DataFrame, rates: pd.DataFrame, n_arms: int) -> list[str]:
    """Say what the arms differ in, and whether their learning rates were chosen alike."""
    said = []
    beyond, init = (_differences(settings[settings["scope"] == scope]) for scope in ("beyond init", "init"))
    if n_arms > 1:
        if beyond:
            said.append(f"WARNING: The arms differ in more than their init: {beyond}; this is no fair comparison.")
        said.append(
            f"The arms differ in: {init}." if init else "The arms differ in nothing of their init but its name."
        )
        if not beyond:
            said.append("Steps, patches, augmentation, schedule and validation are the same.")
    within = {
        str(arm): _cut([f"{row['setting']} ({row['value']})" for row in own.to_dict("records")])
        for arm, own in settings[settings["scope"] == "within"].groupby("arm", sort=False)
    }
    if len(within) > 1 and len({*within.values()}) == 1:
        said.append(
            f"The runs of an arm differ from each other, in {joined(within)} alike: {next(iter(within.values()))}."
        )
    else:
        said += [f"WARNING: The runs of {arm} differ from each other: {text}." for arm, text in within.items()]
    if rates.empty:
        return said
    ways = rates[["candidates", "steps"]].drop_duplicates()
    told = "; ".join(f"{row['arm']} {row['rates']}" for row in rates.to_dict("records"))
    if len(ways) > 1:
        told = "; ".join(
            f"{row['arm']} {row['rates']} "
            + (f"from {row['candidates']} ({row['steps']} steps each)" if row["candidates"] else "not tuned")
            + f" in {row['n_runs']} runs"
            for row in rates.to_dict("records")
        )
        return [*said, f"WARNING: Learning rates were not chosen alike, which is unfair: {told}."]
    candidates, steps = ways.iloc[0]
    if candidates:
        return [
            *said,
            f"Learning rates were chosen per run on validation from {candidates} ({steps} steps each): {told}.",
        ]
    if len(rates) > 1 and rates["rates"].nunique() == 1:
        told = f"{rates['rates'].iloc[0]} in {'both' if len(rates) == 2 else 'all'} arms"
    return [*said, f"Learning rates were not tuned: {told}."]


def _differences(settings: pd.DataFrame) -> str:
    """Return ``l2_sp (scratch not set; pretrained 0.1), …``; of more than two arms those with the same value
    together."""
    told = []
    for setting, own in settings.groupby("setting", sort=False):
        names: dict[str, list[str]] = {}
        for row in own.to_dict("records"):
            names.setdefault(row["value"], []).append(row["arm"])
        told.append(f"{setting} ({'; '.join(f'{joined(arms)}: {value}' for value, arms in names.items())})")
    return _cut(told)


def _cut(told: Sequence[str]) -> str:
    more = f" and {len(told) - _MOST_NAMED} more (see their config.yaml)" if len(told) > _MOST_NAMED else ""
    return ", ".join(told[:_MOST_NAMED]) + more


def missing_sentences(missing: pd.DataFrame, n_studies: int) -> list[str]:
    """Name what a full grid would hold: arms without a run, runs, and studies that a run lacks."""
    said = []
    for arm, own in missing.groupby("arm", sort=False):
        for row in own.to_dict("records"):
            name = f"{arm}, train_size {row['train_size']}, repeat {row['repeat']}"
            names = row["lacking"].split(", ") if row["lacking"] else []
            if names:
                listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
                said.append(f"{name} lacks {len(names)} of {n_studies} test studies: {listed}")
            else:
                said.append(f"{name} has no finished run")
    return said


def caveat_sentences(analysis: Analysis, matched: pd.DataFrame) -> list[str]:
    """Say what the numbers can and cannot carry; only what applies."""
    basis, estimates = analysis.basis, analysis.estimates
    means, differences = estimates[estimates["reference"] == ""], estimates[estimates["reference"] != ""]
    found_nothing = means[(means["score"] == "lesion_sensitivity") & (means["mean"] < _FINDS_NOTHING)]
    said = [
        f"{row['arm']} finds nothing with {row['train_size']} training studies (sensitivity {row['mean']:.2f}): a "
        "comparison there says that it failed to train, not by how much it is worse."
        for row in found_nothing.to_dict("records")
    ]
    patients, repeats = basis.n_patients_with_lesions, len(basis.repeats)
    said.append(
        f"Everything rests on {patients} test patients with reference lesions and "
        f"{repeats} repeat{'s' if repeats != 1 else ''}; ± is the standard error over patients."
    )
    if patients < _FEW_PATIENTS:
        said.append(f"With {patients} test patients only large differences can show.")
    if repeats < FEWEST_REPEATS:
        said.append(
            f"With fewer than {FEWEST_REPEATS} repeats there is no test, and no interval over trainings: the intervals "
            "of means are over patients, for these trained models only."
        )
    if len(analysis.coverage):
        excessive = analysis.coverage[analysis.coverage["warning"] != ""].to_dict("records")
        said += [f"WARNING: {row['arm']} at {row['train_size']}: {row['warning']}." for row in excessive]
    said += _test_caveats(analysis, differences)
    unmatched = matched[matched["n_unmatched"] > 0] if len(matched) else matched
    said += [
        f"PPV at matched sensitivity, {row['arm']} at {row['train_size']}: in {row['n_unmatched']} repeats an arm "
        "finds no lesion at its threshold, so that nothing can be matched."
        for row in unmatched.to_dict("records")
    ]
    without = basis.n_patients - patients
    if without:
        said.append(
            f"Test patients without reference lesion: {without} of {basis.n_patients}. They enter no mean, and "
            "their false positives are reported apart."
        )
    undefined = means[(means["score"] != "") & (means["n_undefined"] > without)]
    said += [
        f"{SCORES[row['score']]} of {row['arm']} at {row['train_size']}: {row['n_undefined']} of "
        f"{row['n_patients'] + row['n_undefined']} patients have no value."
        for row in undefined.to_dict("records")
        if row["score"] in SCORES
    ]
    lacking = missing_sentences(analysis.missing, basis.n_studies)
    if lacking:
        more = f"; and {len(lacking) - _MOST_NAMED} more" if len(lacking) > _MOST_NAMED else ""
        said.append(f"The grid is not full: {'; '.join(lacking[:_MOST_NAMED])}{more}.")
    if basis.n_inconsistent:
        said.append(
            f"The number of reference lesions differs between runs in {basis.n_inconsistent} of "
            f"{basis.n_studies} test studies: these runs were scored against different masks or by different "
            "rules and cannot be compared before that is mended."
        )
    said.append("The test patients are of one cohort: another scanner, centre or reader may give other numbers.")
    return said


def _test_caveats(analysis: Analysis, differences: pd.DataFrame) -> list[str]:
    tested = differences[differences["p"].notna()]
    if tested.empty:
        return []
    said = []
    if analysis.basis.n_tests > 1:
        said.append(
            f"p is unadjusted; Holm's p is adjusted for the {analysis.basis.n_tests} tests of sensitivity, PPV and F1 "
            "at all sizes. An unadjusted p below 0.05 is expected in one of twenty tests of nothing."
        )
    if ((tested["low"] <= 0) & (tested["high"] >= 0)).any():
        said.append("An interval that includes zero does not say that the arms are equal.")
    several = len(analysis.arms) > 2
    noted = differences[differences["note"] != ""]
    for note, own in noted.groupby("note", sort=False):
        places = [
            f"{SCORES[row['score']]} at {row['train_size']}" + (f" of {row['arm']}" if several else "")
            for row in own.to_dict("records")
        ]
        where = joined(places) if len(places) <= 4 else f"{len(places)} of the {len(differences)} differences"
        said.append(f"{where}: {note}")
    means = analysis.estimates[analysis.estimates["reference"] == ""].set_index(["arm", "train_size", "score"])
    uneven = set()
    for row in differences.to_dict("records"):
        for arm in (row["arm"], row["reference"]):
            mean = means.loc[(arm, row["train_size"], row["score"])]  # type: ignore[index]
            if (mean["n_patients"], mean["n_repeats"]) != (row["n_patients"], row["n_repeats"]):
                uneven.add(row["train_size"])
    if uneven:
        said.append(
            f"At {joined(sorted(uneven))} the differences rest on the patients and repeats that both arms have, and "
            "the means on all that each has: they need not agree."
        )
    return said


def methods_paragraph(provenance: Provenance, analysis: Analysis, rates: pd.DataFrame) -> str:
    """Return a paragraph for the methods section of a paper; of what was not run it says nothing."""
    basis, task = analysis.basis, provenance.config["task"]
    weights = [_first_weights(row) for row in provenance.transfers().to_dict("records")]
    kinds, count, value = len(weights), provenance.n_subjects, provenance.over_runs
    tests = "Differences were not tested, which takes 3 repeats."
    repeats = "Subset, seed of the weights and order of the patches were the same in all arms, each trained once."
    if len(basis.repeats) > 1:
        repeats = (
            f"In each of {len(basis.repeats)} repeats the training subset of every size was drawn anew, smaller "
            "subsets lying within larger ones; subset, seed of the weights and order of the patches of a repeat were "
            "the same in all arms."
        )
    if basis.n_tests:
        tests = (
            f"Differences from {analysis.arms[0]} were paired by patient and repeat and tested for new patients and "
            "new trainings at once: two-way random-effects analysis of variance with patients and repeats crossed, "
            "degrees of freedom by Satterthwaite (doi 10.2307/3002019). "
            f"Two-sided p values are given unadjusted and adjusted by Holm's method for the {basis.n_tests} tests of "
            "sensitivity, PPV and F1; besides them stand a sign-flip permutation test and Wilcoxon's signed-rank test "
            "of the patients' means."
        )
    said = [
        f"A network for 3D segmentation, {model_name(provenance)}, was trained to segment {task['target']} from "
        f"{joined(task['inputs'])} in the {provenance.config['dataset']['name']} data "
        f"({count('test', 'validation', 'pool')} subjects) with {joined(basis.sizes)} training studies.",
        f"Subjects were divided once into {count('test')} for testing, {count('validation')} for validation and a pool "
        "for training; all studies of a subject were in the same part.",
        repeats,
        f"{kinds} kind{'s' if kinds > 1 else ''} of first weights {'were compared' if kinds > 1 else 'was used'}: "
        f"{'; '.join(weights)}.",
        f"Each run took {value('trainer', 'steps')} optimiser steps of {value('trainer', 'batch_size')} patches of "
        f"{value('task', 'patch_size')} voxels, at a spacing of {dimensions(task['spacing'])} mm. "
        f"Learning rates: {rates_text(rates)}.",
        f"The checkpoint with the highest {provenance.config['metrics']['monitor']} was tested once, on the grid on "
        f"which the reference was drawn; {threshold_text(provenance.config['metrics'])}.",
        f"Lesions were counted as follows{', applied to the stored predictions' if provenance.rescored else ''}: "
        f"{provenance.criterion.describe()}; lesions below {provenance.min_volume:g} mm³ were left out on both sides.",
        "Lesion sensitivity, positive predictive value (PPV) and F1 were taken per test study and averaged over a "
        f"patient's sessions, then repeats; means and standard errors are over {basis.n_patients_with_lesions} "
        "patients with reference lesions.",
    ]
    if basis.n_patients > basis.n_patients_with_lesions:
        without = basis.n_patients - basis.n_patients_with_lesions
        said.append(f"Test patients without one ({without}) are reported apart, with the false positives.")
    if (analysis.estimates["reference"] != "").any():
        said.append(tests)
        if len(basis.sizes) > 1:
            said.append(
                f"Label savings are read from the learning curve of {analysis.arms[0]}, made non-decreasing by "
                "isotonic regression and interpolated linearly in log n, without extrapolation; their intervals are "
                "95 % percentile bootstrap intervals over patients and repeats (2,000 resamples)."
            )
    versions = ", ".join(f"{name} {number}" for name, number in provenance.versions.items())
    return " ".join([*said, f"Software: {versions}."])


def model_name(provenance: Provenance) -> str:
    """Return ``tiny_unet (UNet3D, 12,345 values)``."""
    model = provenance.config["model"]
    n_values = provenance.runs[0].n_values
    values = f", {n_values:,} values" if n_values else ""
    return f"{model['name']} ({str(model['network']['_target_']).rpartition('.')[2]}{values})"


def rates_text(rates: pd.DataFrame) -> str:
    """Return the learning rates of each arm."""
    return "; ".join(
        f"{row['arm']} {row['rates']}"
        + (f" chosen on validation from {row['candidates']}" if row["candidates"] else ", not tuned")
        for row in rates.to_dict("records")
    )


def threshold_text(metrics: Mapping[str, Any]) -> str:
    """Say how probability becomes a mask."""
    rule = metrics.get("threshold_criterion")
    if rule is None:
        return f"a voxel is lesion from a probability of {shown(metrics['threshold'])} on"
    which = "the task's own criterion" if rule == "task" else f"the criterion {rule}"
    return (
        f"the probability from which a voxel is lesion was chosen for each run on its validation studies, by the "
        f"highest lesion F1 under {which}, from {', '.join(map(shown, metrics['thresholds']))}"
    )


def dimensions(values: Sequence[float]) -> str:
    """Return ``1 × 1 × 1``."""
    return " × ".join(f"{value:g}" for value in values)


def _first_weights(row: Mapping[Any, Any]) -> str:
    extra = ", ".join(f"{key} {value}" for key, value in row["strategy"].items())
    told = f" ({extra})" if extra else ""
    if not row["source"]:
        return f"{row['arm']}, all drawn at random{told}"
    share = f"{100 * row['loaded_share']:.3g} % of the network's values"
    return f"{row['arm']}, {share} from {row['source']} ({row['source_task']}){told}"
