"""Charts of filters, feature maps, neurons, gradients and attributions."""

import io

import numpy as np
import pytest
from keras_inat.reporting.charts.explanations import (
    draw_deletion_insertion,
    draw_feature_maps,
    draw_first_layer_filters,
    draw_guided_predictions,
    draw_neurons,
    draw_top_patches,
)
from PIL import Image

from keras_inat.explain.attribution import NUM_STEPS, DeletionInsertion
from keras_inat.explain.filters import FilterExplanation
from keras_inat.explain.guided_backpropagation import NeuronExplanation
from keras_inat.reporting.charts.images import choose_grid, draw_grid, overlay_heatmap, scale_gradient


def _render(figure):
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=50)
    pixels = np.asarray(Image.open(content).convert("RGB"))
    assert pixels.std() > 1
    return pixels


def _mosaic(figure, index=0):
    return np.asarray(figure.axes[index].images[0].get_array())


@pytest.mark.parametrize(
    ("count", "grid"),
    [(1, (1, 1)), (2, (1, 2)), (7, (3, 3)), (10, (3, 4)), (30, (5, 6)), (32, (4, 8)), (64, (8, 8)), (96, (8, 12))],
)
def test_grids_are_full_or_square(count, grid):
    assert choose_grid(count) == grid


@pytest.mark.parametrize("count", [1, 30, 64])
def test_filters_share_one_scale_around_gray(count):
    filters = np.zeros((count, 3, 3, 3), np.float32)
    filters[0, 0, 0] = [0.5, -0.5, 0.25]
    figure = draw_first_layer_filters(filters)
    np.testing.assert_allclose(_mosaic(figure)[0, 0], [1, 0, 0.75])
    np.testing.assert_allclose(_mosaic(figure)[-1, -1], [0.5, 0.5, 0.5])
    _render(figure)


@pytest.mark.parametrize("count", [1, 30, 64, 100])
def test_feature_maps_are_drawn_layer_by_layer(count):
    draw = np.random.default_rng(0)
    maps = {f"block{side}": draw.uniform(0, 3, (side, side, count)).astype(np.float32) for side in (16, 8, 4)}
    figure = draw_feature_maps(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8), maps)
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert len(titles) == 4
    assert titles[1].startswith("block16: 16 × 16, ")
    assert ("first 64 of 100" in titles[3]) == (count == 100)
    np.testing.assert_allclose(_mosaic(figure, 3)[0, 0], maps["block4"][0, 0, 0])
    _render(figure)


def test_feature_maps_of_zeros_are_drawn():
    _render(draw_feature_maps(np.zeros((8, 8, 3)), {"block1_activation": np.zeros((8, 8, 4), np.float32)}))


@pytest.mark.parametrize("count", [1, 10])
def test_neurons_are_drawn_with_their_images(count):
    images = np.zeros((3, 8, 8, 3), np.uint8)
    images[2] = 255
    gradient = np.zeros((8, 8, 3), np.float32)
    gradient[4, 4] = [1, -1, 0]
    neuron = NeuronExplanation(
        "block5_activation", 7, 1, 0, (2, 0), np.array([1.234, 0.5]), np.stack([gradient, -gradient]), 1, 0.75
    )
    figure = draw_neurons(images, [neuron] * count, ["Aves", "Fungi"])
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    label = "filter 7\nrow 1, column 0\n1.23 to 0.50\nFungi\nselectivity 0.75"
    assert texts.count(label) == count
    assert "1810.03292" in " ".join(texts)
    assert len(axes.images) == 4 * count
    np.testing.assert_allclose(_mosaic(figure)[0, 0], [1, 1, 1])
    np.testing.assert_allclose(np.asarray(axes.images[1].get_array())[4, 4], [1, 0, 0.5])
    np.testing.assert_allclose(np.asarray(axes.images[3].get_array())[4, 4], [0, 1, 0.5])
    _render(figure)


def test_a_grid_places_pictures_in_rows_and_columns():
    picture = np.linspace(0, 1, 48).reshape(4, 4, 3)
    figure = draw_grid("title", ["a", "b", "c"], [("one", [picture] * 2), ("two", [picture])], "words", 2)
    (axes,) = figure.axes
    (left, *_, top), (right, *_, beside), (_, _, _, below) = (image.get_extent() for image in axes.images)
    assert left < right
    assert top == beside < below
    assert [text.get_text() for text in axes.texts] == ["title", "a", "b", "c", "one", "two", "words"]
    _render(figure)


def test_heatmap_is_drawn_over_the_image():
    heatmap = np.zeros((8, 8))
    heatmap[2, 3] = 5
    over = overlay_heatmap(np.tile(np.array([50, 100, 150], np.uint8), (8, 8, 1)), heatmap)
    np.testing.assert_allclose(over[0, 0], 0.9 * 100 / 255, rtol=1e-5)
    assert over[2, 3, 0] > 0.8 > over[2, 3, 2] + 0.1
    np.testing.assert_allclose(overlay_heatmap(np.zeros((8, 8, 3)), -heatmap), 0)
    np.testing.assert_allclose(overlay_heatmap(np.zeros((8, 8, 3)), -1 - heatmap), 0)
    few = np.full((20, 20), -1.0)
    few[4, 4] = 5
    assert overlay_heatmap(np.zeros((20, 20, 3)), few)[4, 4, 0] > 0.5


def test_top_patches_and_curves_are_drawn():
    patches = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 3))
    filters = [FilterExplanation("block1_activation", 5, patches[0] / 1.0, patches, np.array([3.0, 2, 1]))]
    figure = draw_top_patches(filters)
    assert "block1_activation\nfilter 5\nfield 6 × 6\n3 to 1" in [text.get_text() for text in figure.axes[0].texts]
    assert len(figure.axes[0].images) == 4
    _render(figure)
    falling = np.linspace(1, 0, NUM_STEPS + 1)[None]
    figure = draw_deletion_insertion(
        {
            "Grad-CAM": DeletionInsertion(falling, 1 - falling),
            "Random order": DeletionInsertion(falling, falling),
        }
    )
    deletion, insertion = figure.axes
    np.testing.assert_allclose(deletion.lines[0].get_ydata(), falling[0])
    np.testing.assert_allclose(insertion.lines[0].get_ydata(), 1 - falling[0])
    _render(figure)
    _render(draw_guided_predictions(np.zeros((3, 8, 8, 3)), np.ones((3, 8, 8, 3)), ["✓ a", "✗ b predicted as a", "c"]))


def test_gradients_are_scaled_by_a_percentile_around_gray():
    gradient = np.linspace(-1, 1, 300).reshape(10, 10, 3)
    gradient[0, 0, 0] = -1000
    scaled = scale_gradient(gradient)
    np.testing.assert_allclose(scaled, np.clip(0.5 + gradient / (2 * np.percentile(np.abs(gradient), 99)), 0, 1))
    assert scaled[0, 0, 0] == 0
    assert scaled.max() == pytest.approx(1, abs=0.01)
    assert (scale_gradient(np.zeros((2, 2, 3))) == 0.5).all()
