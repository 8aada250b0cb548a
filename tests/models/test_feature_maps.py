import keras
import pytest
from keras import layers, ops

from keras_inat.models.feature_maps import find_last_maps

IMAGE = keras.Input((16, 16, 3), name="image")


def names_of(outputs):
    """Returns the names of the layers that compute the last feature maps."""
    return [maps._keras_history.operation.name for maps in find_last_maps(keras.Model(IMAGE, outputs))]


def build_maps(name="conv"):
    return layers.Conv2D(4, 3, padding="same", name=name)(IMAGE)


def test_maps_end_at_a_global_pooling_or_where_they_are_flattened():
    assert names_of(layers.Dense(3)(layers.GlobalAveragePooling2D()(build_maps()))) == ["conv"]
    assert names_of(layers.Dense(3)(layers.Flatten()(layers.MaxPooling2D(name="max")(build_maps())))) == ["max"]
    assert names_of(build_maps()) == ["conv"]


def test_a_head_of_convolutions_after_a_global_pooling_is_not_part_of_them():
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(build_maps())
    assert names_of(layers.Flatten()(layers.Conv2D(3, 1)(pooled))) == ["conv"]
    assert names_of(layers.Conv2D(3, 1)(ops.mean(build_maps(), axis=(1, 2), keepdims=True))) == ["conv"]


def test_pooled_maps_may_be_a_factor():
    maps = build_maps()
    factor = layers.Conv2D(4, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(maps))
    excited = layers.Multiply(name="excite")([maps, factor])
    assert names_of(layers.GlobalAveragePooling2D()(excited)) == ["excite"]


def test_every_branch_has_its_own():
    branches = [layers.GlobalMaxPooling2D()(build_maps(name)) for name in ("left", "right")]
    assert sorted(names_of(layers.Concatenate()([*branches, layers.Flatten()(IMAGE)]))) == ["left", "right"]


def test_networks_without_maps_are_refused():
    for outputs in (layers.Dense(3)(layers.Flatten()(IMAGE)), layers.GlobalAveragePooling2D()(IMAGE)):
        with pytest.raises(ValueError, match="it computes no feature maps"):
            names_of(outputs)
    tokens = layers.Reshape((64, 16))(layers.Conv2D(16, 2, strides=2)(IMAGE))
    with pytest.raises(ValueError, match="its layer 'mix' computes sequences of features"):
        names_of(layers.Flatten()(layers.Dense(16, name="mix")(tokens)))
