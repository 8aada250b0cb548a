"""The configuration of a network in a model file: what may be built of it, and how large it becomes."""

import contextlib
import json
import math
import random
import re
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.saving import saving_lib

MAX_LAYERS = 5_000  # the largest network of keras.applications has about 1,000
MODELS = "Functional Sequential"
# By module, the classes of networks for images. Nothing else is built. None of these reads a file, calls code that the
# file names, or needs memory that neither its weights nor its output show.
CLASSES = {
    "keras": f"{MODELS} DTypePolicy",
    "keras.models": MODELS,
    "keras.src.models.functional": MODELS,
    "keras.layers": """
        InputLayer Activation Add AlphaDropout Average AveragePooling2D BatchNormalization CenterCrop Concatenate Conv2D
        Conv2DTranspose Cropping2D Dense DepthwiseConv2D Dot Dropout ELU EinsumDense Flatten GaussianDropout
        GaussianNoise GlobalAveragePooling2D GlobalMaxPooling2D GroupNormalization Identity LayerNormalization LeakyReLU
        MaxPooling2D Maximum Minimum Multiply Normalization PReLU Permute RMSNormalization
        RandomBrightness RandomContrast RandomFlip RandomRotation RandomTranslation RandomZoom ReLU Rescaling
        Reshape Resizing SeparableConv2D Softmax SpatialDropout2D Subtract UnitNormalization UpSampling2D ZeroPadding2D
    """,
    "keras.initializers": """
        Constant GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform Ones Orthogonal RandomNormal
        RandomUniform TruncatedNormal VarianceScaling Zeros
    """,
    "keras.dtype_policies": "DTypePolicy",
    "keras.src.applications.convnext": "LayerScale",
    "keras.src.applications.inception_resnet_v2": "CustomScaleLayer",
    "keras.src.ops.core": "Cast StopGradient",
    "keras.src.ops.nn": """
        AveragePool DepthToSpace Elu Gelu HardSigmoid HardSilu LeakyRelu LogSoftmax MaxPool Normalize Relu Relu6 Selu
        Sigmoid Silu Softmax Softplus SpaceToDepth
    """,
    "keras.src.ops.numpy": """
        Absolute Add Amax Amin Clip Concatenate Divide Exp ExpandDims Flip GetItem Log Log1p Matmul Max Maximum Mean Min
        Minimum Multiply Negative Pad Power Reciprocal Repeat Reshape Split Sqrt Square Squeeze Stack Std Subtract Sum
        Swapaxes Tanh Tile Transpose TrueDivide Var
    """,
}
TRAINING_SETTINGS = ("compile_config", "_regularizer", "_constraint")  # ends of their names
ALLOWED = {(module, name) for module, names in CLASSES.items() for name in names.split()}
FUNCTION_MODULES = ("builtins", "keras.activations")
TENSOR = "__keras_tensor__"
ARRAYS = ("__tensor__", "__numpy__")
VALUES = (TENSOR, *ARRAYS, "__slice__", "__ellipsis__")
NUMBERS = re.compile(r"(bfloat|float|u?int)\d{1,2}|bool")


def check_config(config: Any) -> str:
    """Checks that a configuration builds a network of layers for images, and removes its settings of a training.

    Returns:
        The configuration as JSON.

    Raises:
        ValueError: It names something else, such as a layer that reads a file or calls code.
    """
    if not isinstance(config, dict) or config.get("class_name") not in MODELS.split():
        raise ValueError("its configuration is not that of a network")
    num_layers = 0
    for values in _list_dicts(config):
        values |= {key: None for key in values if key.endswith(TRAINING_SETTINGS)}
        if "class_name" in values:
            _check_object(values)
            num_layers += str(values.get("module")).startswith(("keras.layers", "keras.src"))
        if not all(map(_has_tensor, values.get("inbound_nodes") or ())):
            # It would be computed while the network is built.
            raise ValueError("one of its layers is applied to constants")
        if values.get("data_format") not in (None, "channels_last"):
            raise ValueError("it takes images with their channels first: only channels_last is supported")
    if num_layers > MAX_LAYERS:
        raise ValueError(f"it has {num_layers:,} layers, and at most {MAX_LAYERS:,} are built")
    return json.dumps(config)


def build_from_config(config: str) -> keras.Model:
    """Builds a network of a configuration that was checked."""
    return saving_lib._model_from_config(config, None, False, True)  # uncompiled, in safe mode


def _check_object(values: dict[str, Any]) -> None:
    name, module = values["class_name"], values.get("module")
    if name in VALUES:
        if name in ARRAYS and not NUMBERS.fullmatch(str(values["config"]["dtype"])):
            raise ValueError("one of its constants does not hold numbers")
        return
    if name == "function":
        name = values["config"]
        is_allowed = module in FUNCTION_MODULES
    else:
        is_allowed = (str(module), str(name)) in ALLOWED
    # A registered name would be looked up first.
    if not is_allowed or values.get("registered_name") not in (None, name):
        raise ValueError(f"it contains {module}.{name}, which networks for images are not built of here")


def _list_dicts(value: Any) -> Iterator[dict[str, Any]]:
    """Yields every dictionary of a document. It may be changed before the next one is taken."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _has_tensor(value: Any) -> bool:
    """Returns True if the arguments of a call include an output of another layer."""
    if isinstance(value, dict):
        if "class_name" in value:
            return bool(value["class_name"] == TENSOR)
        value = list(value.values())
    return isinstance(value, list) and any(map(_has_tensor, value))


def measure_weights(config: str, max_output: int) -> int:
    """Returns the bytes of the weights of a network without creating them. Its configuration was checked.

    Raises:
        ValueError: The output of a layer for one image has more than `max_output` bytes.
    """
    with _build_without_values(config) as (model, variables):
        for shape in _list_shapes(model):
            num_bytes = 4 * math.prod(side or 1 for side in shape)
            if num_bytes > max_output:
                raise ValueError(f"a layer needs {num_bytes:,} bytes for an image, too many for this machine")
        return sum(math.prod(each.shape) * _count_bytes(each.dtype) for each in variables)


def _count_bytes(dtype: str) -> int:
    return int(re.sub(r"\D", "", dtype) or 8) // 8


def _list_shapes(model: keras.Model) -> Iterator[tuple[int | None, ...]]:
    """Yields the shape of every output of every layer, and of the input of a convolution with its padding."""
    for layer in (*model._flatten_layers(), *getattr(model, "operations", ())):
        for node in layer._inbound_nodes:
            yield from (output.shape for output in node.outputs)
            if hasattr(layer, "dilation_rate"):
                batch, *sides, channels = node.input_tensors[0].shape
                settings = zip(sides, layer.kernel_size, layer.dilation_rate, strict=True)
                yield (batch, *((side or 1) + (size - 1) * rate for side, size, rate in settings), channels)


@contextlib.contextmanager
def keep_random_state() -> Iterator[None]:
    """Prevents initial weights that are not used from changing those that are drawn later."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def _build_without_values(config: str) -> Iterator[tuple[keras.Model, list[Any]]]:
    """Yields a model whose variables have shapes only, and its variables."""
    name = "uninitialized_variables"  # where Keras remembers the variables that it creates without a value
    before = global_state.get_global_attribute(name)
    global_state.set_global_attribute(name, [])
    try:
        with keep_random_state(), keras.StatelessScope(initialize_variables=False):
            yield build_from_config(config), global_state.get_global_attribute(name)
    finally:
        global_state.set_global_attribute(name, before)
