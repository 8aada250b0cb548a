"""The pooled features of a frozen backbone. They are computed once and cached on disk, so that a head trains fast."""

import hashlib
import json

import keras
import numpy as np

from keras_inat.data.dataset import Dataset
from keras_inat.data.pipeline import read_rows
from keras_inat.files import write_atomically
from keras_inat.log import warn
from keras_inat.models.backbones import HEAD
from keras_inat.progress import track_progress
from keras_inat.training.devices import make_predict_function

BATCH_SIZE = 32


def load_features(model: keras.Model, data: Dataset) -> np.ndarray:
    """Loads or computes the output of the backbone's last pooling for all training images, without augmentation.

    The features are cached beside the decoded pixels. The file name contains a hash of everything that they depend
    on, so that another run with the same backbone and the same images finds them.

    Returns:
        `(1 or 2, images, channels)` float32: the features of the images and, if `augment.flip` is set, of the
        flipped images.
    """
    flip = data.config.augment.flip
    path = data.directory / f"features-{_identify(model, data, flip)}.npy"
    try:
        return np.load(path)
    except (OSError, ValueError, EOFError):  # the file does not exist or is damaged
        pass
    views: list[list[np.ndarray]] = [[], []] if flip else [[]]
    predict = make_predict_function(keras.Model(model.input, model.get_layer(HEAD[0]).output))
    with track_progress("running the frozen backbone once", len(data.images), "images") as advance:
        for rows in np.array_split(np.arange(len(data.images)), -(-len(data.images) // BATCH_SIZE)):
            pixels = read_rows(data.images, rows)
            views[0].append(predict(pixels))
            if flip:
                views[1].append(predict(pixels[:, :, ::-1]))
            advance(len(rows))
    features = np.stack([np.concatenate(batches) for batches in views]).astype(np.float32)
    try:
        with write_atomically(path) as temporary:
            np.save(temporary, features)
    except OSError as error:  # the folder may be read-only
        warn(f"the features of the backbone are not cached for other runs, because writing failed: {error}")
    return features


def split_head(model: keras.Model) -> keras.Model:
    """Returns the layers after the pooling as a model from features `(batch, channels)`. It shares their weights."""
    inputs = keras.Input(model.get_layer(HEAD[0]).output.shape[1:], name="features")
    x = inputs
    for layer in model.layers:
        if layer.name in HEAD[1:]:
            x = layer(x)
    return keras.Model(inputs, x, name="head")


def _identify(model: keras.Model, data: Dataset, flip: bool) -> str:
    digest = hashlib.sha256(json.dumps([data.hash, data.summary.image_size, flip]).encode())
    for layer in model.layers:
        if layer.name not in HEAD:
            # The names contain a counter of the process and say nothing about the layer.
            settings = {key: value for key, value in layer.get_config().items() if key != "name"}
            digest.update(json.dumps([type(layer).__name__, settings], default=str, sort_keys=True).encode())
            for weight in layer.get_weights():
                digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:24]
