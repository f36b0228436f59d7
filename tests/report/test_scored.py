"""The record and the tables of `lesionseg score`: four tiny cases by hand, one of each kind of emptiness.

Lesions are drawn on a line of voxels of 10 × 10 × 1 mm, 0.1 ml each, so that distances are counted on the fingers.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionseg.data.files import write_json
from lesionseg.metrics import (
    UNDEFINED_POLICY,
    Anima,
    AnyOverlap,
    Criterion,
    Froc,
    OneToOneIoU,
    lesion_curve,
    pool_curves,
    score_study,
)
from lesionseg.report.scored import ScoredCases

SPACING = (10.0, 10.0, 1.0)
CRITERIA: dict[str, Criterion] = {"touching": AnyOverlap(), "paired": OneToOneIoU(min_iou=0.5)}
DRAWN = {
    "both": ("####....#...", "###........#"),
    "missed": ("..##........", "............"),
    "healthy": ("............", ".....#......"),
    "nothing": ("............", "............"),
}
PROBABILITIES = {"both": {0: 0.75, 1: 0.75, 2: 0.75, 11: 0.25}, "healthy": {5: 0.5}}


def line(picture: str) -> Any:
    voxels = np.zeros((3, 3, len(picture)), bool)
    voxels[1, 1] = [mark == "#" for mark in picture]
    return voxels


def probability(name: str) -> Any:
    voxels = np.zeros((3, 3, 12))
    for place, value in PROBABILITIES.get(name, {}).items():
        voxels[1, 1, place] = value
    return voxels


def scored(names: Mapping[str, str], froc: Froc | None = None, options: Mapping[str, Any] | None = None) -> ScoredCases:
    """These cases, each drawn like one of `DRAWN`."""
    return ScoredCases(
        criteria=CRITERIA,
        spacings=dict.fromkeys(names, SPACING),
        studies={
            name: score_study(
                *map(line, DRAWN[like]),
                np.diag([*SPACING, 1]),
                CRITERIA["touching"],
                criteria=CRITERIA,
                volume_edges_mm3=[250],
                tolerance_mm=1.0,
            )
            for name, like in names.items()
        },
        froc=froc,
        volume_edges_mm3=[250],
        false_positives=[0.25, 1],
        tolerance_mm=1.0,
        options=options or {},
    )


def pooled(*names: str) -> Froc:
    return pool_curves([lesion_curve(line(DRAWN[name][0]), probability(name), SPACING) for name in names])


@pytest.fixture(scope="module")
def all_four() -> ScoredCases:
    return scored({name: name for name in DRAWN}, pooled(*DRAWN), {"threshold": 0.2})


@pytest.fixture(scope="module")
def record(all_four: ScoredCases, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """As it stands in the file."""
    path = tmp_path_factory.mktemp("record") / "scores.json"
    write_json(path, all_four.to_json())
    return json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of the table below that title, without its header and rule."""
    block = next(block for block in text.split("\n\n") if block.startswith(title))
    return [re.split(r"\s{2,}", row.strip()) for row in block.splitlines()[3:]]


