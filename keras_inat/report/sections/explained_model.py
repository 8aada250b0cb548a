"""A trained model with the images that explain it, as the sections on filters and on attribution take it."""

from dataclasses import dataclass
from typing import Any

from keras_inat.report.blocks import Picture
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.seed_groups import FinishedRun
from keras_inat.settings.schema import Report
from keras_inat.store.predictions import Predictions, ValidationSample


@dataclass(frozen=True)
class ExplainedModel:
    """A trained model with the images that explain it.

    Attributes:
        run: The run that trained it.
        model: The Keras model.
        predictions: Its predictions on the test images.
        sample: Some validation images.
        figures: The folder of the figures.
        settings: The settings of the report.
    """

    run: FinishedRun
    model: Any
    predictions: Predictions
    sample: ValidationSample
    figures: FigureFolder
    settings: Report

    def add_figure(self, name: str, figure: Any, alt: str, caption: str) -> Picture:
        """Writes a figure of this model and returns its block."""
        return self.figures.add(f"{self.run.command}-{name}", figure, alt, caption)
