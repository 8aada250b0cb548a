"""Which layers train, for how long and how fast: a strategy is a row of stages."""

from dataclasses import dataclass

import keras

from keras_inat.errors import UserError
from keras_inat.models.backbones import HEAD
from keras_inat.sections import Config, Finetune


@dataclass(frozen=True)
class Stage:
    """A part of a training run.

    Attributes:
        name: Written into `metrics.jsonl` with every epoch.
        depth: Part of the backbone's layers with weights that train, from the top; None: `finetune.unfreeze` layers.
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


def plan_stages(config: Config) -> list[tuple[Stage, int, float]]:
    """The stages of a run, each with its last epoch (counted over the whole run) and its peak learning rate.

    Raises:
        UserError: When there are fewer epochs than stages.
    """
    stages = STRATEGIES[config.finetune.strategy] if config.finetune else SCRATCH
    plan: list[tuple[Stage, int, float]] = []
    epochs, done = config.training.epochs, 0.0
    if epochs < len(stages):
        raise UserError(f"`training.epochs` must be at least {len(stages)}, one for each stage. Received: {epochs}.")
    for index, stage in enumerate(stages):
        done += stage.share
        # Every stage gets an epoch of its own, however few there are.
        earlier, later = (plan[-1][1] if plan else 0), len(stages) - 1 - index
        last = min(max(round(done * epochs), earlier + 1), epochs - later)
        slow = config.finetune.backbone_rate if config.finetune and stage.depth != 0 else 1.0
        plan.append((stage, last, config.training.learning_rate * slow))
    return plan


def apply_stage(model: keras.Model, stage: Stage, finetune: Finetune | None) -> int:
    """Makes exactly the stage's layers trainable; takes effect at the next `compile`.

    Batch normalisation of a backbone stays frozen unless `finetune.batch_norm` says otherwise, and so goes on with the
    statistics it was trained with: those of small batches from another data set would undo them.

    Returns:
        The number of backbone layers with weights that train, batch normalisation not counted.

    Raises:
        UserError: When `finetune.unfreeze` asks for more layers than there are.
    """
    if finetune is None:
        return 0
    backbone = [layer for layer in model.layers if layer.name not in HEAD]
    weighted = [layer for layer in backbone if layer.weights and not _is_batch_norm(layer)]
    count = finetune.unfreeze if stage.depth is None else round(stage.depth * len(weighted))
    if count > len(weighted):
        raise UserError(f"`finetune.unfreeze` must be at most {len(weighted)} for this backbone. Received: {count}.")
    first = backbone.index(weighted[-count]) if count else len(backbone)
    for position, layer in enumerate(backbone):
        layer.trainable = position >= first and (finetune.batch_norm == "trained" or not _is_batch_norm(layer))
    return count


def _is_batch_norm(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)
