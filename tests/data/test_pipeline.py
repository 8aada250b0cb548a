import mmap

import numpy as np
import pytest

from keras_inat.data.pipeline import build_evaluation_batches, build_training_batches, read_rows

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
