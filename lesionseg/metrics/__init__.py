"""Lesionwise and voxelwise scores of one study, and their averages; imports numpy, scipy and cc3d alone."""

from lesionseg.metrics.aggregate import CASE_SCORES, UNDEFINED_POLICY, Average, FalseAlarms, average, false_alarms
from lesionseg.metrics.cc_metrics import cc_dice, lesion_dice
from lesionseg.metrics.components import (
    Connectivity,
    affine_spacing,
    component_sizes,
    component_volumes,
    label_components,
    remove_small,
    voxel_volume,
)
from lesionseg.metrics.criteria import Anima, AnyOverlap, BestIoU, Criterion, MaskPair, OneToOneIoU, Overlaps, Verdicts
from lesionseg.metrics.froc import (
    Froc,
    LesionCounts,
    LesionCurve,
    ThresholdChoice,
    choose_threshold,
    froc_area,
    lesion_curve,
    pool_curves,
    sensitivity_at,
)
from lesionseg.metrics.lesionwise import LesionScores, Stratum, score_criteria, score_lesions, stratify
from lesionseg.metrics.study import CaseScores, LesionRow, StudyScores, detection_row, lesion_table, score_study
from lesionseg.metrics.voxelwise import SurfaceScores, VoxelScores, dice, score_surfaces, score_voxels

__all__ = [
    "CASE_SCORES",
    "UNDEFINED_POLICY",
    "Anima",
    "AnyOverlap",
    "Average",
    "BestIoU",
    "CaseScores",
    "Connectivity",
    "Criterion",
    "FalseAlarms",
    "Froc",
    "LesionCounts",
    "LesionCurve",
    "LesionRow",
    "LesionScores",
    "MaskPair",
    "OneToOneIoU",
    "Overlaps",
    "Stratum",
    "StudyScores",
    "SurfaceScores",
    "ThresholdChoice",
    "Verdicts",
    "VoxelScores",
    "affine_spacing",
    "average",
    "cc_dice",
    "choose_threshold",
    "component_sizes",
    "component_volumes",
    "detection_row",
    "dice",
    "false_alarms",
    "froc_area",
    "label_components",
    "lesion_curve",
    "lesion_dice",
    "lesion_table",
    "pool_curves",
    "remove_small",
    "score_criteria",
    "score_lesions",
    "score_study",
    "score_surfaces",
    "score_voxels",
    "sensitivity_at",
    "stratify",
    "voxel_volume",
]
