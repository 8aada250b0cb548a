"""Pairs of near-duplicate images."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from keras_inat.plotting import clip
from keras_inat.report.charts.axes import WIDTH, new_canvas, place_image
from keras_inat.store.records import DuplicatePair

NUM_COLUMNS = 4
CELL_WIDTH = WIDTH / NUM_COLUMNS
IMAGE_SIDE = 1.13
CELL_HEIGHT = IMAGE_SIDE + 0.62


def draw_duplicate_pairs(duplicates: Sequence[tuple[DuplicatePair, np.ndarray]]) -> Figure:
    """Draws pairs of images with their folders and their correlation.

    Args:
        duplicates: Each pair with its images `(2, size, size, 3)` uint8.
    """
    figure, axes = new_canvas(WIDTH, CELL_HEIGHT * -(-len(duplicates) // NUM_COLUMNS))
    for index, (pair, images) in enumerate(duplicates):
        x = CELL_WIDTH * (index % NUM_COLUMNS) + 0.06
        y = CELL_HEIGHT * (index // NUM_COLUMNS) + 0.06
        for number, (path, image) in enumerate(zip((pair.of, pair.path), images, strict=True)):
            left = x + number * (IMAGE_SIDE + 0.08)
            place_image(axes, image, left, y, IMAGE_SIDE)
            axes.text(
                left + IMAGE_SIDE / 2, y + IMAGE_SIDE + 0.12, _name_folder(path), ha="center", va="center", fontsize=8.5
            )
        label = f"correlation {pair.similarity:.2f}" + (", mirrored" if pair.mirrored else "")
        axes.text(
            x + IMAGE_SIDE + 0.04, y + IMAGE_SIDE + 0.31, label, ha="center", va="center", fontsize=8.5, weight="bold"
        )
    return figure


def _name_folder(path: str) -> str:
    """Returns the split and the class of an image, as in `train/Aves`."""
    return clip("/".join(path.split("/")[-3:-1]), 20)
