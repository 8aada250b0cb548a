"""Training images: some of each class, and some as the training takes them, after augmentation."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from keras_inat.reporting.blocks import Block, Details, Prose
from keras_inat.reporting.charts.images import draw_augmentation, draw_examples
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import percent, plural
from keras_inat.reporting.history import STUDENT, DataSet, FinishedRun
from keras_inat.reporting.sections.trained_models import choose_groups
from keras_inat.settings.schema import Augment
from keras_inat.store.predictions import TrainingSample

MODELS = {
    "train-best": "the best model from scratch",
    STUDENT: "the best model with a teacher",
    "finetune": "the best fine-tuned model",
}

POLICIES = {"randaugment": "RandAugment", "trivialaugment": "TrivialAugment"}


def describe_training_images(data_set: DataSet, figures: FigureFolder) -> list[Block]:
    """Returns training images of each class, and the augmentation of each kind of model.

    Models with equal augmentation share a figure. A run without a sample of images has none.
    """
    samples = list(_list_samples(data_set))
    if not samples:
        return []
    run, sample = samples[0]
    blocks: list[Block] = [_show_examples(run, sample, figures)]
    shared: dict[str, list[tuple[FinishedRun, TrainingSample]]] = {}
    for run, sample in samples:
        key = f"{run.result.config.augment} {run.data.image_size} {len(sample.versions)}"
        shared.setdefault(key, []).append((run, sample))
    for members in shared.values():
        run, sample = members[0]
        names = " and ".join(MODELS[run.command] for run, _ in members)
        blocks.append(_describe_augmentation(run, sample, names, figures))
    return blocks


def _list_samples(data_set: DataSet) -> Iterator[tuple[FinishedRun, TrainingSample]]:
    """Yields the samples of the best models, if they have one."""
    for group in choose_groups(data_set).values():
        if sample := group.best.read_training_sample():
            yield group.best, sample


def _show_examples(run: FinishedRun, sample: TrainingSample, figures: FigureFolder) -> Block:
    classes = run.data.classes
    num_shown = len(np.unique(sample.labels))
    shown = f"each of the {plural(num_shown, 'class')}"
    if num_shown < len(classes):
        shown = f"each of the first {num_shown} of {plural(len(classes), 'class')}"
    text = f"Training images of {shown}, drawn at random."
    return figures.add("examples", partial(draw_examples, sample.pixels, sample.labels, classes), text, text)


def _describe_augmentation(run: FinishedRun, sample: TrainingSample, names: str, figures: FigureFolder) -> Block:
    augment = run.result.config.augment
    if not len(sample.versions):
        flips = "the images and their horizontal flips" if augment.flip else "the images"
        return Prose(f"The head of {names} was trained on cached features of {flips}, without other augmentation.")
    operations = list_operations(augment)
    if not operations:
        return Prose(f"The training images of {names} were not augmented.")
    notes = ""
    if augment.mixup or augment.cutmix:
        notes += (
            " MixUp and CutMix combine each image with the previous one of the batch, here of the figure, and their "
            "classes in the same proportion."
        )
    finetune = run.finetune
    if finetune and finetune.cache_features and any(stage.layers == 0 for stage in run.result.stages):
        notes += " Stages that train the head alone take cached features instead."
    count = sample.versions.shape[1]
    versions = plural(len(sample.versions), "random version")
    title = f"Augmentation for {names}: {', '.join(operations)}."
    picture = figures.add(
        f"{run.command}-augmentation",
        partial(draw_augmentation, sample.pixels[:count], sample.labels[:count], sample.versions, run.data.classes),
        f"{title} {plural(count, 'training image')}, each with {plural(len(sample.versions), 'augmented version')}.",
        f"{title} Framed: the training image. Beside it: {versions}. Each epoch draws a new one.{notes}",
    )
    return Details(f"Training images before and after augmentation ({names})", [picture])


def list_operations(augment: Augment) -> list[str]:
    """Returns the operations of an augmentation in words, with their strengths; empty if there are none."""
    operations = {
        "horizontal flip": augment.flip,
        f"random crop of {percent(augment.crop, 0)} to {percent(1, 0)} of the area": augment.crop < 1,
        f"rotation by up to {augment.rotation:g}°": augment.rotation,
        f"brightness, contrast and saturation changed by up to {percent(augment.color, 0)}": augment.color,
        f"an erased square of {percent(augment.cutout, 0)} of the side": augment.cutout,
        f"MixUp with Beta({augment.mixup:g}, {augment.mixup:g})": augment.mixup,
        f"CutMix with Beta({augment.cutmix:g}, {augment.cutmix:g})": augment.cutmix,
        POLICIES.get(augment.policy, ""): augment.policy in POLICIES,
    }
    return [text for text, is_used in operations.items() if is_used]
