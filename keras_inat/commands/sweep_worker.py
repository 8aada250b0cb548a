"""A worker of a sweep on several machines."""

from keras_inat.commands.sweep import conclude
from keras_inat.settings.schema import Config
from keras_inat.sweep.cluster import run_worker


def run(config: Config) -> None:
    """Trains the trials that the chief proposes and prints the best one."""
    conclude(config, run_worker(config))
