# ruff: noqa: F401 (the names of `keras_inat.__all__` are imported for their users)
"""The Python API, for notebooks and programs. `import keras_inat` offers all of its names."""

from keras_inat.api.classifier import Classifier, Evaluation, Explanations, Prediction, Predictions
from keras_inat.api.history import Page, Run, Runs, Sweep
from keras_inat.api.verbs import finetune, load, report, results, suspects, sweep, train
from keras_inat.errors import UserError
from keras_inat.store.suspects import SuspectRun
