"""A collection of everything that a folder of images may contain, with the expected outcome for each file."""

import contextlib
import io
import itertools
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

Color = tuple[int, int, int]
Change = Callable[[Image.Image], Image.Image]
SIDE = 64
BLACK = (0, 0, 0)
WHITE = (255, 255, 255)
UNREADABLE = "may not be read"

# Primaries (columns XYZ under D50) and gamma of color spaces.
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SWAPPED = SRGB[:, [1, 0, 2]]
GAMMA = 563 / 256


@dataclass(frozen=True)
class Expectation:
    """The expected outcome for a file: a reason to skip it, or pixels.

    Attributes:
        reason: A regular expression for the whole reason; empty if the file is a usable image.
        colors: The colors top left, top right, bottom left and bottom right; empty if any pixels are accepted.
        traits: As in `Decoded`.
        format: As in `Decoded`.
        tolerance: The tolerance of the colors, of 255.
        by_scan: True if the outcome depends on the file system, not on the contents.
    """

    reason: str = ""
    colors: tuple[Color, ...] = ()
    traits: tuple[str, ...] = ()
    format: str = "PNG"
    tolerance: int = 2
    by_scan: bool = False


def draw(colors: tuple[Color, ...], width: int = SIDE, height: int = SIDE) -> Image.Image:
    """Draws an image of four quarters, each of one color."""
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    for color, (y, x) in zip(colors, itertools.product((0, 1), repeat=2), strict=True):
        pixels[y * height // 2 :, x * width // 2 :] = color
    return Image.fromarray(pixels)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def mutate(content, rng):
    """Applies one of six kinds of damage, in half of the cases to the header."""
    content = bytearray(content)
    end = min(len(content), 700) if rng.random() < 0.5 else len(content)
    first, last = sorted(int(at) for at in rng.integers(0, end, 2))
    match int(rng.integers(6)):
        case 0:
            for at in rng.integers(0, end, 4):
                content[at] ^= 1 << int(rng.integers(8))
        case 1:
            del content[first:]
        case 2:
            content[last:last] = content[first:last]
        case 3:
            content[first : first + 8] = rng.bytes(8)
        case 4:
            content[first : first + 4] = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xda\0\2")[
                last % 4
            ]
        case 5:
            del content[first:last]
    return bytes(content)


