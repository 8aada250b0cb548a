"""The models that the page describes in detail: the best one from scratch, with a teacher and fine-tuned."""

from collections.abc import Sequence
from dataclasses import dataclass

from keras_inat.reporting.blocks import Block, Columns, Heading
from keras_inat.reporting.history import STUDENT, DataSet, FinishedRun, SeedGroup
from keras_inat.store.predictions import Predictions

TITLES = {"train-best": "From scratch", STUDENT: "With a teacher", "finetune": "Fine-tuned"}


@dataclass(frozen=True)
class TrainedModel:
    """A trained model with its predictions on the test images."""

    run: FinishedRun
    predictions: Predictions

    @property
    def title(self) -> str:
        return TITLES[self.run.command]


def choose_groups(data_set: DataSet) -> dict[str, SeedGroup]:
    """Returns the best group from scratch, with a teacher and fine-tuned, as far as there are any, by command."""
    return {command: groups[0] for command in TITLES if (groups := data_set.find_groups(command))}


def read_models(data_set: DataSet) -> list[TrainedModel]:
    """Returns the best run of each of these groups, without those whose predictions are missing or damaged."""
    runs = [group.best for group in choose_groups(data_set).values()]
    return [TrainedModel(run, found) for run in runs if (found := run.predictions)]


def place_beside(titles: Sequence[str], columns: Sequence[list[Block]], is_paired: bool = True) -> list[Block]:
    """Returns the blocks of several models: in columns if `is_paired`, otherwise below each other."""
    if len(columns) == 1:
        return columns[0]
    if is_paired:
        return [Columns(list(titles), list(columns))]
    pairs = zip(titles, columns, strict=True)
    return [block for title, blocks in pairs for block in (Heading(title), *blocks)]
