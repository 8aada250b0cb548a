"""The CNN of a few blocks: convolution, activation, max-pooling; then a dense layer; then softmax."""

import keras
from keras import layers

from keras_inat.sections import Model


def build_cnn(config: Model, image_size: int, num_classes: int) -> keras.Model:
    """Builds the network with random weights, uncompiled.

    Every activation is a layer of its own, named after its block, so that it can be found, drawn and explained:
    `block1_conv`, `block1_norm`, `block1_activation`, `block1_pool`, ..., `dense`, `dense_activation`, `dropout`,
    `predictions`.

    Args:
        config: Its shape.
        image_size: Side of the input in pixels.
        num_classes: Length of the output.

    Returns:
        A functional model from `(batch, image_size, image_size, 3)` in [0, 255] to `(batch, num_classes)`
        probabilities.
    """
    inputs = keras.Input((image_size, image_size, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(inputs)
    for block, (filters, kernel_size) in enumerate(zip(config.filters_per_block, config.kernel_sizes, strict=True), 1):
        # A bias before batch normalisation would be cancelled by it.
        x = layers.Conv2D(
            filters,
            kernel_size,
            padding="same",
            use_bias=not config.batch_norm,
            kernel_initializer="he_normal",
            name=f"block{block}_conv",
        )(x)
        if config.batch_norm:
            x = layers.BatchNormalization(momentum=0.9, name=f"block{block}_norm")(x)
        x = layers.Activation(config.activation, name=f"block{block}_activation")(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    pool = layers.Flatten if config.pooling == "flatten" else layers.GlobalAveragePooling2D
    x = pool(name=config.pooling)(x)
    if config.dense_units:
        x = layers.Dense(config.dense_units, kernel_initializer="he_normal", name="dense")(x)
        x = layers.Activation(config.dense_activation or config.activation, name="dense_activation")(x)
    if config.dropout:
        x = layers.Dropout(config.dropout, name="dropout")(x)
    # Probabilities stay in full precision whatever the rest computes in.
    outputs = layers.Dense(num_classes, activation="softmax", dtype="float32", name="predictions")(x)
    return keras.Model(inputs, outputs, name="cnn")
