"""What Keras computes on, and in which precision."""

import contextlib
import functools
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

MOST_CONSTANTS = 250e6  # numbers in a graph, which may hold two gigabytes


@functools.cache
def say_device() -> None:
    """Prints, once, where the training happens."""
    devices = ", ".join(keras.distribution.list_devices())
    print(f"training on {devices}" + ("" if has_accelerator() else " (no GPU was found)"), flush=True)


def has_accelerator() -> bool:
    """Whether Keras computes on anything but a CPU."""
    return any(not device.lower().startswith("cpu") for device in keras.distribution.list_devices())


def choose_compilation() -> str | bool:
    """Keras's `jit_compile`: XLA halves the speed of this network on a CPU; on a GPU Keras decides."""
    return "auto" if has_accelerator() else False


def list_gpus() -> list[str]:
    """The GPUs that TensorFlow sees, by their names within it."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def count_gpus() -> int:
    """GPUs of this machine that may be used, without taking hold of one."""
    return len(tf.config.list_physical_devices("GPU"))


def choose_strategy(batch_size: int) -> tf.distribute.Strategy:
    """Within its scope a model is to be built and compiled: as many GPUs as can share each batch equally take part."""
    gpus = list_gpus()
    count = max((n for n in range(1, len(gpus) + 1) if batch_size % n == 0), default=1)
    return _share(tuple(gpus[:count])) if count > 1 else tf.distribute.get_strategy()


@functools.cache
def _share(gpus: tuple[str, ...]) -> tf.distribute.Strategy:
    """One for the whole process: a second would number its messages anew, and TensorFlow take them for the first's."""
    return tf.distribute.MirroredStrategy(list(gpus))


@contextlib.contextmanager
def use_precision(name: str) -> Iterator[None]:
    """Layers that are built meanwhile compute in `name`; weights are float32 always."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def choose_precision() -> str:
    """The fastest precision that every GPU has units for: bfloat16 needs no scaling of the loss, float16 does.

    Units for float16 came with compute capability 7.0, for bfloat16 with 8.0. CPUs stay with float32.
    """
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    capability = min((gpu.get("compute_capability", (0, 0)) for gpu in details), default=(0, 0))
    return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16" if capability >= (7, 0) else "float32"


def make_deterministic() -> None:
    """Lets every operation give the same bits each time, from here on to the end of the process."""
    tf.config.experimental.enable_op_determinism()


def freeze(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """What a model makes of a batch, with its weights as they are now.

    On a CPU they become constants, so that convolutions take in the normalisation that follows them: the features of
    MobileNetV2 come 1.4 times as fast as from its function, and 1.9 times as fast as from `predict`.
    """
    if has_accelerator() or model.count_params() > MOST_CONSTANTS:
        return lambda batch: np.asarray(keras.ops.convert_to_numpy(model.predict_on_batch(batch)))
    call = tf.function(lambda batch: model(batch, training=False))
    shape = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    constant = convert_variables_to_constants_v2(call.get_concrete_function(shape))
    return lambda batch: constant(tf.constant(batch))[0].numpy()
