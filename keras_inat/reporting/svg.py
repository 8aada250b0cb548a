"""Figures as SVG: sharp at any size, without a background, and in the colors that the reader's screen prefers."""

import base64
import io
import re
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image

from keras_inat.plotting import allow_missing_glyphs
from keras_inat.style import DARK

# Text is drawn as outlines, because a reader's fonts have other widths. Equal figures have equal identifiers.
SETTINGS: dict[Any, Any] = {"svg.fonttype": "path", "svg.hashsalt": "keras-inat", "image.composite_image": False}
IMAGE = re.compile(r"(?P<before><image [^>]*)data:image/png;base64,\s*(?P<content>[A-Za-z0-9+/=\s]+)(?P<after>[^>]*>)")
SHARP = "image-rendering:crisp-edges;image-rendering:pixelated"
MIN_SMOOTH = 32  # pixels; smaller images are the weights of filters, whose pixels stay sharp
MIN_COMPRESSED = 96  # pixels; smaller images stay lossless
QUALITY = 92


def format_svg(figure: Figure, comment: str) -> str:
    """Returns a figure as the text of an SVG file that has a comment.

    Every color of the style has a second one for dark screens. Programs without style sheets show the first one.
    """
    for image in figure.findobj(AxesImage):
        image.set_interpolation("none")  # the pixels themselves are embedded, and the reader's program scales them
    content = io.StringIO()
    with allow_missing_glyphs(), matplotlib.rc_context(SETTINGS):
        figure.savefig(content, format="svg", facecolor="none", metadata={"Date": None})
    text = IMAGE.sub(_embed, content.getvalue())
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark} !important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    # Matplotlib names a clip path by its address in memory.
    for number, name in enumerate(re.findall(r'<clipPath id="(\w+)"', text)):
        text = text.replace(f'"{name}"', f'"clip{number}"').replace(f"#{name})", f"#clip{number})")
    style = f'<style type="text/css">@media (prefers-color-scheme: dark){{{rules}}}</style>'
    start = text.index("<svg ")
    end = text.index(">", start) + 1
    return f"{text[:start]}<!-- {comment} -->\n{text[start:end]}\n{style}{text[end:]}"


def _embed(match: "re.Match[str]") -> str:
    """Returns an image's element: a JPEG if it is large, opaque and smaller so; enlarged smoothly unless it is tiny."""
    png = base64.b64decode(match["content"])
    content = png
    kind = "png"
    with Image.open(io.BytesIO(png)) as image:
        side = min(image.size)
        if side >= MIN_COMPRESSED and image.getextrema()[-1] == (255, 255):
            jpeg = io.BytesIO()
            image.convert("RGB").save(jpeg, "jpeg", quality=QUALITY, subsampling=0)
            if jpeg.tell() < len(png):
                content = jpeg.getvalue()
                kind = "jpeg"
    element = f"{match['before']}data:image/{kind};base64,{base64.b64encode(content).decode()}{match['after']}"
    return element.replace(SHARP, "image-rendering:auto") if side >= MIN_SMOOTH else element
