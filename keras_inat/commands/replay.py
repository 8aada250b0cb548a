"""The command `replay`: the epochs that search methods need, measured on recorded trials."""

from keras_inat.bench.replay import replay_methods as run

__all__ = ["run"]
