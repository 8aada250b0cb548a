"""Decoding of image files into squares of sRGB pixels, with a reason for every file that cannot be used."""

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
# A JPEG may be decoded at a fraction of its size, but not below this side. Hence the thumbnails, and the duplicates
# found in them, do not depend on which input size up to 224 is decoded first.
MIN_DRAFT_SIDE = 280
MAX_PIXELS = 2**27
MIN_SIDE = 8
MAX_ASPECT = 10
# Formats of photographs. EPS is excluded because it runs Ghostscript, WMF because it holds drawings, ICO because it
# holds icons, TGA and DIB because no signature tells them from arbitrary bytes. MPO opens as JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
CUT_SHORT = re.compile("truncated|cannot load this image|not enough image data|only got|reached EOF", re.IGNORECASE)
ORIENTATION = 0x0112
_TURNS = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
TURNS = {number: Image.Transpose[name] for number, name in enumerate(_TURNS.split(), start=2)}
# For each mode of Pillow: the conversions before resizing, in order, and the traits. Alpha is resized premultiplied
# ("RGBa"), so that invisible colors do not bleed into neighboring pixels.
MODES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "1": (("L",), ("1-bit",)),
    "L": ((), ("gray",)),
    "LA": (("RGBA", "RGBa"), ("alpha", "gray")),
    "La": (("LA", "RGBA", "RGBa"), ("alpha", "gray")),
    "P": (("RGB",), ("palette",)),
    "PA": (("RGBA", "RGBa"), ("alpha", "palette")),
    "RGB": ((), ()),
    "RGBA": (("RGBa",), ("alpha",)),
    "CMYK": ((), ("CMYK",)),
    "LAB": ((), ("LAB",)),
    "YCbCr": ((), ()),
    **dict.fromkeys(("I;16", "I;16B", "I"), ((), ("16-bit", "gray"))),
}
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # The frames of TIFF are pages, those of MPO are views.
PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
PROBE = bytes(itertools.chain.from_iterable(itertools.product(range(0, 256, 51), repeat=3)))
# A profile that changes no color of the probe by more than this, of 255, is treated as sRGB.
MAX_SRGB_CHANGE = 3


class _UnusableError(ValueError):
    """An image that is refused by one of this module's own checks."""


@dataclass(frozen=True)
class Decoded:
    """The contents of one image file.

    Its traits are its differences from an 8-bit RGB image: "1-bit", "16-bit", "CMYK", "EXIF-rotated", "LAB", "alpha",
    "animated" (the first frame is used), "color profile" (converted to sRGB), "gray", "palette".
    """

    images: tuple[np.ndarray, ...]  # one image `(size, size, 3)` uint8 sRGB, read-only, for each requested size
    format: str  # Pillow's name of the format
    traits: tuple[str, ...]  # sorted


def set_up_decoding() -> None:
    """Changes process-wide settings of Pillow, libtiff and OpenCV for decoding. Repeated calls change nothing."""
    # Pillow warns of odd metadata, for example. `warnings.catch_warnings` would change the filters of other threads, so
    # this filter stays first in the list. It is checked at each call because other code may have reset the filters.
    if warnings.filters[:1] == [("ignore", None, Warning, re.compile(r"PIL\."), 0)]:
        return
    Image.MAX_IMAGE_PIXELS = None  # `_open` checks the limit instead and reports the size of the image.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with contextlib.suppress(AttributeError, OSError):  # libtiff prints its own messages to stderr, bypassing Python.
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)
    cv2.setNumThreads(0)  # Images are processed in parallel by threads or processes of the caller.
    warnings.filterwarnings("ignore", module=r"PIL\.")  # last, because another thread may check it now


def stored_size(image_size: int) -> int:
    """Returns the side in pixels of stored images that leave room for random crops of `image_size`."""
    return math.ceil(ROOM * image_size)


