"""Pairs of near-duplicates."""

import numpy as np
from figure_contents import list_images, list_texts

from keras_inat.report.charts.duplicate_pairs import draw_duplicate_pairs
from keras_inat.store.records import DuplicatePair


def test_pairs_have_their_folders_and_their_correlation() -> None:
    pair = DuplicatePair(
        path="train/Aves/2.jpg", of="val/Fungi/1.jpg", similarity=0.987, mirrored=True, same_class=False, rows=(0, 1)
    )
    images = np.arange(2, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    figure = draw_duplicate_pairs([(pair, images)])
    assert list_images(figure.axes[0]) == [0, 1]
    assert list_texts(figure) == ["val/Fungi", "train/Aves", "correlation 0.99, mirrored"]
