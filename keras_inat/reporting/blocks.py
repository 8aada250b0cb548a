"""The content of a page: blocks in sections in chapters. HTML and Markdown render it, each in its own way.

Text is plain, with `code` between backticks. Nothing else in it is interpreted.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from keras_inat.intervals import Estimate


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: list[str]


@dataclass(frozen=True)
class Cards:
    """A row of proportions in large type, each with its label, and with its interval as text and as a band."""

    cards: list[tuple[str, Estimate]]


@dataclass(frozen=True)
class Table:
    """A table."""

    caption: str
    align: str  # `l` (text) or `r` (numbers) for each column
    head: list[str]
    rows: list[list[str]]
    # The addresses, relative to the page, of cells that are links, by row and column.
    links: dict[tuple[int, int], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A figure on disk."""

    file: str  # path relative to the page
    alt: str
    caption: str
    width: int  # in CSS pixels
    height: int


@dataclass(frozen=True)
class ParallelCoordinates:
    """Interactive parallel coordinates. Without JavaScript their picture is shown."""

    data: dict[str, Any]
    picture: Picture


@dataclass(frozen=True)
class Checklist:
    """Requirements, each with the section that meets it, or None, and the command that produces it."""

    rows: "list[tuple[str, Section | None, str]]"

    @property
    def missing(self) -> list[str]:
        """The requirements that no section meets."""
        return [requirement for requirement, section, _ in self.rows if section is None]


@dataclass(frozen=True)
class Details:
    """Blocks that are folded until the reader opens them."""

    summary: str  # the line that is always shown, which says what is inside
    blocks: "list[Block]"


@dataclass(frozen=True)
class Columns:
    """Blocks in columns, such as those of two models. On a narrow screen they are below each other."""

    titles: list[str]
    columns: "list[list[Block]]"


Block = Prose | Heading | Bullets | Cards | Table | Picture | ParallelCoordinates | Checklist | Details | Columns


@dataclass
class Section:
    """A heading, a line that explains it, and its blocks."""

    title: str
    blocks: list[Block] = field(default_factory=list)
    lead: str = ""
    anchor: str = ""


@dataclass
class Chapter:
    """A title and its sections."""

    title: str
    sections: list[Section] = field(default_factory=list)
    anchor: str = ""


@dataclass(frozen=True)
class Page:
    """The report. Each chapter and section gets a unique anchor."""

    subtitle: str
    chapters: list[Chapter]
    findings: list[str]  # sentences that summarize it
    missing: list[str]  # requirements that no section meets

    def __post_init__(self) -> None:
        taken: set[str] = set()
        for chapter in self.chapters:
            chapter.anchor = choose_unique(slugify(chapter.title) or "section", taken)
            for section in chapter.sections:
                section.anchor = choose_unique(slugify(f"{chapter.title} {section.title}") or "section", taken)


def list_blocks(blocks: "Iterable[Block]") -> "Iterator[Block]":
    """Yields blocks, and those inside them."""
    for block in blocks:
        yield block
        if isinstance(block, Details):
            yield from list_blocks(block.blocks)
        if isinstance(block, Columns):
            for column in block.columns:
                yield from list_blocks(column)


def slugify(text: str) -> str:
    """Returns text in at most 60 lower-case letters, digits and hyphens, for anchors and file names."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]


def choose_unique(name: str, taken: set[str], separator: str = "-") -> str:
    """Returns a name that is not taken yet, with a number if needed, and adds it to `taken`."""
    unique = name
    number = 1
    while unique in taken:
        number += 1
        unique = f"{name}{separator}{number}"
    taken.add(unique)
    return unique
