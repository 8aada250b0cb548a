"""The devices that Keras computes on, and their precision."""

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_inat.workers import list_cores

# The most weights that become constants of a graph. A graph is limited to two gigabytes.
MAX_CONSTANTS = 250e6


@functools.cache
def init_devices(deterministic: bool) -> None:
    """Prints the training devices once. If `deterministic`, every operation is bitwise reproducible from now on."""
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    print(f"training on {describe_devices()}" + ("" if has_accelerator() else " (no GPU was found)"), flush=True)


def describe_devices(count: int | None = None) -> str:
    """Returns the training devices in words, such as `2 x NVIDIA H200` or `CPU, 2 cores`. By default, these are all.

    `count` GPUs, the first ones, are those of a strategy.
    """
    if not has_accelerator():
        num_cores = len(list_cores())
        return f"CPU, {num_cores} core{'s' if num_cores > 1 else ''}"
    gpus = tf.config.list_physical_devices("GPU")[:count]
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    names = Counter(gpu.get("device_name", "GPU") for gpu in details) or Counter(keras.distribution.list_devices())
    return ", ".join(name if number == 1 else f"{number} x {name}" for name, number in names.items())


def has_accelerator() -> bool:
    """Returns True if Keras computes on anything but a CPU."""
    return any(not device.lower().startswith("cpu") for device in keras.distribution.list_devices())


def choose_jit_compile() -> str | bool:
    """Returns the `jit_compile` of Keras. On a CPU, XLA halves the speed of the CNN. On a GPU, Keras decides."""
    return "auto" if has_accelerator() else False


def list_gpus() -> list[str]:
    """Returns TensorFlow's names of the GPUs."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def count_gpus() -> int:
    """Returns the number of GPUs that this process may use, without initializing one."""
    return len(tf.config.list_physical_devices("GPU"))


def choose_strategy(batch_size: int) -> tf.distribute.Strategy:
    """Returns the strategy in whose scope a model is built: the largest number of GPUs that divides the batch size."""
    gpus = list_gpus()
    count = max((n for n in range(1, len(gpus) + 1) if batch_size % n == 0), default=1)
    if count == 1:
        return tf.distribute.get_strategy()
    return _build_mirrored_strategy(tuple(gpus[:count]))


@functools.cache
def _build_mirrored_strategy(gpus: tuple[str, ...]) -> tf.distribute.Strategy:
    # A second strategy of the process would number its collective operations from the beginning, and TensorFlow would
    # confuse them with those of the first one.
    return tf.distribute.MirroredStrategy(list(gpus))


def count_replicas() -> int:
    """Returns the number of devices of the strategy in whose scope this is called."""
    return tf.distribute.get_strategy().num_replicas_in_sync


@contextlib.contextmanager
def use_precision(name: str) -> Iterator[None]:
    """Sets the precision policy of the layers that are built in this context. Weights are always float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def choose_precision() -> str:
    """Returns the fastest precision that every GPU supports in hardware. A CPU computes in float32.

    float16 needs compute capability 7.0, and bfloat16 needs 8.0. bfloat16 is preferred, because float16 needs loss
    scaling.
    """
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    capability = min((gpu.get("compute_capability", (0, 0)) for gpu in details), default=(0, 0))
    if capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= (7, 0) else "float32"


def make_predict_function(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from a batch of uint8 to the model's predictions with its present weights.

    On a CPU, the weights are constants; see `_freeze`.
    """
    if not _can_freeze(model):
        return lambda batch: np.asarray(keras.ops.convert_to_numpy(model.predict_on_batch(batch)))
    constant = _freeze(model, tf.uint8)
    return lambda batch: constant(tf.constant(batch)).numpy()


def make_inference(model: keras.Model) -> Callable[[Any], Any]:
    """Returns a function from a float32 tensor of images to the model's predictions, to be called within a graph.

    On a CPU, the weights are constants; see `_freeze`.
    """
    return _freeze(model, tf.float32) if _can_freeze(model) else lambda images: model(images, training=False)


def _can_freeze(model: keras.Model) -> bool:
    return not has_accelerator() and model.count_params() <= MAX_CONSTANTS


def _freeze(model: keras.Model, dtype: tf.DType) -> Callable[[Any], Any]:
    """Returns the predictions of a model as a function with constant weights.

    TensorFlow then folds batch normalization into the convolutions. For the features of MobileNetV2, this is 1.4 times
    as fast as a `tf.function` and 1.9 times as fast as `predict`.
    """
    call = tf.function(lambda batch: model(batch, training=False))
    shape = tf.TensorSpec((None, *model.input_shape[1:]), dtype)
    constant = convert_variables_to_constants_v2(call.get_concrete_function(shape))
    return lambda batch: constant(batch)[0]
