"""The one way to train: `sweep`, `train-best` and `finetune` all end in `fit`."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_inat.data.dataset import Dataset, open_data
from keras_inat.data.pipeline import (
    build_evaluation_batches,
    build_feature_batches,
    build_training_batches,
    count_passes,
    read_rows,
)
from keras_inat.errors import ExternalError
from keras_inat.models.backbones import HEAD
from keras_inat.models.cnn import build_cnn
from keras_inat.models.cost import count_model
from keras_inat.models.memory import check_memory
from keras_inat.models.pretrained import build_finetune
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config, Training
from keras_inat.store.provenance import now, read_commit, read_package_versions
from keras_inat.store.results import Result, StageSummary
from keras_inat.store.runs import RunFolder, hash_weights
from keras_inat.training.checkpoint import Progress, read_progress, restore_model, restore_optimizer
from keras_inat.training.devices import (
    choose_jit_compile,
    choose_precision,
    choose_strategy,
    has_accelerator,
    make_deterministic,
    print_device,
    use_precision,
)
from keras_inat.training.epochs import EpochEnd
from keras_inat.training.evaluation_model import (
    NUM_CALIBRATION,
    EvaluationModel,
    clone_for_training,
    keep_average_apart,
)
from keras_inat.training.features import load_features, split_head
from keras_inat.training.losses import build_loss, build_metrics
from keras_inat.training.optimizers import build_optimizer
from keras_inat.training.stages import Stage, TrainableLayers, apply_stage, plan_stages
from keras_inat.training.tracking import open_tracking

HEAD_STRETCH = 32  # steps so small that starting each of them would take longer


@dataclass(frozen=True)
class Task:
    """What a stage trains.

    Attributes:
        network: Is to be compiled and fitted.
        judge: Gives what the twin makes of the validation images, probabilities `(images, classes)`.
        serve: Gives the batches from a step on.
        stretch: Steps that may be taken at a stretch.
    """

    network: keras.Model
    predict_validation: Callable[[], np.ndarray]
    serve: Callable[[int], Any]
    stretch: int


@dataclass(frozen=True)
class TrainedModel:
    """A finished training: the data it saw, what `result.json` says, and the model.

    The model has its best epoch's weights; after a trial of a sweep its last.
    """

    model: keras.Model
    data: Dataset
    result: Result


def fit(
    config: Config,
    run: RunFolder,
    label: str = "",
    group: str | None = None,
    title: str | None = None,
    stop: Callable[[int], bool] | None = None,
) -> TrainedModel:
    """Trains what `config` describes and keeps the epoch with the best validation accuracy.

    A run whose folder holds a checkpoint goes on from it, to the same end as if it had not been interrupted.

    Args:
        config: Everything about the run; with a `finetune` section a backbone is adapted, otherwise the CNN is
            trained from scratch.
        run: Gets `metrics.jsonl` line by line, `checkpoint.npz` every epoch and, unless it is a trial of a sweep,
            `best.keras` whenever it improves.
        label: Begins every line shown.
        group: Of the W&B run; by default the run's name.
        title: Of the W&B run; by default the run folder's name.
        stop: Is told how many epochs are done, when they are on record; the training ends there if it says so.

    Returns:
        The fit. Its result has no test accuracy: that is for `evaluation.judge`.

    Raises:
        FloatingPointError: When the loss is no longer finite, naming epoch and step.
        UserError: When data, weights or settings do not go together.
    """
    print_device()
    if config.run.deterministic:
        make_deterministic()
    keras.utils.set_random_seed(config.run.seed)
    data = open_data(config)
    train_rows = data.training_rows
    num_classes = len(data.classes)
    batch_size = min(config.training.batch_size, len(train_rows))
    # An epoch is what lies between two judgements: of few images, several passes.
    steps = count_passes(config, len(train_rows)) * (len(train_rows) // batch_size)
    training, labels = config.training, data.labels
    ensemble_size = 1 if config.finetune else config.model.ensemble_size
    progress = _read_progress(config, run, data)
    trained = list[StageSummary]()
    if not progress.precision:
        progress.precision = choose_precision() if training.precision == "auto" else training.precision
    if not config.finetune and not has_accelerator():  # which has a memory of its own
        check_memory(override(config, {"training.batch_size": batch_size}), num_classes)
    strategy = choose_strategy(batch_size)
    with use_precision(progress.precision), open_tracking(config, run, group, title) as trackers:
        # On one device: several would fail at a last batch with fewer images than they are.
        judged = build_model(config, num_classes)
        parameters, macs = count_model(judged)
        with strategy.scope():
            model = clone_for_training(judged, any_size=bool(training.image_scales))
        twin = EvaluationModel(judged, model, _plan_calibration(data, train_rows, batch_size))
        end = EpochEnd(run, training, progress, twin, labels[data.validation_rows], steps * batch_size, label, stop)
        starts = _keep_starts(config, model)
        if progress.epoch:
            print(f"{label} goes on after epoch {progress.epoch} of {training.epochs}", flush=True)
            restore_model(run, model)
            end.restore_best()
            # It may have been killed before it asked.
            end.stopped = stop is not None and stop(progress.epoch)
        plan, planned = plan_stages(config), 0
        for stage, _ in plan:  # one that cannot be is said before any trains
            apply_stage(judged, stage, config.finetune)
        for index, (stage, last_epoch) in enumerate(plan):
            first_epoch, planned = planned, last_epoch
            trainable = [apply_stage(network, stage, config.finetune) for network in (judged, model)][-1]
            trained.append(_summarize_stage(config, stage, trainable))
            if end.stopped or index < progress.stage or (index == progress.stage and progress.ended):
                continue
            if config.finetune:
                print(f"{label} {_announce(trained[-1], parameters)}", flush=True)
            stage_steps = steps * (last_epoch - first_epoch)
            with strategy.scope():
                task = _plan_task(data, twin, trainable)
                network = task.network
                network.compile(
                    optimizer=build_optimizer(training, stage_steps, trainable.rates, starts),
                    loss=build_loss(training, labels[train_rows], num_classes, ensemble_size),
                    metrics=build_metrics(),
                    jit_compile=choose_jit_compile(),
                    steps_per_execution=_count_steps_per_execution(training, steps, task.stretch, strategy),
                )
                # A step that makes no variables is traced once, not twice: it starts in half the time.
                network.optimizer.build(network.trainable_variables)
            keep_average_apart(network.optimizer)
            if index == progress.stage and progress.epoch:
                first_epoch = progress.epoch
                restore_optimizer(run, network.optimizer)
            end.begin_stage(index, stage.name, last_epoch, stage_steps, task.predict_validation)
            network.fit(
                # A stage, and a run that goes on, take the batches that would have come next.
                task.serve(first_epoch * steps),
                steps_per_epoch=steps,
                initial_epoch=first_epoch,
                epochs=last_epoch,
                callbacks=[end, *trackers],
                shuffle=False,  # the batches are shuffled already
                verbose=0,
            )
            if end.stopped:
                break
        if end.best_weights:
            judged.set_weights(end.best_weights)
    epochs = run.read_epochs()
    result = Result(
        command=run.command,
        name=config.run.name,
        created=now(),
        config=config,
        seed=config.run.seed,
        val_accuracy=progress.best,
        best_epoch=progress.best_epoch,
        epochs=len(epochs),
        planned_epochs=training.epochs,
        seconds=round(progress.seconds + time.perf_counter() - end.began, 1),
        images_per_second=round(float(np.median([epoch.images_per_second for epoch in epochs])), 1),
        parameters=parameters,
        macs=macs,
        precision=progress.precision,
        weights_hash=progress.weights,
        stages=tuple(trained),
        data=data.summary,
        packages=read_package_versions(),
        commit=read_commit(),
    )
    return TrainedModel(judged, data, result)


def build_model(config: Config, num_classes: int) -> keras.Model:
    """The network that `config` describes, with its first weights, uncompiled."""
    if config.finetune:
        return build_finetune(config.finetune, config.data.image_size, num_classes, min(config.training_sizes))
    return build_cnn(config.model, config.data.image_size, num_classes)


def _plan_task(data: Dataset, twin: EvaluationModel, trainable: TrainableLayers) -> Task:
    """The whole network on images, or, where its backbone is frozen, the head on what that makes of them."""
    config, val_rows, num_classes = data.config, data.validation_rows, len(data.classes)
    common: dict[str, Any] = {
        "labels": data.labels,
        "rows": data.training_rows,
        "num_classes": num_classes,
        "config": config,
    }
    if config.finetune and config.finetune.cache_features and not trainable.layers:
        features, judged = load_features(twin.model, data), split_head(twin.model)
        return Task(
            split_head(twin.trained),
            lambda: judged.predict(features[0, val_rows], batch_size=len(val_rows), verbose=0),
            lambda step: build_feature_batches(features, first_step=step, **common),
            HEAD_STRETCH,
        )
    images, size = data.training_images, config.training.batch_size
    validation = build_evaluation_batches(data.images, data.labels, val_rows, num_classes, size)
    return Task(
        twin.trained,
        lambda: twin.model.predict(validation, verbose=0),
        lambda step: build_training_batches(images, first_step=step, **common),
        config.training.steps_per_execution,
    )


def _keep_starts(config: Config, model: keras.Model) -> dict[str, np.ndarray]:
    """The backbone's pretrained kernels by path, where weight decay is to draw them there."""
    if not config.finetune or config.finetune.decay_to != "pretrained":
        return {}
    backbone = [layer for layer in model.layers if layer.name not in HEAD]
    return {weight.path: weight.numpy() for layer in backbone for weight in layer.trainable_weights}


