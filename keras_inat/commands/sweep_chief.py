"""The chief of a sweep on several machines."""

from keras_inat.commands.sweep import conclude
from keras_inat.settings.schema import Config
from keras_inat.sweep.cluster import lead
from keras_inat.sweep.wandb_report import publish_report


def run(config: Config) -> None:
    """Proposes the trials that are still missing to workers, and says what was found."""
    conclude(config, lead(config))
    publish_report(config)
