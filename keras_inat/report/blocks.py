"""The content of a page: blocks in sections in chapters. HTML and Markdown render it, each in its own way.

Text is plain, with `code` between backticks. Nothing else in it is interpreted.
"""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

MAX_ANCHOR = 60


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
    """A number in large type with its interval as text and as a band from 0 to 1."""

    label: str
    number: str
    detail: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Cards:
    """A row of cards."""

    kind: ClassVar[str] = "cards"
    cards: list[Card]


@dataclass(frozen=True)
class Table:
    """A table."""

    kind: ClassVar[str] = "table"
    caption: str
    align: str  # `l` (text) or `r` (numbers) for each column
    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Picture:
    """A figure on disk."""

    kind: ClassVar[str] = "picture"
    file: str  # path relative to the page
    alt: str
    caption: str
    width: int  # in CSS pixels
    height: int


@dataclass(frozen=True)
class ParallelCoordinates:
    """Interactive parallel coordinates. Without JavaScript their picture is shown."""

    kind: ClassVar[str] = "parallel_coordinates"
    data: dict[str, Any]
    picture: Picture


@dataclass(frozen=True)
class Checklist:
    """Requirements, each with the section that meets it, or None, and the command that produces it."""

    kind: ClassVar[str] = "checklist"
    rows: "list[tuple[str, Section | None, str]]"

    @property
    def missing(self) -> list[str]:
        """The requirements that no section meets."""
        return [requirement for requirement, section, _ in self.rows if section is None]


Block = Prose | Heading | Bullets | Cards | Table | Picture | ParallelCoordinates | Checklist


@dataclass
class Section:
    """A heading and its blocks."""

    title: str
    blocks: list[Block] = field(default_factory=list)
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

    chapters: list[Chapter]
    findings: list[str]  # sentences that summarize it
    missing: list[str]  # requirements that no section meets

    def __post_init__(self) -> None:
        taken: set[str] = set()
        for chapter in self.chapters:
            chapter.anchor = _choose_anchor(chapter.title, taken)
            for section in chapter.sections:
                section.anchor = _choose_anchor(f"{chapter.title} {section.title}", taken)


def _choose_anchor(text: str, taken: set[str]) -> str:
    """Returns a unique anchor for a title and adds it to `taken`."""
    base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:MAX_ANCHOR] or "section"
    anchor = base
    number = 1
    while anchor in taken:
        number += 1
        anchor = f"{base}-{number}"
    taken.add(anchor)
    return anchor
