"""Decoding of image files into squares of sRGB pixels, with a reason for every file that cannot be used."""

import contextlib
import ctypes
import functools
import io
import itertools
import logging
import math
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageCms

from keras_inat.data.plugins import find_plugin, load_plugin, read_dicom, read_jxl_size
from keras_inat.data.ranges import DEEP, FLOATING, find_gain
from keras_inat.store.records import Preparation

ROOM = 1.25
# A JPEG may be decoded at a fraction of its size, but not below this side. Hence the thumbnails, and the duplicates
# found in them, do not depend on which input size up to 224 is decoded first.
MIN_DRAFT_SIDE = 280
MAX_PIXELS = 2**27
# The most memory that any format and mode takes per pixel until it is resized, as measured.
PIXEL_BYTES = 16
# Encoders write 1 to 10 scans of a JPEG image, and MozJPEG chooses the best of 64. A scan of no pixels has a few bytes.
MAX_SCANS = 64
SCANNED = ("JPEG", "MPO")
SCAN = b"\xff\xda"
JPEG_END = b"\xff\xd9"
# A marker with a segment, or that of the end. Others are part of the compressed data, or fill bytes.
JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd9-\xfe]")
PADDING = (128, 128, 128)  # of the fit "pad": 0 for a network whose input is scaled to -1 ... 1
MIN_SIDE = 8
MAX_ASPECT = 10
# Formats of photographs. EPS is excluded because it runs Ghostscript, WMF because it holds drawings, ICO because it
# holds icons, TGA and DIB because no signature tells them from arbitrary bytes. MPO opens as JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
CUT_SHORT = re.compile("truncated|cannot load this image|not enough image data|only got|reached EOF", re.IGNORECASE)
READERS = r"(PIL|pydicom)\."  # the modules whose warnings say nothing that a reason does not say
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
    "F": ((), (FLOATING, "gray")),
    **dict.fromkeys(("I;16", "I;16B", "I"), ((), (DEEP, "gray"))),
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
    "animated" (the first frame is used), "color profile" (converted to sRGB), "floating-point", "gray", "multi-page"
    (the first page is used), "palette".
    """

    images: tuple[np.ndarray, ...]  # one image `(size, size, 3)` uint8 sRGB, read-only, for each requested size
    format: str  # Pillow's name of the format
    traits: tuple[str, ...]  # sorted
    side: int  # shorter side of the image in the file, in pixels
    peak: float = 0.0  # brightest value, as of `measure_peak`, of pixels whose range the file does not tell


def set_up_decoding() -> None:
    """Changes process-wide settings of Pillow, libtiff and OpenCV for decoding. Repeated calls change nothing."""
    # Pillow warns of odd metadata, for example. `warnings.catch_warnings` would change the filters of other threads, so
    # this filter stays first in the list. It is checked at each call because other code may have reset the filters.
    if warnings.filters[:1] == [("ignore", None, Warning, re.compile(READERS), 0)]:
        return
    Image.MAX_IMAGE_PIXELS = None  # `_open` checks the limit instead and reports the size of the image.
    for name in ("PIL", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with contextlib.suppress(AttributeError, OSError):  # libtiff prints its own messages to stderr, bypassing Python.
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)
    cv2.setNumThreads(0)  # Images are processed in parallel by threads or processes of the caller.
    warnings.filterwarnings("ignore", module=READERS)  # last, because another thread may check it now


def stored_size(image_size: int) -> int:
    """Returns the side in pixels of stored images that leave room for random crops of `image_size`."""
    return math.ceil(ROOM * image_size)


def decode(
    content: bytes,
    image_size: int,
    more_sizes: Sequence[int] = (),
    preparation: Preparation = Preparation(),  # noqa: B008, it is immutable
    thumbnail: int | None = None,
    memory: int = sys.maxsize,
) -> Decoded:
    """Decodes an image file to a square, upright and in sRGB. Transparent pixels become white.

    Args:
        content: The bytes of the file.
        image_size: Side in pixels. A JPEG is decoded at a fraction of its size if that leaves `ROOM`.
        more_sizes: Further sides in pixels. The pixels at `image_size` do not depend on them.
        preparation: The conversion to a square and to 8 bits.
        thumbnail: Side in pixels of a last image, which is the centered square in any case.
        memory: Bytes that the decoding may take; by default there is no limit.

    Raises:
        MemoryError: The decoding takes more. The message follows "it", as that of a `ValueError`.
        ValueError: The file cannot be used. The message is one line that follows "it", such as "is cut short".
    """
    set_up_decoding()
    try:
        return _decode(content, image_size, more_sizes, preparation, thumbnail, memory)
    except (_UnusableError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders may raise any exception for a broken file.
        raise ValueError(_explain(content, error)) from None


def decode_image(
    content: bytes,
    size: int,
    preparation: Preparation = Preparation(),  # noqa: B008, it is immutable
    memory: int = sys.maxsize,
) -> np.ndarray:
    """Decodes an image file to a square `(size, size, 3)` uint8 sRGB image, as `decode` does."""
    return decode(content, size, preparation=preparation, memory=memory).images[0]


def _decode(
    content: bytes,
    image_size: int,
    more_sizes: Sequence[int],
    preparation: Preparation,
    thumbnail: int | None,
    memory: int,
) -> Decoded:
    image = _open(content, memory)
    shorter_side = min(image.size)
    whole_size = image.size
    image.draft(None, (max(MIN_DRAFT_SIDE, stored_size(image_size)),) * 2)
    # A progressive JPEG is kept as a whole while it is decoded at a fraction of its size.
    _check_memory(*(whole_size if "progressive" in image.info else image.size), memory)
    steps, names = MODES[image.mode]
    tile = str(getattr(image, "tile", [])[:1])  # It shows the bits per value until the pixels are loaded.
    orientations = {getattr(image, "tag_v2", {}).get(ORIENTATION)}  # Pillow itself rotates a TIFF during loading.
    image.load()
    orientation = 1
    with contextlib.suppress(Exception):  # The pixels may be intact although the EXIF data are damaged.
        orientation = int(image.getexif().get(ORIENTATION, 1))
    profile = image.info.get("icc_profile")
    traits = set(names)
    if ";16" in tile:
        traits.add(DEEP)
    if TURNS.keys() & (orientations | {orientation}):
        traits.add("EXIF-rotated")
    if image.mode in ("1", "L", "P", "RGB") and image.has_transparency_data:
        steps = ("RGBA", "RGBa")
        traits.add("alpha")
    gain, peak = find_gain(image, tile, preparation)
    whole: Image.Image = image
    for mode in steps:
        whole = whole.convert(mode)
    images = []
    wanted = [(size, preparation.fit) for size in (image_size, *more_sizes)]
    if thumbnail:
        wanted.append((thumbnail, "crop"))
    for size, fit in wanted:
        small = _flatten(_resize(whole, size, fit), gain)
        if isinstance(profile, bytes) and (transform := _build_transform(profile, small.mode)):
            small = transform.apply(small.convert(transform.input_mode))
            traits.add("color profile")
        small = small if small.mode == "RGB" else small.convert("RGB")
        if small.size != (size, size):
            padded = Image.new("RGB", (size, size), PADDING)
            padded.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
            small = padded
        images.append(np.asarray(small.transpose(TURNS[orientation]) if orientation in TURNS else small))
    with contextlib.suppress(Exception):  # Later frames may be damaged.
        if image.format in ANIMATED and getattr(image, "is_animated", False):
            traits.add("animated")
        if image.format == "TIFF":
            image.seek(1)
            traits.add("multi-page")
    return Decoded(tuple(images), str(image.format), tuple(sorted(traits)), shorter_side, peak)


def _open(content: bytes, memory: int) -> Image.Image:
    """Reads the header and refuses images that must not or cannot be decoded."""
    if not content:
        raise _UnusableError("is empty")
    plugin = find_plugin(content)
    if plugin and not load_plugin(plugin):
        raise _UnusableError(f"is a {plugin.name} image: install {plugin.package}, or save it as JPEG first")
    if plugin and plugin.name == "DICOM":
        return read_dicom(content, functools.partial(_check_size, memory=memory))
    if plugin and plugin.name == "JPEG XL":
        _check_size(*read_jxl_size(content), memory)
    image = Image.open(io.BytesIO(content), formats=(*FORMATS, plugin.registered) if plugin else FORMATS)
    _check_size(*image.size)
    if image.format in SCANNED:
        _check_scans(content)
    if image.mode == "I" and image.format != "PPM":  # PPM is always scaled to 16 bits.
        raise _UnusableError("has signed or 32-bit integer pixels of unknown range")
    return image


def _check_size(width: int, height: int, memory: int = sys.maxsize) -> None:
    """Refuses sizes that are none of a photograph. `memory` is for plug-ins that decode before they tell the size."""
    if width * height > MAX_PIXELS:
        raise _UnusableError(f"has too many pixels ({width} x {height})")
    if min(width, height) < MIN_SIDE:
        raise _UnusableError(f"is too small ({width} x {height} pixels)")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise _UnusableError(f"is too long and thin ({width} x {height} pixels)")
    _check_memory(width, height, memory)


def _check_memory(width: int, height: int, memory: int) -> None:
    needed = width * height * PIXEL_BYTES
    if needed > memory:
        raise MemoryError(
            f"needs {needed >> 20:,} MiB of memory to be decoded ({width} x {height} pixels), and there are "
            f"{memory >> 20:,} MiB for it"
        )


def _check_scans(content: bytes) -> None:
    """Refuses a JPEG file of very many scans, each of which may cost a pass over all pixels."""
    if content.count(SCAN) <= MAX_SCANS:  # in the whole file, which may hold more than the image
        return
    num_scans = 0
    marker = JPEG_MARKER.search(content, 2)
    while marker and marker[0] != JPEG_END:
        num_scans += marker[0] == SCAN
        length = int.from_bytes(content[marker.end() : marker.end() + 2], "big")
        marker = JPEG_MARKER.search(content, marker.end() + length)
    if num_scans > MAX_SCANS:
        raise _UnusableError(f"has {num_scans:,} scans, more than {MAX_SCANS}: save it again")


def _resize(image: Image.Image, size: int, fit: str) -> Image.Image:
    """Resizes an image to a square of side `size`; with the fit "pad", to the largest image within it."""
    width, height = image.size
    if image.mode == "RGB" and width == height <= size:
        # Enlarging needs no filter. OpenCV is three times as fast there and agrees with Pillow within 1 of 255.
        return Image.fromarray(cv2.resize(np.asarray(image), (size, size)))
    target = (size, size)
    box = (0.0, 0.0, float(width), float(height))
    if fit == "crop":
        side = min(image.size)
        left = (width - side) / 2
        top = (height - side) / 2
        box = (left, top, left + side, top + side)
    elif fit == "pad":
        scale = size / max(image.size)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image.resize(target, Image.Resampling.BILINEAR, box)


def _flatten(image: Image.Image, gain: float) -> Image.Image:
    """Converts an image to a mode that color profiles support: "L", "RGB" or "CMYK". Multiplies colors by `gain`."""
    if image.mode.startswith(("I", "F")):  # Pillow would clip these values instead of scaling them.
        values = np.asarray(image, dtype=np.float64) * gain
        return Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8))
    if image.mode == "RGBa":
        image = image.convert("RGBA")
    if gain != 1:
        table = [min(255, round(value * gain)) for value in range(256)]
        image = image.point(table * 3 + list(range(256)) if image.mode == "RGBA" else table * len(image.getbands()))
    if image.mode == "RGBA":
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
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
        if not content.startswith(SIGNATURES) and content[4:11] != b"ftypavi" and not find_plugin(content):
            return "is not an image"
        message = "its header is not understood"
    return f"cannot be decoded ({message})"


def _declares_more(content: bytes) -> bool:
    """Returns True if a WEBP declares a greater length, or a TIFF a directory beyond its end."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return int.from_bytes(content[4:8], "little") + 8 > len(content)
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(content[:4])
    return order is not None and int.from_bytes(content[4:8], order) >= len(content)  # type: ignore[arg-type]
