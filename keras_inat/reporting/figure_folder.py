"""The folder of the figures of a page: SVG files that are drawn again only if something that they show changes."""

import re
from functools import cache, partial
from pathlib import Path

import joblib
import matplotlib
from matplotlib.figure import Figure

import keras_inat
from keras_inat.files import hash_file, write_text
from keras_inat.reporting.blocks import Picture, choose_unique, slugify
from keras_inat.reporting.svg import format_svg
from keras_inat.store.checksums import check_lines, sign_lines

# The code that draws. A change of it makes the figures outdated.
CODE = ("reporting/charts/*.py", "reporting/svg.py", "reporting/formatting.py", "plotting.py", "style.py")
HEAD = re.compile(r"<!-- drawn from (\w+) -->.*?width=\"([\d.]+)pt\" height=\"([\d.]+)pt\"", re.DOTALL)
COMMENT = ("<!-- checksum of the lines above: ", " -->")  # begin and end of the last line


class FigureFolder:
    """Writes figures into `<directory>/figures/`, beside the page."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "figures"
        self._prefix = ""
        self._taken: set[str] = set()

    def begin_chapter(self, title: str) -> None:
        """Makes the file names of the next figures begin with `title`."""
        self._prefix = slugify(title)

    def add(self, name: str, draw: "partial[Figure]", alt: str, caption: str) -> Picture:
        """Returns the block of a figure, and draws the figure if the file on disk does not show it already.

        Each file names the hash of everything that it was drawn from: the function, its arguments and its code. A
        damaged file is drawn again.
        """
        file = choose_unique(f"{self._prefix}-{name}" if self._prefix else name, self._taken)
        path = self.folder / f"{file}.svg"
        key = joblib.hash((draw.func.__qualname__, draw.args, draw.keywords, _hash_code()))
        head = _read_head(path)
        if head is None or head[1] != key:
            write_text(path, sign_lines(format_svg(draw(), f"drawn from {key}"), COMMENT))
            head = _read_head(path)
        assert head is not None
        width, height = (round(float(points) * 100 / 72) for points in head.groups()[1:])
        return Picture(f"figures/{file}.svg", alt, caption, width, height)


def _read_head(path: Path) -> "re.Match[str] | None":
    try:
        return HEAD.search(check_lines(path, COMMENT))
    except (OSError, ValueError):
        return None


@cache
def _hash_code() -> list[str]:
    """Returns the hashes of the code that draws and the version of Matplotlib."""
    package = Path(keras_inat.__file__).parent
    files = sorted(path for pattern in CODE for path in package.glob(pattern))
    return [matplotlib.__version__, *(hash_file(path) for path in files)]
