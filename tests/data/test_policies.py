import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_inat.data.policies import (
    OPERATIONS,
    Drawn,
    build_affine,
    build_color_matrices,
    build_policy_affine,
    change_pixels,
    draw_operations,
    recolor,
)

LUMA = np.array([0.299, 0.587, 0.114])


def test_geometric_operations_are_composed_in_the_drawn_order():
    names = list(OPERATIONS)
    drawn = Drawn(np.array([[names.index("rotate"), names.index("translate_x")]]), np.array([[np.pi / 2, 0.1]]))
    # A point of the result is first translated back along x, then rotated back.
    turn = build_affine(np.array([np.pi / 2]))
    shift = build_affine(np.zeros(1), translate_x=0.1)
    np.testing.assert_allclose(build_policy_affine(drawn), turn @ shift)
    np.testing.assert_allclose(build_policy_affine(drawn)[0] @ (0, 0, 1), (0, 0.1, 1), atol=1e-9)


def test_the_color_matrix_is_brightness_then_contrast_then_saturation():
    image = np.random.default_rng(1).integers(80, 150, (9, 9, 3), np.uint8)  # No value is clipped.
    brightness = 1.2
    contrast = 0.7
    saturation = 1.3
    expected = image * brightness
    mean = (expected @ LUMA).mean()
    expected = mean + (expected - mean) * contrast
    gray = (expected @ LUMA)[..., None]
    expected = gray + (expected - gray) * saturation
    received = recolor(image, build_color_matrices(brightness, contrast, saturation))
    np.testing.assert_allclose(received, expected, atol=1.01)
    assert np.abs(received - expected).mean() < 0.3


def test_unchanged_colors_are_exact_and_others_are_clipped():
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    np.testing.assert_array_equal(recolor(image, build_color_matrices(1, 1, 1)), image)
    np.testing.assert_array_equal(recolor(np.full_like(image, 200), build_color_matrices(1.5, 1, 1)), 255)
    np.testing.assert_array_equal(recolor(image, build_color_matrices(0, 1, 1)), 0)
    assert len(np.unique(recolor(image, build_color_matrices(1, 0, 1)))) == 1
    assert np.ptp(recolor(image, build_color_matrices(1, 1, 0)), axis=2).max() == 0


SMALL = np.array([[[0, 10, 100], [64, 20, 100]], [[128, 30, 100], [255, 50, 100]]], np.uint8)


def apply(name, level, image=SMALL):
    return change_pixels(image, Drawn(np.array([[list(OPERATIONS).index(name)]]), np.array([[level]])), 0)


@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
        ("identity", 0, SMALL),
        ("brightness", 0.5, [[[0, 15, 150], [96, 30, 150]], [[192, 45, 150], [255, 75, 150]]]),
        # The mean luma is 0.299 * 111.75 + 0.587 * 27.5 + 0.114 * 100 = 60.96. The result is its mean with the pixel.
        ("contrast", -0.5, [[[30, 35, 80], [62, 40, 80]], [[94, 45, 80], [158, 55, 80]]]),
        # The lumas of the pixels are 17.27, 42.28, 67.28 and 117.
        ("saturation", -1, [[[17] * 3, [42] * 3], [[67] * 3, [117] * 3]]),
        ("posterize", 0, SMALL),
        ("posterize", 4, [[[0, 0, 96], [64, 16, 96]], [[128, 16, 96], [240, 48, 96]]]),
        ("posterize", 6, [[[0, 0, 64], [64, 0, 64]], [[128, 0, 64], [192, 0, 64]]]),
        ("solarize", 0, SMALL),
        ("solarize", 0.5, [[[0, 10, 100], [64, 20, 100]], [[127, 30, 100], [0, 50, 100]]]),
        ("solarize", 1, 255 - SMALL.astype(int)),
        ("autocontrast", 0, [[[0, 0, 100], [64, 64, 100]], [[128, 128, 100], [255, 255, 100]]]),
        ("equalize", 0, SMALL),  # Pillow changes no image with fewer than 255 darker pixels than its brightest ones.
    ],
)
def test_an_operation_computed_by_hand(name, level, expected):
    tolerance = 1 if name in ("contrast", "saturation") else 0
    np.testing.assert_allclose(apply(name, level).astype(int), expected, atol=tolerance)


@pytest.mark.parametrize("spread", [0, 1, 4, 40, 200])
@pytest.mark.parametrize("side", [5, 17, 64, 225])
def test_equalize_is_pillows(side, spread):
    rng = np.random.default_rng(side)
    channels = [rng.normal(center, spread, (side, side)) for center in (20, 128, 250)]
    image = np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)
    expected = np.asarray(ImageOps.equalize(Image.fromarray(image)))
    np.testing.assert_array_equal(apply("equalize", 0, image), expected)
    assert (expected != image).any() or side < 64 or spread == 0


@pytest.mark.parametrize("level", [-0.9, -0.5, 0, 0.9])
def test_sharpness_moves_away_from_the_smoothed_image(level):
    image = np.random.default_rng(1).integers(100, 140, (5, 5, 3), np.uint8)
    window = image[1:4, 1:4].astype(float)
    smooth = (window.sum(axis=(0, 1)) + 4 * window[1, 1]) / 13
    expected = smooth + (1 + level) * (window[1, 1] - smooth)
    np.testing.assert_allclose(apply("sharpness", level, image)[2, 2], expected, atol=0.51)


def test_every_operation_has_a_test():
    tested = {"identity", "brightness", "contrast", "saturation", "sharpness", "posterize", "solarize"}
    tested |= {"autocontrast", "equalize", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"}
    assert tested == set(OPERATIONS)


def test_other_operations_are_applied_in_the_drawn_order():
    names = list(OPERATIONS)
    first = names.index("solarize")
    second = names.index("posterize")
    drawn = Drawn(np.array([[first, second], [second, first]]), np.array([[1.0, 4.0], [4.0, 1.0]]))
    np.testing.assert_array_equal(change_pixels(SMALL, drawn, 0), (255 - SMALL) & 0xF0)
    np.testing.assert_array_equal(change_pixels(SMALL, drawn, 1), 255 - (SMALL & 0xF0))


def test_randaugment_draws_operations_at_its_magnitude():
    drawn = draw_operations(np.random.default_rng(0), 6000, "randaugment")
    assert drawn.chosen.shape == (6000, 2)
    fractions = np.bincount(drawn.chosen.ravel(), minlength=14) / 12000
    np.testing.assert_allclose(fractions, 1 / 14, atol=0.01)
    for index, operation in enumerate(OPERATIONS.values()):
        levels, counts = np.unique(drawn.levels[drawn.chosen == index], return_counts=True)
        largest = 0.3 * operation.randaugment
        np.testing.assert_allclose(levels, [-largest, largest] if operation.signed else [largest])
        assert counts.min() > 350


def test_trivialaugment_draws_one_at_any_magnitude():
    drawn = draw_operations(np.random.default_rng(0), 20000, "trivialaugment")
    assert drawn.chosen.shape == (20000, 1)
    shear = drawn.levels[drawn.chosen == list(OPERATIONS).index("shear_x")]
    np.testing.assert_allclose(np.unique(shear), np.arange(-30, 31) / 30 * 0.99, atol=1e-9)
    posterize = drawn.levels[drawn.chosen == list(OPERATIONS).index("posterize")]
    np.testing.assert_allclose(np.unique(posterize), np.arange(31) / 30 * 6)
