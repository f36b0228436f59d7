"""A paragraph for the methods section of a paper, from what was run."""

from lesionseg.report.cases import PRIMARY, SCORE_NAMES
from lesionseg.report.conduct import Conduct, TransferSummary
from lesionseg.report.results import Results
from lesionseg.report.words import joined


def methods_paragraph(conduct: Conduct, results: Results) -> str:
    """How the runs were made, scored and compared, ready for a paper; of what was not run it says nothing."""
    sentences = [
        *_training(conduct, results),
        *_scoring(conduct),
        *_statistics(results),
        *_savings(results),
        _software(conduct),
    ]
    return " ".join(sentences)


def _training(conduct: Conduct, results: Results) -> list[str]:
    sizes, several = joined(results.sizes), len(results.repeats) > 1
    studies = f"{sizes} training studies" if results.sizes != (1,) else "1 training study"
    repeats = (
        f"In each of {len(results.repeats)} repeats the training subset of every size was drawn anew, smaller subsets "
        "lying within larger ones; subset, seed of the weights and order of the patches of a repeat were the same in "
        "all arms."
        if several
        else "Subset, seed of the weights and order of the patches were the same in all arms; each was trained once."
    )
    rates = "; ".join(conduct.learning_rates)
    return [
        f"A network for 3D segmentation, {conduct.model}, was trained to segment {conduct.target} from "
        f"{joined(conduct.inputs)} in the {conduct.dataset} data ({conduct.n_subjects} subjects) with {studies}.",
        f"Subjects were divided once into {conduct.n_test} for testing, {conduct.n_validation} for validation and a "
        "pool for training; all studies of a subject were in the same part.",
        repeats,
        f"{_number(len(conduct.transfers))} of first weights {'were' if len(conduct.transfers) > 1 else 'was'} "
        f"{'compared' if len(conduct.transfers) > 1 else 'used'}: {'; '.join(map(_arm, conduct.transfers))}.",
        f"Each run took {conduct.steps} optimiser steps of {conduct.batch_size} patches of {conduct.patch_size} "
        f"voxels, at a spacing of {conduct.spacing} mm. Learning rates: {rates}.",
    ]


def _scoring(conduct: Conduct) -> list[str]:
    again = ", applied to the stored predictions" if conduct.rescored else ""
    return [
        f"The checkpoint with the highest {_score(conduct.monitor)} on the "
        f"validation studies was tested once, on the grid on which the reference was drawn; {conduct.threshold}.",
        f"Lesions were counted as follows{again}: {conduct.criterion.rstrip('.')}; lesions below "
        f"{conduct.min_volume:g} mm³ were left out on both sides.",
    ]


def _statistics(results: Results) -> list[str]:
    said = [
        "Lesion sensitivity, positive predictive value (PPV) and F1 were taken per test study and averaged over a "
        f"patient's sessions{', then repeats' if len(results.repeats) > 1 else ''}; means and standard errors are over "
        f"{results.n_patients_with_lesions} patients with reference lesions.",
    ]
    without = results.n_patients - results.n_patients_with_lesions
    if without:
        who = "1 test patient without one is" if without == 1 else f"{without} test patients without one are"
        said.append(f"{who} reported apart, with the false positives.")
    if not results.differences:
        return said
    if len(results.repeats) > 1:
        said.append(
            f"Differences from {results.reference} were paired by patient and repeat and tested for new patients and "
            "new trainings at once: two-way random-effects analysis of variance with patients and repeats crossed, "
            "degrees of freedom by Satterthwaite (doi 10.2307/3002019)."
        )
    else:
        said.append(
            f"Differences from {results.reference} were tested by a paired t test over patients; with one training per "
            "arm and size, the variance between trainings is unknown."
        )
    mixed = ", and a linear mixed model" if any(row.mixed is not None for row in results.differences) else ""
    said.append(
        "Two-sided p values are given unadjusted and adjusted by Holm's method for the "
        f"{results.n_tests} tests of sensitivity, PPV and F1; besides them stand a sign-flip permutation test and "
        f"Wilcoxon's signed-rank test of the patients' means{mixed}."
    )
    return said


def _savings(results: Results) -> list[str]:
    if len(results.sizes) < 2 or not results.differences:
        return []
    return [
        f"Label savings are read from the learning curve of {results.reference}, made non-decreasing by isotonic "
        "regression and interpolated linearly in log n, without extrapolation; their intervals are 95 % percentile "
        "bootstrap intervals over patients and repeats (2,000 resamples)."
    ]


def _software(conduct: Conduct) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in conduct.versions.items())
    return f"Software: {versions}."


def _arm(transfer: TransferSummary) -> str:
    extra = ", ".join(f"{key} {value}" for key, value in transfer.strategy.items())
    told = f" ({extra})" if extra else ""
    if not transfer.source:
        return f"{transfer.arm}, all drawn at random{told}"
    return (
        f"{transfer.arm}, {100 * transfer.loaded_share:.3g} % of the network's values from {transfer.source} "
        f"({transfer.source_task}){told}"
    )


def _score(monitor: str) -> str:
    """``lesion F1`` of ``val/lesion_f1``."""
    name = monitor.removeprefix("val/")
    return next((f"lesion {SCORE_NAMES[score]}" for score in PRIMARY if score == name), name.capitalize())


def _number(count: int) -> str:
    words = {1: "One kind", 2: "Two kinds", 3: "Three kinds", 4: "Four kinds", 5: "Five kinds", 6: "Six kinds"}
    return words.get(count, f"{count} kinds")
