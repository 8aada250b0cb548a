"""A pretrained backbone, adapted by one strategy or by each of them, and judged once a seed."""

import re
import statistics
import sys
from pathlib import Path
from typing import Any

from keras_inat.errors import UserError
from keras_inat.intervals import accuracy_interval
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config, Finetune
from keras_inat.training.evaluation import train_seeds
from keras_inat.training.session import build_model
from keras_inat.training.stages import STRATEGIES, apply_stage, plan_stages


def run(config: Config) -> None:
    """Fine-tunes as `finetune.strategy` says, and says how well it did."""
    if config.finetune is None:
        raise UserError("this configuration has no `finetune` section: give one, or finetune.strategy=head")
    if config.finetune.weights == "none" and config.finetune.batch_norm == "frozen":
        print(
            "warning: WEIGHTS=none is a backbone that has learned nothing, and frozen batch normalisation normalises "
            "nothing there: to train it from scratch give STRATEGY=full, finetune.batch_norm=trained and "
            "finetune.backbone_rate=1",
            file=sys.stderr,
        )
    if config.model != Config().model:
        print("warning: settings of `model` are for training from scratch: a backbone has its own", file=sys.stderr)
    every = config.finetune.strategy == "all"
    strategies = STRATEGIES if every else (config.finetune.strategy,)
    chosen = dict[str, Config]()
    for strategy in strategies:
        one = override(config, {"finetune.strategy": strategy})
        chosen[strategy] = override(one, {"run.name": _name(one, every)})
    if every:
        _check(list(chosen.values()))
    table = {strategy: train_seeds(one, "finetune", strategy) for strategy, one in chosen.items()}
    if every:
        _compare(table)


def _check(configs: list[Config]) -> None:
    """Finds what one of the strategies cannot do before any of them has looked at the test images."""
    network = build_model(configs[0], num_classes=2)
    for config in configs:
        for stage, _ in plan_stages(config):
            apply_stage(network, stage, config.finetune)


def _name(config: Config, every: bool) -> str:
    """The run's name: the one given, or one that says what was adapted and how."""
    settings: Finetune = config.finetune  # type: ignore[assignment]
    if config.run.name != Config().run.name:
        return f"{config.run.name}-{settings.strategy}" if every else config.run.name
    # One of our own models has no name but that of the run that made it.
    own = settings.weights.endswith(".keras")
    name = f"{settings.strategy}-{Path(settings.weights).resolve().parent.name if own else settings.backbone}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100]


def _compare(table: dict[str, list[dict[str, Any]]]) -> None:
    """Prints a row a strategy: what it trained, how long it took, how well it did."""
    print(f"{'strategy':10} {'trained':>12} {'minutes':>8} {'validation':>11} {'test':>7}  95 % interval")
    for strategy, results in table.items():
        trained = max(stage["parameters"] for stage in results[0]["stages"])
        seconds, validation, test = (
            statistics.mean(result[key] for result in results) for key in ("seconds", "val_accuracy", "test_accuracy")
        )
        if len(results) > 1:
            low, high = accuracy_interval([result["test_accuracy"] for result in results], results[0]["test_images"])
            count = f"{len(results)} seeds"
        else:
            (low, high), count = results[0]["test_interval"], f"{results[0]['test_images']:,} images"
        print(
            f"{strategy:10} {trained:>12,} {seconds / 60:>8.1f} {validation:>11.1%} {test:>7.1%}  "
            f"{low:.1%} to {high:.1%}, n = {count}"
        )
