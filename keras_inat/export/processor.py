"""Computation on the processor in full float32, as the other runtimes compute."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def compute_on_processor() -> Iterator[None]:
    """Keeps TensorFlow off a GPU. Its TensorFloat-32 has 10 bits, so that probabilities would differ by about 1e-3."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        with tf.device("/CPU:0"):
            yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
