"""What runs left, as sentences, tables, figures and pages."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from lesionseg.io import written_whole


def write_html(template: str, path: Path, **values: Any) -> None:
    """Fill one of this package's templates and write the page, whole or not at all; values are escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = files("lesionseg.report").joinpath(template).read_text(encoding="utf-8")
    with written_whole(path) as partial:
        partial.write_text(environment.from_string(source).render(values), encoding="utf-8")
