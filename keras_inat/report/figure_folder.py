"""The figures of one rendering of the report, written beside the page."""

import contextlib
import dataclasses
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from keras_inat.files import write_atomically, write_json
from keras_inat.plotting import save_figure
from keras_inat.report.blocks import Block, Picture, Prose, Table

KEPT = {kind.__name__: kind for kind in (Prose, Table, Picture)}


class FigureFolder:
    """Writes figures into `<directory>/figures/`.

    Args:
        directory: Where the page goes.
    """

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "figures"
        self.prefix = ""
        self._written: set[str] = set()

    def open_chapter(self, title: str) -> None:
        """Figures added from now on are named after `title`."""
        self.prefix = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40]

    def add(self, name: str, figure: Figure, alt: str, caption: str) -> Picture:
        """Writes a figure; gives what the page needs to show it."""
        file = self._claim("-".join(filter(None, (self.prefix, name))))
        save_figure(figure, self.folder / file)
        width, height = (round(100 * inches) for inches in figure.get_size_inches())
        return Picture(f"figures/{file}", alt, caption, width, height)

    def keep(self, folder: Path, blocks: Sequence[Block]) -> None:
        """Keeps prose, tables and pictures, with their files, in a folder of their own, for the next rendering.

        What else lies beside that folder is removed: it was kept by another version. A folder that cannot be written
        to keeps nothing.
        """
        with contextlib.suppress(OSError):
            shutil.rmtree(folder.parent, ignore_errors=True)
            for block in blocks:
                if isinstance(block, Picture):
                    with write_atomically(folder / Path(block.file).name) as temporary:
                        shutil.copyfile(self.folder.parent / block.file, temporary)
            write_json(folder / "blocks.json", [[type(block).__name__, dataclasses.asdict(block)] for block in blocks])

    def recall(self, folder: Path) -> list[Block] | None:
        """What was kept in a folder, its pictures written beside the page again; None where that is not all there."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            blocks: list[Block] = []
            kept = json.loads((folder / "blocks.json").read_text(encoding="utf-8"))
            if not all((folder / Path(fields["file"]).name).exists() for _, fields in kept if "file" in fields):
                return None
            for kind, fields in kept:
                if kind == Picture.__name__:
                    source = folder / Path(fields["file"]).name
                    fields["file"] = f"figures/{self._claim(source.stem)}"
                    with write_atomically(self.folder.parent / fields["file"]) as temporary:
                        shutil.copyfile(source, temporary)
                blocks.append(KEPT[kind](**fields))
            return blocks
        return None

    def _claim(self, stem: str) -> str:
        """A file name that no figure has yet."""
        file = next(f for i in range(999) if (f := f"{stem}{f'-{i + 1}' if i else ''}.png") not in self._written)
        self._written.add(file)
        return file
