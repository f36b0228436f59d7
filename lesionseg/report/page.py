"""The report as one HTML file that needs nothing beside it: no network, no script, no other file."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lesionseg.data.files import written_whole
from lesionseg.report import page_conduct, page_tables
from lesionseg.report.comparison import Comparison
from lesionseg.report.page_tables import Table
from lesionseg.report.slices import Bytes

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATE = "page.html.j2"


@dataclass(frozen=True, eq=False)
class StudyPicture:
    """A slice of a test study of one arm.

    Attributes:
        arm: value of init.
        which: where the study stands among those of the arm.
        study: its name.
        facts: what stands beside the picture, such as ``F1 0.62: 5 of 8 found, 2 false``.
        image: grey values 0 … 255, shape (X, Y), axes towards right and anterior.
        verdict: as in `StudySlice`.
        spacing: of the pixels, mm.
    """

    arm: str
    which: Literal["median", "worst"]
    study: str
    facts: str
    image: Bytes
    verdict: Bytes
    spacing: tuple[float, float]


@dataclass(frozen=True)
class Chapter:
    """One sweep of the report.

    Attributes:
        comparison: its numbers and sentences.
        pictures: slices of test studies; empty where the runs left none.
    """

    comparison: Comparison
    pictures: tuple[StudyPicture, ...] = ()


@dataclass(frozen=True)
class _Shown:
    """A figure as the template takes it; without ``svg``, ``absent`` says why there is none."""

    id: str
    title: str
    reading: str
    number: int
    svg: "Markup | str"
    absent: str


def write_page(chapters: Sequence[Chapter], path: Path) -> None:
    """Write `render_page` to a file, whole or not at all."""
    page = render_page(chapters)
    with written_whole(path) as partial:
        partial.write_text(page, encoding="utf-8")


def render_page(chapters: Sequence[Chapter]) -> str:
    """The report as HTML.

    Args:
        chapters: one per sweep, in order.

    Raises:
        ValueError: there is none.
    """
    if not chapters:
        raise ValueError("A report needs a chapter, found none.")
    from jinja2 import Environment, StrictUndefined  # only who writes a page waits for these two

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8"))
    shown = [_chapter(chapter, f"c{number}") for number, chapter in enumerate(chapters, start=1)]
    return template.render(title=_title(chapters), chapters=shown, keys=_keys())


def _title(chapters: Sequence[Chapter]) -> str:
    names = dict.fromkeys(chapter.comparison.sweep for chapter in chapters if chapter.comparison.sweep)
    return f"Comparison: {', '.join(names)}" if names else "Comparison of arms"


def _chapter(chapter: Chapter, name: str) -> dict[str, Any]:
    """Everything that the template says of a chapter."""
    comparison = chapter.comparison
    results, conduct = comparison.results, comparison.conduct
    return {
        "id": name,
        "title": comparison.task or comparison.sweep or "comparison",
        "sweep": comparison.sweep,
        "arms": results.arms,
        "comparison": comparison,
        "incomplete": list(dict.fromkeys((*results.missing, *comparison.unfinished))),
        "scores": page_tables.scores_table(results),
        "single": not results.others,
        "further": _tables(
            page_tables.tests_table(results),
            page_tables.pooled_table(results),
            page_tables.matched_table(comparison),
            page_tables.without_lesions_table(results),
        ),
        "savings": list(dict.fromkeys(one.sentence for one in comparison.savings)),
        "figures": _figures(comparison, name),
        "behind_figures": _tables(page_tables.froc_table(comparison), page_tables.strata_table(comparison)),
        "pictures": _pictures(chapter, name),
        "conduct": conduct,
        "conduct_tables": _tables(page_conduct.conduct_table(conduct), page_conduct.transfer_table(conduct))
        if conduct
        else [],
        "splits": page_conduct.split_table(conduct) if conduct else None,
    }


def _tables(*tables: Table | None) -> list[Table]:
    return [table for table in tables if table is not None]


def _figures(comparison: Comparison, chapter: str) -> list[_Shown]:
    from markupsafe import Markup

    from lesionseg.report.figures import draw_comparison, inline_svg  # half a second for matplotlib

    shown: list[_Shown] = []
    for drawing in draw_comparison(comparison):
        name, number = f"{chapter}-{drawing.name}", 1 + sum(bool(one.svg) for one in shown)
        svg = Markup(inline_svg(drawing.figure, name, drawing.title)) if drawing.figure is not None else ""
        shown.append(_Shown(name, drawing.title, drawing.reading, number, svg, drawing.absent))
    return shown


def _pictures(chapter: Chapter, name: str) -> list[dict[str, Any]]:
    """The pictures, those of an arm together."""
    from markupsafe import Markup

    from lesionseg.report.figures import draw_picture, inline_svg

    shown = []
    for number, picture in enumerate(chapter.pictures):
        figure = draw_picture(picture.image, picture.verdict, picture.spacing)
        title = f"{picture.arm}, {picture.which} test study: {picture.study}, {picture.facts}"
        svg = Markup(inline_svg(figure, f"{name}-picture{number}", title))
        shown.append(
            {"arm": picture.arm, "which": picture.which, "study": picture.study, "facts": picture.facts, "svg": svg}
        )
    return shown


def _keys() -> list[dict[str, str]]:
    """What the outlines of the pictures mean, and how they look."""
    from lesionseg.report.figures.slices import OUTLINES

    styles = {"-": "solid", ":": "dotted"}
    return [
        {"name": name, "color": look["color"], "style": styles.get(look["linestyle"], "dashed")}
        for name, look in OUTLINES.values()
    ]
