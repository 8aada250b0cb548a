"""The contents of `runs/`: finished runs, seed groups, sweeps and the test ledger, sorted by their images.

Only the run folders are read: no data set, no test images except those that a run kept, no TensorFlow.
"""

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_inat.models.backbones import name_backbone
from keras_inat.reporting.sweep_history import SweepHistory, read_sweep
from keras_inat.settings.schema import Finetune
from keras_inat.store.balance import Objective, choose_common, read_score
from keras_inat.store.ledger import Ledger, read_ledger
from keras_inat.store.predictions import (
    DuplicatePictures,
    Predictions,
    TrainingSample,
    ValidationSample,
    read_test_predictions,
)
from keras_inat.store.records import DataSummary, DuplicatePair, Epoch, EvaluationScores, Result
from keras_inat.store.runs import RunFolder, identify_group, list_runs
from keras_inat.store.suspects import SuspectRun, list_suspects
from keras_inat.store.sweeps import list_sweeps

STUDENT = "student"  # the kind of a run with a teacher, beside the commands "train-best" and "finetune"


@dataclass(frozen=True)
class FinishedRun:
    """A run with a result on the test images."""

    folder: RunFolder
    result: Result
    test: EvaluationScores  # those of the result, which every finished run has

    @property
    def command(self) -> str:
        """Returns "finetune" if a backbone was fine-tuned, by whichever command, and otherwise "train-best".

        A CNN that learned from a teacher is neither: "student".
        """
        if self.finetune:
            return "finetune"
        return STUDENT if self.teacher else "train-best"

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
    def trains_on_images(self) -> bool:
        """False if every stage trained the head alone, on cached features of images without augmentation."""
        frozen = all(stage.layers == 0 for stage in self.result.stages)
        return not (self.finetune and self.finetune.cache_features and frozen)

    @property
    def backbone(self) -> str:
        """The full name of the pretrained network; empty if the run was trained from scratch."""
        return name_backbone(self.finetune) if self.finetune else ""

    @property
    def teacher(self) -> str:
        """The name of the run that it learned from; empty if there is none."""
        return re.sub(r"^\d{8}-\d{6}-", "", Path(self.result.config.training.teacher or "").name)

    @functools.cached_property
    def predictions(self) -> Predictions | None:
        """The predictions on the test images, read once; see `read_predictions`."""
        return self.read_predictions()

    def read_predictions(self) -> Predictions | None:
        """Reads the predictions on the test images. Returns None if the file is missing, damaged or changed."""
        return read_test_predictions(self.folder, self.result)

    def read_epochs(self) -> list[Epoch]:
        """Reads the epochs of the training; none if the file is missing, damaged or changed."""
        return self.folder.read_epochs() if self.is_unchanged(self.folder.metrics) else []

    def read_validation_sample(self) -> ValidationSample | None:
        """Reads some validation images. Returns None if the file is missing, damaged or changed."""
        return ValidationSample.read_unchanged(self.folder, self.result, self.folder.sample)

    def is_unchanged(self, file: Path) -> bool:
        """Returns True if a file of its folder is the one that it has written; see `RunFolder.is_unchanged`."""
        return self.folder.is_unchanged(self.result, file)

    def read_training_sample(self) -> TrainingSample | None:
        """Reads some training images. Returns None if the file is missing, damaged or changed."""
        sample = TrainingSample.read_unchanged(self.folder, self.result, self.folder.training_sample)
        return sample if sample and sample.is_consistent(len(self.data.classes)) else None

    def read_duplicates(self) -> list[tuple[DuplicatePair, np.ndarray]]:
        """Reads some near-duplicates with their images `(2, size, size, 3)` uint8; nothing if the file is damaged."""
        pictures = DuplicatePictures.read_unchanged(self.folder, self.result, self.folder.duplicates)
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
        """The run with the best score on validation. It represents the group where only one run can be shown."""
        return max(self.runs, key=lambda run: run.result.val_score)

    @property
    def subject(self) -> str:
        """The thing that its test accuracy describes. With one seed, that is not the configuration."""
        return "configuration" if len(self.runs) > 1 else "trained model"

    @property
    def objective(self) -> Objective:
        """The score that selected the epochs of its runs."""
        return self.runs[0].result.objective

    @property
    def val_accuracy(self) -> float:
        """The mean validation accuracy over the seeds."""
        return float(np.mean([run.result.val_accuracy for run in self.runs]))

    @property
    def val_balanced_accuracy(self) -> float:
        """The mean balanced validation accuracy over the seeds."""
        return float(np.mean([run.result.val_balanced_accuracy for run in self.runs]))

    @property
    def test_balanced_accuracy(self) -> float:
        """The mean balanced test accuracy over the seeds."""
        return float(np.mean([run.test.balanced_accuracy for run in self.runs]))

    @property
    def title(self) -> str:
        """A short name for figures and tables."""
        finetune = self.best.finetune
        if not finetune:
            origin = "with a teacher" if self.best.teacher else "scratch"
            return f"{origin}: {self.best.result.name}"
        depth = f" {finetune.unfreeze}" if finetune.strategy == "topk" else ""
        return f"{finetune.strategy}{depth}: {self.best.backbone}"


