"""Training images, before and after augmentation."""

from dataclasses import replace

import numpy as np
import pytest
from report_workshop import Workshop, format_text

from keras_inat.reporting.blocks import Block, Picture, list_blocks
from keras_inat.reporting.sections.training_images import describe_training_images, list_operations
from keras_inat.settings.schema import Augment
from keras_inat.store.predictions import TrainingSample
from keras_inat.store.records import Result, StageSummary
from keras_inat.store.runs import RunFolder

PLAIN = {"augment.flip": False, "augment.crop": 1.0, "augment.color": 0.0}


def describe(workshop: Workshop) -> list[Block]:
    return describe_training_images(workshop.read_data_set(), workshop.figures)


def list_pictures(blocks: list[Block]) -> list[Picture]:
    return [block for block in list_blocks(blocks) if isinstance(block, Picture)]


def remove_versions(workshop: Workshop, run: RunFolder) -> None:
    sample = TrainingSample.read(run.training_sample)
    assert sample
    replace(sample, versions=sample.versions[:0, :0]).write(run.training_sample)
    workshop.sign(run)


def test_training_images_of_every_class_come_first(workshop: Workshop) -> None:
    workshop.add_run()
    examples, augmentation = list_pictures(describe(workshop))
    assert examples.caption == "Training images of each of the 4\xa0classes, drawn at random."
    assert augmentation.caption.replace("\xa0", " ") == (
        "Augmentation for the best model from scratch: horizontal flip, random crop of 50 % to 100 % of the area, "
        "brightness, contrast and saturation changed by up to 20 %. Framed: the training image. Beside it: 1 random "
        "version. Each epoch draws a new one."
    )
    assert "4\xa0training images, each with 1\xa0augmented version." in augmentation.alt
    assert workshop.list_figures() == {"examples", "train-best-augmentation"}


def test_many_classes_are_counted(tmp_path) -> None:
    workshop = Workshop(tmp_path, [f"c{number:02d}" for number in range(25)])
    run = workshop.add_run()
    pixels = np.zeros((20, 16, 16, 3), np.uint8)
    TrainingSample(pixels, np.arange(20), pixels[None, :6]).write(run.training_sample)
    workshop.sign(run)
    assert "Training images of each of the first 20 of 25 classes, drawn" in format_text(describe(workshop)).replace(
        "\xa0", " "
    )


def test_models_share_a_figure_if_their_augmentation_is_the_same(workshop: Workshop) -> None:
    workshop.add_run()
    workshop.add_finetuned("full")
    [_, shared] = list_pictures(describe(workshop))
    assert "for the best model from scratch and the best fine-tuned model: horizontal flip" in shared.caption
    workshop.add_finetuned("full", name="other", val=0.9, settings={"augment.mixup": 0.2})
    [_, scratch, tuned] = list_pictures(describe(workshop))
    assert "for the best model from scratch: horizontal" in scratch.caption
    assert "MixUp with Beta(0.2, 0.2)" in tuned.caption
    assert "with the previous one of the batch" in tuned.caption
    assert "with the previous one of the batch" not in scratch.caption


def test_a_stage_of_the_head_is_not_augmented(workshop: Workshop) -> None:
    stages = tuple(
        StageSummary(stage=name, parameters=1, learning_rate=0.1, layers=layers)
        for name, layers in (("head", 0), ("top", 3))
    )

    def add(**options) -> None:
        run = workshop.add_finetuned("topk", **options)
        Result.read(run.result).model_copy(update={"stages": stages}).write(run.result)

    add()
    note = "Stages that train the head alone take cached features instead."
    assert note in format_text(describe(workshop))
    add(name="b", val=0.9, settings={"finetune.cache_features": False})
    assert note not in format_text(describe(workshop))


@pytest.mark.parametrize(("flip", "views"), [(True, "the images and their horizontal flips"), (False, "the images")])
def test_a_head_on_cached_features_is_a_sentence(workshop: Workshop, flip: bool, views: str) -> None:
    remove_versions(workshop, workshop.add_finetuned("head", settings={"augment.flip": flip}))
    assert (
        f"The head of the best fine-tuned model was trained on cached features of {views}, without other augmentation."
    ) in format_text(describe(workshop))


def test_no_augmentation_is_a_sentence(workshop: Workshop) -> None:
    workshop.add_run(settings=PLAIN)
    [_, sentence] = describe(workshop)
    assert format_text([sentence]).endswith("The training images of the best model from scratch were not augmented.")


def test_a_run_without_a_sound_sample_shows_nothing(workshop: Workshop) -> None:
    run = workshop.add_run()
    run.training_sample.write_bytes(b"damaged")
    assert describe(workshop) == []
    TrainingSample(*[np.zeros(3)] * 3).write(run.training_sample)
    workshop.sign(run)
    assert describe(workshop) == []


def test_every_operation_has_words() -> None:
    assert list_operations(Augment(flip=False, crop=1, color=0)) == []
    for name, value in (("rotation", 10), ("cutout", 0.25), ("cutmix", 1.0), ("policy", "randaugment")):
        assert len(list_operations(Augment(flip=False, crop=1, color=0, **{name: value}))) == 1
