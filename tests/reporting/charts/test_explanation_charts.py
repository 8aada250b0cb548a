"""Charts of filters, feature maps, neurons, gradients and attributions."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_inat.reporting.charts.attribution import (
    draw_attributions,
    draw_deletion_insertion,
    draw_guided_predictions,
    draw_neurons,
)
from keras_inat.reporting.charts.filters import draw_feature_maps, draw_first_layer_filters, draw_top_patches
from keras_inat.reporting.charts.grids import (
    GAMMA,
    GridRow,
    choose_strip,
    draw_grid,
    overlay_heatmap,
    scale_gradient,
)
from keras_inat.store.explanations import (
    NUM_STEPS,
    DeletionInsertion,
    FilterExplanation,
    NeuronExplanation,
    StageMaps,
)


def _render(figure):
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=50)
    pixels = np.asarray(Image.open(content).convert("RGB"))
    assert pixels.std() > 1
    return pixels


def _mosaic(figure, index=0):
    return np.asarray(figure.axes[index].images[0].get_array())


def _texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(
    ("count", "strip"), [(1, (1, 1)), (7, (1, 7)), (13, (1, 12)), (14, (2, 7)), (16, (2, 8)), (24, (2, 12))]
)
def test_strips_are_full(count, strip):
    assert choose_strip(count) == strip


@pytest.mark.parametrize("count", [1, 30])
def test_filters_share_one_scale_around_gray(count):
    filters = np.zeros((count, 3, 3, 3), np.float32)
    filters[0, 0, 0] = [0.5, -0.5, 0.25]
    figure = draw_first_layer_filters(filters)
    np.testing.assert_allclose(_mosaic(figure)[0, 0], [1, 0, 0.75])
    np.testing.assert_allclose(_mosaic(figure)[2, 2], [0.5, 0.5, 0.5])
    smooth = np.asarray(figure.axes[0].images[1].get_array())
    assert smooth.shape == (64, 64, 3)
    assert smooth.argmax() % 3 == smooth.argmin() % 3 - 1 == 0  # red has the highest weight, green the lowest
    assert len(figure.axes[0].images) == 2 * count
    assert ("no weights" in _texts(figure)) == (count > 1)
    _render(figure)


def test_filters_are_grouped_by_type():
    edge = np.array([-1.0, 0, 1])[None, :, None] * np.ones((3, 3, 3))
    figure = draw_first_layer_filters(np.stack([np.ones((3, 3, 3)), edge, 2 * edge]))
    texts = _texts(figure)
    assert texts.index("luminance edges") < texts.index("2") < texts.index("1") < texts.index("brightness")
    assert "2 of 3" in texts


@pytest.mark.parametrize("count", [1, 16, 24])
def test_feature_maps_are_drawn_layer_by_layer(count):
    draw = np.random.default_rng(0)
    stages = [
        StageMaps(f"block{side}", 100, 2, np.arange(count), draw.uniform(0, 3, (side, side, count)).astype(np.float16))
        for side in (16, 8, 4)
    ]
    figure = draw_feature_maps(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8), stages)
    texts = _texts(figure)
    assert {"block16", "block8", "block4"} <= set(texts)
    assert any(text.startswith(f"   16 × 16, {count} of 100 filters, 2 uniform, ") for text in texts)
    mosaic = _mosaic_of(figure, 4)
    # Nothing but the gaps between the tiles is transparent.
    rows, columns = choose_strip(count)
    gap = max(1, 48 // 16)
    assert (mosaic[..., 3] == 1).sum() == rows * columns * 48 * 48
    assert mosaic.shape[1] == columns * 48 + (columns - 1) * gap
    _render(figure)


def _mosaic_of(figure, index):
    return np.asarray(figure.axes[0].images[index].get_array())


def test_feature_maps_of_zeros_are_drawn():
    stage = StageMaps("block1", 4, 4, np.arange(4), np.zeros((8, 8, 4), np.float16))
    _render(draw_feature_maps(np.zeros((8, 8, 3)), [stage]))


@pytest.mark.parametrize("count", [1, 10])
def test_neurons_are_drawn_with_their_images(count):
    images = np.stack([np.full((8, 8, 3), 255, np.uint8), np.zeros((8, 8, 3), np.uint8)] * count)
    gradient = np.zeros((8, 8, 3), np.float32)
    gradient[4, 4] = [1, -1, 0]
    neuron = NeuronExplanation(
        "block5_activation", 7, 1, 0, (2, 0), np.array([1.234, 0.5]), np.stack([gradient, -gradient]), 1, 0.75
    )
    figure = draw_neurons(images, ["Aves", "Fungi"] * count, [neuron] * count, ["responds to\nFungi"] * count)
    (axes,) = figure.axes
    texts = _texts(figure)
    for text in ("responds to", "Fungi", "filter 7 at (1, 0)", "1.23", "0.50", "Aves"):
        assert texts.count(text) == count * (2 if text == "Fungi" else 1)
    assert "1810.03292" in " ".join(texts)
    assert len(axes.images) == 4 * count
    np.testing.assert_allclose(_mosaic(figure)[0, 0], [1, 1, 1])
    np.testing.assert_allclose(np.asarray(axes.images[1].get_array())[4, 4], [1, 0, 0.5])
    np.testing.assert_allclose(np.asarray(axes.images[3].get_array())[4, 4], [0, 1, 0.5])
    _render(figure)


def test_a_grid_places_pictures_in_rows_and_columns():
    picture = np.linspace(0, 1, 48).reshape(4, 4, 3)
    rows = [GridRow("one\nmore", [picture] * 3), GridRow("two", [picture, None, picture])]
    figure = draw_grid(["a", "b", "c"], rows, "words", 2)
    (axes,) = figure.axes
    extents = [image.get_extent() for image in axes.images]
    assert len(extents) == 5
    lefts = [extent[0] for extent in extents]
    assert lefts[3:] == [lefts[0], lefts[2]]
    assert lefts[2] - lefts[1] > lefts[1] - lefts[0]  # the gap between groups
    assert extents[0][3] == extents[2][3] < extents[3][3]
    assert _texts(figure) == ["a", "b", "c", "one", "more", "two", "words"]
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


def test_a_synthetic_image_is_shown_only_if_it_activates_the_filter_more_than_the_patches():
    patches = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 3), dtype=np.uint8)
    values = np.array([3.0, 2, 1])
    better = FilterExplanation("block1", 5, patches[0], 4.5, patches, values)
    worse = FilterExplanation("block2", 6, patches[0], 2.5, patches, values)
    figure = draw_top_patches([better, worse])
    texts = _texts(figure)
    assert {"synthetic", "filter 5", "field 6 × 6", "4.50", "2.50: below the patches", "3.00"} <= set(texts)
    assert len(figure.axes[0].images) == 7
    _render(figure)
    assert "synthetic" not in _texts(draw_top_patches([worse]))


def test_attributions_and_curves_are_drawn():
    gradients = {name: np.ones((1, 8, 8, 3), np.float16) for name in ("a", "b", "c")}
    heatmaps = {name: np.ones((1, 8, 8), np.float16) for name in ("d", "e", "f", "g")}
    figure = draw_attributions(np.zeros((1, 8, 8, 3)), gradients, heatmaps, ["✓ Aves\n90 %"])
    assert len(figure.axes[0].images) == 8
    assert {"✓ Aves", "90 %", "Occlusion"} <= set(_texts(figure))
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
    values = np.clip(gradient / np.percentile(np.abs(gradient), 99), -1, 1)
    expected = 0.5 + np.sign(values) * np.abs(values) ** GAMMA / 2
    np.testing.assert_allclose(scaled, expected, rtol=1e-5)
    assert scaled[0, 0, 0] == 0
    assert scaled.max() == pytest.approx(1, abs=0.01)
    assert (scale_gradient(np.zeros((2, 2, 3))) == 0.5).all()
