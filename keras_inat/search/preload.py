"""Imports TensorFlow in the process that trials are forked from, so that no trial has to import it."""

from keras_inat.progress import hide_startup_messages

with hide_startup_messages():
    import keras_inat.search.trial  # noqa: F401
