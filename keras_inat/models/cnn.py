"""The CNN: blocks of convolution, activation and pooling, then a dense layer, then softmax."""

from typing import Any

import keras
import numpy as np
from keras import layers

from keras_inat.models.cost import list_convolutions, list_prefixes
from keras_inat.settings.schema import Model

LAST_LAYER = "predictions"
POOLING = {
    "flatten": layers.Flatten,
    "average": layers.GlobalAveragePooling2D,
    "max": layers.GlobalMaxPooling2D,
}


def build_cnn(config: Model, image_size: int, num_classes: int) -> keras.Model:
    """Builds the network with random initial weights, uncompiled.

    Every activation is a layer of its own, so that explanations can refer to it. The layers of a block are named
    `block1_conv`, `block1_norm`, `block1_activation` and `block1_pool`, those of its second convolution `block1_conv2`
    and so on. In an ensemble, the names of the second member's layers begin with `member2_`. The members end in
    `member1_predictions`, `member2_predictions`, ..., and `predictions` is their mean.

    A residual pair is initialized as the identity. The last scale of its batch normalization is zero (Goyal et al.
    2017, arXiv 1706.02677). Without batch normalization, its last kernel is zero (Zhang et al. 2019, arXiv 1901.09321).

    Returns:
        A functional model from `(batch, image_size, image_size, 3)` in [0, 255] to `(batch, num_classes)`
        probabilities.
    """
    inputs = keras.Input((image_size, image_size, 3), name="image")
    image = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(inputs)
    features = [_build_head(config, _build_blocks(config, image, prefix), prefix) for prefix in list_prefixes(config)]
    outputs = []
    for number, x in enumerate(features, 1):
        name = LAST_LAYER if config.ensemble_size == 1 else f"member{number}_{LAST_LAYER}"
        # Probabilities are float32 under every precision policy.
        outputs.append(layers.Dense(num_classes, activation="softmax", dtype="float32", name=name)(x))
    output = outputs[0] if len(outputs) == 1 else layers.Average(dtype="float32", name=LAST_LAYER)(outputs)
    model = keras.Model(inputs, output, name="cnn")
    if config.initial_kernels == "identity":
        _pass_channels_on(model, config)
    return model


def _build_blocks(config: Model, image: Any, prefix: str) -> Any:
    """Returns the feature maps of the last block for an image in [-1, 1]. All layer names begin with `prefix`."""
    x = image
    for conv in list_convolutions(config):
        pool = layers.MaxPooling2D(2, padding="same", name=f"{prefix}block{conv.block}_pool")
        if not conv.closes_pair:
            skip = x  # The pair that begins here, if one does, adds it.
        x = layers.Conv2D(
            conv.filters,
            conv.kernel_size,
            padding="same",
            use_bias=not config.batch_norm,  # batch normalization would cancel a bias
            kernel_initializer="zeros" if conv.closes_pair and not config.batch_norm else "he_normal",
            name=prefix + conv.name("conv"),
        )(x)
        if conv.pooled and config.pool_first:
            x = pool(x)
        if config.batch_norm:
            gamma = "zeros" if conv.closes_pair else "ones"
            x = layers.BatchNormalization(momentum=0.9, gamma_initializer=gamma, name=prefix + conv.name("norm"))(x)
        if conv.closes_pair:
            x = layers.Add(name=prefix + conv.name("add"))([skip, x])
        x = layers.Activation(config.activation, name=prefix + conv.name("activation"))(x)
        if conv.pooled and not config.pool_first:
            x = pool(x)
    return x


def _pass_channels_on(model: keras.Model, config: Model) -> None:
    """Makes filters of every convolution but the first copy an input channel each (Jordan 2024, arXiv 2404.00498).

    Up to half of the filters do so. They get the mean norm of the random ones, so that the learning rate and the
    weight decay keep their meaning. A convolution that closes a residual pair is initialized as zero already.
    """
    # The weights are changed after the fact, because a saved model could not be loaded without an initializer of ours.
    for prefix in list_prefixes(config):
        for conv in list_convolutions(config)[1:]:
            if conv.closes_pair:
                continue
            layer = model.get_layer(prefix + conv.name("conv"))
            kernel = np.array(layer.kernel)
            side, _, inputs, filters = kernel.shape
            norm = np.sqrt(np.mean(np.sum(kernel**2, axis=(0, 1, 2))))
            copies = np.arange(min(inputs, filters // 2))
            kernel[..., copies] = 0
            kernel[(side - 1) // 2, (side - 1) // 2, copies, copies] = norm
            layer.kernel.assign(kernel)


def _build_head(config: Model, maps: Any, prefix: str) -> Any:
    """Returns the input of the last layer for the feature maps of the last block."""
    x = POOLING[config.pooling](name=prefix + config.pooling)(maps)
    # It is created before the dense layer, because layers draw their seeds in the order of their creation.
    dropout = layers.Dropout(config.dropout, name=f"{prefix}dropout")
    if config.dropout and config.dropout_placement == "before_dense":
        x = dropout(x)
    if config.dense_units:
        x = layers.Dense(config.dense_units, kernel_initializer="he_normal", name=f"{prefix}dense")(x)
        x = layers.Activation(config.activation, name=f"{prefix}dense_activation")(x)
    if config.dropout and config.dropout_placement == "after_dense":
        x = dropout(x)
    return x
