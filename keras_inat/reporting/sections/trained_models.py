"""The models that the page describes in detail: the best one from scratch and the best fine-tuned one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keras_inat.reporting.blocks import Block, Columns
from keras_inat.reporting.history import DataSet, FinishedRun, SeedGroup
from keras_inat.store.predictions import Predictions

TITLES = {"train-best": "From scratch", "finetune": "Fine-tuned"}


@dataclass(frozen=True)
class TrainedModel:
    """The run of a group with the best score on validation."""

    group: SeedGroup
    predictions: Predictions | None  # on the test images; None if the file is missing or damaged

    @property
    def run(self) -> FinishedRun:
        return self.group.best

    @property
    def title(self) -> str:
        return TITLES[self.run.command]


def choose_models(data_set: DataSet) -> list[TrainedModel]:
    """Returns the best model from scratch and the best fine-tuned one, as far as there are any."""
    groups = [data_set.find_groups(command) for command in TITLES]
    return [TrainedModel(found[0], found[0].best.read_predictions()) for found in groups if found]


def describe_each(models: Sequence[TrainedModel], describe: Callable[[TrainedModel], list[Block]]) -> list[Block]:
    """Returns the blocks of each model, side by side if there are two."""
    if len(models) == 1:
        return describe(models[0])
    return [Columns([model.title for model in models], [describe(model) for model in models])]
