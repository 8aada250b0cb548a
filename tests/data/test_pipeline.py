import numpy as np

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
    assert batches[0][0].dtype == np.uint8
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
