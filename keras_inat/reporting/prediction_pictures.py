"""A picture of one prediction: the image, the map of its evidence, and the most probable classes.

Pillow draws it in a few milliseconds. The import of Matplotlib alone would take longer than the prediction.
"""

import functools
import importlib.util
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_inat.style import ACCENT, INK, MUTED, PAPER, clip

SIDE = 330  # of the image and of its map, in pixels
GAP = 24
TITLE_HEIGHT = 44
LINE_HEIGHT = 19
NUM_BARS = 5
NAME_LENGTH = 22
LEGEND_LENGTH = 150
TITLE_SIZE = 17
TEXT_SIZE = 14
WIDTH = 3 * SIDE + 4 * GAP
# The colors of a heatmap from none to full strength, some of Matplotlib's "inferno".
HEAT = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)


def draw_prediction(
    pixels: np.ndarray, classes: Sequence[str], probabilities: np.ndarray, method: str, legend: str, values: np.ndarray
) -> Image.Image:
    """Draws an image `(size, size, 3)` uint8, its map and the five most probable classes.

    `probabilities` are `(classes,)`. The map, its method and its legend are one of `PredictionMaps`.
    """
    best = np.argsort(-probabilities, kind="stable")[:NUM_BARS]
    names = [clip(classes[label], NAME_LENGTH) for label in best]
    lines = textwrap.wrap(legend, LEGEND_LENGTH)
    picture = Image.new("RGB", (WIDTH, TITLE_HEIGHT + SIDE + GAP + LINE_HEIGHT * len(lines) + GAP // 2), PAPER)
    draw = ImageDraw.Draw(picture)
    panels = (("image", pixels), (f"{method}: {names[0]}", show_map(pixels, values)))
    for column, (title, panel) in enumerate(panels):
        left = GAP + column * (SIDE + GAP)
        draw.text((left, TITLE_HEIGHT // 2), title, INK, _load_font(TITLE_SIZE), anchor="lm")
        picture.paste(_resize(Image.fromarray(panel)), (left, TITLE_HEIGHT))
    _draw_bars(draw, names, [float(probabilities[label]) for label in best])
    for number, line in enumerate(lines):
        top = TITLE_HEIGHT + SIDE + GAP // 2 + LINE_HEIGHT * number
        draw.text((GAP, top), line, MUTED, _load_font(TEXT_SIZE))
    return picture


def show_map(pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns a map as pixels `(size, size, 3)` uint8.

    Evidence `(height, width)` of any size is laid over the image, made gray. It is transparent at zero and below, and
    yellow at the 99th percentile and above. A gradient `(size, size, 3)` is mid-gray at zero.
    """
    magnitudes = np.maximum(values, 0) if values.ndim == 2 else np.abs(values)
    scale = float(np.percentile(magnitudes, 99)) or float(magnitudes.max()) or 1.0
    if values.ndim == 3:
        return np.rint(255 * np.clip(0.5 + values / (2 * scale), 0, 1)).astype(np.uint8)
    size = pixels.shape[1::-1]
    evidence = Image.fromarray((magnitudes / scale).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    strength = np.clip(np.asarray(evidence), 0, 1)[..., None]
    steps = np.linspace(0, 1, len(HEAT))
    colors = np.stack([np.interp(strength[..., 0], steps, HEAT[:, channel]) for channel in range(3)], axis=-1)
    gray = pixels.mean(axis=-1, keepdims=True)
    return np.rint(gray * (1 - 0.75 * strength) * 0.9 + colors * 0.75 * strength).astype(np.uint8)


def _draw_bars(draw: ImageDraw.ImageDraw, names: Sequence[str], probabilities: Sequence[float]) -> None:
    left = 3 * GAP + 2 * SIDE
    draw.text((left, TITLE_HEIGHT // 2), "probability", INK, _load_font(TITLE_SIZE), anchor="lm")
    for rank, (name, probability) in enumerate(zip(names, probabilities, strict=True)):
        top = TITLE_HEIGHT + rank * SIDE // NUM_BARS
        draw.text((left, top), name, INK, _load_font(TEXT_SIZE))
        text = f"{100 * probability:.1f} %"
        draw.text((left + SIDE, top), text, INK, _load_font(TEXT_SIZE), anchor="ra")
        box = (left, top + 24, left + round(SIDE * probability), top + 40)
        draw.rectangle(box, fill=MUTED if rank else ACCENT)


def _resize(image: Image.Image) -> Image.Image:
    """Resizes a square image for the picture. The pixels of a smaller one remain visible."""
    is_small = image.width < SIDE
    return image.resize((SIDE, SIDE), Image.Resampling.NEAREST if is_small else Image.Resampling.LANCZOS)


@functools.cache
def _load_font(size: int) -> ImageFont.FreeTypeFont:
    """Loads the font of the figures, a file of Matplotlib, without importing Matplotlib."""
    matplotlib = importlib.util.find_spec("matplotlib")
    folder = Path(str(matplotlib.origin)).parent  # type: ignore[union-attr]
    return ImageFont.truetype(folder / "mpl-data/fonts/ttf/DejaVuSans.ttf", size)
