"""The range of pixels with more than 8 bits, found over the training images of a data set."""

import io

import numpy as np
import pytest
from hostile import encode, write_png
from PIL import Image

from keras_inat.commands import data as data_command
from keras_inat.data.dataset import open_data
from keras_inat.data.decode import decode, decode_image
from keras_inat.data.packs import load_pack, remove_stale_packs
from keras_inat.data.ranges import choose_bit_depth, choose_float_range, describe_ranges, measure_peak
from keras_inat.store.records import Preparation

LEVELS = np.linspace(0, 4095, 16 * 16).round().astype(np.uint16).reshape(16, 16)


def write_set(folder, make, num_train=8, num_test=2):
    """Writes two classes of images, whose pixels `make` returns for a class and a number."""
    for split, count in (("train", num_train), ("val", num_test)):
        for label, name in enumerate(("a", "b")):
            directory = folder / split / name
            directory.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(make(label, number + 100 * (split == "val"))).save(directory / f"{number}.tif")
    return folder


def draw_values(label, number, white=4095):
    """Draws a gradient up to `white` with noise of its own."""
    rng = np.random.default_rng((label, number))
    values = np.linspace(0, white, 32)[:, None] * rng.uniform(0.9, 1, (32, 32))
    values[-2:, :4] = white
    return (values if label else values.T).round().astype(np.uint16)


@pytest.fixture
def config(make_config, tmp_path):
    def build(make, *settings, **counts):
        return make_config(
            f"DATA={write_set(tmp_path / 'deep', make, **counts)}", "data.near_duplicates=false", *settings
        )

    return build


@pytest.mark.parametrize(
    ("peak", "depth"), [(0, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (65535, 16)]
)
def test_the_smallest_usual_bit_depth_that_holds_the_peak(peak, depth):
    assert choose_bit_depth(peak) == depth


@pytest.mark.parametrize(
    ("peak", "white"), [(0, 1), (0.01, 0.01), (0.5, 1), (1, 1), (1.01, 255), (255, 255), (4000, 4095), (1e6, 1e6)]
)
def test_white_of_floating_point_pixels(peak, white):
    assert choose_float_range(peak) == white


@pytest.mark.parametrize("kind", ["<u2", ">u2", "f4"])
def test_a_hot_pixel_is_no_peak(kind):
    values = np.full((200, 200), 100, kind)
    values[5, :4] = 60000  # a ten-thousandth
    assert measure_peak(values) == 100
    values[6, 0] = 3000
    assert measure_peak(values) == 3000
    small = np.full((8, 8), 7, kind)
    small[0, 0] = 9
    assert measure_peak(small) == 7


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_twelve_bits_in_sixteen_are_scaled(kind):
    content = encode(Image.fromarray(LEVELS), kind)
    decoded = decode(content, 16, preparation=Preparation(bit_depth=12))
    np.testing.assert_array_equal(decoded.images[0][..., 1], np.rint(LEVELS / 4095 * 255))
    assert decoded.peak == np.sort(LEVELS, axis=None)[-2]
    assert decode_image(content, 16).max() == 16  # nearly black
    assert decode_image(content, 16, Preparation(bit_depth=10)).max() == 255  # clipped


def test_twelve_bits_in_three_channels_are_scaled():
    wide = np.stack([LEVELS, LEVELS[::-1], LEVELS.T], axis=-1)
    decoded = decode(write_png(wide, 2), 16, preparation=Preparation(bit_depth=12))
    np.testing.assert_allclose(decoded.images[0], wide / 4095 * 255, atol=17)  # Pillow keeps 4 of 12 bits.
    assert decoded.peak == 4095
    opaque = np.concatenate([wide, np.full((16, 16, 1), 65535, np.uint16)], axis=-1)
    np.testing.assert_array_equal(decode_image(write_png(opaque, 6), 16, Preparation(bit_depth=12)), decoded.images[0])


def test_files_that_tell_their_range_have_no_peak():
    pgm = b"P5 16 16 4095\n" + LEVELS.astype(">u2").tobytes()
    decoded = decode(pgm, 16, preparation=Preparation(bit_depth=10))
    np.testing.assert_array_equal(decoded.images[0][..., 0], np.rint(LEVELS / 4095 * 255))
    assert decoded.peak == 0
    assert decode(encode(Image.new("RGB", (16, 16), "white")), 16).peak == 0


def test_floating_point_pixels_are_scaled():
    content = encode(Image.fromarray(LEVELS.astype(np.float32)), "TIFF")
    decoded = decode(content, 16, preparation=Preparation(float_range=4095.0))
    np.testing.assert_array_equal(decoded.images[0][..., 1], np.rint(LEVELS / 4095 * 255))
    assert decoded.traits == ("floating-point", "gray")


def test_the_range_is_that_of_the_whole_data_set(config, capsys):
    """A dark image stays darker than the others, and a hot pixel changes nothing."""

    def draw(label, number):
        values = draw_values(label, number, white=700 if number == 3 else 3000)
        if number == 4:
            values[10, 10] = 65535
        return values

    settings = config(draw)
    data = open_data(settings)
    assert data.summary.bit_depth == 12
    assert data.summary.preparation == Preparation(bit_depth=12)
    assert "values up to 3,000 in train/, so 4,095 becomes white (data.bit_depth=12)" in capsys.readouterr().out
    peaks = data.images.max(axis=(1, 2, 3))
    assert peaks[3] < 45 < 150 < peaks[5]
    for row, number in ((3, 3), (8 + 5, 5)):
        content = io.BytesIO()
        Image.fromarray(draw(row // 8, number)).save(content, "TIFF")
        np.testing.assert_array_equal(data.images[row], decode_image(content.getvalue(), 16, data.summary.preparation))


def test_the_command_data_states_the_bit_depth(config, capsys):
    data_command.run(config(draw_values))
    assert "  bit depth  12, so 4,095 becomes white in 16-bit images\n" in capsys.readouterr().out


def test_test_images_do_not_decide_the_range(config):
    data = open_data(config(lambda label, number: draw_values(label, number, 60000 if number >= 100 else 900)))
    assert data.summary.bit_depth == 10


def test_a_given_bit_depth_has_its_own_pack(config, make_config):
    automatic = config(draw_values)
    given = make_config(f"DATA={automatic.data.source}", "data.near_duplicates=false", "data.bit_depth=14")
    packs = [load_pack(settings) for settings in (automatic, given)]
    assert packs[0].directory != packs[1].directory
    assert [pack.manifest.bit_depth for pack in packs] == [12, 14]
    brightest = [open_data(settings).images.max() for settings in (automatic, given)]
    assert brightest[0] > 200
    assert 50 < brightest[1] < 64
    assert [row[2] for row in remove_stale_packs(automatic)] == [False, False]


def test_few_files_with_more_bits_are_named():
    lines = describe_ranges(Preparation(bit_depth=16), [3000.0] * 199 + [65000.0], [])
    assert lines == [
        "16-bit pixels: values up to 65,000 in train/, so 65,535 becomes white (data.bit_depth=16); 99 % of the files "
        "need only 12 bits"
    ]


def test_a_scan_that_was_interrupted_while_scaling_resumes(config, monkeypatch):
    settings = config(draw_values)
    with monkeypatch.context() as patch:
        patch.setattr("keras_inat.data.scan.choose_preparation", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            load_pack(settings)
    assert open_data(settings).images.max() > 200
