"""Trains the best configuration of a sweep fully and evaluates it once a seed."""

from keras_inat.commands.seeds import train_seeds
from keras_inat.settings.schema import Config
from keras_inat.store.runs import RunFolder


def run(config: Config) -> list[RunFolder]:
    """Trains and evaluates `run.seeds` times and prints the scores. Returns the folders of the runs."""
    return train_seeds({"": config}, "train-best")[0]
