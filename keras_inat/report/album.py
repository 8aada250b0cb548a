"""The figures of one rendering of the report, written beside the page."""

import re
import warnings
from pathlib import Path

from matplotlib.figure import Figure

from keras_inat.plotting import save_figure
from keras_inat.report.blocks import Picture


class Album:
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
        stem = "-".join(filter(None, (self.prefix, name)))
        file = next(f for i in range(999) if (f := f"{stem}{f'-{i + 1}' if i else ''}.png") not in self._written)
        with warnings.catch_warnings():
            # A character that the font lacks is drawn as a box, and that is all there is to say.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            save_figure(figure, self.folder / file)
        self._written.add(file)
        width, height = (round(100 * inches) for inches in figure.get_size_inches())
        return Picture(f"figures/{file}", alt, caption, width, height)

    def remove_stale(self) -> None:
        """Deletes what an earlier rendering left and this one did not write."""
        for path in self.folder.glob("*.png"):
            if path.name not in self._written:
                path.unlink()