def decode(content: bytes, image_size: int, more_sizes: Sequence[int] = ()) -> Decoded:
    """Decodes a file in one of `FORMATS` to a centered square, upright and in sRGB. Transparent pixels become white.

    Args:
        content: The bytes of the file.
        image_size: Side in pixels. A JPEG is decoded at a fraction of its size if that leaves `ROOM`.
        more_sizes: Further sides in pixels. The pixels at `image_size` do not depend on them.

    Raises:
        ValueError: The file cannot be used. The message is one line that follows "it", such as "is cut short".
    """
    set_up_decoding()
    try:
        return _decode(content, image_size, more_sizes)
    except (_UnusableError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders may raise any exception for a broken file.
        raise ValueError(_explain(content, error)) from None


def decode_image(content: bytes, size: int) -> np.ndarray:
    """Decodes an image file to a square `(size, size, 3)` uint8 sRGB image, as `decode` does."""
    return decode(content, size).images[0]


def _decode(content: bytes, image_size: int, more_sizes: Sequence[int]) -> Decoded:
    image = _open(content)
    image.draft(None, (max(MIN_DRAFT_SIDE, stored_size(image_size)),) * 2)
    steps, names = MODES[image.mode]
    tile = str(image.tile[:1])  # It shows the bits per value until the pixels are loaded.
    num_bits = 12 if ";12" in tile else 16
    orientations = {getattr(image, "tag_v2", {}).get(ORIENTATION)}  # Pillow itself rotates a TIFF during loading.
    image.load()
    orientation = 1
    with contextlib.suppress(Exception):  # The pixels may be intact although the EXIF data are damaged.
        orientation = int(image.getexif().get(ORIENTATION, 1))
    profile = image.info.get("icc_profile")
    traits = set(names)
    if ";16" in tile:
        traits.add("16-bit")
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
        if whole.mode == "RGB" and whole.width == whole.height <= size:
            # Enlarging needs no filter. OpenCV is three times as fast there and agrees with Pillow within 1 of 255.
            small = Image.fromarray(cv2.resize(np.asarray(whole), (size, size)))
        else:
            small = whole.resize((size, size), Image.Resampling.BILINEAR, square)
        small = _flatten(small, num_bits)
        if isinstance(profile, bytes) and (transform := _build_transform(profile, small.mode)):
            small = transform.apply(small.convert(transform.input_mode))
            traits.add("color profile")
        small = small if small.mode == "RGB" else small.convert("RGB")
        images.append(np.asarray(small.transpose(TURNS[orientation]) if orientation in TURNS else small))
    with contextlib.suppress(Exception):  # Later frames may be damaged.
        if image.format in ANIMATED and getattr(image, "is_animated", False):
            traits.add("animated")
    return Decoded(tuple(images), str(image.format), tuple(sorted(traits)))


def _open(content: bytes) -> ImageFile.ImageFile:
    """Reads the header and refuses images that must not or cannot be decoded."""
    if not content:
        raise _UnusableError("is empty")
    if content[4:11] == b"ftyphei":
        raise _UnusableError("is a HEIC image: save it as JPEG first")
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _UnusableError(f"has too many pixels ({width} x {height})")
    if min(width, height) < MIN_SIDE:
        raise _UnusableError(f"is too small ({width} x {height} pixels)")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise _UnusableError(f"is too long and thin ({width} x {height} pixels)")
    if image.mode == "F":
        raise _UnusableError("has floating-point pixels of unknown range")
    if image.mode == "I" and image.format != "PPM":  # PPM is always scaled to 16 bits.
        raise _UnusableError("has signed or 32-bit integer pixels of unknown range")
    return image


def _flatten(image: Image.Image, num_bits: int) -> Image.Image:
    """Converts an image to a mode that color profiles support: "L", "RGB" or "CMYK"."""
    if image.mode.startswith("I"):  # Pillow would clip these values instead of scaling them.
        values = np.asarray(image, dtype=np.float64) * (255 / (2**num_bits - 1))
        return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))
    if image.mode == "RGBa":
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    return image if image.mode in PROFILE_MODES.values() else image.convert("RGB")


@functools.lru_cache(maxsize=32)
def _build_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Builds the transform from a profile to sRGB. Returns None if it is sRGB, broken or made for another mode."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        given = PROFILE_MODES[source.profile.xcolor_space.strip()]
        if (mode, given) not in {("L", "L"), ("L", "RGB"), ("RGB", "RGB"), ("CMYK", "CMYK")}:
            return None
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.ImageCmsTransform(source, target, given, "RGB", intent, flags=flags)
        probe = Image.frombytes("RGB", (len(PROBE) // 3, 1), PROBE).convert(given)
        change = np.asarray(transform.apply(probe), np.int16) - np.asarray(probe.convert("RGB"), np.int16)
        return transform if np.abs(change).max() > MAX_SRGB_CHANGE else None
    except Exception:  # A broken profile may raise any exception, as broken pixels do.
        return None


def _explain(content: bytes, error: Exception) -> str:
    """Returns one of a few reasons, with details in brackets."""
    message = "".join(filter(str.isprintable, " ".join(str(error).split())))[:100] or type(error).__name__
    if CUT_SHORT.search(message) or _declares_more(content):
        return "is cut short"
    if isinstance(error, Image.UnidentifiedImageError):
        if not content.startswith(SIGNATURES) and content[4:11] != b"ftypavi":
            return "is not an image"
        message = "its header is not understood"
    return f"cannot be decoded ({message})"


def _declares_more(content: bytes) -> bool:
    """Returns True if a WEBP declares a greater length, or a TIFF a directory beyond its end."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return int.from_bytes(content[4:8], "little") + 8 > len(content)
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(content[:4])
    return order is not None and int.from_bytes(content[4:8], order) >= len(content)  # type: ignore[arg-type]
