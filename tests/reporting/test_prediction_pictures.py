"""The picture of a prediction and the pixels of its map."""

import numpy as np
import pytest

from keras_inat.reporting.prediction_pictures import ACCENT, HEAT, SIDE, WIDTH, draw_prediction, show_map

GRAY = np.full((8, 8, 3), 100, np.uint8)


def _draw(classes, probabilities, pixels=GRAY, values=None):
    values = np.zeros((2, 2)) if values is None else values
    return np.asarray(draw_prediction(pixels, classes, np.array(probabilities), "map", "A legend. " * 30, values))


def test_evidence_is_laid_over_the_gray_image():
    values = np.zeros((8, 8))
    values[0, 0] = -5
    values[1:, 1:] = 1
    shown = show_map(GRAY, values)
    assert (shown[0] == 90).all()  # without evidence, and with negative evidence: darkened by a tenth
    full = np.rint(100 * 0.25 * 0.9 + 0.75 * HEAT[-1])
    assert (shown[1:, 1:] == full).all()


def test_small_maps_are_enlarged():
    shown = show_map(GRAY, np.array([[1.0, 0.0], [0.0, 0.0]]))
    assert shown.shape == (8, 8, 3)
    assert shown[0, 0, 0] > 200
    assert (shown[-1] == 90).all()
    assert (show_map(GRAY, np.zeros((2, 2))) == 90).all()


def test_gradients_are_scaled_around_gray():
    gradient = np.linspace(-1, 1, 192).reshape(8, 8, 3)
    shown = show_map(GRAY, gradient)
    scale = np.percentile(np.abs(gradient), 99)
    np.testing.assert_array_equal(shown, np.rint(255 * np.clip(0.5 + gradient / (2 * scale), 0, 1)))
    assert (show_map(GRAY, np.zeros((8, 8, 3))) == 128).all()


def test_the_bars_are_as_long_as_the_probabilities():
    picture = _draw(["a", "b"], [0.25, 0.75])
    assert picture.shape[1] == WIDTH > 1000
    accent = (picture == [int(ACCENT[start : start + 2], 16) for start in (1, 3, 5)]).all(axis=-1)
    assert accent.any(axis=0).sum() == pytest.approx(0.75 * SIDE, abs=2)


@pytest.mark.parametrize("size", [8, 400])
def test_images_of_any_size_fill_their_panel(size):
    pixels = np.full((size, size, 3), (10, 200, 30), np.uint8)
    picture = _draw(["a", "b"], [0.25, 0.75], pixels)
    assert (picture == (10, 200, 30)).all(axis=-1).sum() == SIDE**2


def test_any_name_can_be_drawn():
    names = ["Costs $5 and $6", "x" * 300, "红色\n青", "🐦", "<b>&amp;", "\\N{DIGIT ONE}"]
    drawn = [_draw([name, "b"], [0.9, 0.1]) for name in names]
    assert all((picture != drawn[0]).any() for picture in drawn[1:])
    assert _draw(["only"], [1.0]).shape == drawn[0].shape
