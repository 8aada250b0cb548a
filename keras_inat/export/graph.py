"""The graph that is exported: from 8-bit pixels to probabilities and class activation maps, in float32."""

import functools
from typing import Any

import keras

from keras_inat.models.predictors import MAPS, PROBABILITIES
from keras_inat.models.pretrained import clone_with_precision


def use_float32(model: keras.Model) -> keras.Model:
    """Returns the model, or a copy that computes in float32 if it was trained with another precision."""
    layers = model._flatten_layers(include_self=False)
    is_float32 = all(layer.dtype_policy.compute_dtype == "float32" for layer in layers)
    return model if is_float32 else clone_with_precision(model, "float32")


def build_export_model(model: keras.Model) -> keras.Model:
    """Returns a model from `image`, `(batch, size, size, 3)` uint8, to a dictionary of outputs.

    The outputs are `probabilities`, `(batch, classes)` float32, and `class_activation_maps` (Zhou et al. 2016, arXiv
    1512.04150), `(batch, height, width, classes)` float32, if the network ends in global average pooling and one dense
    layer. The mean of a map over its pixels is the logit of the class without its bias. In an ensemble, the maps are
    the means of those of the members. The model itself is changed, but not its results.
    """
    for layer in model._flatten_layers(include_self=False):
        _make_convertible(layer)
    outputs = {PROBABILITIES: model.outputs[0]}
    maps = _find_maps(model.outputs[0])
    if maps is not None:
        outputs[MAPS] = maps
    network = keras.Model(model.inputs[0], outputs)
    image = keras.Input(model.input_shape[1:], dtype="uint8", name="image")
    graph = keras.Model(image, network(keras.ops.cast(image, "float32"), training=False), name=model.name)
    graph(keras.ops.zeros((1, *model.input_shape[1:]), "uint8"))  # Keras exports only models that were called
    return graph


def _make_convertible(layer: keras.Layer) -> None:
    """Changes, in place, what the layers of a backbone compute in a way that tf2onnx cannot read. Values stay the same.

    An EfficientNet normalizes with tensors from outside the graph. A ConvNeXt has grouped convolutions, which Keras
    compiles by XLA.
    """
    if isinstance(layer, keras.layers.Normalization):
        layer.mean = keras.ops.convert_to_numpy(layer.mean)
        layer.variance = keras.ops.convert_to_numpy(layer.variance)
    if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1 and layer.kernel.shape[2] == 1:
        layer.convolution_op = functools.partial(_convolve_by_channel, layer)


def _convolve_by_channel(layer: keras.layers.Conv2D, inputs: Any, kernel: Any) -> Any:
    """Applies a grouped convolution whose groups are single channels."""
    kernel = keras.ops.reshape(kernel, (*kernel.shape[:2], layer.groups, -1))
    options = (layer.strides, layer.padding, layer.data_format, layer.dilation_rate)
    return keras.ops.depthwise_conv(inputs, kernel, *options)


def _find_maps(output: Any) -> Any:
    """Returns the symbolic class activation maps of an output of probabilities, or None if it has none."""
    head = output._keras_history.operation
    if isinstance(head, keras.layers.Average):
        members = [_find_maps(member) for member in head.input]
        if any(maps is None or maps.shape != members[0].shape for maps in members):
            return None
        return keras.ops.mean(keras.ops.stack(members), axis=0)
    if not isinstance(head, keras.layers.Dense):
        return None
    features = head.input
    while isinstance(features._keras_history.operation, keras.layers.Dropout):
        features = features._keras_history.operation.input
    pooling = features._keras_history.operation
    if not isinstance(pooling, keras.layers.GlobalAveragePooling2D):
        return None
    height, width, channels = pooling.input.shape[1:]
    # A product of matrices shares the kernel with the dense layer. A convolution would store it a second time.
    rows = keras.ops.matmul(keras.ops.reshape(pooling.input, (-1, channels)), head.kernel)
    return keras.ops.reshape(rows, (-1, height, width, head.units))
