"""The CNN of a few blocks: convolutions, activations and pooling; then a dense layer; then softmax."""

from typing import Any

import keras
from keras import layers

from keras_inat.models.convolutions import list_convolutions, list_prefixes
from keras_inat.settings.schema import Model

LAST_LAYER = "predictions"
BLOCK_POOLING = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}
POOLING = {
    "flatten": layers.Flatten,
    "average": layers.GlobalAveragePooling2D,
    "max": layers.GlobalMaxPooling2D,
}


def build_cnn(config: Model, image_size: int, num_classes: int) -> keras.Model:
    """Builds the network with random weights, uncompiled.

    Every activation is a layer of its own, named after its block, so that it can be found, drawn and explained:
    `block1_conv`, `block1_norm`, `block1_activation`, `block1_pool`, ..., `dense`, `dense_activation`, `dropout`,
    `predictions`. Further convolutions of a block go on with `block1_conv2`, `block1_norm2`, `block1_activation2`; a
    residual pair ends in `block1_norm3`, `block1_add3`, `block1_activation3`. Of several towers all but the first have
    names that begin with `tower2_`, ..., each ends in `tower1_predictions`, ..., and `predictions` is their mean.

    A residual pair begins as the identity, so that depth does no harm at first: the last scale of its normalisation
    is zero (Goyal et al. 2017, arXiv 1706.02677) or, where there is none, its last kernel (Zhang et al. 2019, arXiv
    1901.09321). Dropout within blocks drops whole feature maps (Tompson et al. 2015, arXiv 1411.4280).

    Args:
        config: Its shape.
        image_size: Side of the input in pixels.
        num_classes: Length of the output.

    Returns:
        A functional model from `(batch, image_size, image_size, 3)` in [0, 255] to `(batch, num_classes)`
        probabilities.
    """
    inputs = keras.Input((image_size, image_size, 3), name="image")
    image = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(inputs)
    ensemble_size = [_build_tower(config, image, prefix) for prefix in list_prefixes(config)]
    # Probabilities stay in full precision whatever the rest computes in.
    outputs = [
        layers.Dense(
            num_classes,
            activation="softmax",
            dtype="float32",
            name=LAST_LAYER if config.ensemble_size == 1 else f"tower{number}_{LAST_LAYER}",
        )(x)
        for number, x in enumerate(ensemble_size, 1)
    ]
    mean = layers.Average(dtype="float32", name=LAST_LAYER)(outputs) if config.ensemble_size > 1 else outputs[0]
    return keras.Model(inputs, mean, name="cnn")


def _build_tower(config: Model, image: Any, prefix: str) -> Any:
    """What goes into the last layer, of an image in [-1, 1]; the names of all layers begin with `prefix`."""
    x = skip = image
    for conv in list_convolutions(config):
        pool = BLOCK_POOLING[config.block_pooling](2, padding="same", name=f"{prefix}block{conv.block}_pool")
        if conv.opens:
            skip = x
        x = layers.Conv2D(
            conv.filters,
            conv.kernel_size,
            padding="same",
            # A bias before batch normalisation would be cancelled by it.
            use_bias=not config.batch_norm,
            kernel_initializer="zeros" if conv.closes and not config.batch_norm else "he_normal",
            name=prefix + conv.name("conv"),
        )(x)
        if conv.pooled and config.pool_first:
            x = pool(x)
        if config.batch_norm:
            start = "zeros" if conv.closes else "ones"
            x = layers.BatchNormalization(momentum=0.9, gamma_initializer=start, name=prefix + conv.name("norm"))(x)
        if conv.closes:
            x = layers.Add(name=prefix + conv.name("add"))([skip, x])
        x = layers.Activation(config.activation, name=prefix + conv.name("activation"))(x)
        if conv.pooled and not config.pool_first:
            x = pool(x)
        if conv.last and config.block_dropout:
            x = layers.SpatialDropout2D(config.block_dropout, name=f"{prefix}block{conv.block}_dropout")(x)
    x = POOLING[config.pooling](name=prefix + config.pooling)(x)
    dropout = layers.Dropout(config.dropout, name=f"{prefix}dropout") if config.dropout else lambda inputs: inputs
    if config.dropout_placement == "before_dense":
        x = dropout(x)
    if config.dense_units:
        x = layers.Dense(config.dense_units, kernel_initializer="he_normal", name=f"{prefix}dense")(x)
        x = layers.Activation(config.dense_activation or config.activation, name=f"{prefix}dense_activation")(x)
    if config.dropout_placement == "after_dense":
        x = dropout(x)
    return x
