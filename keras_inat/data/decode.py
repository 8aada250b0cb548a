"""Image files as they come, to squares of sRGB pixels; what cannot be used is told in a few words."""

import contextlib
import ctypes
import functools
import io
import itertools
import logging
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageFile

ROOM = 1.25
# A JPEG may be decoded at a fraction of its size, but not below this: then its pixels, and what is found to be a copy,
# are the same for whichever size of the model, up to 224, it is decoded first.
LEAST_SIDE = 280
MAX_PIXELS = 2**27
MIN_SIDE = 8
MAX_ASPECT = 10
# Photographs' formats, told by their first bytes. Not among them: EPS, which runs Ghostscript; WMF, drawings; TGA and
# DIB, which have no signature, so that any bytes may pass for them; ICO, several icons in one. MPO opens as JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
CUT_SHORT = re.compile("truncated|cannot load this image|not enough image data|only got|reached EOF", re.IGNORECASE)
ORIENTATION = 0x0112
_TURNS = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
TURNS = {number: Image.Transpose[name] for number, name in enumerate(_TURNS.split(), start=2)}
# Pillow's mode: the modes to convert to, one after the other, before resizing; the traits. Alpha is resized
# premultiplied ("RGBa"), so that colours nobody sees do not bleed into their neighbours.
MODES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "1": (("L",), ("1-bit",)),
    "L": ((), ("grey",)),
    "LA": (("RGBA", "RGBa"), ("alpha", "grey")),
    "La": (("LA", "RGBA", "RGBa"), ("alpha", "grey")),
    "P": (("RGB",), ("palette",)),
    "PA": (("RGBA", "RGBa"), ("alpha", "palette")),
    "RGB": ((), ()),
    "RGBA": (("RGBa",), ("alpha",)),
    "CMYK": ((), ("CMYK",)),
    "LAB": ((), ("LAB",)),
    "YCbCr": ((), ()),
    **dict.fromkeys(("I;16", "I;16B", "I"), ((), ("16-bit", "grey"))),
}
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # TIFF's frames are pages, MPO's are views
PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
PROBE = bytes(itertools.chain.from_iterable(itertools.product(range(0, 256, 51), repeat=3)))
SAME_COLOR = 3  # of 255: a profile that changes no colour of the probe by more is an sRGB profile

# The limit is checked here, where it can be said how large the image is.
Image.MAX_IMAGE_PIXELS = None
logging.getLogger("PIL").setLevel(logging.CRITICAL)
with contextlib.suppress(AttributeError, OSError):  # libtiff's own messages would go to stderr, past Python
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)


class _LeftOutError(ValueError):
    """A reason of our own."""


@dataclass(frozen=True)
class Decoded:
    """What one image file holds.

    Attributes:
        images: `(size, size, 3)` uint8 sRGB, read-only, one for each size asked for.
        format: Pillow's name of the format.
        traits: What differs from a plain image of 8-bit RGB, sorted: "1-bit", "16-bit", "CMYK", "EXIF-rotated", "LAB",
            "alpha", "animated" (the first frame counts), "colour profile" (converted to sRGB), "grey", "palette".
    """

    images: tuple[np.ndarray, ...]
    format: str
    traits: tuple[str, ...]


def stored_size(image_size: int) -> int:
    """Side in pixels of stored images that leave room for random crops of `image_size`."""
    return math.ceil(ROOM * image_size)


def decode(content: bytes, image_size: int, more_sizes: Sequence[int] = ()) -> Decoded:
    """Decodes an image file once, to a square of every size: the short side fits, the middle is kept.

    The pixels of a size do not depend on `more_sizes`. What is transparent becomes white.

    Args:
        content: The file's bytes, in one of `FORMATS`.
        image_size: Side in pixels; a JPEG is decoded at a fraction of its size where that leaves `ROOM`.
        more_sizes: Further sides, also in pixels.

    Returns:
        The images of `image_size` and of each of `more_sizes`, upright and in sRGB.

    Raises:
        ValueError: When the file cannot be used, with the reason as a verb phrase of one line ("is cut short").
    """
    _silence_pillow()
    try:
        return _decode(content, image_size, more_sizes)
    except _LeftOutError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them into
        raise ValueError(_explain(content, error)) from None


def decode_image(content: bytes, size: int) -> np.ndarray:
    """Decodes an image file to a `(size, size, 3)` uint8 sRGB square, for predictions; see `decode`."""
    return decode(content, size).images[0]


