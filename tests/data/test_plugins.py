"""Formats of optional packages. The files are decoded where the packages are installed."""

import contextlib
import io
import struct
import sys

import numpy as np
import pytest
from hostile import draw, mutate
from PIL import Image

from keras_inat.data import plugins
from keras_inat.data.decode import decode, decode_image
from keras_inat.data.plugins import read_jxl_size

COLORS = ((170, 70, 60), (60, 160, 80), (60, 80, 170), (180, 170, 70))
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
JXL = b"\xff\x0a" + bytes(50)
DICOM = bytes(128) + b"DICM" + bytes(50)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HEIC, "is a HEIC image: install pillow-heif, or save it as JPEG first"),
        (JXL, "is a JPEG XL image: install pillow-jxl-plugin, or save it as JPEG first"),
        (plugins.JXL_CONTAINER + bytes(50), "is a JPEG XL image: install pillow-jxl-plugin, or save it as JPEG first"),
        (DICOM, "is a DICOM image: install pydicom, or save it as JPEG first"),
    ],
)
def test_a_missing_package_is_named(content, reason, monkeypatch):
    for plugin in plugins.PLUGINS:
        monkeypatch.setitem(sys.modules, plugin.module, None)
    plugins.load_plugin.cache_clear()
    with pytest.raises(ValueError, match=f"^{reason}$"):
        decode(content, 16)
    plugins.load_plugin.cache_clear()


def test_avif_in_the_container_of_heic_needs_no_package():
    assert plugins.find_plugin(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf" + bytes(50)) is None
    assert plugins.find_plugin(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(50)).name == "HEIC"


def pack_bits(*fields):
    """Packs pairs of a value and its number of bits, the lowest bit first."""
    total = 0
    position = 0
    for value, count in fields:
        total |= value << position
        position += count
    return b"\xff\x0a" + total.to_bytes(16, "little")


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (pack_bits((1, 1), (7, 5), (1, 3)), (64, 64)),
        (pack_bits((1, 1), (7, 5), (0, 3), (3, 5)), (32, 64)),
        (pack_bits((0, 1), (1, 2), (999, 13), (5, 3)), (1777, 1000)),
        (pack_bits((0, 1), (3, 2), (2**30 - 1, 30), (0, 3), (3, 2), (2**30 - 1, 30)), (2**30, 2**30)),
    ],
)
def test_the_size_of_a_jpeg_xl_is_read_from_its_header(content, size):
    assert read_jxl_size(content) == size
    box = struct.pack(">I4s", 8 + len(content), b"jxlc") + content
    assert read_jxl_size(plugins.JXL_CONTAINER + b"\0\0\0\x14ftypjxl \0\0\0\0jxl " + box) == size


@pytest.mark.parametrize("content", [plugins.JXL_CONTAINER, plugins.JXL_CONTAINER + bytes(40), b"\xff\x0b" + bytes(9)])
def test_a_jpeg_xl_without_a_codestream_is_refused(content):
    with pytest.raises(ValueError, match="no codestream"):
        read_jxl_size(content)


@pytest.mark.parametrize(("package", "kind"), [("pillow_heif", "HEIF"), ("pillow_jxl", "JXL")])
def test_an_installed_package_decodes_its_format(package, kind):
    pytest.importorskip(package)
    image = draw(COLORS)
    buffer = io.BytesIO()
    if kind == "HEIF":
        sys.modules[package].from_pillow(image).save(buffer, quality=95)
    else:
        image.save(buffer, kind, quality=95)
        assert read_jxl_size(buffer.getvalue()) == image.size
    decoded = decode(buffer.getvalue(), 16)
    assert decoded.format == kind
    np.testing.assert_allclose(decoded.images[0][4::8, 4::8].reshape(4, 3), COLORS, atol=12)
    with pytest.raises(ValueError, match=r"is cut short|cannot be decoded"):
        decode(buffer.getvalue()[:80], 16)


def test_a_jpeg_xl_of_too_many_pixels_is_refused_before_it_is_decoded():
    pytest.importorskip("pillow_jxl")
    huge = pack_bits((0, 1), (3, 2), (2**30 - 1, 30), (0, 3), (3, 2), (2**30 - 1, 30))
    with pytest.raises(ValueError, match="has too many pixels"):
        decode(huge, 16)


def write_dicom(values, bits=12, **tags):
    pydicom = pytest.importorskip("pydicom")
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data.Rows, data.Columns = values.shape
    data.BitsAllocated = 16
    data.BitsStored = bits
    data.HighBit = bits - 1
    data.SamplesPerPixel = 1
    data.PixelRepresentation = 0
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = values.astype("<u2").tobytes()
    data["PixelData"].VR = "OW"
    for name, value in tags.items():
        setattr(data, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    return buffer.getvalue()


LEVELS = np.linspace(0, 4095, 256).round().reshape(16, 16)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, LEVELS / 4095),
        ({"PhotometricInterpretation": "MONOCHROME1"}, 1 - LEVELS / 4095),
        # The lowest value is 1000 - 0.5 - 999 / 2 = 500, the highest 1499.
        ({"WindowCenter": 1000, "WindowWidth": 1000}, (LEVELS - 500) / 999),
        # The window of a CT is in Hounsfield units, which are 1024 below the stored values.
        (
            {"WindowCenter": [40, 600], "WindowWidth": [400, 1], "RescaleSlope": 1, "RescaleIntercept": -1024},
            (LEVELS - 1024 + 160) / 399,
        ),
    ],
)
def test_a_dicom_file_is_decoded_as_a_viewer_shows_it(tags, expected):
    decoded = decode(write_dicom(LEVELS, **tags), 16)
    assert (decoded.format, decoded.traits) == ("DICOM", ("gray",))
    np.testing.assert_array_equal(decoded.images[0][..., 0], np.rint(255 * expected.clip(0, 1)))


def test_damaged_dicom_files_are_decoded_or_refused(capfd):
    rng = np.random.default_rng(0)
    content = write_dicom(LEVELS, WindowCenter=1000, WindowWidth=1000)
    capfd.readouterr()
    for _ in range(200):
        with contextlib.suppress(ValueError):
            decode(mutate(content, rng), 16)
    assert capfd.readouterr() == ("", "")


def test_hostile_dicom_files_are_refused():
    content = write_dicom(LEVELS)
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode(content[:-100], 16)
    with pytest.raises(ValueError, match="has too many pixels"):
        decode(write_dicom(LEVELS, Rows=60000, Columns=60000), 16)
    deflated = content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    with pytest.raises(ValueError, match="its data are deflated"):
        decode(deflated, 16)


def test_an_image_of_pillow_is_not_a_plugin():
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    assert plugins.find_plugin(buffer.getvalue()) is None
    assert decode_image(buffer.getvalue(), 16).max() == 0
