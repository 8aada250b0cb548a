"""The training images that a run keeps for the report."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_inat.data.dataset import open_data
from keras_inat.store.predictions import TrainingSample
from keras_inat.training import evaluation
from keras_inat.training.evaluation import train_and_evaluate
from keras_inat.training.training_sample import MAX_SIDE, draw_training_sample


def list_contents(images):
    return {image.tobytes() for image in images}


def test_every_class_has_two_training_images(make_config):
    data = open_data(make_config())
    sample = draw_training_sample(data)
    assert sample.labels.tolist() == [0, 1, 2, 0, 1, 2]
    contents = list_contents(sample.pixels)
    assert len(contents) == 6
    assert contents <= list_contents(data.images[data.training_rows])
    assert not contents & list_contents(data.images[data.validation_rows])
    for image, label in zip(sample.pixels, sample.labels, strict=True):
        rows = [row for row in data.training_rows if np.array_equal(data.images[row], image)]
        assert label in data.labels[rows]


def test_images_are_augmented_as_configured(make_config):
    plain = draw_training_sample(open_data(make_config()))
    assert plain.versions.shape == (4, 6, 16, 16, 3)
    assert all(np.array_equal(version, plain.pixels) for version in plain.versions)
    flipped = draw_training_sample(open_data(make_config("augment.flip=true")))
    np.testing.assert_array_equal(flipped.pixels, plain.pixels)
    is_flipped = [
        [np.array_equal(version, image[:, ::-1]) for version, image in zip(versions, plain.pixels, strict=True)]
        for versions in flipped.versions
    ]
    assert 0 < np.sum(is_flipped) < 24
    for versions, flips in zip(flipped.versions, is_flipped, strict=True):
        for version, image, flip in zip(versions, plain.pixels, flips, strict=True):
            assert flip or np.array_equal(version, image)


def test_versions_have_the_crops_and_the_size_of_the_training(make_config):
    data = open_data(make_config("augment.crop=0.5", "training.image_scales=[1.0, 0.75]", "model.pooling=average"))
    sample = draw_training_sample(data)
    assert data.training_images.shape[1] > 16
    assert sample.pixels.shape[1:] == (16, 16, 3)
    assert sample.versions.shape == (4, 6, 12, 12, 3)
    assert len(list_contents(sample.versions.reshape(24, 12, 12, 3))) == 24


@pytest.mark.parametrize(
    ("settings", "num_versions"),
    [
        (("STRATEGY=head",), 0),
        (("STRATEGY=head", "finetune.cache_features=false"), 4),
        (("STRATEGY=topk", "UNFREEZE=1"), 4),
    ],
)
def test_a_head_on_cached_features_has_no_versions(make_config, settings, num_versions):
    sample = draw_training_sample(open_data(make_config(*settings, "augment.flip=true")))
    assert len(sample.versions) == num_versions
    assert len(sample.pixels) == 6
    assert sample.is_consistent(num_classes=3)


def test_large_images_are_scaled_down_and_many_classes_have_one_image(make_config):
    data = open_data(make_config())
    size = 2 * MAX_SIDE
    images = np.full((46, size, size, 3), 200, np.uint8)
    sample = draw_training_sample(
        replace(
            data,
            config=make_config(f"data.image_size={size}"),
            summary=data.summary.model_copy(update={"classes": tuple(map(str, range(23)))}),
            images=images,
            training_images=images,
            labels=np.arange(46) % 23,
            training_rows=np.arange(46),
        )
    )
    assert sample.pixels.shape == (20, MAX_SIDE, MAX_SIDE, 3)
    assert sample.versions.shape == (4, 6, MAX_SIDE, MAX_SIDE, 3)
    assert (sample.pixels == 200).all()
    assert sample.labels.tolist() == list(range(20))


def test_arrays_that_do_not_fit_are_inconsistent(make_config):
    sample = draw_training_sample(open_data(make_config()))
    assert sample.is_consistent(3)
    assert not sample.is_consistent(2)
    assert not replace(sample, labels=sample.labels[:-1]).is_consistent(3)
    assert not replace(sample, pixels=sample.pixels[:5], labels=sample.labels[:5]).is_consistent(3)


def test_the_sample_changes_neither_weights_nor_random_numbers(make_config, monkeypatch):
    def train(name):
        config = make_config("augment.flip=true", "augment.mixup=0.2", "training.epochs=1", f"run.name={name}")
        run = train_and_evaluate(config, "train-best", "")
        model = keras.models.load_model(run.model, compile=False)
        following = np.random.random(), keras.random.uniform(()).numpy()
        with np.load(run.predictions) as predictions:
            return (
                model.get_weights(),
                predictions["probabilities"],
                following,
                TrainingSample.read(run.training_sample),
            )

    *drawn, sample = train("with")
    monkeypatch.setattr(evaluation, "draw_training_sample", lambda data: TrainingSample(*[np.zeros(1)] * 3))
    *without, _ = train("without")
    assert len(sample.versions) == 4
    assert all(np.array_equal(first, second) for first, second in zip(drawn[0], without[0], strict=True))
    np.testing.assert_array_equal(drawn[1], without[1])
    assert drawn[2] == without[2]
