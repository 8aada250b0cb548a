"""The comparison of an export with Keras on the validation sample of the run, and its speed."""

import statistics
import time
from dataclasses import dataclass

import numpy as np

from keras_inat.intervals import paired_interval, wilson_interval
from keras_inat.models.predictors import Function
from keras_inat.store.predictions import ValidationSample

# Classes whose probabilities in Keras differ by less than this are equally probable: float32 has seven digits.
TIE = 1e-6
BATCHES = (1, 64)
MIN_REPEATS = 5
MAX_SECONDS = 1.0  # of repeated timings of one batch size


@dataclass(frozen=True)
class Agreement:
    """An export beside Keras on the same images."""

    max_difference: float  # the largest difference of a probability
    agreement: float  # fraction of the images with the same predicted class
    accuracy: float
    interval: tuple[float, float]  # its 95 % interval over images
    gain: float  # its accuracy minus that of Keras
    gain_interval: tuple[float, float]  # 95 % interval of this paired difference


def compare(probabilities: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> Agreement:
    """Compares the probabilities `(images, classes)` of an export with those of Keras.

    Two classes that are equally probable in Keras count as the same class.
    """
    rows = np.arange(len(labels))
    predicted = probabilities.argmax(axis=1)
    same = reference.max(axis=1) - reference[rows, predicted] <= TIE
    correct = predicted == labels
    differences = correct.astype(float) - (reference.argmax(axis=1) == labels)
    # A runtime that returns something that is no number has the largest difference.
    difference = np.nan_to_num(np.abs(probabilities - reference), nan=1.0, posinf=1.0)
    return Agreement(
        max_difference=float(difference.max()),
        agreement=float(same.mean()),
        accuracy=float(correct.mean()),
        interval=wilson_interval(int(correct.sum()), len(labels)),
        gain=float(differences.mean()),
        gain_interval=paired_interval(differences),
    )


def measure_latency(function: Function, sample: ValidationSample) -> dict[int, float]:
    """Returns the median time in milliseconds of a batch, by the number of its images. The first call is not counted.

    A sample with fewer images is repeated.
    """
    latencies = {}
    for size in BATCHES:
        batch = sample.pixels[np.arange(size) % len(sample.pixels)]
        function(batch)
        seconds: list[float] = []
        while len(seconds) < MIN_REPEATS or sum(seconds) < MAX_SECONDS:
            began = time.perf_counter()
            function(batch)
            seconds.append(time.perf_counter() - began)
        latencies[size] = round(1000 * statistics.median(seconds), 3)
    return latencies
