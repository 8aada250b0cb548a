import numpy as np
import pytest

from keras_inat.export import parity
from keras_inat.export.parity import compare, measure_latency
from keras_inat.models.prediction import predict_in_batches
from keras_inat.store.predictions import ValidationSample

REFERENCE = np.array([[0.6, 0.4], [0.3, 0.7], [0.9, 0.1], [0.2, 0.8]])
LABELS = np.array([0, 1, 1, 1])


def test_an_export_is_compared_image_by_image():
    probabilities = REFERENCE.copy()
    probabilities[0] = (0.45, 0.55)  # wrong now
    found = compare(probabilities, REFERENCE, LABELS)
    assert found.max_difference == pytest.approx(0.15)
    assert found.agreement == 0.75
    assert found.accuracy == 0.5
    assert found.interval == pytest.approx((0.1500, 0.8500), abs=1e-4)
    assert found.gain == -0.25
    # Bonett and Price: the mean of (-1, 0, 0, 0, -1, 1) is -1/6 and its standard error sqrt((3/6 - 1/36) / 6).
    half = 1.959964 * np.sqrt((3 / 6 - 1 / 36) / 6)
    assert found.gain_interval == pytest.approx((-1 / 6 - half, -1 / 6 + half))


def test_equally_probable_classes_are_the_same_class():
    reference = np.array([[0.5, 0.5], [0.5001, 0.4999]])
    probabilities = np.array([[0.4999999, 0.5000001], [0.4999, 0.5001]])
    assert compare(probabilities, reference, np.array([0, 0])).agreement == 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_differs_by_one(value):
    probabilities = REFERENCE.copy()
    probabilities[2, 1] = value
    assert compare(probabilities, REFERENCE, LABELS).max_difference == 1.0


def test_images_are_predicted_in_batches():
    sizes = []

    def function(images):
        sizes.append(len(images))
        return images[:, 0, 0, :2].astype(np.float32)

    images = np.random.default_rng(0).integers(0, 256, (70, 2, 2, 3), dtype=np.uint8)
    np.testing.assert_array_equal(predict_in_batches(function, images), images[:, 0, 0, :2])
    assert sizes == [64, 6]


def test_the_latency_is_the_median_without_the_first_call(monkeypatch):
    times = iter([0.0, 1.0, 1.0, 1.5, 1.5, 1.75, 0.0, 4.0, 4.0, 4.5, 4.5, 7.5])
    monkeypatch.setattr(parity.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(parity, "MIN_REPEATS", 3)
    calls = []
    sample = ValidationSample(np.zeros((5, 2, 2, 3), np.uint8), np.zeros(5, int))
    latency = measure_latency(lambda images: calls.append(len(images)), sample)
    assert latency == {1: 500.0, 64: 3000.0}
    assert calls == [1] * 4 + [64] * 4
