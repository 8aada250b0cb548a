"""A trained model with its explanations, from which sections make sentences and figures without TensorFlow."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from keras_inat.reporting.blocks import Picture
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.history import FinishedRun
from keras_inat.settings.schema import Report
from keras_inat.store.explanations import Explanations
from keras_inat.store.predictions import Predictions, ValidationSample


@dataclass(frozen=True)
class ExplainedModel:
    """The explanations of a trained model, with the images that they are about."""

    run: FinishedRun  # the run that trained it
    explanations: Explanations
    predictions: Predictions  # its predictions on the test images
    sample: ValidationSample | None  # some validation images
    figures: FigureFolder  # the folder of the figures
    settings: Report  # the settings of the report

    def add_figure(self, name: str, draw: "partial[Any]", alt: str, caption: str) -> Picture:
        """Adds a figure of this model and returns its block."""
        return self.figures.add(f"{self.run.command}-{name}", draw, alt, caption)

    @property
    def images(self) -> np.ndarray:
        """The validation images. Only explanations that need them may ask for them."""
        assert self.sample is not None
        return self.sample.pixels
