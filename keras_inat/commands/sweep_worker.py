"""A worker of a sweep on several machines."""

from keras_inat.commands.sweep import conclude
from keras_inat.settings.schema import Config
from keras_inat.sweep.cluster import work


def run(config: Config) -> None:
    """Trains what the chief proposes, and says what was found."""
    conclude(config, work(config))
