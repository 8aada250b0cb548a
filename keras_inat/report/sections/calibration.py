"""Calibration: the confidence of a model compared with its accuracy."""

from keras_inat.report.blocks import Block, Prose
from keras_inat.report.charts.classification import draw_reliability_diagram
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import percent, percent_with_interval, plural
from keras_inat.report.seed_groups import FinishedRun
from keras_inat.report.statistics.classification import estimate_top_k, measure_calibration
from keras_inat.report.statistics.estimates import Estimate, estimate_proportion
from keras_inat.store.predictions import Predictions

TITLE = "Calibration"
TOP_K = 3


def describe_calibration(run: FinishedRun, predictions: Predictions, figures: FigureFolder) -> list[Block]:
    """Describes the calibration of a run on the test images."""
    calibration = measure_calibration(predictions)
    confidence = float(predictions.probabilities.max(axis=1).mean())
    accuracy = estimate_proportion(int(predictions.correct.sum()), len(predictions.labels))
    text = ""
    if len(run.data.classes) > TOP_K:
        top = percent_with_interval(estimate_top_k(predictions, TOP_K))
        text = f"The true class is among the three most probable ones for {top}. "
    comparison = "more" if calibration.error > calibration.chance_limit else "no more"
    text += (
        f"The mean confidence is {percent(confidence)}, and the accuracy is {percent_with_interval(accuracy)}: the "
        f"model is {_describe_bias(confidence, accuracy)}. The expected calibration error is "
        f"{100 * calibration.error:.1f} points ({plural(len(calibration.bins), 'bin')}), {comparison} than chance "
        f"alone explains with so many images (up to {100 * calibration.chance_limit:.1f} points)."
    )
    picture = figures.add(
        f"{run.command}-calibration",
        draw_reliability_diagram(calibration.bins),
        "Reliability diagram: accuracy against confidence on the test images.",
        "Test images are grouped by confidence. Below the dashed line the model is overconfident, above it "
        "underconfident.",
    )
    return [Prose(text), picture]


def _describe_bias(confidence: float, accuracy: Estimate) -> str:
    if confidence > accuracy.high:
        return "overconfident"
    if confidence < accuracy.low:
        return "underconfident"
    return "neither overconfident nor underconfident, within the interval"
