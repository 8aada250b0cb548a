"""Which layers train, for how long and how fast: a strategy is a row of stages."""

import math
import re
from dataclasses import dataclass

import keras

from keras_inat.errors import UserError, describe_choices
from keras_inat.models.backbones import HEAD
from keras_inat.settings.schema import Config, Finetune


@dataclass(frozen=True)
class Stage:
    """A part of a training run.

    Attributes:
        name: Written into `metrics.jsonl` with every epoch.
        depth: Part of the backbone's layers with kernels that train, from the top; None: `finetune.unfreeze`.
        share: Part of `training.epochs`.
    """

    name: str
    depth: float | None
    share: float


SCRATCH = (Stage("scratch", 1.0, 1.0),)
STRATEGIES: dict[str, tuple[Stage, ...]] = {
    "head": (Stage("head", 0.0, 1.0),),
    "topk": (Stage("head", 0.0, 0.3), Stage("top", None, 0.7)),
    "full": (Stage("full", 1.0, 1.0),),
    # Howard & Ruder 2018 (arXiv 1801.06146): unfreezing from the top keeps what the lower layers know.
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
class TrainableLayers:
    """What of a network trains in a stage.

    Attributes:
        layers: Layers of the backbone with kernels that do.
        parameters: Numbers that do, the head's included.
        rates: By path of a weight of the backbone, its learning rate over the head's.
    """

    layers: int
    parameters: int
    rates: dict[str, float]


def plan_stages(config: Config) -> list[tuple[Stage, int]]:
    """The stages of a run, each with its last epoch, counted over the whole run.

    Raises:
        UserError: When there are fewer epochs than stages, or all strategies at once.
    """
    strategy = config.finetune.strategy if config.finetune else "scratch"
    if strategy == "all":
        raise UserError("`finetune.strategy`=all is for `make finetune`, which runs them one by one: choose one here")
    stages = STRATEGIES.get(strategy, SCRATCH)
    plan: list[tuple[Stage, int]] = []
    epochs, done = config.training.epochs, 0.0
    if epochs < len(stages):
        raise UserError(f"`training.epochs` must be at least {len(stages)}, one for each stage. Received: {epochs}.")
    for index, stage in enumerate(stages):
        done += stage.share
        # Every stage gets an epoch of its own, however few there are.
        earlier, later = (plan[-1][1] if plan else 0), len(stages) - 1 - index
        plan.append((stage, min(max(round(done * epochs), earlier + 1), epochs - later)))
    return plan


def apply_stage(model: keras.Model, stage: Stage, finetune: Finetune | None) -> TrainableLayers:
    """Makes exactly the stage's layers trainable; takes effect at the next `compile`.

    Batch normalisation of a backbone stays frozen unless `finetune.batch_norm` says otherwise, and so goes on with the
    statistics it was trained with: those of small batches from another data set would undo them.

    Raises:
        UserError: When `finetune.unfreeze` asks for layers that the backbone does not have.
    """
    layers, rates = 0, dict[str, float]()
    if finetune:
        backbone = [layer for layer in model.layers if layer.name not in HEAD]
        first = _find_first(backbone, finetune.unfreeze if stage.depth is None else stage.depth)
        layers = sum(map(has_kernel, backbone[first:]))
        steps = max(1, sum(map(has_kernel, backbone)) - 1)
        above = steps + 1  # layers with kernels over this one
        for position, layer in enumerate(backbone):
            layer.trainable = position >= first and (finetune.batch_norm == "trained" or not _is_batch_norm(layer))
            above -= has_kernel(layer)
            rate = finetune.backbone_rate * finetune.bottom_rate ** (min(above, steps) / steps)
            rates |= {weight.path: rate for weight in layer.trainable_weights}
    parameters = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return TrainableLayers(layers, parameters, rates)


def has_kernel(layer: keras.Layer) -> bool:
    """Whether a layer, or one within it, has a weight of two or more dimensions."""
    return any(len(weight.shape) > 1 for weight in layer.weights)


def _find_first(backbone: list[keras.Layer], unfreeze: int | float | str) -> int:
    """Where what trains begins: the position of the lowest of so many layers, of such a part of them, or of a block."""
    kernels = [position for position, layer in enumerate(backbone) if has_kernel(layer)]
    if isinstance(unfreeze, str):
        for position, layer in enumerate(backbone):
            # `block_1` is not the beginning of `block_13`.
            if re.match(re.escape(unfreeze) + r"(?!\d)", layer.name) and position <= kernels[-1]:
                return position
        raise UserError(
            f"`finetune.unfreeze` {describe_choices(unfreeze, [backbone[place].name for place in kernels])}"
        )
    part = isinstance(unfreeze, float) and unfreeze > 0  # of a backbone of few layers, one at least
    count = max(1, round(unfreeze * len(kernels))) if part else int(unfreeze)
    if count > len(kernels):
        raise UserError(f"`finetune.unfreeze` must be at most {len(kernels)} for this backbone. Received: {count}.")
    if count == len(kernels):
        return 0  # with what is normalised before the first of them
    return kernels[-count] if count else len(backbone)


def _is_batch_norm(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)
