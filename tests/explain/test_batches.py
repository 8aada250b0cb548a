import numpy as np

from keras_inat.explain import batches


def test_batches_of_larger_images_are_smaller(monkeypatch):
    monkeypatch.setattr(batches, "BATCH_SIZE", 4)
    monkeypatch.setattr(batches, "BATCH_PIXELS", 3 * 100)
    for side, lengths in ((5, [4, 4]), (10, [3, 3, 2]), (13, [1] * 8), (50, [1] * 8)):
        images = np.zeros((8, side, side, 3), np.uint8)
        numbers = np.arange(8)
        found = batches.split_batches(images, numbers)
        assert [len(batch) for batch, _ in found] == lengths
        assert np.concatenate([part for _, part in found]).tolist() == numbers.tolist()
