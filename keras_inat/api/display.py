"""HTML for notebooks. Nothing in it is loaded from elsewhere."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from keras_inat.files import read_text

FRAME_HEIGHT = 800  # pixels


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table. The first column is aligned to the left, the others to the right."""
    lines = ["<table><tr>", *(f"<th style='text-align:left'>{escape(cell)}</th>" for cell in head), "</tr>"]
    for row in rows:
        cells = [f"<td style='text-align:left'>{escape(cell)}</td>" for cell in row]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "".join([*lines, "</table>"])


def format_picture(picture: Figure | Image.Image, alt: str) -> str:
    """Returns a figure or a picture as an image within the text."""
    buffer = io.BytesIO()
    if isinstance(picture, Image.Image):
        picture.save(buffer, "PNG")
    else:
        picture.savefig(buffer, format="png")
    return _embed(buffer.getvalue(), alt, "max-width:100%")


def format_pixels(pixels: np.ndarray, alt: str, side: int) -> str:
    """Returns pixels `(height, width, 3)` uint8 as an image of `side` CSS pixels within the text."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return _embed(buffer.getvalue(), alt, f"width:{side}px;height:{side}px")


def format_bars(values: Sequence[tuple[str, float]]) -> str:
    """Returns names with fractions as bars."""
    lines = []
    for name, value in values:
        bar = f"<div style='background:#2f6fb0;height:0.6em;width:{100 * value:.1f}%'></div>"
        lines.append(
            f"<tr><td style='text-align:left'>{escape(name)}</td><td style='width:160px'>{bar}</td>"
            f"<td style='text-align:right'>{100 * value:.1f} %</td></tr>"
        )
    return f"<table>{''.join(lines)}</table>"


def format_frame(path: Path) -> str:
    """Returns an HTML file in a frame. Its text is part of the notebook, so that it stays visible elsewhere."""
    text = escape(read_text(path), quote=True)
    return f'<iframe srcdoc="{text}" style="width:100%;height:{FRAME_HEIGHT}px;border:1px solid #cbd2d9"></iframe>'


def _embed(content: bytes, alt: str, style: str) -> str:
    data = base64.b64encode(content).decode()
    return f"<img alt='{escape(alt, quote=True)}' style='{style}' src='data:image/png;base64,{data}'>"
