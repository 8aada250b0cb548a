"""Imports TensorFlow in the process that tasks are forked from, so that no task has to import it."""

from keras_inat.progress import hide_startup_messages

with hide_startup_messages():
    import keras_inat.training.evaluation  # noqa: F401
