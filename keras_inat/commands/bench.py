"""The command `bench`: speeds of loading, training and fine-tuning beside common alternatives."""

from keras_inat.bench.benchmarks import print_benchmarks
from keras_inat.settings.schema import Config


def run(config: Config) -> None:
    """Prints a row for each comparison: images per second of both sides, the median ratio and its range."""
    print_benchmarks(config)
