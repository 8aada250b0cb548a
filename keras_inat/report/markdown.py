"""Chapters as Markdown, in the dialect of GitHub and GitLab."""

import re

from keras_inat.report.blocks import (
    Block,
    Bullets,
    Cards,
    Chapter,
    Checklist,
    Heading,
    ParallelCoordinates,
    Picture,
    Prose,
    Table,
)

RULES = {"l": ":--", "r": "--:"}


def render_markdown(chapters: list[Chapter], title: str) -> str:
    """Returns the text of a Markdown file."""
    lines = [f"# {escape_markdown(title)}", ""]
    for chapter in chapters:
        lines += [f"## {escape_markdown(chapter.title)}", ""]
        for section in chapter.sections:
            if section.title:
                lines += [f"### {escape_markdown(section.title)}", ""]
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
        case Prose():
            return [escape_markdown(block.text)]
        case Heading():
            return [f"#### {escape_markdown(block.text)}"]
        case Bullets():
            return [f"- {escape_markdown(item)}" for item in block.items]
        case Cards():
            rows = [[card.label, card.number, card.detail] for card in block.cards]
            return _render_table(Table("", "lrl", ["", "", "95 % interval"], rows))
        case Table():
            return _render_table(block)
        case Checklist():
            return _render_table(Table("", "ll", ["requirement", "section"], _list_requirements(block)))
        case ParallelCoordinates():
            return _render_picture(block.picture)
        case Picture():
            return _render_picture(block)


def _render_table(table: Table) -> list[str]:
    rows = [[escape_markdown(cell) or " " for cell in row] for row in (table.head, *table.rows)]
    rows.insert(1, [RULES[letter] for letter in table.align])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [escape_markdown(table.caption), "", *lines] if table.caption else lines


def _list_requirements(checklist: Checklist) -> list[list[str]]:
    """Returns each requirement with the title of its section, or with the command that produces it."""
    rows = []
    for requirement, section, command in checklist.rows:
        if section:
            rows.append([requirement, section.title])
        else:
            rows.append([requirement, f"missing: run `{command}`" if command else "missing"])
    return rows


def _render_picture(picture: Picture) -> list[str]:
    return [f"![{escape_markdown(picture.alt)}]({picture.file})", "", escape_markdown(picture.caption)]
