"""Lesionwise and voxelwise scores of one study, and their averages; imports numpy, scipy and cc3d alone."""

from lesionseg.metrics.aggregate import (
    UNDEFINED_POLICY,
    Average,
    Averages,
    CriterionAverages,
    FalseAlarms,
    average,
    average_criterion,
    average_values,
)
from lesionseg.metrics.cells import cc_dice, lesion_dice
from lesionseg.metrics.components import (
    Connectivity,
    component_sizes,
    component_volumes,
    label_components,
    remove_small,
    voxel_volume,
)
from lesionseg.metrics.criteria import Anima, AnyOverlap, BestIoU, Criterion, OneToOneIoU, Verdicts
from lesionseg.metrics.froc import Froc, froc_area, pool_curves, sensitivity_at
from lesionseg.metrics.geometry import affine_spacing
from lesionseg.metrics.lesion_curve import LesionCounts, LesionCurve, lesion_curve
from lesionseg.metrics.lesion_table import LesionRow, lesion_table
from lesionseg.metrics.lesionwise import LesionScores, score_criteria, score_lesions
from lesionseg.metrics.overlaps import MaskPair, Overlaps
from lesionseg.metrics.strata import Stratum, stratify
from lesionseg.metrics.study import CaseScores, StudyScores, detection_row, score_study
from lesionseg.metrics.surfaces import SurfaceScores, score_surfaces
from lesionseg.metrics.threshold import ThresholdChoice, choose_threshold
from lesionseg.metrics.voxelwise import VoxelScores, dice, score_voxels

__all__ = [
    "UNDEFINED_POLICY",
    "Anima",
    "AnyOverlap",
    "Average",
    "Averages",
    "BestIoU",
    "CaseScores",
    "Connectivity",
    "Criterion",
    "CriterionAverages",
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
    "average_criterion",
    "average_values",
    "cc_dice",
    "choose_threshold",
    "component_sizes",
    "component_volumes",
    "detection_row",
    "dice",
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
