"""The formats that need an optional package: HEIC, JPEG XL and DICOM. Without it, the reason for a file names it."""

import functools
import importlib
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

JXL_CODESTREAM = b"\xff\x0a"
JXL_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
# Width to height of JPEG XL's short headers, by their three bits.
JXL_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
JXL_BOXES = {b"jxlc": 8, b"jxlp": 12}  # the boxes of the codestream, with the length of their headers
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
DEFLATED = b"1.2.840.10008.1.2.1.99"  # a transfer syntax of DICOM, which is named in the first bytes
META_BYTES = 4096
SIGNED = 1  # PixelRepresentation of DICOM


class Plugin(NamedTuple):
    """An optional package that reads one format."""

    name: str  # the format in a message
    package: str  # to install
    module: str  # to import
    registered: str  # the name under which it registers the format with Pillow; empty for DICOM
    matches: Callable[[bytes], bool]  # recognizes a file


def _is_heic(content: bytes) -> bool:
    """Returns True for HEVC in a HEIF container. The same container with AV1 is AVIF, which Pillow reads itself."""
    brands = content[8 : int.from_bytes(content[:4], "big")]
    return content[4:8] == b"ftyp" and brands.startswith(HEIC_BRANDS) and b"hei" in brands


def _is_jxl(content: bytes) -> bool:
    return content.startswith((JXL_CODESTREAM, JXL_CONTAINER))


def _is_dicom(content: bytes) -> bool:
    return content[128:132] == b"DICM"


PLUGINS = (
    Plugin("HEIC", "pillow-heif", "pillow_heif", "HEIF", _is_heic),
    Plugin(
        "JPEG XL",
        "pillow-jxl-plugin",
        "pillow_jxl",
        "JXL",
        _is_jxl,
    ),
    Plugin("DICOM", "pydicom", "pydicom", "", _is_dicom),
)


def find_plugin(content: bytes) -> Plugin | None:
    """Returns the plug-in that a file needs, installed or not, or None."""
    return next((plugin for plugin in PLUGINS if plugin.matches(content)), None)


@functools.cache
def load_plugin(plugin: Plugin) -> bool:
    """Imports a plug-in, which registers its format with Pillow. Returns False if it is not installed."""
    try:
        module = importlib.import_module(plugin.module)
    except ImportError:
        return False
    if plugin.name == "HEIC":
        module.register_heif_opener()
    return True


def read_jxl_size(content: bytes) -> tuple[int, int]:
    """Reads width and height from the header of a JPEG XL file. Its plug-in decodes all pixels before it tells them.

    See ISO/IEC 18181-1, SizeHeader. It is a ValueError if there is no header.
    """
    start = _find_codestream(content)
    if content[start : start + 2] != JXL_CODESTREAM:
        raise ValueError("no codestream")
    bits = int.from_bytes(content[start + 2 : start + 18], "little")

    def read(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    is_small = read(1)

    def read_side() -> int:
        return 8 * (1 + read(5)) if is_small else 1 + read((9, 13, 18, 30)[read(2)])

    height = read_side()
    ratio = read(3)
    if ratio == 0:
        return read_side(), height
    numerator, denominator = JXL_RATIOS[ratio]
    return height * numerator // denominator, height


def _find_codestream(content: bytes) -> int:
    """Returns the start of the codestream, which may be in a box of a container."""
    if not content.startswith(JXL_CONTAINER):
        return 0
    start = 0
    while start < len(content):
        length = int.from_bytes(content[start : start + 4], "big")
        kind = content[start + 4 : start + 8]
        if kind in JXL_BOXES:
            return start + JXL_BOXES[kind]
        start += max(length, 8)
    return start


def read_dicom(content: bytes, check_size: Callable[[int, int], None]) -> Image.Image:
    """Reads the first frame of a DICOM file as a viewer shows it: gray values in its window, or all of its range.

    `check_size` takes width and height before the pixels are read. Any error of pydicom is raised.
    """
    import pydicom

    if DEFLATED in content[:META_BYTES]:  # It may expand to any size before a length is known.
        raise ValueError("its data are deflated")
    header = pydicom.dcmread(io.BytesIO(content))
    check_size(int(header.Columns), int(header.Rows))
    values = pydicom.pixels.pixel_array(header, index=0)
    bits = int(header.BitsStored)
    if values.ndim == 3:
        gray = values / (2**bits - 1)
    else:
        low, high = _find_range(header, bits)
        gray = ((values - low) / (high - low)).clip(0, 1)
    if header.PhotometricInterpretation == "MONOCHROME1":  # The lowest value is white.
        gray = 1 - gray
    image = Image.fromarray(np.rint(255 * gray).astype(np.uint8))
    image.format = "DICOM"
    return image


def _find_range(header: Any, bits: int) -> tuple[float, float]:
    """Returns the stored values of black and white: DICOM PS3.3, C.11.2.1.2."""
    slope = float(header.get("RescaleSlope", 1))
    width = _read_first(header.get("WindowWidth", 0))
    if width > 1 and slope:
        low = _read_first(header.get("WindowCenter", 0)) - width / 2
        intercept = float(header.get("RescaleIntercept", 0))
        return (low - intercept) / slope, (low + width - 1 - intercept) / slope
    low = -(2.0 ** (bits - 1)) if header.PixelRepresentation == SIGNED else 0.0
    return low, low + 2.0**bits - 1


def _read_first(value: Any) -> float:
    """Returns a number, or the first of several."""
    return float(value if isinstance(value, int | float) else value[0])
