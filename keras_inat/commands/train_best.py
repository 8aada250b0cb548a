"""The best configuration of a sweep, trained fully and judged once a seed."""

from keras_inat.settings.schema import Config
from keras_inat.training.evaluation import train_seeds


def run(config: Config) -> None:
    """Trains `run.seeds` times, and says how well it did."""
    train_seeds(config, "train-best", "")
