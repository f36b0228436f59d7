"""A figure as SVG that stands inside of a page."""

import io
import re
from collections import Counter
from html import escape

import matplotlib
from matplotlib.figure import Figure

_PIXELS_PER_POINT = 4 / 3


def inline_svg(figure: Figure, name: str, title: str) -> str:
    """A figure as an ``<svg>`` element: its text as text, the same bytes every time, and nothing from elsewhere.

    Args:
        figure: to write.
        name: prefix of every id, other than that of any other figure of the page.
        title: what the figure shows, for who does not see it.
    """
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "svg.image_inline": True}):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = stream.getvalue()
    body = text[text.index("<svg") :]
    body = body[body.index(">") + 1 :]
    body = _with_own_ids(body, name)
    width, height = (round(72 * inches, 3) for inches in figure.get_size_inches())
    label = escape(title, quote=True)
    return (
        f'<svg id="{name}" role="img" aria-label="{label}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width * _PIXELS_PER_POINT:.0f}" height="{height * _PIXELS_PER_POINT:.0f}">'
        f"<title>{label}</title>{body}"
    )


def _with_own_ids(body: str, name: str) -> str:
    """With ids that no other figure of the page has, each once, and of plain letters; and with what refers to them."""
    given: Counter[str] = Counter()

    def own(raw: str) -> str:
        return f"{name}-{re.sub(r'[^A-Za-z0-9_-]+', '-', raw)}"

    def numbered(found: re.Match[str]) -> str:
        # What several panels have, such as an arm's mean, has the same name in each; nothing refers to it.
        identifier = own(found[1])
        given[identifier] += 1
        return f'id="{identifier}"' if given[identifier] == 1 else f'id="{identifier}-{given[identifier]}"'

    body = re.sub(r'\bid="([^"]*)"', numbered, body)
    return re.sub(r'(href="#|url\(#)([^")]*)', lambda found: found[1] + own(found[2]), body)
