"""The effect of temperature scaling (Guo et al. 2017, arXiv 1706.04599) on the test images."""

from dataclasses import replace
from typing import NamedTuple

from keras_inat.intervals import Estimate, estimate_mean
from keras_inat.reporting.statistics.accuracy import Calibration, measure_calibration
from keras_inat.store.calibration import measure_log_losses, scale_probabilities
from keras_inat.store.predictions import Predictions


class TemperatureEffect(NamedTuple):
    """The calibration with a temperature beside that without one."""

    calibration: Calibration  # with the temperature
    log_loss_before: float  # mean negative log-likelihood without the temperature
    log_loss_after: float  # mean negative log-likelihood with the temperature
    change: Estimate | None  # their paired difference, after minus before; None for a single image


def measure_temperature_effect(predictions: Predictions, temperature: float) -> TemperatureEffect:
    """Measures the calibration of predictions with a temperature, which was fitted on other images."""
    scaled = scale_probabilities(predictions.probabilities, temperature)
    before = measure_log_losses(predictions.probabilities, predictions.labels)
    after = measure_log_losses(scaled, predictions.labels)
    return TemperatureEffect(
        calibration=measure_calibration(replace(predictions, probabilities=scaled)),
        log_loss_before=float(before.mean()),
        log_loss_after=float(after.mean()),
        change=estimate_mean((after - before).tolist(), "images") if len(before) > 1 else None,
    )