def _summarize_stage(config: Config, stage: Stage, trainable: TrainableLayers) -> StageSummary:
    rates = [rate * config.training.learning_rate for rate in trainable.rates.values()]
    return StageSummary(
        stage=stage.name,
        parameters=trainable.parameters,
        learning_rate=config.training.learning_rate,
        layers=trainable.layers if config.finetune else None,
        backbone_rates=(max(rates), min(rates)) if rates else (),
    )


def _announce(stage: StageSummary, parameters: int) -> str:
    """What trains in a stage of fine-tuning, in one line."""
    highest, lowest = stage.backbone_rates or (0.0, 0.0)
    rates = "" if not highest else f", the backbone's {highest:.2g}" + (f" to {lowest:.2g}" if lowest < highest else "")
    return (
        f"stage '{stage.stage}': {stage.layers} backbone layers and the head train, {stage.parameters:,} of "
        f"{parameters:,} parameters, learning rate {stage.learning_rate:g}{rates}"
    )


def _count_steps_per_execution(training: Training, steps: int, most: int, strategy: Any) -> int:
    if training.schedule == "plateau" and training.warmup:
        return 1  # its warm-up sets the rate before every step
    if strategy.num_replicas_in_sync > 1:
        return 1  # Keras's loop of steps does not go with several devices (its issue 19246)
    # Keras would run on into the next epoch's steps where this does not divide them.
    return max(n for n in range(1, min(most, steps) + 1) if steps % n == 0)


def _read_progress(config: Config, run: RunFolder, data: Dataset) -> Progress:
    """Where the run is to go on; what was written after its checkpoint is forgotten."""
    fresh = Progress(data.hash, hash_weights(config))
    progress = read_progress(run) or fresh
    if (progress.data, progress.weights) != (fresh.data, fresh.weights):
        raise ExternalError(f"images or weights are no longer those that {run.path} was trained with")
    run.truncate_epochs(progress.epoch)
    return progress


def _plan_calibration(
    data: Dataset, train_rows: np.ndarray, batch_size: int
) -> Callable[[], Iterator[np.ndarray]] | None:
    """What the statistics of batch normalisation are taken from, where those that training leaves do not fit."""
    config = data.config
    if not config.training.ema and set(config.training_sizes) == {config.data.image_size}:
        return None
    chosen = np.random.default_rng(config.run.seed).permutation(train_rows)[:NUM_CALIBRATION]
    # Of equal size, for each counts the same: a last one of few images would give variances that are too small.
    parts = np.array_split(chosen, math.ceil(len(chosen) / batch_size))
    return lambda: (read_rows(data.images, np.sort(part)) for part in parts)
