"""The command `bench`: speeds of loading, training and fine-tuning beside common alternatives."""

from keras_inat.bench.benchmarks import print_benchmarks as run

__all__ = ["run"]
