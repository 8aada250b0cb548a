"""The best configuration of a sweep, trained fully and judged once a seed."""

import statistics

from keras_inat.config import override
from keras_inat.intervals import mean_interval
from keras_inat.sections import Config
from keras_inat.training.evaluation import train_and_judge


def run(config: Config) -> None:
    """Trains `train_best.seeds` times, each with its own seed and run folder, and says how well it did."""
    seeds = range(config.run.seed, config.run.seed + config.train_best.seeds)
    results = [train_and_judge(override(config, {"run.seed": seed}), "train-best", f"seed {seed}") for seed in seeds]
    if len(results) == 1:
        return
    print(f"{'seed':>6} {'validation':>11} {'test':>7} {'minutes':>8}")
    for result in results:
        minutes = result["seconds"] / 60
        print(f"{result['seed']:>6} {result['val_accuracy']:>11.1%} {result['test_accuracy']:>7.1%} {minutes:>8.1f}")
    for name, key in (("validation", "val_accuracy"), ("test", "test_accuracy")):
        values = [result[key] for result in results]
        low, high = mean_interval(values)
        print(
            f"{name} accuracy, mean of {len(values)} seeds: {statistics.mean(values):.1%} "
            f"(95 % interval {low:.1%} to {high:.1%})"
        )
    best = max(results, key=lambda result: result["val_accuracy"])
    print(f"best on validation: seed {best['seed']}, which the report's pictures are of")