def _decode(content: bytes, image_size: int, more_sizes: Sequence[int]) -> Decoded:
    image = _open(content)
    image.draft(None, (max(LEAST_SIDE, stored_size(image_size)),) * 2)
    steps, names = MODES[image.mode]
    tile = str(image.tile[:1])  # tells the bits of a value, until the pixels are loaded
    num_bits = 12 if ";12" in tile else 16
    orientations = {getattr(image, "tag_v2", {}).get(ORIENTATION)}  # Pillow turns a TIFF itself, while it loads
    image.load()
    orientation = _read_orientation(image)
    profile = image.info.get("icc_profile")
    traits = {*names, *(["16-bit"] if ";16" in tile else [])}
    if TURNS.keys() & (orientations | {orientation}):
        traits.add("EXIF-rotated")
    if image.mode in ("1", "L", "P", "RGB") and image.has_transparency_data:
        steps = ("RGBA", "RGBa")
        traits.add("alpha")
    whole: Image.Image = image
    for mode in steps:
        whole = whole.convert(mode)
    images = []
    side = min(whole.size)
    left, top = ((length - side) / 2 for length in whole.size)
    square = (left, top, left + side, top + side)
    for size in (image_size, *more_sizes):
        small = _flatten(_scale(whole, size, square), num_bits)
        if isinstance(profile, bytes) and (transform := _build_transform(profile, small.mode)):
            small = transform.apply(small.convert(transform.input_mode))
            traits.add("colour profile")
        small = small if small.mode == "RGB" else small.convert("RGB")
        images.append(np.asarray(small.transpose(TURNS[orientation]) if orientation in TURNS else small))
    if _is_animated(image):
        traits.add("animated")
    return Decoded(tuple(images), str(image.format), tuple(sorted(traits)))


def _open(content: bytes) -> ImageFile.ImageFile:
    """Reads the header, and refuses what must not or cannot be decoded."""
    if not content:
        raise _LeftOutError("is empty")
    if content[4:11] == b"ftyphei":
        raise _LeftOutError("is a HEIC image, which has to be saved as JPEG first")
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _LeftOutError(f"has too many pixels ({width} x {height})")
    if min(width, height) < MIN_SIDE:
        raise _LeftOutError(f"is too small ({width} x {height} pixels)")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise _LeftOutError(f"is too long and thin ({width} x {height} pixels)")
    if image.mode == "F":
        raise _LeftOutError("has floating-point pixels, whose range is not known")
    if image.mode == "I" and image.format != "PPM":  # which is always scaled to 16 bits
        raise _LeftOutError("has signed or 32-bit integer pixels, whose range is not known")
    return image


def _scale(image: Image.Image, size: int, square: tuple[float, float, float, float]) -> Image.Image:
    if image.mode == "RGB" and image.width == image.height <= size:
        # To enlarge takes no filter, which OpenCV does three times as fast; the two agree within 1 of 255.
        return Image.fromarray(cv2.resize(np.asarray(image), (size, size)))
    return image.resize((size, size), Image.Resampling.BILINEAR, square)


def _flatten(image: Image.Image, num_bits: int) -> Image.Image:
    """To a mode that colour profiles know: "L", "RGB" or "CMYK"."""
    if image.mode.startswith("I"):  # scaled, not cut off
        values = np.asarray(image, dtype=np.float64) * (255 / (2**num_bits - 1))
        return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))
    if image.mode == "RGBa":
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    return image if image.mode in PROFILE_MODES.values() else image.convert("RGB")


@functools.lru_cache(maxsize=32)
def _build_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colours to sRGB; None where it is sRGB, is broken, or is not meant for such pixels."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        given = PROFILE_MODES[source.profile.xcolor_space.strip()]
        if (mode, given) not in {("L", "L"), ("L", "RGB"), ("RGB", "RGB"), ("CMYK", "CMYK")}:
            return None
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.ImageCmsTransform(source, target, given, "RGB", intent, flags=flags)
        probe = Image.frombytes("RGB", (len(PROBE) // 3, 1), PROBE).convert(given)
        change = np.asarray(transform.apply(probe), np.int16) - np.asarray(probe.convert("RGB"), np.int16)
        return transform if np.abs(change).max() > SAME_COLOR else None
    except Exception:  # as with the pixels, a broken profile may lead anywhere
        return None


def _read_orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # EXIF that cannot be read says nothing about the pixels
        return 1


def _is_animated(image: Image.Image) -> bool:
    try:
        return image.format in ANIMATED and bool(getattr(image, "is_animated", False))
    except Exception:  # only later frames are damaged
        return False


def _explain(content: bytes, error: Exception) -> str:
    """One of a few reasons; details, where there are any, in brackets."""
    message = "".join(filter(str.isprintable, " ".join(str(error).split())))[:100] or type(error).__name__
    if CUT_SHORT.search(message) or _announces_more(content):
        return "is cut short"
    if isinstance(error, Image.UnidentifiedImageError):
        if not content.startswith(SIGNATURES) and content[4:11] != b"ftypavi":
            return "is not an image"
        message = "its header is not understood"
    return f"cannot be decoded ({message})"


def _announces_more(content: bytes) -> bool:
    """Whether a WEBP says that it is longer, or a TIFF that its directory comes later."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return int.from_bytes(content[4:8], "little") + 8 > len(content)
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(content[:4])
    return order is not None and int.from_bytes(content[4:8], order) >= len(content)  # type: ignore[arg-type]


def _silence_pillow() -> None:
    """Ignores what Pillow's own modules warn of, such as odd metadata.

    `warnings.catch_warnings` would change the filters of other threads, too. This filter stays, first in the list, and
    concerns no other module.
    """
    if warnings.filters[:1] != [("ignore", None, Warning, re.compile(r"PIL\."), 0)]:
        warnings.filterwarnings("ignore", module=r"PIL\.")
