"""Trains the best configuration of a sweep fully and evaluates it once a seed."""

from keras_inat.settings.schema import Config
from keras_inat.training.evaluation import train_seeds


def run(config: Config) -> None:
    """Trains and evaluates `run.seeds` times and prints the scores."""
    train_seeds(config, "train-best", "")
