import numpy as np
import pytest
import tensorflow as tf

from keras_inat.config import Augment
from keras_inat.data.augment import augment
from keras_inat.data.pipeline import build_evaluation_batches, build_training_batches

# An image whose every pixel is its own index tells which one was served.
IMAGES = np.broadcast_to(np.arange(50, dtype=np.uint8)[:, None, None, None], (50, 8, 8, 3))
LABELS = np.arange(50) % 3


def take(config, count, first_step=0, rows=None):
    rows = np.arange(50) if rows is None else rows
    return list(build_training_batches(IMAGES, LABELS, rows, 3, config, first_step).take(count).as_numpy_iterator())


def served(batches):
    return [batch[:, 0, 0, 0].astype(int).tolist() for batch, _ in batches]


def test_an_epoch_serves_every_image_once_with_its_label(make_config):
    batches = take(make_config("training.batch_size=10"), 5)
    order = np.concatenate(served(batches))
    assert sorted(order) == list(range(50))
    np.testing.assert_array_equal(np.concatenate([labels.argmax(axis=1) for _, labels in batches]), order % 3)
    assert batches[0][0].dtype == np.float32
    assert batches[0][1].shape == (10, 3)


def test_only_the_given_rows(make_config):
    batches = take(make_config("training.batch_size=4"), 5, rows=np.arange(20, 40))
    assert sorted(np.concatenate(served(batches))) == list(range(20, 40))


def test_order_differs_between_epochs_and_seeds_and_repeats_under_one(make_config):
    config = make_config("training.batch_size=10")
    first = served(take(config, 10))
    assert first == served(take(config, 10))
    assert first[:5] != first[5:]
    assert first != served(take(make_config("training.batch_size=10", "run.seed=1"), 10))


def test_a_resumed_run_goes_on_with_the_same_batches(make_config):
    config = make_config("training.batch_size=10", "augment.crop=0.5", "augment.flip=true", "augment.color=0.2")
    whole, rest = take(config, 9), take(config, 3, first_step=6)
    for (expected, _), (received, _) in zip(whole[6:], rest, strict=True):
        np.testing.assert_array_equal(expected, received)


def test_a_batch_larger_than_the_data(make_config):
    batches = take(make_config("training.batch_size=64"), 1)
    assert len(batches[0][0]) == 50


def test_evaluation_sees_every_image_once_in_order():
    batches = list(build_evaluation_batches(IMAGES, LABELS, np.arange(7, 30), 3, 10).as_numpy_iterator())
    assert [len(images) for images, _ in batches] == [10, 10, 3]
    assert np.concatenate(served(batches)).tolist() == list(range(7, 30))
    np.testing.assert_array_equal(np.concatenate([labels.argmax(axis=1) for _, labels in batches]), LABELS[7:30])


def seed(value=0):
    return tf.constant([value, 5], tf.int64)


@pytest.fixture
def noise():
    return tf.constant(np.random.default_rng(0).uniform(0, 255, (16, 12, 12, 3)), tf.float32)


def test_no_augmentation_is_no_change(noise):
    np.testing.assert_array_equal(augment(noise, seed(), Augment()), noise)


def test_flip_mirrors_some_and_leaves_the_others(noise):
    flipped = augment(noise, seed(), Augment(flip=True)).numpy()
    mirrored = [np.allclose(a, b[:, ::-1], atol=1e-2) for a, b in zip(flipped, noise.numpy(), strict=True)]
    kept = [np.allclose(a, b, atol=1e-2) for a, b in zip(flipped, noise.numpy(), strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 3 < sum(mirrored) < 13


def test_a_crop_enlarges_a_part():
    # A horizontal ramp: a crop of it is a ramp with a smaller slope, within the same range.
    ramp = tf.tile(tf.reshape(tf.range(0, 240, 10, tf.float32), (1, 1, 24, 1)), (32, 24, 1, 3))
    slopes = np.diff(augment(ramp, seed(), Augment(crop=0.3)).numpy()[:, 12, 8:16, 0], axis=1).mean(axis=1)
    assert slopes.min() > 10 * np.sqrt(0.3 * 3 / 4) - 0.1
    assert slopes.max() <= 10.01
    assert slopes.std() > 0.5


def test_rotation_keeps_the_centre_and_the_size(noise):
    image = np.zeros((4, 15, 15, 3), np.float32)
    image[:, 7, 7] = 200
    turned = augment(tf.constant(image), seed(), Augment(rotation=90)).numpy()
    np.testing.assert_allclose(turned[:, 7, 7], 200, atol=0.5)
    assert turned.shape == image.shape


def test_color_scales_brightness_within_its_bounds():
    grey = tf.fill((64, 4, 4, 3), 100.0)
    changed = augment(grey, seed(), Augment(color=0.2)).numpy()[:, 0, 0, 0]
    assert 79.9 <= changed.min() < 90
    assert 110 < changed.max() <= 120.1


def test_every_change_is_the_same_eagerly_and_in_a_dataset(noise):
    settings = Augment(flip=True, crop=0.5, rotation=20, color=0.3)
    eager = augment(noise, seed(), settings)
    mapped = next(iter(tf.data.Dataset.from_tensors(noise).map(lambda x: augment(x, seed(), settings))))
    np.testing.assert_allclose(eager, mapped, atol=1e-3)
    assert not np.allclose(eager, augment(noise, seed(1), settings))
    assert eager.numpy().min() >= 0
    assert eager.numpy().max() <= 255
