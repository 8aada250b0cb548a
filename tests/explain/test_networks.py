import numpy as np

from keras_inat.explain import networks


def test_batches_of_larger_images_are_smaller(monkeypatch):
    monkeypatch.setattr(networks, "BATCH_SIZE", 4)
    monkeypatch.setattr(networks, "BATCH_PIXELS", 3 * 100)
    for side, lengths in ((5, [4, 4]), (10, [3, 3, 2]), (13, [1] * 8), (50, [1] * 8)):
        images = np.zeros((8, side, side, 3), np.uint8)
        numbers = np.arange(8)
        found = []

        def square(batch, rows, found=found):
            found.append(len(batch))
            return rows**2

        assert networks.map_batches(square, images, numbers).tolist() == (numbers**2).tolist()
        assert found == lengths
