import keras
import numpy as np
import pytest
from keras import layers

from keras_inat.errors import UserError
from keras_inat.models.flattening import flatten_model, is_flat

IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 16, 16, 3)).astype(np.float32)


def build_base(name="base"):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = layers.BatchNormalization(name="norm")(x)
    return keras.Model(image, layers.ReLU(name="relu")(x), name=name)


def check(model, names):
    """Compares a flat copy with the model. Its layers have these names."""
    model.set_weights([np.random.default_rng(1).uniform(0.1, 1, weight.shape) for weight in model.get_weights()])
    flat = flatten_model(model)
    assert is_flat(flat)
    assert not is_flat(model)
    assert [layer.name for layer in flat.layers] == names
    np.testing.assert_allclose(flat(IMAGES), model(IMAGES, training=False), rtol=1e-5)
    return flat


def test_the_layers_of_models_inside_are_those_of_the_model():
    image = keras.Input((16, 16, 3), name="image")
    x = layers.RandomFlip()(layers.Rescaling(1 / 255, name="scale")(image))
    x = build_base()(x, training=False)
    inner = keras.Sequential([layers.Conv2D(2, 3, name="conv"), layers.GlobalAveragePooling2D(name="pool")])
    model = keras.Model(image, layers.Dense(2, name="classes")(inner(x)), name="outer")
    flat = check(model, ["image", "scale", "conv", "norm", "relu", "conv_2", "pool", "classes"])
    assert flat.name == "outer"
    assert len(flat.trainable_weights) == 8


def test_a_sequential_model_becomes_functional():
    model = keras.Sequential([keras.Input((16, 16, 3), name="image"), build_base(), layers.Flatten(name="flat")])
    check(model, ["image", "conv", "norm", "relu", "flat"])


def test_a_layer_without_weights_that_is_applied_twice_becomes_two():
    relu = layers.ReLU(name="relu")
    image = keras.Input((16, 16, 3), name="image")
    x = relu(layers.Conv2D(4, 3, name="first")(image))
    check(
        keras.Model(image, relu(layers.Conv2D(2, 3, name="second")(x))), ["image", "first", "relu", "second", "relu_2"]
    )


def test_a_layer_with_weights_that_is_applied_twice_is_refused():
    conv = layers.Conv2D(3, 3, name="conv")
    image = keras.Input((16, 16, 3))
    with pytest.raises(UserError, match="layer 'conv' is applied more than once, with the same weights"):
        flatten_model(keras.Model(image, conv(conv(image))))


def test_operations_are_copied():
    image = keras.Input((16, 16, 3), name="image")
    x = keras.ops.relu(layers.Conv2D(4, 3, name="conv")(image / 127.5 - 1))
    model = keras.Sequential([image, keras.Model(image, keras.ops.mean(x[:, ::2], axis=(1, 2)))])
    check(model, ["image", "conv"])


def test_names_can_be_reserved_and_the_size_chosen():
    image = keras.Input((24, 24, 3), name="image")
    flat = flatten_model(build_base(), image, ["conv", "relu"])
    assert [layer.name for layer in flat.layers] == ["image", "conv_2", "norm", "relu_2"]
    assert flat.output_shape == (None, 22, 22, 4)


def test_a_normalization_that_was_adapted_keeps_its_values():
    norm = layers.Normalization(name="norm")
    norm.adapt(IMAGES)
    flat = flatten_model(keras.Sequential([keras.Input((16, 16, 3)), norm]))
    np.testing.assert_allclose(np.std(flat(IMAGES), axis=(0, 1, 2)), 1, rtol=1e-3)
