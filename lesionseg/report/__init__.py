"""Arms compared over training-set sizes: numbers, sentences, tables, figures, a page."""

from lesionseg.report.cases import SCORES, Score
from lesionseg.report.comparison import Comparison, Evidence, compare
from lesionseg.report.conduct import Conduct, SplitDigest, TransferSummary
from lesionseg.report.curves import LearningCurve
from lesionseg.report.froc import FrocBand
from lesionseg.report.learning_rates import describe_rates
from lesionseg.report.matched import MatchedPpv
from lesionseg.report.methods import methods_paragraph
from lesionseg.report.page import Chapter, StudyPicture, write_page
from lesionseg.report.recorded import RateSearch, RecordedRun, WeightSource, flat
from lesionseg.report.results import (
    ArmMean,
    PatientScore,
    RepeatMean,
    Results,
    SizeDifference,
    WithoutLesions,
)
from lesionseg.report.savings import ArmSavings
from lesionseg.report.settings import describe_settings
from lesionseg.report.slices import StudySlice, load_slices, save_slices
from lesionseg.report.spreadsheets import TABLES, write_tables
from lesionseg.report.strata import Share, SizeStratum
from lesionseg.report.tables import format_savings, format_table, format_without_lesions
from lesionseg.report.texts import as_note, in_markdown, on_terminal
from lesionseg.report.validation import Validation, ValidationMean, judge_validation

__all__ = [
    "SCORES",
    "TABLES",
    "ArmMean",
    "ArmSavings",
    "Chapter",
    "Comparison",
    "Conduct",
    "Evidence",
    "FrocBand",
    "LearningCurve",
    "MatchedPpv",
    "PatientScore",
    "RateSearch",
    "RecordedRun",
    "RepeatMean",
    "Results",
    "Score",
    "Share",
    "SizeDifference",
    "SizeStratum",
    "SplitDigest",
    "StudyPicture",
    "StudySlice",
    "TransferSummary",
    "Validation",
    "ValidationMean",
    "WeightSource",
    "WithoutLesions",
    "as_note",
    "compare",
    "describe_rates",
    "describe_settings",
    "flat",
    "format_savings",
    "format_table",
    "format_without_lesions",
    "in_markdown",
    "judge_validation",
    "load_slices",
    "methods_paragraph",
    "on_terminal",
    "save_slices",
    "write_page",
    "write_tables",
]