def test_a_case_with_lesions_on_both_sides(record: Any) -> None:
    case = record["cases"]["both"]
    assert case["spacing_mm"] == [10, 10, 1]
    assert case["criteria"]["touching"] == {
        "n_reference": 2,
        "n_prediction": 2,
        "detected_reference": 1,
        "true_prediction": 1,
        "sensitivity": 0.5,
        "ppv": 0.5,
        "f1": 0.5,
        "f1_counts": 0.5,
        "false_positives": 1,
        "false_positive_volume_ml": 0.1,
    }
    paired = case["criteria"]["paired"]
    assert set(paired) - set(case["criteria"]["touching"]) == {
        "recognition_quality",
        "segmentation_quality",
        "panoptic_quality",
    }
    assert (paired["recognition_quality"], paired["segmentation_quality"]) == (0.5, 0.75), "3 of 4 voxels"
    assert paired["panoptic_quality"] == 0.375
    assert {key: case[key] for key in case if isinstance(case[key], float)} == {
        "dice": pytest.approx(6 / 9),
        "voxel_sensitivity": pytest.approx(3 / 5),
        "voxel_ppv": pytest.approx(3 / 4),
        "hd95_mm": pytest.approx(2.6),  # of 0 0 0 1 3 mm at rank 0.95 × 4: 1 + 0.8 × (3 - 1)
        "assd_mm": pytest.approx((1 + 3 + 3) / 9),
        "nsd_1mm": pytest.approx(7 / 9),
        "cc_dice": pytest.approx((6 / 7 + 0) / 2),
        "cc_dice_mm": pytest.approx((6 / 7 + 0) / 2),
        "volume_reference_ml": pytest.approx(0.5),
        "volume_prediction_ml": pytest.approx(0.4),
        "volume_difference_ml": pytest.approx(-0.1),
    }


def test_each_lesion_of_a_case(record: Any) -> None:
    lesions = record["cases"]["both"]["lesions"]
    told = [[row[key] for key in ("side", "label", "verdict", "volume_mm3", "k", "z_mm", "touches")] for row in lesions]
    assert told == [
        ["reference", 1, "detected", 400, 1.5, 1.5, [1]],
        ["reference", 2, "missed", 100, 8, 8, []],
        ["prediction", 1, "true", 300, 1, 1, [1]],
        ["prediction", 2, "false", 100, 11, 11, []],
    ]
    assert [row["dice"] for row in lesions] == [pytest.approx(6 / 7), 0, None, None]
    assert [row["max_probability"] for row in lesions] == [None] * 4, "the study was scored without a map"


@pytest.mark.parametrize(
    ("name", "counts", "ratios", "whole"),
    [
        ("missed", (1, 0), (0, 0, 0, 0), {"dice": 0, "nsd_1mm": 0, "cc_dice": 0, "hd95_mm": None, "assd_mm": None}),
        (
            "healthy",
            (0, 1),
            (None, 0, None, None),
            {"dice": 0, "nsd_1mm": 0, "cc_dice": None, "hd95_mm": None, "assd_mm": None},
        ),
        (
            "nothing",
            (0, 0),
            (None, None, None, None),
            {"dice": None, "nsd_1mm": None, "cc_dice": None, "hd95_mm": None, "assd_mm": None},
        ),
    ],
)
def test_what_is_undefined_is_null_and_never_a_silent_number(
    record: Any, name: str, counts: tuple[int, int], ratios: tuple[Any, ...], whole: dict[str, Any]
) -> None:
    case = record["cases"][name]
    for scores in case["criteria"].values():
        assert (scores["n_reference"], scores["n_prediction"]) == counts
        assert tuple(scores[key] for key in ("sensitivity", "ppv", "f1", "f1_counts")) == ratios
    assert {key: case[key] for key in whole} == whole
    quality = case["criteria"]["paired"]["segmentation_quality"]
    assert quality == (0 if counts[0] else None)


def test_strata_of_one_case_and_of_all_with_an_open_end(record: Any) -> None:
    keys = ("from_mm3", "to_mm3", "n_reference", "detected_reference", "sensitivity")
    more = ("n_prediction", "true_prediction", "ppv")

    def told(strata: Any) -> list[tuple[Any, ...]]:
        return [tuple(row[key] for key in (*keys, *more)) for row in strata]

    assert told(record["cases"]["both"]["strata"]) == [(0, 250, 1, 0, 0, 1, 0, 0), (250, None, 1, 1, 1, 1, 1, 1)]
    assert told(record["cases"]["nothing"]["strata"]) == [
        (0, 250, 0, 0, None, 0, 0, None),
        (250, None, 0, 0, None, 0, 0, None),
    ]
    assert told(record["strata"]) == [(0, 250, 2, 0, 0, 2, 0, 0), (250, None, 1, 1, 1, 1, 1, 1)]


