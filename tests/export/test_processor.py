import tensorflow as tf

from keras_inat.export.processor import compute_on_processor


def test_reduced_precision_is_off_within_and_restored_after():
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    before = enabled()
    with compute_on_processor():
        assert not enabled()
        assert tf.constant(1.0).device.endswith("CPU:0")
    assert enabled() == before
