"""The report's figures: each a function from the numbers to a matplotlib figure."""

from lesionseg.report.figures.drawing import Drawing, draw_comparison, write_figures
from lesionseg.report.figures.froc import draw_froc
from lesionseg.report.figures.inline import inline_svg
from lesionseg.report.figures.label_savings import draw_label_savings
from lesionseg.report.figures.learning_curves import draw_learning_curves
from lesionseg.report.figures.lesion_size import draw_lesion_size
from lesionseg.report.figures.patients import draw_patients
from lesionseg.report.figures.slices import draw_picture, draw_slices, write_slices

__all__ = [
    "Drawing",
    "draw_comparison",
    "draw_froc",
    "draw_label_savings",
    "draw_learning_curves",
    "draw_lesion_size",
    "draw_patients",
    "draw_picture",
    "draw_slices",
    "inline_svg",
    "write_figures",
    "write_slices",
]
