"""The best configuration of a sweep, trained fully and judged once a seed."""

import statistics

from keras_inat.config import override
from keras_inat.sections import Config
from keras_inat.training.evaluation import train_and_judge


def run(config: Config) -> None:
    """Trains `train_best.seeds` times, each with its own seed and run folder, and says how well it did."""
    seeds = range(config.run.seed, config.run.seed + config.train_best.seeds)
    accuracies = [train_and_judge(override(config, {"run.seed": seed}), "train-best", f"seed {seed}") for seed in seeds]
    if len(accuracies) > 1:
        mean, spread = statistics.mean(accuracies), statistics.stdev(accuracies)
        print(f"test accuracy over {len(accuracies)} seeds: mean {mean:.1%}, standard deviation {spread:.1%}")