@dataclass
class DataSet:
    """Everything that was done with one set of images."""

    name: str
    data: DataSummary | None = None  # None if no run and no trial has a result
    groups: list[SeedGroup] = field(default_factory=list)
    sweeps: list[SweepHistory] = field(default_factory=list)  # the newest first
    suspects: SuspectRun | None = None  # the newest label suspects

    def find_commands(self) -> set[str]:
        """Returns the commands that used the images."""
        return {group.best.command for group in self.groups} | {"sweep" for _ in self.sweeps}

    @property
    def objective(self) -> Objective:
        """The score on the validation images that compares the groups."""
        return choose_common(group.objective for group in self.groups)

    def find_groups(self, command: str) -> list[SeedGroup]:
        """Returns the groups of a command, the best score on validation first."""
        found = [group for group in self.groups if group.best.command == command]
        return sorted(found, key=lambda group: -read_score(self.objective, group))


@dataclass(frozen=True)
class History:
    """The contents of `runs/`."""

    data_sets: list[DataSet]
    runs: list[FinishedRun]
    ledger: Ledger


def read_history(directory: str | Path) -> History:
    """Reads the folder of all runs. Unfinished runs are skipped, and damaged ones are skipped with a warning."""
    runs = []
    for folder in list_runs(directory):
        result = folder.read_result()
        if result and result.test:
            runs.append(FinishedRun(folder, result, result.test))
    sweeps = [read_sweep(folder) for folder in list_sweeps(directory)]
    data_sets = _sort_by_data(runs, [sweep for sweep in sweeps if sweep.trials], list_suspects(directory))
    return History(data_sets, runs, read_ledger(directory, [run.folder for run in runs]))


def _sort_by_data(runs: list[FinishedRun], sweeps: list[SweepHistory], suspects: list[SuspectRun]) -> list[DataSet]:
    """Sorts what was done by the hash of the images. The data set that most commands used comes first."""
    data_sets = dict[str, DataSet]()
    for run in runs:
        # The newest run describes the data: the hash is the same, but the image size may differ.
        data_sets.setdefault(run.data.hash, DataSet(run.data.name)).data = run.data
    for group in group_by_seed(runs):
        data_sets[group.best.data.hash].groups.append(group)
    for sweep in sorted(sweeps, key=_order_sweep, reverse=True):
        data_set = data_sets.setdefault(sweep.data_hash, DataSet(""))
        data_set.data = data_set.data or sweep.data
        data_set.name = data_set.data.name if data_set.data else sweep.name
        data_set.sweeps.append(sweep)
    for found in suspects:
        data_set = data_sets.setdefault(found.data.hash, DataSet(found.data.name))
        data_set.data = data_set.data or found.data
        data_set.name = data_set.data.name
        data_set.suspects = found
    return sorted(data_sets.values(), key=lambda data_set: -len(data_set.find_commands()))


def _order_sweep(sweep: SweepHistory) -> tuple[int, str]:
    return sweep.folder.read_order(), max(trial.started for trial in sweep.trials)


def group_by_seed(runs: list[FinishedRun]) -> list[SeedGroup]:
    """Groups runs that differ only in the seed. Of several runs with one seed the newest is taken."""
    groups = dict[str, dict[int, FinishedRun]]()
    for run in runs:
        groups.setdefault(identify_group(run.result), {})[run.result.seed] = run
    return [SeedGroup(tuple(seeds[seed] for seed in sorted(seeds))) for seeds in groups.values()]
