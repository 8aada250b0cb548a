"""The sample of training images that a run keeps for the report, as they are and as the training takes them."""

import cv2
import numpy as np

from keras_inat.data.augment import augment
from keras_inat.data.dataset import Dataset
from keras_inat.settings.schema import Config
from keras_inat.store.predictions import TrainingSample
from keras_inat.training.stages import plan_stages

NUM_IMAGES = 20
NUM_AUGMENTED = 6
NUM_VERSIONS = 4
MAX_SIDE = 192  # pixels; the report shows them smaller


def draw_training_sample(data: Dataset) -> TrainingSample:
    """Draws training images of every class, at most 20 and 2 of a class, and augments the first 6.

    They are augmented as a batch of the training is, with random numbers of their own. There are no versions if the
    training never reads pixels; see `trains_on_images`.
    """
    config = data.config
    rows = _draw_rows(data)
    augmented = rows[:NUM_AUGMENTED]
    size = config.training_sizes[-1]
    targets = np.eye(len(data.classes), dtype=np.float32)[data.labels[augmented]]
    versions = np.empty((0, 0, size, size, 3), np.uint8)
    if trains_on_images(config):
        pixels = data.training_images[augmented]
        seeds = [(config.run.seed, number, 2) for number in range(NUM_VERSIONS)]
        versions = np.stack([augment(pixels, targets, size, seed, config.augment)[0] for seed in seeds])
    return TrainingSample(_shrink(data.images[rows]), data.labels[rows], _shrink(versions))


def trains_on_images(config: Config) -> bool:
    """Returns False if every stage trains the head alone, on cached features of the images and their flips."""
    finetune = config.finetune
    return not (finetune and finetune.cache_features and all(stage.depth == 0 for stage in plan_stages(config)))


def _draw_rows(data: Dataset) -> np.ndarray:
    """Draws an image of each of the first classes, then a second one of each if all of them fit."""
    rows = np.random.default_rng((data.config.run.seed, 3)).permutation(data.training_rows)
    first = np.unique(data.labels[rows], return_index=True)[1]
    chosen = rows[first]
    if 2 * len(data.classes) <= NUM_IMAGES:
        others = np.delete(rows, first)
        second = np.unique(data.labels[others], return_index=True)[1]
        chosen = np.concatenate([chosen, others[second]])
    return chosen[:NUM_IMAGES]


def _shrink(images: np.ndarray) -> np.ndarray:
    """Scales images `(..., side, side, 3)` down to `MAX_SIDE` if they are larger."""
    side = images.shape[-2]
    if side <= MAX_SIDE or not images.size:
        return images
    flat = images.reshape(-1, side, side, 3)
    small = np.stack([cv2.resize(image, (MAX_SIDE, MAX_SIDE), interpolation=cv2.INTER_AREA) for image in flat])
    return small.reshape(*images.shape[:-3], MAX_SIDE, MAX_SIDE, 3)
