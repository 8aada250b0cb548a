import io
import logging
import re
import struct
import threading
import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import PIL
import pytest
from hostile import (
    ADOBE_RGB,
    SWAPPED,
    draw,
    encode,
    mutate,
    write_hostile_collection,
    write_press_profile,
    write_rgb_profile,
)
from PIL import Image, ImageCms, ImageOps

from keras_inat.data import decode as module
from keras_inat.data.decode import MAX_SCANS, MODES, PIXEL_BYTES, decode, decode_image, stored_size
from keras_inat.store.records import Preparation

reads_rare_files = pytest.mark.xfail(
    int(PIL.__version__.split(".")[0]) < 13,
    reason="Pillow 13 or newer reads YCbCr TIFF files and files with a damaged MPF",
)

MIX = ((170, 70, 60), (60, 160, 80), (60, 80, 170), (180, 170, 70))
REASONS = re.compile(
    r"is empty|is not an image|is cut short|is a (HEIC|JPEG XL|DICOM) image: install [a-z-]+, or save it as JPEG first"
    r"|cannot be decoded \(.+\)|has too many pixels \(\d+ x \d+\)"
    r"|is (too small|too long and thin) \(\d+ x \d+ pixels\)"
    r"|has \d+ scans, more than 64: save it again|has signed or 32-bit integer pixels of unknown range"
)


def try_decode(*arguments):
    """Returns the decoded image or the reason of the error."""
    try:
        return decode(*arguments)
    except ValueError as error:
        return str(error)