def test_means_rest_on_the_cases_with_reference_lesions(record: Any) -> None:
    mean = record["mean"]
    assert mean["n_cases"] == 4
    quarter = {"sensitivity": 0.25, "ppv": 0.25, "f1": 0.25, "f1_counts": 0.25}
    assert mean["criteria"] == {"touching": quarter, "paired": {**quarter, "segmentation_quality": 0.375}}
    assert mean["dice"] == pytest.approx((6 / 9 + 0) / 2), "the 0 of the healthy case is not in it"
    assert mean["nsd_1mm"] == pytest.approx((7 / 9 + 0) / 2)
    assert mean["hd95_mm"] == pytest.approx(2.6), "of one case: the other has no second surface"
    assert mean["volume_prediction_ml"] == pytest.approx((0.4 + 0) / 2)


def test_what_the_means_leave_out_is_counted_and_named(record: Any) -> None:
    undefined = record["undefined"]
    assert undefined["policy"] == UNDEFINED_POLICY
    assert undefined["without_reference_lesion"] == ["healthy", "nothing"]
    assert undefined["without_any_lesion"] == ["nothing"]
    two = {"sensitivity": 2, "ppv": 2, "f1": 2, "f1_counts": 2}
    assert undefined["criteria"] == {"touching": two, "paired": {**two, "segmentation_quality": 2}}
    assert (undefined["dice"], undefined["hd95_mm"], undefined["assd_mm"], undefined["cc_dice"]) == (2, 3, 3, 2)
    scores = set(record["mean"]) - {"n_cases"}
    assert set(undefined) - scores == {"policy", "without_reference_lesion", "without_any_lesion"}
    assert scores <= set(undefined), "whatever is averaged is counted, too"


def test_the_froc_over_all_cases(record: Any) -> None:
    froc = record["froc"]
    assert froc["thresholds"] == [0.75, 0.5, 0.25]
    assert froc["sensitivity"] == pytest.approx([1 / 3] * 3), "one of three lesions"
    assert froc["mean_sensitivity"] == pytest.approx([1 / 4] * 3)
    assert froc["false_positives_per_case"] == [0, 1 / 4, 2 / 4]
    assert froc["sensitivity_at"] == {"0.25": pytest.approx(1 / 3), "1": pytest.approx(1 / 3)}
    assert (froc["area"], froc["area_up_to"]) == (pytest.approx(1 / 3), 1)


def test_the_record_says_what_its_scores_depend_on(record: Any) -> None:
    described = {name: rule.describe() for name, rule in CRITERIA.items()}
    assert record["options"] == {"threshold": 0.2, "criteria": described}


def test_masks_have_no_froc() -> None:
    masks = scored({"a": "both"})
    assert "froc" not in masks.to_json()
    assert "FROC" not in masks.to_text()


def test_the_table_of_cases(all_four: ScoredCases) -> None:
    text = all_four.to_text()
    title = f"Each case; a lesion is {CRITERIA['touching'].describe()} (touching)"
    assert text.startswith(title + "\n")
    assert rows(text, "Each case") == [
        ["both", "2", "2", "0.50", "0.50", "0.50", "0.67", "2.6", "0.50", "0.40"],
        ["missed", "1", "0", "0.00", "0.00", "0.00", "0.00", "–", "0.20", "0.00"],
        ["healthy", "0", "1", "–", "0.00", "–", "0.00", "–", "0.00", "0.10"],
        ["nothing", "0", "0", "–", "–", "–", "–", "–", "0.00", "0.00"],
    ]


def test_the_table_of_criteria(all_four: ScoredCases) -> None:
    text = all_four.to_text()
    first, second = rows(text, "Mean ± standard error")[:2]
    quarter = ["0.25 ± 0.25"] * 4  # of 0.5 and 0: the deviation 0.35 over √2
    assert (first, second) == (["touching", *quarter, "2"], ["paired", *quarter, "2"])
    assert (
        "Dice 0.33 ± 0.33, Dice per lesion (cells in mm) 0.21 ± 0.21, surface Dice at 1 mm 0.39 ± 0.39, HD95 [mm] 2.6 "
        "(n = 1), ASSD [mm] 0.8 (n = 1)"
    ) in text.replace("\n", " ")
    assert "F1 (counts) TP / (TP + (FP + FN) / 2); they differ where one lesion meets several." in text.replace(
        "\n", " "
    )


