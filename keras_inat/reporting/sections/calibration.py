"""Calibration: the confidence of the best models on the test images, compared with their accuracy."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from keras_inat.intervals import Estimate, estimate_proportion
from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Details, Prose, Section, Table
from keras_inat.reporting.charts.classification import draw_reliability_diagram
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import MISSING, percent, percent_with_interval
from keras_inat.reporting.sections.trained_models import TrainedModel, place_beside
from keras_inat.reporting.statistics.accuracy import Calibration, estimate_top_k, measure_calibration
from keras_inat.reporting.statistics.temperature import TemperatureEffect, measure_temperature_effect

TITLE = "Calibration"
LEAD = (
    "Test images are grouped by confidence, the probability of their predicted class. Below the dashed line a model is "
    "overconfident, above it underconfident."
)
TOP_K = 3


class _Measured(NamedTuple):
    """The calibration of a model on the test images, before and after temperature scaling."""

    model: TrainedModel
    confidence: float  # the mean
    accuracy: Estimate
    before: Calibration
    effect: TemperatureEffect | None  # None if no temperature was fitted


def describe_calibration(models: Sequence[TrainedModel], figures: FigureFolder) -> Section:
    """Returns the section on the confidence of each model."""
    measured = {model.title: _measure(model) for model in models}
    columns = [_describe_model(entry, figures) for entry in measured.values()]
    blocks = place_beside(list(measured), columns)
    details = Details(
        "Expected calibration error and temperature scaling", [_tabulate(measured), Prose(_describe_method(measured))]
    )
    return Section(TITLE, [*blocks, details], lead=LEAD)


def _measure(model: TrainedModel) -> _Measured:
    predictions = model.predictions
    temperature = model.run.result.temperature
    return _Measured(
        model=model,
        confidence=float(predictions.probabilities.max(axis=1).mean()),
        accuracy=estimate_proportion(int(predictions.correct.sum()), len(predictions.labels)),
        before=measure_calibration(predictions),
        effect=None if temperature is None else measure_temperature_effect(predictions, temperature),
    )


def _describe_model(measured: _Measured, figures: FigureFolder) -> list[Block]:
    bias = "neither overconfident nor underconfident, within the interval"
    if measured.confidence > measured.accuracy.high:
        bias = "overconfident"
    elif measured.confidence < measured.accuracy.low:
        bias = "underconfident"
    error = f"{100 * measured.before.error:.1f} points"
    limit = f"{100 * measured.before.chance_limit:.1f}"
    scaled_bins = measured.effect.calibration.bins if measured.effect else []
    picture = figures.add(
        f"{measured.model.run.command}-calibration",
        partial(draw_reliability_diagram, measured.before.bins, scaled_bins),
        "Reliability diagram: accuracy against confidence on the test images.",
        f"Reliability diagram.{' Hollow circles: after temperature scaling.' if scaled_bins else ''}",
    )
    text = (
        f"The model is {bias}: its mean confidence is {percent(measured.confidence)}, and its accuracy is "
        f"{percent_with_interval(measured.accuracy)}. The expected calibration error is {error}; chance alone "
        f"explains up to {limit}."
    )
    return [picture, Prose(text)]


def _tabulate(measured: dict[str, _Measured]) -> Table:
    columns = [_list_cells(entry) for entry in measured.values()]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return Table("Calibration on the test images.", f"l{'r' * len(columns)}", ["", *measured], rows)


def _list_cells(measured: _Measured) -> dict[str, str]:
    before = measured.before
    effect = measured.effect
    after = log_losses = change = temperature = MISSING
    if effect:
        temperature = f"{measured.model.run.result.temperature:.2f}"
        after = _format_error(effect.calibration)
        log_losses = f"{effect.log_loss_before:.4f} and {effect.log_loss_after:.4f}"
        if effect.change:
            value, interval = formatting.difference(effect.change, 4)
            change = f"{value} ({interval}, {formatting.sample_size(effect.change)})"
    cells = {
        "expected calibration error": _format_error(before),
        "temperature": temperature,
        "expected calibration error after scaling": after,
        "mean negative log-likelihood before and after scaling": log_losses,
        "change of the negative log-likelihood": change,
    }
    if len(measured.model.run.data.classes) > TOP_K:
        top = percent_with_interval(estimate_top_k(measured.model.predictions, TOP_K))
        cells = {f"true class among the {TOP_K} most probable ones": top} | cells
    return cells


def _format_error(calibration: Calibration) -> str:
    return f"{100 * calibration.error:.1f} points (chance: up to {100 * calibration.chance_limit:.1f})"


def _describe_method(measured: dict[str, _Measured]) -> str:
    text = (
        "The expected calibration error is the mean absolute difference between confidence and accuracy over ten bins "
        "of equal width, weighted by their images. Chance: a perfectly calibrated model on as many images stays below "
        "this error in 95 of 100 cases. "
    )
    if any(entry.effect for entry in measured.values()):
        text += (
            "Temperature scaling (Guo et al. 2017) divides the logits by the temperature, which was fitted on the "
            "validation images when the run ended. The command `predict` prints the scaled probabilities. "
        )
    if not all(entry.effect for entry in measured.values()):
        text += (
            "No temperature was fitted where every validation image is classified correctly: the command `predict` "
            "prints the probabilities as they are."
        )
    return text.strip()
