import mmap

import numpy as np
import pytest

from keras_inat.data.pipeline import build_evaluation_batches, build_training_batches, draw_rows, read_rows

# Every pixel of an image is the index of the image.
IMAGES = np.broadcast_to(np.arange(50, dtype=np.uint8)[:, None, None, None], (50, 8, 8, 3))
LABELS = np.arange(50) % 3


def take(config, count, first_step=0, rows=None):
    rows = np.arange(50) if rows is None else rows
    return list(build_training_batches(IMAGES, LABELS, rows, 3, config, first_step).take(count).as_numpy_iterator())


def served(batches):
    return [batch[:, 0, 0, 0].astype(int).tolist() for batch, _ in batches]


def test_an_epoch_has_every_image_once_with_its_label(make_config):
    batches = take(make_config("training.batch_size=10"), 5)
    order = np.concatenate(served(batches))
    assert sorted(order) == list(range(50))
    np.testing.assert_array_equal(np.concatenate([labels.argmax(axis=1) for _, labels in batches]), order % 3)
    assert batches[0][0].dtype == np.uint8
    assert batches[0][1].shape == (10, 3)


def test_batches_hold_only_the_given_rows(make_config):
    batches = take(make_config("training.batch_size=4"), 5, rows=np.arange(20, 40))
    assert sorted(np.concatenate(served(batches))) == list(range(20, 40))


def test_the_order_depends_on_epoch_and_seed_only(make_config):
    config = make_config("training.batch_size=10")
    first = served(take(config, 10))
    assert first == served(take(config, 10))
    assert first[:5] != first[5:]
    assert first != served(take(make_config("training.batch_size=10", "run.seed=1"), 10))


def test_a_resumed_run_gets_the_same_batches(make_config):
    config = make_config("training.batch_size=10", "augment.crop=0.5", "augment.flip=true", "augment.color=0.2")
    whole = take(config, 9)
    rest = take(config, 3, first_step=6)
    for (expected, _), (received, _) in zip(whole[6:], rest, strict=True):
        np.testing.assert_array_equal(expected, received)


RARE = np.r_[np.zeros(40, int), np.ones(7, int), np.full(3, 2)]  # the classes of 50 images


def take_rare(config, count, first_step=0):
    batches = build_training_batches(IMAGES, RARE, np.arange(50), 3, config, first_step)
    return list(batches.take(count).as_numpy_iterator())


def test_balanced_sampling_draws_every_class_equally_often(make_config):
    config = make_config("training.sampling=balanced", "training.batch_size=10")
    epochs = [np.concatenate(served(take_rare(config, 5, first_step=5 * epoch))) for epoch in range(3)]
    for order in epochs:
        assert sorted(np.bincount(RARE[order])) == [16, 17, 17]
        numbers = np.bincount(order, minlength=50)
        assert numbers[:40].max() == 1
        assert set(numbers[40:47]) <= {2, 3}
        assert set(numbers[47:]) <= {5, 6}
    assert len({tuple(order) for order in epochs}) == 3
    # The images of a class, and the class that is drawn less often, change from epoch to epoch.
    assert len(set(np.concatenate(epochs)) & set(range(40))) > 17
    batches = take_rare(config, 5)
    labels = np.concatenate([labels.argmax(axis=1) for _, labels in batches])
    np.testing.assert_array_equal(labels, RARE[np.concatenate(served(batches))])


def test_balanced_sampling_resumes_and_depends_on_the_seed(make_config):
    settings = ("training.sampling=balanced", "training.batch_size=10", "augment.crop=0.5", "augment.flip=true")
    config = make_config(*settings)
    whole = take_rare(config, 9)
    for (expected, _), (received, _) in zip(whole[6:], take_rare(config, 3, first_step=6), strict=True):
        np.testing.assert_array_equal(expected, received)
    plain = ("training.sampling=balanced", "training.batch_size=10")
    assert served(take_rare(make_config(*plain), 5)) != served(take_rare(make_config(*plain, "run.seed=1"), 5))


def test_shuffling_is_the_permutation_of_seed_and_epoch(make_config):
    expected = [np.random.default_rng((0, epoch, 0)).permutation(np.arange(50)) for epoch in range(2)]
    order = np.concatenate(served(take(make_config("training.batch_size=10"), 10)))
    np.testing.assert_array_equal(order, np.concatenate(expected))


def test_few_draws_of_many_classes():
    drawn = draw_rows(np.arange(50), np.arange(50), "balanced", 7, np.random.default_rng(0))
    assert len(drawn) == len(set(drawn)) == 7


def test_a_batch_is_not_larger_than_the_data(make_config):
    batches = take(make_config("training.batch_size=64"), 1)
    assert len(batches[0][0]) == 50


def test_evaluation_batches_hold_every_image_once_in_order():
    batches = list(build_evaluation_batches(IMAGES, np.arange(7, 30), 10).as_numpy_iterator())
    assert [len(images) for images in batches] == [10, 10, 3]
    np.testing.assert_array_equal(np.concatenate(batches), IMAGES[7:30])
    flipped = list(build_evaluation_batches(IMAGES, np.arange(7, 30), 10, flip=True).as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate(flipped), IMAGES[7:30, :, ::-1])


@pytest.mark.parametrize("size", [8, 37])  # rows within a memory page, and rows across two pages
def test_rows_of_a_memory_map_are_read_exactly(tmp_path, size):
    whole = np.random.default_rng(0).integers(0, 256, (90, size, size, 3), dtype=np.uint8)
    whole.tofile(tmp_path / "pixels")
    stored = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=whole.shape)
    rows = np.random.default_rng(1).permutation(60)
    for first in (0, 30):  # A slice of a map has its rows at other positions.
        np.testing.assert_array_equal(read_rows(stored[first:], rows), whole[first:][rows])
    np.testing.assert_array_equal(read_rows(whole, rows), whole[rows])


def test_the_system_is_advised_of_the_rows_to_be_read(tmp_path):
    (tmp_path / "pixels").write_bytes(bytes(90 * 64 * 64 * 3))
    advice_given = []

    class Map(mmap.mmap):
        def madvise(self, advice, start, length):
            advice_given.append((advice, start, length))

    with open(tmp_path / "pixels", "rb") as file:
        source = Map(file.fileno(), 0, prot=mmap.PROT_READ)
    stored = np.frombuffer(source, np.uint8).reshape(90, 64, 64, 3)[10:].view(np.memmap)
    stored._mmap = source
    read_rows(stored, np.array([3, 70]))
    # Row 3 of the slice is row 13 of the file. Advice is given for whole pages.
    pages = [row * 64 * 64 * 3 // mmap.PAGESIZE * mmap.PAGESIZE for row in (13, 80)]
    ends = [(row + 1) * 64 * 64 * 3 for row in (13, 80)]
    assert advice_given == [(mmap.MADV_WILLNEED, page, end - page) for page, end in zip(pages, ends, strict=True)]
