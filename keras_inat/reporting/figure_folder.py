"""The folder of the figures of a page."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from keras_inat.files import write_atomically, write_json
from keras_inat.plotting import save_figure
from keras_inat.reporting.blocks import Block, Picture, Prose, Table, choose_unique, slugify

CACHED = {kind.__name__: kind for kind in (Prose, Table, Picture)}


class FigureFolder:
    """Writes figures into `<directory>/figures/`, beside the page."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "figures"
        self._prefix = ""
        self._taken: set[str] = set()

    def begin_chapter(self, title: str) -> None:
        """Makes the file names of the next figures begin with `title`."""
        self._prefix = slugify(title)

    def add(self, name: str, figure: Figure, alt: str, caption: str) -> Picture:
        """Writes a figure and returns its block."""
        file = choose_unique(f"{self._prefix}-{name}" if self._prefix else name, self._taken)
        save_figure(figure, self.folder / f"{file}.png")
        width, height = (round(100 * inches) for inches in figure.get_size_inches())
        return Picture(f"figures/{file}.png", alt, caption, width, height)

    def cache(self, folder: Path, blocks: Sequence[Block]) -> None:
        """Caches blocks of prose, tables and pictures in a folder, for the next page.

        Everything else in the parent of that folder is removed, because it belongs to an outdated page. Nothing is
        cached in a folder that cannot be written.
        """
        with contextlib.suppress(OSError):
            shutil.rmtree(folder.parent, ignore_errors=True)
            folder.mkdir(parents=True)
            for block in blocks:
                if isinstance(block, Picture):
                    shutil.copy(self.folder.parent / block.file, folder)
            # Written last: it marks the cache as complete.
            write_json(folder / "blocks.json", [[type(block).__name__, dataclasses.asdict(block)] for block in blocks])

    def read_cache(self, folder: Path) -> list[Block] | None:
        """Returns cached blocks and writes their pictures again. Returns None if the cache is incomplete."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            cached = json.loads((folder / "blocks.json").read_text(encoding="utf-8"))
            blocks: list[Block] = [CACHED[kind](**fields) for kind, fields in cached]
            files = {block: folder / Path(block.file).name for block in blocks if isinstance(block, Picture)}
            if not all(file.exists() for file in files.values()):
                return None
            for index, block in enumerate(blocks):
                if isinstance(block, Picture):
                    file = f"figures/{choose_unique(files[block].stem, self._taken)}.png"
                    with write_atomically(self.folder.parent / file) as temporary:
                        shutil.copyfile(files[block], temporary)
                    blocks[index] = dataclasses.replace(block, file=file)
            return blocks
        return None
