"""Optimizers and learning-rate schedules, from their names in the configuration."""

import keras

from keras_inat.sections import Training


def build_schedule(
    training: Training, peak: float, steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate over `steps` steps: a linear warm-up to `peak`, then constant or a cosine down to zero."""
    warmup = round(training.warmup * steps)
    if training.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else peak,
            decay_steps=max(1, steps - warmup),
            warmup_target=peak if warmup else None,
            warmup_steps=warmup,
        )
    if warmup:
        return keras.optimizers.schedules.PolynomialDecay(0.0, decay_steps=warmup, end_learning_rate=peak)
    return peak


def build_optimizer(training: Training, peak: float, steps: int, model: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer for a stage of `steps` steps.

    Weight decay is decoupled (Loshchilov & Hutter 2019, arXiv 1711.05101), multiplied by the learning rate, and spares
    biases and the scales and shifts of normalisation: shrinking those only costs accuracy.
    """
    rate = build_schedule(training, peak, steps)
    decay = training.weight_decay or None
    builders = {
        "adam": lambda: keras.optimizers.Adam(rate, weight_decay=decay),
        "adamw": lambda: keras.optimizers.AdamW(rate, weight_decay=training.weight_decay),
        "sgd": lambda: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay),
        "rmsprop": lambda: keras.optimizers.RMSprop(rate, weight_decay=decay),
    }
    optimizer: keras.optimizers.Optimizer = builders[training.optimizer]()
    if decay:
        optimizer.exclude_from_weight_decay([weight for weight in model.trainable_weights if len(weight.shape) < 2])
    return optimizer
