"""Figures as files: drawn once, the same each time, and in the colors of light and dark screens."""

import base64
import io
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_inat.plotting import new_figure
from keras_inat.reporting import figure_folder
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.svg import format_svg
from keras_inat.style import ACCENT, DARK, INK

drawn = []


def draw(image: np.ndarray, title: str = "a title"):
    drawn.append(title)
    figure = new_figure(4, 2)
    axes = figure.add_subplot(title=title)
    axes.imshow(image)
    axes.plot([0, 1], [0, 1], color=ACCENT)
    return figure


@pytest.fixture(autouse=True)
def forget_drawings():
    drawn.clear()


def add(folder: Path, side: int = 8, **named: str):
    image = np.zeros((side, side, 3), np.uint8)
    return FigureFolder(folder).add("x", partial(draw, image, **named), "alt", "caption")


def test_a_figure_is_drawn_again_only_if_it_changes(tmp_path, monkeypatch):
    first = add(tmp_path)
    content = (tmp_path / first.file).read_bytes()
    assert (first.file, first.width, first.height) == ("figures/x.svg", 400, 200)
    assert add(tmp_path) == first
    assert drawn == ["a title"]
    add(tmp_path, title="another")
    assert drawn == ["a title", "another"]
    add(tmp_path)
    assert (tmp_path / first.file).read_bytes() == content
    monkeypatch.setattr(figure_folder, "_hash_code", lambda: ["another version"])
    add(tmp_path)
    assert len(drawn) == 4


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"<svg/>"])
def test_a_damaged_figure_is_drawn_again(tmp_path, content):
    picture = add(tmp_path)
    good = (tmp_path / picture.file).read_bytes()
    for damaged in (content, good[:-500] + content, good.replace(b"0", b"1", 1), good.replace(b"M 1", b"M 2", 1)):
        (tmp_path / picture.file).write_bytes(damaged)
        assert add(tmp_path) == picture
        assert (tmp_path / picture.file).read_bytes() == good
    (tmp_path / picture.file).unlink()
    os.mkfifo(tmp_path / picture.file)
    assert add(tmp_path) == picture
    assert (tmp_path / picture.file).read_bytes() == good


def test_colors_follow_the_screen(tmp_path):
    text = (tmp_path / add(tmp_path).file).read_text()
    [style] = re.findall(r"<style[^>]*>(@media \(prefers-color-scheme: dark\).*?)</style>", text)
    for kind, color in (("fill", INK), ("stroke", ACCENT)):
        assert f'[style*="{kind}: {color}"]{{{kind}:{DARK[color]} !important}}' in style
        assert f"{kind}: {color}" in text.replace(style, "")
    assert "fill: #ffffff" not in text.replace(style, "")  # no background


def read_images(text: str) -> list[tuple[str, Image.Image]]:
    found = re.findall(r"data:image/(\w+);base64,([A-Za-z0-9+/=]+)", text)
    return [(kind, Image.open(io.BytesIO(base64.b64decode(content)))) for kind, content in found]


@pytest.mark.parametrize(
    ("side", "kind", "rendering"), [(8, "png", "pixelated"), (64, "png", "auto"), (200, "jpeg", "auto")]
)
def test_an_image_keeps_its_pixels(side, kind, rendering):
    ramp = np.linspace(20, 200, side)
    grain = np.random.default_rng(0).normal(0, 3, (side, side))
    image = np.stack([np.add.outer(ramp, 0 * ramp) + grain, np.add.outer(0 * ramp, ramp) + grain, 90 + grain], axis=-1)
    text = format_svg(draw(image.astype(np.uint8)), "")
    [(found, embedded)] = read_images(text)
    assert found == kind
    assert embedded.size == (side, side)
    assert np.abs(np.asarray(embedded.convert("RGB")).astype(int) - image).mean() < 2
    assert f"image-rendering:{rendering}" in text
