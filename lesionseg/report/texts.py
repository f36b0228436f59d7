"""A comparison as text: on the terminal, as a Markdown file, as a short note."""

from collections.abc import Sequence

from lesionseg.report.comparison import Comparison
from lesionseg.report.tables import format_savings, format_table, format_without_lesions
from lesionseg.report.words import joined


def on_terminal(comparison: Comparison, *, named: bool = False) -> str:
    """The answer first and the table last: whoever reads it there may stop anywhere.

    Args:
        comparison: of one sweep.
        named: whether the sweep's name stands above it.
    """
    results = comparison.results
    blocks = [
        f"{comparison.sweep} ({comparison.task})" if named else "",
        "\n".join(comparison.answer),
        "\n".join(comparison.validation.sentences),
        _listed("What was compared", comparison.compared),
        _listed("What these numbers can and cannot carry", [*comparison.caveats, *comparison.unfinished]),
        format_without_lesions(results),
        format_table(results),
    ]
    return "\n\n".join(block for block in blocks if block)


def in_markdown(comparison: Comparison) -> str:
    """Sentences, tables and methods."""
    results = comparison.results
    blocks = [
        f"# {comparison.sweep}: {joined(results.arms)}",
        "\n".join(comparison.answer),
        "\n".join(comparison.validation.sentences),
        format_table(results, "markdown"),
        format_savings(comparison.savings, "markdown"),
        format_without_lesions(results, "markdown"),
        _listed("What was compared", comparison.compared),
        _listed("What these numbers can and cannot carry", [*comparison.caveats, *comparison.unfinished]),
        f"## Methods\n\n{comparison.methods}" if comparison.methods else "",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def as_note(comparison: Comparison, longest: int) -> str:
    """The answer in Markdown, and the table if there is room for it in so many characters."""
    heading = f"# {comparison.sweep}: {joined(comparison.results.arms)}"
    said = [heading, *comparison.answer, *comparison.validation.sentences]
    where = "All of it is in the artifact comparison/report.html."
    whole = "\n\n".join([*said, format_table(comparison.results, "markdown"), where])
    return whole if len(whole) <= longest else "\n\n".join([*said, where])[:longest]


def _listed(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{heading}:", "", *(f"- {line}" for line in lines)]) if lines else ""
