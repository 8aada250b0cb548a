"""The command `replay`: the epochs that search methods need, measured on recorded trials."""

from keras_inat.bench.replay import replay_methods
from keras_inat.settings.schema import Config


def run(config: Config) -> None:
    """Prints a row for each method and draws the best score against the epochs."""
    replay_methods(config)
