"""The stages of a training run: their trainable layers, epochs and learning rates. A strategy is a tuple of stages."""

import math
import re
from dataclasses import dataclass

import keras

from keras_inat.errors import PROGRAM, UserError, describe_choices
from keras_inat.models.backbones import HEAD
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config, Finetune
from keras_inat.store.records import StageSummary


@dataclass(frozen=True)
class Stage:
    """A period of training with the same trainable layers."""

    name: str  # the name that `metrics.jsonl` records with every epoch
    # Trainable fraction of the backbone's layers with kernels, from the top; None: `finetune.unfreeze`.
    depth: float | None
    fraction: float  # fraction of all epochs


SCRATCH = (Stage("scratch", 1.0, 1.0),)
STRATEGIES: dict[str, tuple[Stage, ...]] = {
    "head": (Stage("head", 0.0, 1.0),),
    "topk": (Stage("head", 0.0, 0.3), Stage("top", None, 0.7)),
    "full": (Stage("full", 1.0, 1.0),),
    # Gradual unfreezing from the top: Howard & Ruder 2018 (arXiv 1801.06146).
    "gradual": (
        Stage("head", 0.0, 0.25),
        Stage("top third", 1 / 3, 0.25),
        Stage("top two thirds", 2 / 3, 0.25),
        Stage("all", 1.0, 0.25),
    ),
    # Linear probing, then fine-tuning: Kumar et al. 2022 (arXiv 2202.10054).
    "lpft": (Stage("head", 0.0, 0.5), Stage("all", 1.0, 0.5)),
}


@dataclass(frozen=True)
class PlannedStage(Stage):
    """A stage of a run."""

    index: int  # position among the stages, from 0
    initial_epoch: int  # number of epochs before it
    last_epoch: int  # its last epoch, counted from 1 over the whole run


def plan_epochs(config: Config, steps_per_epoch: int) -> Config:
    """Returns the configuration with as many epochs as `training.min_steps` needs, if these are more."""
    epochs = math.ceil(config.training.min_steps / steps_per_epoch)
    return override(config, {"training.epochs": max(config.training.epochs, epochs), "training.min_steps": 0})


def plan_stages(config: Config) -> list[PlannedStage]:
    """Divides the epochs of a run among its stages. Each stage gets at least one."""
    strategy = config.finetune.strategy if config.finetune else "scratch"
    if strategy == "all":
        raise UserError(
            f"`finetune.strategy`=all is for `{PROGRAM} finetune`, which runs them one by one: choose one here"
        )
    stages = STRATEGIES.get(strategy, SCRATCH)
    epochs = config.training.epochs
    if epochs < len(stages):
        raise UserError(f"`training.epochs` must be at least {len(stages)}, one for each stage. Received: {epochs}.")
    plan = list[PlannedStage]()
    fraction = 0.0
    last_epoch = 0
    for index, stage in enumerate(stages):
        initial_epoch = last_epoch
        fraction += stage.fraction
        later_stages = len(stages) - 1 - index
        last_epoch = min(max(round(fraction * epochs), initial_epoch + 1), epochs - later_stages)
        plan.append(PlannedStage(**vars(stage), index=index, initial_epoch=initial_epoch, last_epoch=last_epoch))
    return plan


def apply_stage(model: keras.Model, stage: Stage, finetune: Finetune | None) -> dict[str, float]:
    """Makes exactly the layers of a stage trainable, from the next `compile` on.

    With `finetune.batch_norm`=frozen, the batch normalization of a backbone keeps its pretrained statistics. Those of
    small batches from another data set would harm it.

    Returns:
        By the path of a trainable weight of the backbone, the factor on the learning rate of the head.

    Raises:
        UserError: `finetune.unfreeze` asks for layers that the backbone does not have.
    """
    rate_multipliers = dict[str, float]()
    if finetune is None:
        return rate_multipliers
    backbone = [layer for layer in model.layers if layer.name not in HEAD]
    first = _find_first(backbone, finetune.unfreeze if stage.depth is None else stage.depth)
    num_steps = max(1, sum(map(_has_kernel, backbone)) - 1)
    layers_above = num_steps + 1  # layers with kernels above this one
    for position, layer in enumerate(backbone):
        is_frozen_norm = isinstance(layer, keras.layers.BatchNormalization) and finetune.batch_norm == "frozen"
        layer.trainable = position >= first and not is_frozen_norm
        layers_above -= _has_kernel(layer)
        distance = min(layers_above, num_steps) / num_steps  # 0 at the top of the backbone, 1 at its bottom
        multiplier = finetune.backbone_rate * finetune.bottom_rate**distance
        rate_multipliers |= {weight.path: multiplier for weight in layer.trainable_weights}
    return rate_multipliers


def summarize_stage(model: keras.Model, stage: Stage, config: Config) -> StageSummary:
    """Applies a stage and returns its record for the result."""
    rate = config.training.learning_rate
    rates = [multiplier * rate for multiplier in apply_stage(model, stage, config.finetune).values()]
    trained = [layer for layer in model.layers if layer.trainable and layer.name not in HEAD]
    return StageSummary(
        stage=stage.name,
        parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        learning_rate=rate,
        layers=sum(map(_has_kernel, trained)) if config.finetune else None,
        backbone_rates=(max(rates), min(rates)) if rates else (),
    )


def describe_stage(summary: StageSummary, parameters: int) -> str:
    """Describes a stage of fine-tuning in one line. `parameters` is the number of all parameters."""
    backbone_rates = " to ".join(dict.fromkeys(f"{rate:.2g}" for rate in summary.backbone_rates))
    return (
        f"stage '{summary.stage}': trains {summary.layers} layers of the backbone and the head, "
        f"{summary.parameters:,} of {parameters:,} parameters, learning rate {summary.learning_rate:g}"
        + (f", backbone {backbone_rates}" if backbone_rates else "")
    )


def _has_kernel(layer: keras.Layer) -> bool:
    """Returns True if a layer, or one within it, has a weight of two or more dimensions."""
    return any(len(weight.shape) > 1 for weight in layer.weights)


def _find_first(backbone: list[keras.Layer], unfreeze: int | float | str) -> int:
    """Returns the index of the lowest trainable layer, given a layer count, a fraction or a block name."""
    with_kernel = [position for position, layer in enumerate(backbone) if _has_kernel(layer)]
    if isinstance(unfreeze, str):
        for position, layer in enumerate(backbone):
            # `block_1` is not a prefix of `block_13`.
            if re.match(re.escape(unfreeze) + r"(?!\d)", layer.name) and position <= with_kernel[-1]:
                return position
        names = [backbone[position].name for position in with_kernel]
        raise UserError(f"`finetune.unfreeze` {describe_choices(unfreeze, names)}")
    count = int(unfreeze)
    if isinstance(unfreeze, float) and unfreeze > 0:
        count = max(1, round(unfreeze * len(with_kernel)))
    if count > len(with_kernel):
        raise UserError(f"`finetune.unfreeze` must be at most {len(with_kernel)} for this backbone. Received: {count}.")
    if count == len(with_kernel):
        return 0  # includes a normalization below the first of them
    return with_kernel[-count] if count else len(backbone)
