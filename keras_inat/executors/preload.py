"""Imports TensorFlow in the process that tasks are forked from, so that no task has to import it."""

from keras_inat.progress import hide_startup_messages
from keras_inat.workers import end_with_parent

# A forkserver notices the end of its parent only after the imports, which take seconds.
with end_with_parent(), hide_startup_messages():
    import keras_inat.training.evaluation  # noqa: F401
