"""What a page is made of: blocks in sections in parts, which HTML and Markdown render each in its own way.

Text is plain, with `code` between backticks; everything else in it is shown as it is, never interpreted.
"""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    kind: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    kind: ClassVar[str] = "bullets"
    items: list[str]


@dataclass(frozen=True)
class Card:
    """A number to read at a glance. `low` and `high`, from 0 to 1, are drawn as a band around `value`."""

    label: str
    number: str
    detail: str
    value: float | None = None
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Cards:
    """Numbers side by side."""

    kind: ClassVar[str] = "cards"
    cards: list[Card]


@dataclass(frozen=True)
class Table:
    """A table; `align` has an `l` (text) or `r` (numbers) for each column."""

    kind: ClassVar[str] = "table"
    caption: str
    align: str
    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Picture:
    """A figure on disk, relative to the page; width and height in CSS pixels."""

    kind: ClassVar[str] = "picture"
    file: str
    alt: str
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class Parallel:
    """Parallel coordinates to explore in the page; elsewhere their picture."""

    kind: ClassVar[str] = "parallel"
    data: dict[str, Any]
    picture: Picture


@dataclass(frozen=True)
class Places:
    """Where things are: what, the section that has it or None, and the command that makes it."""

    kind: ClassVar[str] = "places"
    rows: "list[tuple[str, Section | None, str]]"

    @property
    def missing(self) -> list[str]:
        """What no section has."""
        return [what for what, section, _ in self.rows if section is None]


Block = Prose | Heading | Bullets | Cards | Table | Picture | Parallel | Places


@dataclass
class Section:
    """A heading and its blocks."""

    title: str
    blocks: list[Block] = field(default_factory=list)
    anchor: str = ""


@dataclass
class Part:
    """A chapter of the page."""

    title: str
    sections: list[Section] = field(default_factory=list)
    anchor: str = ""


@dataclass(frozen=True)
class Page:
    """The report; `findings` are the sentences that sum it up, `missing` is what is asked for and not in it."""

    parts: list[Part]
    findings: list[str]
    missing: list[str]

    def __post_init__(self) -> None:
        taken: set[str] = set()
        for part in self.parts:
            part.anchor = _slug(part.title, taken)
            for section in part.sections:
                section.anchor = _slug(f"{part.title} {section.title}", taken)


def write_markdown(parts: list[Part], title: str) -> str:
    """Parts for a code host, in the dialect of GitHub and GitLab."""
    lines = [f"# {escape_markdown(title)}", ""]
    for part in parts:
        lines += [f"## {escape_markdown(part.title)}", ""]
        for section in part.sections:
            lines += [f"### {escape_markdown(section.title)}", ""] if section.title else []
            for block in section.blocks:
                lines += [*_write_block(block), ""]
    return "\n".join(lines)


def escape_markdown(text: str) -> str:
    """Makes text show as it is in Markdown, on one line, apart from `code` between backticks."""
    pieces = re.split(r"(`[^`]+`)", " ".join(text.split()))
    # A pipe would end a table's cell even within code.
    return "".join(
        piece.replace("|", "\\|") if index % 2 else re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", piece)
        for index, piece in enumerate(pieces)
    )


def _write_block(block: Block) -> list[str]:
    match block:
        case Prose():
            return [escape_markdown(block.text)]
        case Heading():
            return [f"#### {escape_markdown(block.text)}"]
        case Bullets():
            return [f"- {escape_markdown(item)}" for item in block.items]
        case Cards():
            rows = [[card.label, card.number, card.detail] for card in block.cards]
            return _write_block(Table("", "lrl", ["", "", "95 % interval"], rows))
        case Table():
            rules = [{"l": ":--", "r": "--:"}[letter] for letter in block.align]
            rows = [block.head, *block.rows]
            cells = [[escape_markdown(cell) or " " for cell in row] for row in rows]
            body = [f"| {' | '.join(row)} |" for row in (cells[0], rules, *cells[1:])]
            return [*([escape_markdown(block.caption), ""] if block.caption else []), *body]
        case Places():
            cells = [
                [what, section.title if section else _say_missing(command)] for what, section, command in block.rows
            ]
            return _write_block(Table("", "ll", ["asked for", "where"], cells))
        case Parallel():
            return _write_block(block.picture)
        case Picture():
            return [f"![{escape_markdown(block.alt)}]({block.file})", "", escape_markdown(block.caption)]


def _say_missing(command: str) -> str:
    return f"not here: `{command}` makes it" if command else "not here"


def _slug(text: str, taken: set[str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "part"
    slug = next(
        name for index in range(len(taken) + 1) if (name := base + (f"-{index + 1}" if index else "")) not in taken
    )
    taken.add(slug)
    return slug
