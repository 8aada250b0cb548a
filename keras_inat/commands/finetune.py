"""Fine-tunes a pretrained backbone by one strategy or by each of them and evaluates it once a seed."""

import re
import statistics
from collections.abc import Mapping, Sequence

from keras_inat.commands.seeds import train_seeds
from keras_inat.errors import UserError
from keras_inat.log import warn
from keras_inat.models.backbones import name_backbone
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.store.records import Result
from keras_inat.store.runs import RunFolder
from keras_inat.store.seed_scores import estimate_accuracy
from keras_inat.training.session import build_model
from keras_inat.training.stages import STRATEGIES, apply_stage, plan_stages


def run(config: Config) -> list[RunFolder]:
    """Fine-tunes by `finetune.strategy` and prints the scores; with "all", by every strategy, and prints a table.

    Returns the folders of the runs.
    """
    if config.finetune is None:
        raise UserError("this configuration has no `finetune` section: give one, or finetune.strategy=head")
    if config.finetune.weights == "none" and config.finetune.batch_norm == "frozen":
        warn(
            "WEIGHTS=none gives the backbone random weights, and frozen batch normalization does not normalize there. "
            "To train it from scratch, give STRATEGY=full, finetune.batch_norm=trained and finetune.backbone_rate=1"
        )
    if config.model != Config().model:
        warn("settings of `model` are for training from scratch. They do not change a backbone")
    if config.finetune.strategy != "all":
        named = override(config, {"run.name": _choose_name(config)})
        return train_seeds({config.finetune.strategy: named}, "finetune")[0]
    configs = {}
    network = build_model(config, num_classes=2)
    for strategy in STRATEGIES:
        changed = override(config, {"finetune.strategy": strategy})
        configs[strategy] = override(changed, {"run.name": _choose_name(changed, f"-{strategy}")})
        # A strategy that cannot be trained is found before any other has been evaluated on the test images.
        for planned in plan_stages(changed):
            apply_stage(network, planned, changed.finetune)
    groups = train_seeds(configs, "finetune")
    _print_comparison(dict(zip(configs, groups, strict=True)))
    return [run for runs in groups for run in runs]


def _choose_name(config: Config, suffix: str = "") -> str:
    """Returns the given name with `suffix`, or else one made of the strategy and the backbone."""
    assert config.finetune
    if config.run.name != Config().run.name:
        return config.run.name + suffix
    name = f"{config.finetune.strategy}-{name_backbone(config.finetune)}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100]


def _print_comparison(groups: Mapping[str, Sequence[RunFolder]]) -> None:
    results = {strategy: [Result.read(run.result) for run in runs] for strategy, runs in groups.items()}
    is_imbalanced = any(result.data.is_imbalanced for runs in results.values() for result in runs)
    print(f"{'strategy':10} {'trained':>12} {'minutes':>8} {'validation':>11} {'test':>7}  95 % interval")
    for strategy, runs in results.items():
        test = estimate_accuracy(list(zip(groups[strategy], runs, strict=True)))
        trained = max(stage.parameters for stage in runs[0].stages)
        minutes = statistics.mean(result.seconds for result in runs) / 60
        validation = statistics.mean(result.val_accuracy for result in runs)
        print(
            f"{strategy:10} {trained:>12,} {minutes:>8.1f} {validation:>11.1%} {test.value:>7.1%}  "
            f"{test.low:.1%} to {test.high:.1%}, n = {test.num:,} {test.unit}"
            + (_describe_balance(runs) if is_imbalanced else "")
        )


def _describe_balance(runs: Sequence[Result]) -> str:
    """Returns the balanced accuracies, means over the seeds, and the majority baseline."""
    tests = [result.test_scores for result in runs]
    validation = statistics.mean(result.val_balanced_accuracy for result in runs)
    test = statistics.mean(scores.balanced_accuracy for scores in tests)
    baseline = tests[0].majority_baseline
    return f"; balanced: validation {validation:.1%}, test {test:.1%}; majority baseline {baseline:.1%}"
