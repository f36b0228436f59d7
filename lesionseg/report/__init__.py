"""Arms compared over training-set sizes: frames, sentences, tables, figures and a page."""

from lesionseg.report.analysis import SCORES, Analysis, Basis, analyse
from lesionseg.report.comparison import Comparison, Evidence, compare, write_tables
from lesionseg.report.provenance import Provenance, RunRecord, provenance_of
from lesionseg.report.tables import write_page

__all__ = [
    "SCORES",
    "Analysis",
    "Basis",
    "Comparison",
    "Evidence",
    "Provenance",
    "RunRecord",
    "analyse",
    "compare",
    "provenance_of",
    "write_page",
    "write_tables",
]