def write_png(pixels: np.ndarray, color_type: int, interlaced: bool = False) -> bytes:
    """Writes a PNG of `(height, width, channels)` uint8 or uint16. Pillow cannot write 16 bits or interlacing."""
    height, width = pixels.shape[:2]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [pixels[y::dy, x::dx] for y, x, dy, dx in (passes if interlaced else [(0, 0, 1, 1)])]
    big_endian = pixels.dtype.newbyteorder(">")
    rows = b"".join(b"\0" + row.astype(big_endian).tobytes() for part in parts for row in part)
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, color_type, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write_profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Writes an ICC profile of version 2: header, table of tags, tags."""
    table = struct.pack(">I", len(tags))
    body = b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    about = (b"lcms", 0x02400000, b"mntr", space, connection, b"acsp")
    header = struct.pack(">I4sI4s4s4s12x4s28x", start + len(body), *about) + _fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + table + body


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def write_rgb_profile(primaries: np.ndarray, gamma: float = GAMMA) -> bytes:
    xyz = {name: b"XYZ \0\0\0\0" + _fixed(*column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries.T)}  # noqa: B905
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256))
    return write_profile(b"RGB ", b"XYZ ", xyz | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def write_press_profile(lightness: dict[tuple[int, ...], int], black: int = 0) -> bytes:
    """Writes a CMYK profile that maps mixtures of full inks to a neutral lightness, of 255; others are `black`."""
    identity = bytes(range(256))
    nodes = b"".join(bytes((lightness.get(inks, black), 128, 128)) for inks in itertools.product((0, 1), repeat=4))
    matrix = _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut = b"mft1" + struct.pack(">IBBBB", 0, 4, 3, 2, 0) + matrix + 4 * identity + nodes + 3 * identity
    return write_profile(b"CMYK", b"Lab ", {b"A2B0": lut, b"A2B1": lut})


def to_srgb(color: Color, primaries: np.ndarray) -> Color:
    """Converts a color of a profile with these primaries to sRGB, by the definition."""
    linear = np.linalg.solve(SRGB, primaries @ (np.array(color) / 255) ** GAMMA).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (int(value) for value in np.rint(encoded * 255))
    return red, green, blue


def _neutral(lightness: int) -> Color:
    f = (lightness / 255 * 100 + 16) / 116
    y = f**3 if f > 6 / 29 else 3 * (6 / 29) ** 2 * (f - 4 / 29)
    return (round(255 * (1.055 * y ** (1 / 2.4) - 0.055)),) * 3


def _gray(colors: tuple[Color, ...]) -> tuple[Color, ...]:
    return tuple((Image.new("RGB", (1, 1), color).convert("L").getpixel((0, 0)),) * 3 for color in colors)  # type: ignore[misc]


class _Collection:
    """Writes files. Each file has its own colors, so that no two images are alike."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.expected: dict[str, Expectation] = {}
        self.rng = np.random.default_rng(0)

    def mix(self) -> tuple[Color, ...]:
        """Returns four muted colors, which are within the gamut of every color space used here."""
        base = np.array([(170, 70, 60), (60, 160, 80), (60, 80, 170), (180, 170, 70)])
        colors = (base + self.rng.integers(-25, 26, base.shape)).tolist()
        return tuple((int(r), int(g), int(b)) for r, g, b in colors)

    def expect_half_white(self, name: str) -> None:
        """Changes the expected colors to those of a transparent right half."""
        top, _, bottom, _ = self.expected[name].colors
        self.expected[name] = replace(self.expected[name], colors=(top, WHITE, bottom, WHITE))

    def reject(self, name: str, content: bytes, reason: str) -> None:
        (self.folder / name).write_bytes(content)
        self.expected[name] = Expectation(reason)

    def accept(self, name: str, content: bytes, colors: tuple[Color, ...], **about: Any) -> None:
        (self.folder / name).write_bytes(content)
        self.expected[name] = Expectation("", colors, **about)

    def add(self, name: str, kind: str, change: Change = Image.Image.copy, **about: Any) -> None:
        """Adds a picture in a format and mode. `about` holds `options` for the encoder and fields of `Expectation`."""
        colors = self.mix()
        image = draw(colors)
        options = about.pop("options", {})
        shown = _gray(colors) if "gray" in about.get("traits", ()) else colors
        tolerance = about.pop("tolerance", 12 if kind in ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000") else 2)
        content = encode(change(image), kind, **options)
        self.accept(name, content, shown, format=about.pop("format", kind), tolerance=tolerance, **about)


def write_hostile_collection(folder: Path) -> dict[str, Expectation]:
    """Fills a folder with the collection.

    Args:
        folder: An empty folder of one class.

    Returns:
        The expected outcome for each file name.
    """
    files = _Collection(folder)
    for write in (
        _write_other_files,
        _write_damaged,
        _write_limits,
        _write_modes,
        _write_deep_modes,
        _write_ycck,
        _write_formats,
        _write_orientations,
        _write_profiles,
        _write_names,
        _write_file_system,
    ):
        write(files)
    return files.expected


def _write_other_files(files: _Collection) -> None:
    contents = {
        "text.jpg": b"not an image, but long enough to be one: " * 9,
        "page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "paper.pdf": b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
        "drawing.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n",
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect/></svg>',
        "zeros.jpg": bytes(4096),
        "icon.ico": encode(draw(files.mix()), "ICO"),
        "targa.tga": encode(draw(files.mix()), "TGA"),
        "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
        "video.jpg": b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(200),
    }
    for name, content in contents.items():
        files.reject(name, content, "is not an image")
    files.reject("empty.jpg", b"", "is empty")
    files.reject(
        "IMG_0001.HEIC",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
        r"is a HEIC image: install pillow-heif, or .*|cannot be decoded .*",
    )


def _write_damaged(files: _Collection) -> None:
    noise = Image.fromarray(files.rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"):
        content = encode(noise, kind)
        files.reject(f"cut.{kind.lower()}", content[: len(content) * 2 // 3], "is cut short")
    content = encode(noise, "TIFF", compression="tiff_lzw")
    files.reject("cut_lzw.tif", content[: len(content) // 2], "is cut short")
    content = encode(noise, "JPEG")
    files.reject("cut_in_header.jpg", content[: content.index(b"\xff\xda") - 20], "is cut short")
    files.reject("cut_after_header.jpg", content[: content.index(b"\xff\xda")], "is cut short")
    files.reject("cut_in_header.ppm", b"P6 64 ", "is cut short")
    files.reject("cut_10_bits.pgm", b"P5 64 64 1023\n" + bytes(64 * 64), "is cut short")
    files.reject("cut_in_header.jp2", b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0", "is cut short")
    files.reject("only_signature.png", b"\x89PNG\r\n\x1a\n", r"cannot be decoded \(its header is not understood\)")

    content = bytearray(encode(draw(files.mix())))
    content[29] ^= 1  # the checksum of the header
    files.reject("checksum.png", bytes(content), r"cannot be decoded \(its header is not understood\)")
    content = bytearray(encode(noise))
    content[60:70] = bytes(10)
    files.reject("data.png", bytes(content), r"cannot be decoded \(.*data stream.*\)")
    content = bytearray(encode(noise.rotate(180), "JPEG", quality=95))
    content[len(content) // 2] ^= 0x55
    files.accept("huffman.jpg", bytes(content), (), format="JPEG")  # Half of the image is intact.

    colors = files.mix()
    trailing = encode(draw(colors), "JPEG") + b"\0garbage" * 99
    files.accept("trailing.jpg", trailing, colors, format="JPEG", tolerance=12)
    colors = files.mix()
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(40))
    files.accept("exif_garbage.jpg", encode(draw(colors), "JPEG", exif=exif), colors, format="JPEG", tolerance=12)
    colors = files.mix()
    exif = b"Exif\0\0garbage"
    files.accept("exif_garbage.png", encode(draw(colors), "PNG", exif=exif), colors)


def _write_limits(files: _Collection) -> None:
    files.reject("dot.png", encode(Image.new("RGB", (1, 1))), r"is too small \(1 x 1 pixels\)")
    files.reject("seven.png", encode(draw(files.mix(), 7, 40)), r"is too small \(7 x 40 pixels\)")
    colors = files.mix()
    files.accept("eight.png", encode(draw(colors, 8, 8)), colors)
    files.accept("ten_to_one.png", encode(draw(files.mix(), 80, 8)), ())
    thin = encode(Image.new("RGB", (30000, 20), "red"))
    files.reject("thin.png", thin, r"is too long and thin \(30000 x 20 pixels\)")
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 100000, 100000, 8, 2, 0, 0, 0))
    bomb += chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    files.reject("bomb.png", bomb, r"has too many pixels \(100000 x 100000\)")
    panorama = Image.new("L", (30000, 3000), 20)
    panorama.paste(200, (13500, 0, 16500, 3000))  # the middle
    bright = ((200, 200, 200),) * 4
    files.accept("panorama.jpg", encode(panorama, "JPEG"), bright, traits=("gray",), format="JPEG", tolerance=3)


def make_transparent(image: Image.Image) -> Image.Image:
    """Makes the right half of an image transparent, in an invisible magenta."""
    image = image.convert("RGBA")
    image.paste((255, 0, 255, 0), (SIDE // 2, 0, SIDE, SIDE))
    return image


def _write_modes(files: _Collection) -> None:
    files.add("cmyk.jpg", "JPEG", lambda image: image.convert("CMYK"), traits=("CMYK",))
    files.add("cmyk.tif", "TIFF", lambda image: image.convert("CMYK"), traits=("CMYK",))
    files.add("lab.tif", "TIFF", lambda image: image.convert("LAB"), traits=("LAB",), tolerance=5)
    files.add("ycbcr.tif", "TIFF", lambda image: image.convert("YCbCr"), tolerance=3)
    files.add("gray.jpg", "JPEG", lambda image: image.convert("L"), traits=("gray",))
    files.add("gray.png", "PNG", lambda image: image.convert("L"), traits=("gray",))
    files.add("palette.png", "PNG", lambda image: image.quantize(8), traits=("palette",))
    files.add("rgba.png", "PNG", make_transparent, traits=("alpha",))
    files.expect_half_white("rgba.png")
    files.add("rgba.webp", "WEBP", make_transparent, traits=("alpha",), options={"lossless": True})
    files.expect_half_white("rgba.webp")
    files.add("gray_alpha.png", "PNG", lambda image: make_transparent(image).convert("LA"), traits=("alpha", "gray"))
    files.expect_half_white("gray_alpha.png")

    for name, transparency in (("palette_key.png", 2), ("palette_alpha.png", bytes((255, 255, 128, 255)))):
        colors = files.mix()
        image = Image.new("P", (SIDE, SIDE))
        image.putpalette([value for color in colors for value in color])
        image.putdata([2 * (y >= SIDE // 2) + (x >= SIDE // 2) for y in range(SIDE) for x in range(SIDE)])
        opacity = 0 if transparency == 2 else 128 / 255
        red, green, blue = (round(255 - opacity * (255 - value)) for value in colors[2])
        content = encode(image, "PNG", transparency=transparency)
        shown = (colors[0], colors[1], (red, green, blue), colors[3])
        files.accept(name, content, shown, traits=("alpha", "palette"))
    image = draw((BLACK, WHITE, WHITE, BLACK)).convert("1")
    files.accept("bit.png", encode(image), (BLACK, WHITE, WHITE, BLACK), traits=("1-bit",))
    image = image.transpose(Image.Transpose.ROTATE_90)
    content = encode(image, "TIFF", compression="group4")
    files.accept("bit.tif", content, (WHITE, BLACK, BLACK, WHITE), traits=("1-bit",), format="TIFF")


def _write_deep_modes(files: _Collection) -> None:
    # Sixteen bits. Truncation to the lower or upper byte, or clipping, would give other colors.
    levels = np.array([[3000, 20000], [40000, 65000]], dtype=np.uint16).repeat(SIDE // 2, 0).repeat(SIDE // 2, 1)
    gray: list[Color] = [(round(level / 257),) * 3 for level in (3000, 20000, 40000, 65000)]
    sixteen_bit: dict[str, Any] = {"traits": ("16-bit", "gray"), "tolerance": 1}
    files.accept("gray16.png", encode(Image.fromarray(levels)), tuple(gray), **sixteen_bit)
    turned = encode(Image.fromarray(levels[::-1, ::-1].copy()), "TIFF")
    files.accept("gray16.tif", turned, tuple(gray[::-1]), format="TIFF", **sixteen_bit)
    pgm = b"P5 64 64 65535\n" + levels.T.astype(">u2").tobytes()
    files.accept("gray16.pgm", pgm, (gray[0], gray[2], gray[1], gray[3]), format="PPM", **sixteen_bit)
    colors = files.mix()
    wide = np.asarray(draw(colors)).astype(np.uint16) * 257
    files.accept("rgb16.png", write_png(wide, 2), colors, traits=("16-bit",))
    colors = files.mix()
    wide = np.asarray(make_transparent(draw(colors))).astype(np.uint16) * 257
    files.accept("rgba16.png", write_png(wide, 6), colors, traits=("16-bit", "alpha"))
    files.expect_half_white("rgba16.png")
    floating: dict[str, Any] = {"format": "TIFF", "traits": ("floating-point", "gray"), "tolerance": 1}
    files.accept("float.tif", encode(Image.fromarray((levels / 65535).astype("f4")), "TIFF"), tuple(gray), **floating)
    for name, value in (("negative", -0.1), ("nan", np.nan), ("infinite", np.inf)):
        odd = np.full((SIDE, SIDE), 0.5, np.float32)
        odd[5, 5] = value
        files.reject(f"{name}.tif", encode(Image.fromarray(odd), "TIFF"), r"cannot be decoded \(floating-point .*\)")
    integers = Image.fromarray(np.arange(SIDE * SIDE, dtype=np.int32).reshape(SIDE, SIDE))
    files.reject("int32.tif", encode(integers, "TIFF"), r"has .*32-bit integer pixels of unknown range")


def _write_ycck(files: _Collection) -> None:
    # Pillow writes these values as CMYK, and the marker is changed afterwards.
    colors = files.mix()
    complement = Image.eval(draw(colors), lambda value: 255 - value).convert("YCbCr")
    bands = [Image.eval(band, lambda value: 255 - value) for band in complement.split()]
    content = encode(Image.merge("CMYK", (*bands, Image.new("L", (SIDE, SIDE)))), "JPEG", subsampling=0, quality=95)
    at = content.index(b"Adobe") + 11
    content = content[:at] + b"\2" + content[at + 1 :]
    files.accept("ycck.jpg", content, colors, traits=("CMYK",), format="JPEG", tolerance=12)


def _write_formats(files: _Collection) -> None:
    files.add("plain.jpg", "JPEG")
    files.add("progressive.jpg", "JPEG", options={"progressive": True})
    files.add("plain.png", "PNG")
    files.add("plain.bmp", "BMP")
    files.add("plain.ppm", "PPM")
    files.add("plain.tif", "TIFF")
    files.add("jpeg.tif", "TIFF", options={"compression": "jpeg"}, tolerance=12)
    files.add("plain.webp", "WEBP")
    files.add("still.gif", "GIF", traits=("palette",))
    for name, kind in (("plain.jp2", "JPEG2000"), ("plain.avif", "AVIF")):
        if kind in Image.SAVE:
            files.add(name, kind)
    others = [draw(files.mix()).rotate(90), draw(files.mix())]
    several = {"save_all": True, "append_images": others}
    files.add("animated.gif", "GIF", traits=("animated", "palette"), options=several)
    files.add("animated.webp", "WEBP", traits=("animated",), options=several)
    files.add("animated.png", "PNG", traits=("animated",), options=several)
    files.add("pages.tif", "TIFF", traits=("multi-page",), options=several)
    files.add("stereo.mpo", "MPO", options=several)
    files.add("png.jpg", "PNG")
    files.add("jpg.png", "JPEG")
    files.add("no_extension", "PNG")
    colors = files.mix()
    files.accept("interlaced.png", write_png(np.asarray(draw(colors)), 2, interlaced=True), colors)


def _write_orientations(files: _Collection) -> None:
    # By the definition of EXIF: for each orientation, the stored quarters that are shown top left, top right, bottom
    # left and bottom right.
    shown_quarters = {1: "0123", 2: "1032", 3: "3210", 4: "2301", 5: "0213", 6: "2031", 7: "3120", 8: "1302"}
    for orientation, order in shown_quarters.items():
        for kind in ("JPEG", *(["PNG", "TIFF"] if orientation in (5, 6) else [])):
            colors = files.mix()
            exif = Image.Exif()
            exif[0x0112] = orientation
            content = encode(draw(colors, SIDE + 16), kind, exif=exif)
            shown = tuple(colors[int(index)] for index in order)
            about = {"traits": ("EXIF-rotated",) if orientation > 1 else (), "tolerance": 12 if kind == "JPEG" else 2}
            files.accept(f"orientation_{orientation}.{kind.lower()}", content, shown, format=kind, **about)


def _write_profiles(files: _Collection) -> None:
    converted: dict[str, Any] = {"traits": ("color profile",), "format": "JPEG", "tolerance": 6}
    sharp: dict[str, Any] = {"quality": 100, "subsampling": 0}
    for name, primaries in (("adobe_rgb.jpg", ADOBE_RGB), ("swapped.jpg", SWAPPED)):
        colors = files.mix()
        content = encode(draw(colors), "JPEG", icc_profile=write_rgb_profile(primaries), **sharp)
        files.accept(name, content, tuple(to_srgb(color, primaries) for color in colors), **converted)
    colors = files.mix()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    files.accept("srgb.jpg", encode(draw(colors), "JPEG", icc_profile=srgb), colors, format="JPEG", tolerance=12)
    colors = files.mix()
    broken = write_rgb_profile(SWAPPED)[:-60]
    files.accept("broken_profile.png", encode(draw(colors), "PNG", icc_profile=broken), colors)
    colors = files.mix()
    files.accept("no_profile.png", encode(draw(colors), "PNG", icc_profile=b"nonsense"), colors)
    colors = files.mix()
    content = encode(draw(colors).convert("CMYK"), "JPEG", icc_profile=write_rgb_profile(SWAPPED), **sharp)
    files.accept("unfit_profile.jpg", content, colors, traits=("CMYK",), format="JPEG", tolerance=6)
    levels = {(0, 0, 0, 0): 255, (1, 0, 0, 0): 128, (0, 1, 0, 0): 64, (0, 0, 1, 0): 192}
    inks = Image.new("CMYK", (SIDE, SIDE))
    half = SIDE // 2
    for index, ink in enumerate([(255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0)], start=1):
        inks.paste(ink, (index % 2 * half, index // 2 * half, index % 2 * half + half, index // 2 * half + half))
    content = encode(inks, "JPEG", icc_profile=write_press_profile(levels), **sharp)
    shown = tuple(_neutral(level) for level in levels.values())
    about = {"traits": ("CMYK", "color profile"), "format": "JPEG", "tolerance": 6}
    files.accept("press.jpg", content, shown, **about)


def _write_names(files: _Collection) -> None:
    names = [
        "日本語の写真.png",
        "e\u0301 decomposed \N{SLICE OF PIZZA}.png",
        "n" * 251 + ".png",
        "new\nline.png",
        """quotes"'<script>alert(1)<|script>.png""",
        "-rf.png",
        " spaces .png",
        "%d{x}[bold].png",
        "UPPER.PNG",
        ".hidden.png",
        os.fsdecode(b"not utf-8 \xff\xfe.png"),
    ]
    for name in names:
        with contextlib.suppress(OSError):  # Some file systems refuse some of them.
            files.add(name, "PNG")


def _write_file_system(files: _Collection) -> None:
    def expect(name: str, *about: Any, **more: Any) -> None:
        files.expected[name] = Expectation(*about, by_scan=True, **more)

    colors = files.mix()
    outside = files.folder.parent / f".{files.folder.name}_elsewhere"
    outside.mkdir()
    (outside / "image.png").write_bytes(encode(draw(colors)))
    (files.folder / "link.png").symlink_to(outside / "image.png")
    expect("link.png", "", colors)
    (files.folder / "broken_link.png").symlink_to(outside / "gone.png")
    (files.folder / "loop.png").symlink_to("loop.png")
    expect("broken_link.png", "is a broken link")
    expect("loop.png", "is a broken link")
    os.mkfifo(files.folder / "pipe.png")
    expect("pipe.png", "is not a regular file")
    (files.folder / "subfolder").mkdir()
    (files.folder / "subfolder" / "image.png").write_bytes(encode(draw(files.mix())))
    files.expected["image.png"] = Expectation("is in a subfolder of its class folder", by_scan=True)
    if os.geteuid():  # Root may read every file.
        (files.folder / "locked.png").write_bytes(encode(draw(files.mix())))
        (files.folder / "locked.png").chmod(0)
        expect("locked.png", UNREADABLE)
