"""Examples, predictions and pairs of near-duplicates."""

import numpy as np
import pytest
from figure_contents import list_images, list_texts

from keras_inat.reporting.charts.images import (
    draw_augmentation,
    draw_duplicate_pairs,
    draw_examples,
    draw_predictions,
    draw_suspects,
)
from keras_inat.store.predictions import Predictions
from keras_inat.store.records import DuplicatePair
from keras_inat.store.suspects import Suspect

CLASSES = ["Aves", "Fungi", "Plantae"]
IMAGES = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)


@pytest.fixture
def predictions() -> Predictions:
    """Nine test images, of which four are shown. The third of these is misclassified."""
    labels = np.arange(9) % 3
    probabilities = np.full((9, 3), 0.1)
    probabilities[np.arange(9), labels] = 0.8
    probabilities[7] = [0.2, 0.1, 0.7]  # the true class is Fungi
    examples = np.array([3, 4, 7, 8])
    none = np.empty(0, np.int64)
    files = np.array(["x"] * 9)
    return Predictions(probabilities, labels, files, examples, IMAGES, *[none] * 5)


def test_predictions_are_beside_their_image(predictions: Predictions) -> None:
    figure = draw_predictions(predictions, CLASSES)
    assert list_images(figure.axes[0]) == [0, 1, 2, 3]
    assert list_texts(figure) == [
        *("✓", "Aves", "Aves", "80 %", "Fungi", "10 %", "Plantae", "10 %"),
        *("✓", "Fungi", "Fungi", "80 %", "Aves", "10 %", "Plantae", "10 %"),
        *("✗", "Fungi", "Plantae", "70 %", "Aves", "20 %", "Fungi (true)", "10 %"),
        *("✓", "Plantae", "Plantae", "80 %", "Aves", "10 %", "Fungi", "10 %"),
    ]


def test_examples_have_their_class() -> None:
    figure = draw_examples(IMAGES[:4], np.array([2, 0, 1, 0]), CLASSES)
    assert list_images(figure.axes[0]) == [1, 3, 2, 0]
    assert list_texts(figure) == ["Aves", "Aves", "Fungi", "Plantae"]


def test_images_are_before_their_augmented_versions() -> None:
    versions = np.stack([IMAGES[:3] + 10, IMAGES[:3] + 20])
    figure = draw_augmentation(IMAGES[:3], np.array([2, 0, 1]), versions, CLASSES)
    assert list_images(figure.axes[0]) == [0, 10, 20, 1, 11, 21, 2, 12, 22]
    assert list_texts(figure) == ["Plantae", "Aves", "Fungi"]
    framed = [round(patch.get_x(), 2) for patch in figure.axes[0].patches]
    assert framed == [0.1, 5.1, 0.1]


def test_suspects_have_their_label_and_the_suggested_class() -> None:
    suspects = [
        Suspect(
            file=f"train/Aves/{rank}.jpg",
            label="Aves",
            suggested="Fungi",
            probability_of_label=0.0312,
            probability_of_suggested=0.9,
            rank=rank,
        )
        for rank in (1, 2, 3)
    ]
    images = np.arange(2, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    figure = draw_suspects(suspects, images)
    assert list_images(figure.axes[0]) == [0, 1]
    assert list_texts(figure) == ["Aves 3 %", "→ Fungi 90 %"] * 2


def test_pairs_have_their_folders_and_the_parts_that_agree() -> None:
    pair = DuplicatePair(
        path="train/Aves/2.jpg",
        of="val/Fungi/1.jpg",
        similarity=0.987,
        cells=50,
        agreeing_cells=48,
        mirrored=True,
        same_class=False,
        rows=(0, 1),
    )
    images = np.arange(2, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    figure = draw_duplicate_pairs([(pair, images)])
    assert list_images(figure.axes[0]) == [0, 1]
    assert list_texts(figure) == ["val/Fungi", "train/Aves", "48 of 50 parts agree, mirrored"]
