"""Lesionwise and voxelwise scores of one study, and their averages; imports numpy, scipy and cc3d alone."""

from lesionseg.metrics.aggregate import Average, Averages, FalseAlarms, average
from lesionseg.metrics.components import (
    Connectivity,
    component_sizes,
    component_volumes,
    drop_small,
    label_components,
    remove_small,
    voxel_volume,
)
from lesionseg.metrics.geometry import affine_spacing
from lesionseg.metrics.lesion_table import LesionRow, lesion_table
from lesionseg.metrics.lesionwise import LesionScores, score_lesions
from lesionseg.metrics.matching import LesionMatch, match_lesions
from lesionseg.metrics.overlap import dice, volume_ml
from lesionseg.metrics.study import CaseScores, StudyScores, score_study

__all__ = [
    "Average",
    "Averages",
    "CaseScores",
    "Connectivity",
    "FalseAlarms",
    "LesionMatch",
    "LesionRow",
    "LesionScores",
    "StudyScores",
    "affine_spacing",
    "average",
    "component_sizes",
    "component_volumes",
    "dice",
    "drop_small",
    "label_components",
    "lesion_table",
    "match_lesions",
    "remove_small",
    "score_lesions",
    "score_study",
    "volume_ml",
    "voxel_volume",
]
