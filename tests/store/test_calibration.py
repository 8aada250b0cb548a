"""Temperature scaling against numbers calculated by hand, and on logits that are known to be too large."""

import numpy as np
import pytest

from keras_inat.store.calibration import fit_temperature, measure_log_losses, scale_probabilities


def _soften(logits):
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def test_scaling_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5]], np.float32)
    scaled = scale_probabilities(probabilities, 2.0)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, [[0.75, 0.25], [0.5, 0.5]], atol=1e-7)  # sqrt(0.9) : sqrt(0.1) = 3 : 1
    assert scale_probabilities(probabilities, None) is probabilities
    np.testing.assert_allclose(scale_probabilities(probabilities, 1.0), probabilities, atol=1e-7)


def test_probabilities_that_were_rounded_to_zero_are_scaled():
    scaled = scale_probabilities(np.array([[1.0, 0.0, 0.0]], np.float32), 10.0)
    tail = 1.1754944e-38**0.1
    np.testing.assert_allclose(scaled, np.array([[1, tail, tail]]) / (1 + 2 * tail), rtol=1e-6)


def test_log_losses_by_hand():
    losses = measure_log_losses(np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([0, 0]))
    np.testing.assert_allclose(losses, [np.log(4), 0])


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_known_factor(factor):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (20_000, 5))
    labels = (rng.random((20_000, 1)) > _soften(logits).cumsum(axis=1)).sum(axis=1)
    overconfident = _soften(factor * logits).astype(np.float32)
    temperature = fit_temperature(overconfident, labels)
    assert temperature == pytest.approx(factor, rel=0.03)

    def measure(change):
        return measure_log_losses(scale_probabilities(overconfident, temperature * change), labels).mean()

    assert measure(1) < min(measure(0.98), measure(1.02))


def test_three_images_by_hand():
    """One of three equally confident images is wrong: the confidence becomes 2/3."""
    probabilities = np.array([[0.9, 0.1]] * 3)
    temperature = fit_temperature(probabilities, np.array([0, 0, 1]))
    assert temperature == pytest.approx(np.log(9) / np.log(2), rel=1e-4)
    np.testing.assert_allclose(scale_probabilities(probabilities, temperature)[:, 0], 2 / 3, atol=1e-4)


def test_without_an_error_there_is_no_temperature():
    assert fit_temperature(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])) is None


def test_a_useless_model_has_the_largest_temperature():
    assert fit_temperature(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([1, 0])) == pytest.approx(10, rel=1e-3)
