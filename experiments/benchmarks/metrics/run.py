"""How fast lesionseg.metrics is beside the programs that measure the same; `make bench-metrics`, see README.md."""

import argparse
import logging
import os
import platform
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
import yaml
from CCMetrics import CCDiceMetric
from drawn_pair import SHAPE, SPACING, DrawnPair, draw_pair
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from numpy.typing import NDArray
from panoptica import (
    ConnectedComponentsInstanceApproximator,
    InputType,
    Metric,
    NaiveThresholdMatching,
    Panoptica_Evaluator,
)
from panoptica.utils.citation_reminder import disable_citation_reminder
from panoptica.utils.constants import CCABackend
from tabulate import tabulate

from lesionseg.instantiate import build
from lesionseg.metrics import (
    AnyOverlap,
    Criterion,
    OneToOneIoU,
    SurfaceScores,
    cc_dice,
    label_components,
    lesion_curve,
    score_criteria,
    score_lesions,
    score_study,
    score_surfaces,
)

PUBLISHED = Path(__file__).parents[3] / "conf" / "metrics" / "_published.yaml"
PACKAGES = ("numpy", "scipy", "connected-components-3d", "torch", "panoptica", "monai", "CCMetrics")
MIN_IOU = 0.5
THRESHOLDS = np.linspace(0.01, 1, 100)
LOWEST = 0.01  # as `lesionseg train` and `evaluate` ask for the curve
Times = NDArray[np.float64]
"""Seconds, one per round."""


@dataclass(frozen=True, eq=False)
class Peers:
    """What the other programs are given: their own kind of array, made before the clock starts.

    Attributes:
        panoptica: one criterion, no other metric, nothing printed.
        panoptica_default: the same with the metrics that it computes when none are named.
        reference, prediction: one-hot float32 tensors, shape (1, 2, I, J, K), for MONAI.
        reference_classes, prediction_classes: the same as uint8 arrays, for CCMetrics.
    """

    panoptica: Panoptica_Evaluator
    panoptica_default: Panoptica_Evaluator
    reference: torch.Tensor
    prediction: torch.Tensor
    reference_classes: NDArray[np.uint8]
    prediction_classes: NDArray[np.uint8]


