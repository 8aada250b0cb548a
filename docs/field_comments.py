"""An extension of Griffe: the comment after a field, `name: type  # text`, is its description."""

import io
import tokenize
from typing import Any

import griffe


class FieldComments(griffe.Extension):
    """Gives a field without a docstring its comment."""

    def on_attribute(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Reads the comment at the end of the field's first line."""
        if attr.docstring or attr.lineno is None or not attr.lines:
            return
        comment = find_comment(attr.lines[0])
        if comment:
            attr.docstring = griffe.Docstring(comment[0].upper() + comment[1:] + ".", parent=attr)


def find_comment(line: str) -> str:
    """Returns the comment at the end of a line of Python; empty if there is none."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(line.strip() + "\n").readline))
    except (tokenize.TokenError, IndentationError):
        return ""
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    return comments[-1].lstrip("# ").strip() if comments else ""