def test_every_criterion_is_told_in_a_line(all_four: ScoredCases) -> None:
    text = replace(all_four, criteria={**all_four.criteria, "paired": Anima()}).to_text()
    rule = CRITERIA["touching"]
    assert f"\n  touching: {rule.connectivity}-connected, {rule.describe()}\n" in text
    assert (
        "\n  paired: 6-connected, found by the MSSEG challenges' rule (alpha 0.1, beta 0.7, gamma 0.65); lesions above "
        "3 mm³\n"
    ) in text


def test_the_table_of_volumes_and_the_froc(all_four: ScoredCases) -> None:
    text = all_four.to_text()
    assert rows(text, "By lesion volume, the lesions of all cases together (touching)") == [
        ["0 to 250", "2", "0.00", "2", "0.00"],
        ["250 and more", "1", "1.00", "1", "1.00"],
    ]
    title = "FROC over all thresholds (any overlap of one voxel, 26-connected), the lesions of all cases together"
    assert rows(text, title) == [["highest sensitivity", "0.33", "0.33", "0.33"]]
    assert "false positives per case      0.25     1    area to 1\n" in text


def test_cases_without_lesion_and_the_policy_stand_under_the_tables(all_four: ScoredCases) -> None:
    *_, apart, policy = all_four.to_text().split("\n\n")
    assert apart == (
        "Cases without reference lesion: 2 of 4; with false positives: 1 of these; 0.5 false lesions of 0.05 ml "
        "together per such case."
    )
    assert policy.replace("\n", " ") == UNDEFINED_POLICY
    assert max(map(len, policy.splitlines())) <= 110


def test_without_a_case_free_of_lesions_there_is_no_line_about_them() -> None:
    assert "Cases without reference lesion" not in scored({"a": "both", "b": "missed"}).to_text()


def test_with_nothing_but_empty_references_every_mean_is_null_and_a_dash(tmp_path: Path) -> None:
    cases = scored({"healthy": "healthy", "nothing": "nothing"}, pooled("healthy", "nothing"))
    write_json(tmp_path / "a.json", cases.to_json())
    record = json.loads((tmp_path / "a.json").read_text())
    mean = record["mean"]
    assert mean.pop("n_cases") == 2
    assert {value for scores in mean.pop("criteria").values() for value in scores.values()} == {None}
    assert set(mean.values()) == {None}
    assert record["undefined"]["dice"] == 2
    assert record["froc"]["sensitivity_at"] == {"0.25": None, "1": None}
    text = cases.to_text()
    assert [row[1:] for row in rows(text, "Mean ±")[:2]] == [["–", "–", "–", "–", "0"]] * 2
    assert "Dice –, Dice per lesion (cells in mm) –, surface Dice at 1 mm –, HD95 [mm] –, ASSD [mm] –\n" in text
    assert rows(text, "FROC over all") == [["highest sensitivity", "–", "–", "–"]]
    assert "nan" not in text


def test_a_long_list_of_cases_is_cut_on_the_terminal_and_whole_in_the_record() -> None:
    cases = scored({f"case-{number:02d}": "missed" for number in range(43)})
    *listed, last = rows(cases.to_text(), "Each case")
    assert [row[0] for row in listed] == [f"case-{number:02d}" for number in range(40)]
    assert last == ["and 3 more cases"]
    assert len(cases.to_json()["cases"]) == 43


def test_a_case_whose_name_is_a_number_keeps_its_zeros() -> None:
    ((name, *_),) = rows(scored({"007": "both"}).to_text(), "Each case")
    assert name == "007"
