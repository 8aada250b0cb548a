"""Finished runs, and groups of runs that differ only in the seed."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_inat.settings.schema import Finetune
from keras_inat.store.predictions import DuplicatePictures, Predictions, ValidationSample
from keras_inat.store.records import DataSummary, DuplicatePair, EvaluationScores, Result
from keras_inat.store.runs import RunFolder


@dataclass(frozen=True)
class FinishedRun:
    """A run with a result on the test images."""

    folder: RunFolder
    result: Result
    test: EvaluationScores  # those of the result, which every finished run has

    @property
    def command(self) -> str:
        """Returns "finetune" if a backbone was fine-tuned, by whichever command, and "train-best" otherwise."""
        return "finetune" if self.finetune else "train-best"

    @property
    def name(self) -> str:
        return self.result.name

    @property
    def title(self) -> str:
        """The name of its folder."""
        return self.folder.path.name

    @property
    def data(self) -> DataSummary:
        return self.result.data

    @property
    def finetune(self) -> Finetune | None:
        return self.result.config.finetune

    @property
    def trained_parameters(self) -> int:
        """The largest number of parameters that one of its stages trained."""
        return max(stage.parameters for stage in self.result.stages)

    @property
    def backbone(self) -> str:
        """The pretrained network. For weights of our own it is the run that made them, and from scratch it is empty."""
        if not self.finetune:
            return ""
        weights = Path(self.finetune.weights)
        if weights.suffix == ".keras":
            return re.sub(r"^\d{8}-\d{6}-", "", weights.parent.name)
        return self.finetune.backbone

    def read_predictions(self) -> Predictions | None:
        """Reads the predictions on the test images. Returns None if the file is missing or damaged."""
        return Predictions.read(self.folder.predictions, len(self.data.classes))

    def read_sample(self) -> ValidationSample | None:
        """Reads some validation images. Returns None if the file is missing or damaged."""
        return ValidationSample.read(self.folder.sample)

    def read_duplicates(self) -> list[tuple[DuplicatePair, np.ndarray]]:
        """Reads some pairs of near-duplicates with their images `(2, size, size, 3)` uint8.

        Returns:
            Nothing if the file is missing or damaged.
        """
        pictures = DuplicatePictures.read(self.folder.duplicates)
        if pictures is None:
            return []
        pairs = self.data.duplicates
        numbered = zip(pictures.pairs, pictures.pixels, strict=False)
        return [(pairs[number], images) for number, images in numbered if number < len(pairs)]


@dataclass(frozen=True)
class SeedGroup:
    """Runs on the same images that differ only in the seed, one for each seed, the lowest seed first."""

    runs: tuple[FinishedRun, ...]

    @property
    def best(self) -> FinishedRun:
        """The run with the best validation accuracy. It represents the group where only one run can be shown."""
        return max(self.runs, key=lambda run: run.result.val_accuracy)

    @property
    def command(self) -> str:
        return self.best.command

    @property
    def title(self) -> str:
        """A short name for figures and tables."""
        finetune = self.best.finetune
        if not finetune:
            return f"scratch: {self.best.name}"
        depth = f" {finetune.unfreeze}" if finetune.strategy == "topk" else ""
        return f"{finetune.strategy}{depth}: {self.best.backbone}"
