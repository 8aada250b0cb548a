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
    """A trained model with the images that explain it."""

    run: FinishedRun  # the run that trained it
    model: Any  # the Keras model
    predictions: Predictions  # its predictions on the test images
    sample: ValidationSample  # some validation images
    figures: FigureFolder  # the folder of the figures
    settings: Report  # the settings of the report

    def add_figure(self, name: str, figure: Any, alt: str, caption: str) -> Picture:
        """Writes a figure of this model and returns its block."""
        return self.figures.add(f"{self.run.command}-{name}", figure, alt, caption)
