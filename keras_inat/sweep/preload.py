"""Imported once by the process that trials are forked from, so that none of them has to import TensorFlow."""

from keras_inat.progress import hide_startup_messages

with hide_startup_messages():
    import keras_inat.sweep.trial  # noqa: F401
