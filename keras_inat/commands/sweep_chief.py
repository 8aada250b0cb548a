"""The chief of a sweep on several machines."""

from keras_inat.commands.sweep import conclude
from keras_inat.settings.schema import Config
from keras_inat.sweep.cluster import run_chief
from keras_inat.sweep.wandb_report import publish_report


def run(config: Config) -> None:
    """Proposes the missing trials to workers and prints the best one."""
    conclude(config, run_chief(config))
    publish_report(config)