def main() -> None:
    """Draw the pair, see that everybody measures the same, take the times, print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often each is timed, in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the pair that is drawn")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning, module="monai")

    pair, criteria = draw_pair(arguments.seed), read_criteria()
    peers = prepare_peers(pair)
    print(describe_pair(pair), describe_machine(), check_agreement(pair, peers), sep="\n\n", end="\n\n", flush=True)
    print(
        tabulate(
            measure(pair, criteria, peers, arguments.rounds),
            headers=["", "ms", "beside", "ms", "ratio (min … max)", "goal", ""],
            tablefmt="github",
            disable_numparse=True,
        )
    )
    print(f"\nMedians of {arguments.rounds} rounds in turn, after one to warm up; load {os.getloadavg()[0]:.1f}.")


def measure(pair: DrawnPair, criteria: Mapping[str, Criterion], peers: Peers, rounds: int) -> list[list[str]]:
    """The rows of the table."""
    masks = pair.reference, pair.prediction, SPACING

    def table() -> object:
        return score_criteria(*masks, criteria)

    def curve() -> object:
        return lesion_curve(pair.reference, pair.probability, SPACING, lowest=LOWEST).at(THRESHOLDS)

    ours, plain, default = alternate(
        [
            table,
            lambda: run_panoptica(peers.panoptica, pair),
            lambda: run_panoptica(peers.panoptica_default, pair, everything=True),
        ],
        rounds,
    )
    surfaces, hd95, nsd = alternate(
        [lambda: score_surfaces(*masks), lambda: hd95_of(peers), lambda: nsd_of(peers)], rounds
    )
    cells, cc_metrics = alternate([lambda: cc_dice(*masks), lambda: cc_dice_of(peers)], rounds)
    froc, once, again = alternate([curve, table, lambda: relabel(pair)], rounds)
    (study,) = alternate(
        [
            lambda: score_study(
                pair.reference, pair.prediction, np.eye(4), probability=pair.probability, criteria=criteria
            )
        ],
        rounds,
    )
    detection, froc_name = f"detection table, {len(criteria)} criteria", f"FROC, {THRESHOLDS.size} thresholds"
    return [
        faster(detection, ours, "panoptica, 1 criterion", plain, 10),
        faster("", ours, "panoptica, its default metrics", default),
        faster("HD95, HD, ASSD, surface Dice", surfaces, "MONAI, HD95 and surface Dice", hd95 + nsd, 10),
        faster("", surfaces, "MONAI, HD95", hd95),
        faster("", surfaces, "MONAI, surface Dice", nsd),
        faster("CC-Dice", cells, "CCMetrics", cc_metrics),
        slower(froc_name, froc, detection, once, 30),
        faster("", froc, f"relabelled {THRESHOLDS.size} times", again),
        ["whole study, `score_study`", f"{1000 * np.median(study):.1f}", "", "", "", "", ""],
    ]


def alternate(functions: list[Callable[[], object]], rounds: int) -> list[Times]:
    """Time some functions in turn, so that what else the machine does hits all alike."""
    times = np.empty((len(functions), rounds + 1))
    for column in range(rounds + 1):
        for row, function in enumerate(functions):
            start = perf_counter()
            function()
            times[row, column] = perf_counter() - start
    return list(times[:, 1:])


def faster(name: str, ours: Times, peer_name: str, peer: Times, goal: float | None = None) -> list[str]:
    """How many times faster ours is."""
    ratio = float(np.median(peer) / np.median(ours))
    return _row(
        name, ours, peer_name, peer, ratio, peer / ours, f"at least {goal:g}" if goal else "", ratio >= (goal or 0)
    )


def slower(name: str, ours: Times, unit_name: str, unit: Times, goal: float) -> list[str]:
    """How many times longer one of our own takes than another."""
    ratio = float(np.median(ours) / np.median(unit))
    return _row(name, ours, unit_name, unit, ratio, ours / unit, f"less than {goal:g}", ratio < goal)


def _row(
    name: str, ours: Times, other_name: str, other: Times, ratio: float, ratios: Times, goal: str, met: bool
) -> list[str]:
    return [
        name,
        f"{1000 * np.median(ours):.1f}",
        other_name,
        f"{1000 * np.median(other):.1f}",
        f"{ratio:.1f} ({ratios.min():.1f} … {ratios.max():.1f})",
        goal,
        ("met" if met else "missed") if goal else "",
    ]


def read_criteria() -> dict[str, Criterion]:
    """The published criteria, as `lesionseg score` applies them."""
    specs = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))["criteria"]
    return {name: build(spec, Criterion) for name, spec in specs.items()}


def prepare_peers(pair: DrawnPair) -> Peers:
    """Arrays and evaluators of the other programs."""
    disable_citation_reminder()
    logging.getLogger("panoptica").setLevel(logging.ERROR)
    classes = [np.stack([1 - mask, mask])[None] for mask in (pair.reference, pair.prediction)]
    parts: dict[str, Any] = {
        "expected_input": InputType.SEMANTIC,
        "instance_approximator": ConnectedComponentsInstanceApproximator(CCABackend.cc3d),
        "instance_matcher": NaiveThresholdMatching(Metric.IOU, MIN_IOU),
    }
    return Peers(
        Panoptica_Evaluator(**parts, instance_metrics=[Metric.IOU], global_metrics=[]),
        Panoptica_Evaluator(**parts),
        *(torch.from_numpy(one_hot).float() for one_hot in classes),
        *classes,
    )


def run_panoptica(
    evaluator: Panoptica_Evaluator, pair: DrawnPair, *, everything: bool = False
) -> tuple[float, float, float]:
    """Recognition, segmentation and panoptic quality; everything else that panoptica can say, too, if asked."""
    result = evaluator.evaluate(pair.prediction, pair.reference, result_all=everything, voxelspacing=SPACING)[
        "ungrouped"
    ]
    return result.rq, result.sq, result.pq


def hd95_of(peers: Peers) -> float:
    """MONAI's HD95."""
    return float(compute_hausdorff_distance(peers.prediction, peers.reference, percentile=95, spacing=SPACING))


