"""Two arms compared over training-set sizes: numbers, sentences, tables, a figure."""

from lesionseg.report.cases import SCORES, Score
from lesionseg.report.comparison import Comparison, compare
from lesionseg.report.figure import draw_figure, write_figure
from lesionseg.report.learning_rates import describe_rates
from lesionseg.report.recorded import RateSearch, RecordedRun, WeightSource, flat
from lesionseg.report.results import ArmMean, RepeatMean, Results, SizeDifference, WithoutLesions
from lesionseg.report.settings import describe_settings
from lesionseg.report.slices import Panel, draw_slices, write_slices
from lesionseg.report.tables import format_table, format_without_lesions, tidy_table, write_csv
from lesionseg.report.validation import Validation, ValidationMean, judge_validation

__all__ = [
    "SCORES",
    "ArmMean",
    "Comparison",
    "Panel",
    "RateSearch",
    "RecordedRun",
    "RepeatMean",
    "Results",
    "Score",
    "SizeDifference",
    "Validation",
    "ValidationMean",
    "WeightSource",
    "WithoutLesions",
    "compare",
    "describe_rates",
    "describe_settings",
    "draw_figure",
    "draw_slices",
    "flat",
    "format_table",
    "format_without_lesions",
    "judge_validation",
    "tidy_table",
    "write_csv",
    "write_figure",
    "write_slices",
]
