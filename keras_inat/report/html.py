"""The page as one HTML file with its style and script inside. The pictures are files beside it."""

import re

import jinja2
from markupsafe import Markup, escape

from keras_inat.report.blocks import Page


def render_html(page: Page) -> str:
    """Returns the text of the HTML file."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_inat", "report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["prose"] = _mark_code
    return environment.get_template("page.html").render(page=page)


def _mark_code(text: str) -> Markup:
    """Escapes text and marks `code` between backticks."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
