"""The confusion matrix."""

import numpy as np
from sklearn.metrics import confusion_matrix

from keras_inat.store.predictions import Predictions


def count_confusion(predictions: Predictions, num_classes: int) -> np.ndarray:
    """Returns the confusion matrix `(classes, classes)` int64: true classes in rows, predicted classes in columns."""
    return confusion_matrix(predictions.labels, predictions.predicted, labels=np.arange(num_classes))
