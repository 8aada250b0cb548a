"""The folder of the figures of a page."""

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

CACHED = {kind.__name__: kind for kind in (Prose, Table, Picture)}
MAX_PREFIX = 40


class FigureFolder:
    """Writes figures into `<directory>/figures/`.

    Args:
        directory: The folder of the page.
    """

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "figures"
        self._prefix = ""
        self._written: set[str] = set()

    def begin_chapter(self, title: str) -> None:
        """Makes the file names of the next figures begin with `title`."""
        self._prefix = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:MAX_PREFIX]

    def add(self, name: str, figure: Figure, alt: str, caption: str) -> Picture:
        """Writes a figure and returns its block."""
        file = self._choose_file(f"{self._prefix}-{name}" if self._prefix else name)
        save_figure(figure, self.folder / file)
        width, height = (round(100 * inches) for inches in figure.get_size_inches())
        return Picture(f"figures/{file}", alt, caption, width, height)

    def cache(self, folder: Path, blocks: Sequence[Block]) -> None:
        """Caches blocks of prose, tables and pictures in a folder, for the next page.

        Everything else in the parent of that folder is removed, because it belongs to an outdated page. Nothing is
        cached in a folder that cannot be written.
        """
        with contextlib.suppress(OSError):
            shutil.rmtree(folder.parent, ignore_errors=True)
            for block in blocks:
                if isinstance(block, Picture):
                    with write_atomically(folder / Path(block.file).name) as temporary:
                        shutil.copyfile(self.folder.parent / block.file, temporary)
            write_json(folder / "blocks.json", [[type(block).__name__, dataclasses.asdict(block)] for block in blocks])

    def read_cache(self, folder: Path) -> list[Block] | None:
        """Returns cached blocks and writes their pictures again. Returns None if the cache is incomplete."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            cached = json.loads((folder / "blocks.json").read_text(encoding="utf-8"))
            files = [fields["file"] for _, fields in cached if "file" in fields]
            if not all((folder / Path(file).name).exists() for file in files):
                return None
            blocks: list[Block] = []
            for kind, fields in cached:
                if kind == Picture.__name__:
                    fields["file"] = self._copy_cached(folder / Path(fields["file"]).name)
                blocks.append(CACHED[kind](**fields))
            return blocks
        return None

    def _copy_cached(self, source: Path) -> str:
        """Copies a cached picture and returns its path relative to the page."""
        file = f"figures/{self._choose_file(source.stem)}"
        with write_atomically(self.folder.parent / file) as temporary:
            shutil.copyfile(source, temporary)
        return file

    def _choose_file(self, stem: str) -> str:
        """Returns a file name that no figure of this page has yet."""
        file = f"{stem}.png"
        number = 1
        while file in self._written:
            number += 1
            file = f"{stem}-{number}.png"
        self._written.add(file)
        return file
