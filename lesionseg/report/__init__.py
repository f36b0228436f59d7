"""Two arms compared over training-set sizes: numbers, sentences, tables, a figure."""

from lesionseg.report.cases import SCORES, Score
from lesionseg.report.comparison import Comparison, compare
from lesionseg.report.figure import draw_figure, write_figure
from lesionseg.report.results import ArmMean, RepeatMean, Results, SizeDifference, WithoutLesions
from lesionseg.report.slices import Panel, draw_slices, write_slices
from lesionseg.report.tables import format_table, format_without_lesions, tidy_table, write_csv

__all__ = [
    "SCORES",
    "ArmMean",
    "Comparison",
    "Panel",
    "RepeatMean",
    "Results",
    "Score",
    "SizeDifference",
    "WithoutLesions",
    "compare",
    "draw_figure",
    "draw_slices",
    "format_table",
    "format_without_lesions",
    "tidy_table",
    "write_csv",
    "write_figure",
    "write_slices",
]