def smooth(width, height, seed=0):
    """Draws a picture with detail, whose pixels are all different."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def hostile_collection(tmp_path_factory):
    """Writes the collection and returns its folder with the expectation for each file."""
    folder = tmp_path_factory.mktemp("hostile") / "class"
    folder.mkdir()
    return folder, write_hostile_collection(folder)


@reads_rare_files
def test_the_hostile_collection(hostile_collection, capfd):
    folder, files = hostile_collection
    expected = {name: file for name, file in files.items() if not file.by_scan}
    assert len(expected) >= 100
    wrong = []
    for name, file in expected.items():
        result = try_decode((folder / name).read_bytes(), 16)
        if isinstance(result, str):
            correct = file.reason and re.fullmatch(file.reason, result) and REASONS.fullmatch(result)
        else:
            seen = np.array([result.images[0][y, x] for y in (4, 11) for x in (4, 11)], dtype=int)
            near = not file.colors or np.abs(seen - file.colors).max() <= file.tolerance
            correct = near and (file.reason, file.traits, file.format) == ("", result.traits, result.format)
            result = f"{result.format} {result.traits} {seen.tolist()}"
        if not correct:
            wrong.append(f"{name!r}: {result}, expected {file}")
    assert not wrong, "\n".join(wrong)
    assert capfd.readouterr() == ("", "")


def test_traits_are_a_closed_vocabulary(hostile_collection):
    traits = {
        "1-bit",
        "16-bit",
        "CMYK",
        "EXIF-rotated",
        "LAB",
        "alpha",
        "animated",
        "color profile",
        "floating-point",
        "gray",
        "multi-page",
        "palette",
    }
    assert {trait for _, names in MODES.values() for trait in names} < traits
    _, files = hostile_collection
    assert {trait for file in files.values() for trait in file.traits} == traits
    assert all(f'"{trait}"' in module.Decoded.__doc__ for trait in traits)


def base_files(kind):
    image = smooth(48, 40)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "camera"
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    described = {"exif": exif, "icc_profile": srgb}
    several = {"save_all": True, "append_images": [image.rotate(90)]}
    return {
        "JPEG": [
            encode(image, "JPEG", **described),
            encode(image, "JPEG", progressive=True, icc_profile=write_rgb_profile(ADOBE_RGB)),
            encode(image.convert("CMYK"), "JPEG", exif=exif),
            encode(image, "MPO", **several),
        ],
        "PNG": [encode(image, "PNG", **described), encode(image.quantize(8)), encode(image.convert("LA"), **several)],
        "GIF": [encode(image, "GIF"), encode(image, "GIF", **several)],
        "WEBP": [encode(image, "WEBP", **described), encode(image.convert("RGBA"), "WEBP", **several)],
        "TIFF": [
            encode(image, "TIFF", exif=exif),
            *(encode(image, "TIFF", compression=c) for c in ("jpeg", "tiff_lzw")),
        ],
        "BMP": [encode(image, "BMP"), encode(image.quantize(16), "BMP")],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "count"), [("JPEG", 2000), ("PNG", 300), ("GIF", 300), ("WEBP", 300), ("TIFF", 300), ("BMP", 300)]
)
def test_damaged_files_are_decoded_or_refused(kind, count, list_seeds, capfd):
    bases = base_files(kind)
    num_decoded = 0
    seeds = list_seeds(count)
    for seed in seeds:
        result = try_decode(mutate(bases[seed % len(bases)], np.random.default_rng(seed)), 16, (20,))
        if isinstance(result, str):
            assert REASONS.fullmatch(result)
            assert result.isprintable()
            assert len(result) < 150
        else:
            assert [image.shape for image in result.images] == [(16, 16, 3), (20, 20, 3)]
            assert {image.dtype for image in result.images} == {np.dtype(np.uint8)}
            num_decoded += 1
    assert 0.02 < num_decoded / len(seeds) < 0.98
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mark", [b"Exif\0\0", b"ICC_PROFILE\0\1\1", pytest.param(b"MPF\0", marks=reads_rare_files)])
def test_images_with_damaged_metadata_are_decoded(mark):
    rng = np.random.default_rng(0)
    base = base_files("JPEG")[3 if mark == b"MPF\0" else 0]
    start = base.index(mark)
    length = int.from_bytes(base[start - 2 : start], "big") - 2
    for _ in range(300):
        content = bytearray(base)
        for at in rng.integers(start + len(mark), start + length, 4):
            content[at] = rng.choice([0, 255, 127, rng.integers(256)])
        assert decode_image(bytes(content), 16).shape == (16, 16, 3)


def test_stored_images_leave_room_for_crops():
    assert [stored_size(size) for size in (64, 224, 225)] == [80, 280, 282]


@pytest.mark.parametrize(("width", "height"), [(64, 64), (640, 480), (211, 500), (1900, 300)])
def test_pixels_do_not_depend_on_the_other_sizes(width, height):
    content = encode(smooth(width, height), "JPEG")
    alone = decode(content, 48).images
    together = decode(content, 48, (60, 300, 16)).images
    assert [image.shape[0] for image in together] == [48, 60, 300, 16]
    np.testing.assert_array_equal(alone[0], together[0])
    np.testing.assert_array_equal(decode_image(content, 48), alone[0])


def triangle(pixels, size, start, length):
    """Resizes `length` pixels of the first axis, beginning at `start`, with a triangle filter."""
    scale = length / size
    centers = start + (np.arange(size)[:, None] + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(len(pixels)) + 0.5 - centers) / max(scale, 1))
    return np.tensordot(weights / weights.sum(axis=1, keepdims=True), pixels, 1)


@pytest.mark.parametrize(("width", "height", "size"), [(90, 60, 16), (50, 131, 16), (30, 24, 48)])
def test_pixels_match_the_definition_of_the_filter(width, height, size):
    image = smooth(width, height)
    side = min(width, height)
    expected = triangle(np.asarray(image, dtype=float), size, (height - side) / 2, side)
    expected = triangle(expected.swapaxes(0, 1), size, (width - side) / 2, side).swapaxes(0, 1)
    np.testing.assert_allclose(decode_image(encode(image), size), expected, atol=1.5)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size():
    image = smooth(1500, 1120)
    content = encode(image, "JPEG", quality=95)
    for size in (64, 224):  # The fraction is the same for both sizes.
        with Image.open(io.BytesIO(content)) as reduced:
            reduced.draft(None, (280, 280))
            assert reduced.size == (375, 280)
            expected = ImageOps.fit(reduced, (size, size), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(decode_image(content, size), np.asarray(expected))
        whole = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(decode_image(content, size), np.asarray(whole), atol=12)


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "RGBA", "CMYK", pytest.param("YCbCr", marks=reads_rare_files)])
def test_every_mode_is_resized_like_rgb(mode):
    image = smooth(90, 70).convert(mode)
    content = encode(image, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG")
    expected = decode_image(encode(image.convert("RGB")), 16)
    np.testing.assert_allclose(decode_image(content, 16), expected, atol=2)


def test_the_orientation_is_applied_to_the_cropped_square():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = smooth(90, 60)
    upright = decode_image(encode(image.transpose(Image.Transpose.ROTATE_270)), 16)
    np.testing.assert_allclose(decode_image(encode(image, exif=exif), 16), upright, atol=1)


def test_the_center_is_cropped_without_distortion():
    image = Image.new("RGB", (60, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    assert (decode_image(encode(image), 20) == [0, 0, 255]).all()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_fits_of_an_image_that_is_not_square(kind, turned):
    image = Image.new("RGB", (60, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    content = encode(image, kind, exif=exif)

    def show(fit, *sizes):
        images = decode(content, 60, sizes, Preparation(fit=fit), 12).images
        assert [shown.shape for shown in images] == [(size, size, 3) for size in (60, *sizes, 12)]
        return [shown.swapaxes(0, 1) if turned else shown for shown in images]

    near = {"atol": 0 if kind == "PNG" else 12}
    blue = [0, 0, 255]
    red = [255, 0, 0]
    whole, larger, thumbnail = show("pad", 90)
    assert (whole[:20] == 128).all()
    assert (whole[40:] == 128).all()
    np.testing.assert_allclose(whole[22:38, 24:36], np.broadcast_to(blue, (16, 12, 3)), **near)
    np.testing.assert_allclose(whole[22:38, :16], np.broadcast_to(red, (16, 16, 3)), **near)
    np.testing.assert_allclose(larger[33:57, 66:], np.broadcast_to(red, (24, 24, 3)), **near)
    assert (larger[:30] == 128).all()
    squashed, _ = show("squash")
    np.testing.assert_allclose(squashed[:, 24:36], np.broadcast_to(blue, (60, 12, 3)), **near)
    np.testing.assert_allclose(squashed[:, :16], np.broadcast_to(red, (60, 16, 3)), **near)
    cropped, plain = show("crop")
    np.testing.assert_allclose(cropped[4:-4, 4:-4], np.broadcast_to(blue, (52, 52, 3)), **near)
    np.testing.assert_array_equal(thumbnail, plain)  # Thumbnails, and the duplicates found in them, are the same.


def test_invisible_colors_do_not_bleed():
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))  # invisible black
    image.paste((255, 255, 255, 255), (0, 0, 31, 64))
    assert (decode_image(encode(image), 8) == 255).all()


def test_twelve_bits_are_scaled():
    levels = np.array([[500, 1500], [2500, 4000]]).repeat(8, 0).repeat(8, 1)
    first, second = levels.reshape(-1, 2).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8)
    tags = [(256, 16), (257, 16), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 16), (279, 384)]
    directory = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    content = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + directory + bytes(4) + packed.tobytes()
    decoded = decode(content, 16)
    np.testing.assert_array_equal(decoded.images[0][::8, ::8, 0], np.rint(levels[::8, ::8] / 4095 * 255))
    assert decoded.traits == ("16-bit", "gray")


def test_a_profile_is_parsed_once_and_an_srgb_profile_changes_nothing(monkeypatch):
    module._build_transform.cache_clear()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = draw(MIX)
    plain = decode_image(encode(image), 16)
    np.testing.assert_array_equal(decode_image(encode(image, icc_profile=srgb), 16), plain)
    swapped = encode(image, icc_profile=write_rgb_profile(SWAPPED))
    first = decode(swapped, 16)
    assert first.traits == ("color profile",)
    assert module._build_transform.cache_info().currsize == 2
    monkeypatch.setattr(ImageCms, "ImageCmsProfile", None)  # A second parsing would fail.
    np.testing.assert_array_equal(decode_image(swapped, 16), first.images[0])
    # The swapped profile exchanges red and green.
    assert np.argmax(plain[4, 4]) == 0
    assert np.argmax(first.images[0][4, 4]) == 1


def test_a_gray_image_may_have_a_profile_of_three_colors():
    linear = write_rgb_profile(ADOBE_RGB, gamma=1)
    decoded = decode(encode(Image.new("L", (16, 16), 128), icc_profile=linear), 16)
    assert decoded.traits == ("color profile", "gray")
    np.testing.assert_allclose(decoded.images[0], 188, atol=1)  # 1.055 (128 / 255)^(1 / 2.4) - 0.055, of 255


def test_the_darkest_printable_color_becomes_black():
    profile = write_press_profile({(0, 0, 0, 0): 255}, black=30)
    image = Image.new("CMYK", (16, 16), (255, 255, 255, 255))
    decoded = decode(encode(image, "TIFF", icc_profile=profile), 16)
    assert decoded.traits == ("CMYK", "color profile")
    assert decoded.images[0].max() <= 8


def odd_exif():
    """Returns a JPEG whose EXIF declares more data than it has, so that Pillow warns."""
    entry = b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + b"\x0f\x01\x02\0\xff\xff\0\0\x00\x10\0\0"
    return encode(draw(MIX), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x02\0" + entry)


def test_only_warnings_of_pillow_are_silenced(recwarn, monkeypatch):
    content = odd_exif()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with Image.open(io.BytesIO(content)) as image:
            image.getexif()
    assert seen  # There is a warning to silence.
    warnings.simplefilter("error")
    assert decode(content, 16).traits == ("EXIF-rotated",)
    with pytest.raises(UserWarning, match="of others"):
        warnings.warn("of others", stacklevel=1)
    monkeypatch.setattr(warnings, "filterwarnings", None)  # A second filter would fail.
    decode(content, 16)
    assert not recwarn


def test_threads_decode_without_warnings():
    content = odd_exif()
    failures = []

    def work():
        try:
            for _ in range(40):
                decode(content, 16)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_pillow_logs_nothing(caplog):
    caplog.set_level(logging.DEBUG)
    content = bytearray(encode(draw(MIX), "TIFF"))
    at = content.index(b"\x15\x01\x03\0\x01\0\0\0")  # samples per pixel
    content[at + 8] = 200
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode(bytes(content), 16)
    assert not caplog.records


def test_decoded_images_are_read_only():
    decoded = decode(encode(draw(MIX)), 16)
    assert not decoded.images[0].flags.writeable
    with pytest.raises(FrozenInstanceError):
        decoded.traits = ()


def repeat_scan(content, count):
    """Repeats the last scan of a JPEG file."""
    start = content.rindex(b"\xff\xda")
    return content[:-2] + content[start:-2] * count + content[-2:]


def test_a_jpeg_file_of_very_many_scans_is_refused():
    content = encode(draw(((200, 30, 30),) * 4), "JPEG", progressive=True)
    num_scans = content.count(b"\xff\xda")
    assert num_scans < 12
    pixels = decode_image(content, 32)
    np.testing.assert_array_equal(decode_image(repeat_scan(content, MAX_SCANS - num_scans), 32), pixels)
    with pytest.raises(ValueError, match="has 300 scans, more than 64: save it again"):
        decode_image(repeat_scan(content, 300 - num_scans), 32)


def test_scans_are_counted_in_the_image_only():
    content = encode(draw(((200, 30, 30),) * 4), "JPEG", comment=b"\xff\xda" * 100)
    with_rest = content + b"\xff\xda" * 100  # as of a preview, or of the film of a live photograph
    np.testing.assert_array_equal(decode_image(with_rest, 32), decode_image(content, 32))


@pytest.mark.parametrize(
    ("kind", "options", "needed"),
    [
        ("PNG", {}, 1000 * 800),
        ("JPEG", {"progressive": True}, 1000 * 800),
        ("JPEG", {}, 500 * 400),  # A sequential JPEG is decoded at half of its size.
    ],
)
def test_an_image_that_needs_too_much_memory_is_refused(kind, options, needed):
    content = encode(Image.new("RGB", (1000, 800)), kind, **options)
    decode_image(content, 32, memory=needed * PIXEL_BYTES)
    with pytest.raises(MemoryError, match=r"needs \d+ MiB of memory to be decoded \(\d+ x \d+ pixels\)"):
        decode_image(content, 32, memory=needed * PIXEL_BYTES - 1)
