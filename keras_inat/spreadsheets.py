"""CSV tables that a spreadsheet opens as text and numbers. Names of files and classes come from anywhere."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# The text of a formula, in ASCII or in full width, perhaps behind the marks of `format_cell`.
FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def format_cell(value: Any) -> Any:
    """Returns the content of a cell. Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) and not _is_number(value) else value


def read_cell(text: str) -> str:
    """Returns the text that `format_cell` was given."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def format_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Formats a table with a head. Other keys of the rows than the columns are ignored."""
    lines = ([format_cell(row.get(column, "")) for column in columns] for row in rows)
    return "".join(map(format_line, (columns, *lines)))


def format_line(cells: Sequence[Any]) -> str:
    """Formats a line of CSV as it is. A cell with a comma, a quote or a line break is quoted."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