def nsd_of(peers: Peers) -> float:
    """MONAI's normalised surface Dice at 1 mm."""
    return float(compute_surface_dice(peers.prediction, peers.reference, class_thresholds=[1.0], spacing=SPACING))


def cc_dice_of(peers: Peers) -> float:
    """CCMetrics' Dice."""
    metric = CCDiceMetric(cc_reduction="patient")
    metric(y_pred=peers.prediction_classes, y=peers.reference_classes)
    return float(metric.cc_aggregate())


def relabel(pair: DrawnPair) -> list[tuple[int, int, int]]:
    """The FROC the slow way: lesions found, predicted and false at every threshold, each labelled anew."""
    rows = []
    for threshold in THRESHOLDS:
        cut = pair.probability >= threshold
        scores = score_lesions(pair.reference, cut, SPACING, AnyOverlap())
        rows.append((scores.detected_reference, scores.n_prediction, scores.false_positives))
    return rows


def check_agreement(pair: DrawnPair, peers: Peers) -> str:
    """See that each peer measures what ours does, and say what that is.

    Raises:
        AssertionError: if one does not.
    """
    masks = pair.reference, pair.prediction, SPACING
    ours = score_lesions(*masks, OneToOneIoU(min_iou=MIN_IOU))
    rq, sq = ours.recognition_quality, ours.segmentation_quality
    for evaluator in (peers.panoptica, peers.panoptica_default):
        np.testing.assert_allclose(run_panoptica(evaluator, pair), (rq, sq, rq * sq), rtol=1e-9)
    surfaces: SurfaceScores = score_surfaces(*masks)
    np.testing.assert_allclose((hd95_of(peers), nsd_of(peers)), (surfaces.hd95_mm, surfaces.nsd), rtol=1e-5)
    cells = cc_dice(*masks)
    np.testing.assert_allclose(cc_dice_of(peers), cells, rtol=1e-9)
    counts = lesion_curve(pair.reference, pair.probability, SPACING, lowest=LOWEST).at(THRESHOLDS)
    fast = np.stack([counts.detected_reference, counts.n_prediction, counts.false_positives], axis=1)
    np.testing.assert_array_equal(fast, relabel(pair))
    return (
        f"All agree: RQ {rq:.4f}, SQ {sq:.4f} (one to one at IoU {MIN_IOU:g}), HD95 {surfaces.hd95_mm:.4f} mm, "
        f"surface Dice {surfaces.nsd:.4f}, CC-Dice {cells:.4f}, the FROC at every threshold."
    )


def describe_pair(pair: DrawnPair) -> str:
    """Its size in voxels and lesions."""
    shape = " × ".join(map(str, SHAPE))
    sides = [
        f"{name} {label_components(mask)[1]} lesions ({int(mask.sum()):,} voxels)"
        for name, mask in (("reference", pair.reference), ("prediction", pair.prediction))
    ]
    active = np.count_nonzero(pair.probability > LOWEST)
    return f"Pair: {shape} voxels of 1 mm; {', '.join(sides)}; {active:,} voxels with a probability above {LOWEST:g}."


def describe_machine() -> str:
    """Processor and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Machine: {models[0] if models else platform.processor()}, {os.cpu_count()} cores; "
        f"Python {platform.python_version()}, {packages}; torch on {torch.get_num_threads()} threads."
    )


if __name__ == "__main__":
    main()
