"""Pictures of test studies: the scan upright, lesions judged as in the scores."""

from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from lesionseg.config.schema import TrainConfig
from lesionseg.data.cache import CachedStudy
from lesionseg.metrics import score_study
from lesionseg.report import StudySlice
from lesionseg.report.slices import FALSE, FOUND, MISSED
from lesionseg.runs.cohort import load_cohort
from lesionseg.runs.initialise import model_card
from lesionseg.runs.pictures import picture_cases, picture_study
from lesionseg.runs.plan import cache_of, make_plan, triple
from lesionseg.runs.scoring import Segmentation, reference_of
from lesionseg.weights import ModelCard

Configure = Callable[..., TrainConfig]


@pytest.fixture
def study_and_card(configure: Configure) -> tuple[CachedStudy, ModelCard]:
    """A test study with several lesions, and the card of a model for it."""
    config = configure()
    plan = make_plan(config, load_cohort(config.dataset))
    studies = cache_of(config.paths).get_all(plan.part(plan.split.test), triple(config.task.spacing))
    study = max(studies, key=lambda study: int(reference_of(study)[0].sum()))
    return study, model_card(config, [])


def segmented(study: CachedStudy, mask: Any) -> Segmentation:
    return Segmentation(study, mask.astype(np.float32), mask)


def case_of(segmentation: Segmentation, card: ModelCard) -> dict[str, Any]:
    reference, grid = reference_of(segmentation.study)
    scores = score_study(
        reference, segmentation.mask, grid.affine, card.criterion, min_volume_mm3=card.min_lesion_volume
    )
    return {"study": segmentation.study.name, **scores.case.as_row()}


def half_found(study: CachedStudy) -> Any:
    """The reference without what lies in the left half, and something in a corner."""
    mask = reference_of(study)[0].copy()
    mask[: mask.shape[0] // 2] = 0
    mask[1:5, 1:5] = 1
    return mask


def test_a_picture_has_the_verdicts_of_the_scores(study_and_card: tuple[CachedStudy, ModelCard]) -> None:
    study, card = study_and_card
    segmentation = segmented(study, half_found(study))
    case = case_of(segmentation, card)
    picture = picture_study(segmentation, card, case)
    assert picture.study == study.name
    assert picture.facts == (
        f"F1 {case['lesion_f1']:.2f}: {case['detected_reference']} of {case['n_reference']} found, "
        f"{case['false_positives']} false"
    )
    assert picture.image.shape == picture.verdict.shape
    assert picture.spacing == pytest.approx(study.native.canonical().spacing[:2])
    assert FALSE in picture.verdict
    assert {FOUND, MISSED} & set(np.unique(picture.verdict))


def test_a_scan_that_lies_otherwise_gives_the_same_picture(
    study_and_card: tuple[CachedStudy, ModelCard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, card = study_and_card
    segmentation = segmented(study, half_found(study))
    upright = picture_study(segmentation, card, case_of(segmentation, card))

    # Reference, scan and prediction with flipped and swapped axes: the same patient, stored in another order.
    assert study.study.mask is not None
    sources = [study.study.sources[0][1], study.study.mask.path]
    for path in sources:
        image: Any = nib.load(path)
        turned = image.as_reoriented([[1, -1], [0, 1], [2, -1]])
        nib.save(turned, tmp_path / path.name)
    mask = nib.Nifti1Image(segmentation.mask, study.native.affine).as_reoriented([[1, -1], [0, 1], [2, -1]])

    read = nib.load
    monkeypatch.setattr("nibabel.load", lambda path: read(tmp_path / Path(path).name))
    turned_mask = np.asarray(mask.dataobj)
    other = picture_study(segmented(study, turned_mask), card, case_of(segmented(study, turned_mask), card))
    np.testing.assert_array_equal(upright.verdict, other.verdict)
    np.testing.assert_allclose(upright.image, other.image, atol=1)


@pytest.mark.parametrize(
    ("case", "facts"),
    [
        (
            {"lesion_f1": nan, "n_reference": 0, "detected_reference": 0, "false_positives": 3},
            "no F1: no lesion, 3 false",
        ),
        (
            {"lesion_f1": 0.0, "n_reference": 4, "detected_reference": 0, "false_positives": 0},
            "F1 0.00: 0 of 4 found, 0 false",
        ),
    ],
)
def test_the_facts_are_short(study_and_card: tuple[CachedStudy, ModelCard], case: dict[str, Any], facts: str) -> None:
    study, card = study_and_card
    nothing = np.zeros_like(reference_of(study)[0])
    assert picture_study(segmented(study, nothing), card, case).facts == facts


def test_the_best_the_median_and_the_worst_study_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def write(slices: list[StudySlice], path: Path) -> None:
        shown.extend(one.study for one in slices)

    monkeypatch.setattr("lesionseg.report.figures.write_slices", write)
    scores = {"a": 0.2, "b": nan, "c": 0.9, "d": 0.5, "e": 0.6}
    empty = np.zeros((4, 4), np.uint8)
    slices = [StudySlice(name, "", empty, empty, (1.0, 1.0), 0) for name in scores]
    picture_cases([{"study": name, "lesion_f1": f1} for name, f1 in scores.items()], slices, tmp_path / "a.png")
    assert shown == ["c", "d", "b"], "a study without F1 is the last one"


def test_one_study_is_drawn_once(study_and_card: tuple[CachedStudy, ModelCard], tmp_path: Path) -> None:
    study, card = study_and_card
    segmentation = segmented(study, half_found(study))
    case = case_of(segmentation, card)
    path = tmp_path / "figures" / "test_studies.png"
    picture_cases([case], [picture_study(segmentation, card, case)], path)
    height, width, _ = imread(path).shape
    assert height > 500
    assert width < 700
