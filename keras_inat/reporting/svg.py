"""Figures as SVG: sharp at any size, without a background, and in the colors that the reader's screen prefers."""

import base64
import io
import re
import warnings
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image

from keras_inat.style import DARK

# Text is drawn as outlines, because a reader's fonts have other widths. Equal figures have equal identifiers.
SETTINGS: dict[Any, Any] = {"svg.fonttype": "path", "svg.hashsalt": "keras-inat", "image.composite_image": False}
IMAGE = re.compile(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)")
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
    with warnings.catch_warnings(), matplotlib.rc_context(SETTINGS):
        # A character that the font lacks is drawn as a box, which the reader sees anyway.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="svg", facecolor="none", metadata={"Date": None})
    text = IMAGE.sub(_compress, content.getvalue())
    text = re.sub(r"<image [^>]*>", _smooth, text)
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


def _compress(match: "re.Match[str]") -> str:
    """Returns the address of an embedded image, as JPEG if it is large, opaque and smaller so."""
    png = base64.b64decode(match[1])
    with Image.open(io.BytesIO(png)) as image:
        is_large = min(image.size) >= MIN_COMPRESSED
        if is_large and image.getextrema()[-1] == (255, 255):
            jpeg = io.BytesIO()
            image.convert("RGB").save(jpeg, "jpeg", quality=QUALITY, subsampling=0)
            if jpeg.tell() < len(png):
                return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _smooth(match: "re.Match[str]") -> str:
    """Returns an image's element. Unless the image is tiny, it is enlarged smoothly."""
    content = re.search(r"base64,([A-Za-z0-9+/=]+)", match[0])
    with Image.open(io.BytesIO(base64.b64decode(content[1] if content else ""))) as image:
        return match[0].replace(SHARP, "image-rendering:auto") if min(image.size) >= MIN_SMOOTH else match[0]
