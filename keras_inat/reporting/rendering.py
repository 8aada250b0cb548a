"""The page as one HTML file with its style and script inside, and as Markdown in the dialect of GitHub and GitLab."""

import re
from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from keras_inat.files import read_text
from keras_inat.reporting import blocks
from keras_inat.reporting.blocks import Block, Chapter, Heading, Page, Table
from keras_inat.reporting.formatting import interval, percent, sample_size

SAFE = " !$()*+,-./:;=?@[]^_|~"  # characters that stay as they are in an address within quotation marks
TYPES = {".csv": "text/csv", ".svg": "image/svg+xml"}
RULES = {"l": ":--", "r": "--:"}


def render_html(page: Page, directory: Path | None = None) -> str:
    """Returns the text of the HTML file. Its files are beside it or, read from `directory`, part of it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_inat", "reporting"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"prose": _mark_code, "percent": percent, "interval": interval, "sample_size": sample_size}
    environment.globals["locate"] = (lambda file: _encode(directory / file)) if directory else str
    return environment.get_template("page.html").render(page=page)


def _encode(file: Path) -> str:
    """Returns the content of a text file as an address. Quoted text is a quarter shorter than base64."""
    text = quote(read_text(file), safe=SAFE)
    return f"data:{TYPES[file.suffix]};charset=utf-8,{text}"


def _mark_code(text: str) -> Markup:
    """Escapes text and marks `code` between backticks."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def render_markdown(chapters: list[Chapter], title: str) -> str:
    """Returns the text of a Markdown file."""
    lines = [f"# {escape_markdown(title)}", ""]
    for chapter in chapters:
        lines += [f"## {escape_markdown(chapter.title)}", ""]
        for section in chapter.sections:
            if section.title:
                lines += [f"### {escape_markdown(section.title)}", ""]
            if section.lead:
                lines += [f"*{escape_markdown(section.lead)}*", ""]
            for block in section.blocks:
                lines += [*_render_block(block), ""]
    return "\n".join(lines)


def escape_markdown(text: str) -> str:
    """Escapes text for Markdown, on one line. `code` between backticks stays code."""
    pieces = re.split(r"(`[^`]+`)", " ".join(text.split()))
    escaped = []
    for index, piece in enumerate(pieces):
        is_code = index % 2 == 1
        # A pipe would end the cell of a table even within code.
        escaped.append(piece.replace("|", "\\|") if is_code else re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", piece))
    return "".join(escaped)


def _render_block(block: Block) -> list[str]:
    match block:
        case blocks.Prose():
            return [escape_markdown(block.text)]
        case blocks.Heading():
            return [f"#### {escape_markdown(block.text)}"]
        case blocks.Bullets():
            return [f"- {escape_markdown(item)}" for item in block.items]
        case blocks.Cards():
            rows = []
            for label, estimate in block.cards:
                rows.append([label, percent(estimate.value), f"{interval(estimate)}, {sample_size(estimate)}"])
            return _render_block(Table("", "lrl", ["", "", "95 % interval"], rows))
        case blocks.Table():
            rows = [[escape_markdown(cell) or " " for cell in row] for row in (block.head, *block.rows)]
            for (row, column), address in block.links.items():
                rows[row + 1][column] = f"[{rows[row + 1][column]}]({address})"
            rows.insert(1, [RULES[letter] for letter in block.align])
            lines = [f"| {' | '.join(row)} |" for row in rows]
            return [escape_markdown(block.caption), "", *lines] if block.caption else lines
        case blocks.Checklist():
            rows = []
            for requirement, section, command in block.rows:
                missing = f"missing: run `{command}`" if command else "missing"
                rows.append([requirement, section.title if section else missing])
            return _render_block(Table("", "ll", ["requirement", "section"], rows))
        case blocks.ParallelCoordinates():
            return _render_block(block.picture)
        case blocks.Columns():
            pieces: list[Block] = []
            for title, contents in zip(block.titles, block.columns, strict=True):
                pieces += [Heading(title), *contents]
            return [line for piece in pieces for line in (*_render_block(piece), "")]
        case blocks.Details():
            lines = ["<details>", f"<summary>{escape(block.summary.replace('`', ''))}</summary>", ""]
            for inner in block.blocks:
                lines += [*_render_block(inner), ""]
            return [*lines, "</details>"]
        case blocks.Picture():
            return [f"![{escape_markdown(block.alt)}]({block.file})", "", escape_markdown(block.caption)]
