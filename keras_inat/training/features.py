"""What a frozen backbone makes of the images, taken once and kept on the disk, so that its head trains in seconds."""

import hashlib
import json
import sys

import keras
import numpy as np

from keras_inat.data.pack import Pack
from keras_inat.data.pipeline import read_rows
from keras_inat.files import write_atomically
from keras_inat.models.backbones import HEAD
from keras_inat.settings.schema import Config
from keras_inat.training.devices import freeze

BATCH_SIZE = 32


def load_features(model: keras.Model, pack: Pack, config: Config) -> np.ndarray:
    """What comes out of the backbone's last pooling, of every training image as it is judged.

    Kept beside the pack's pixels under the hash of all that it follows from: another run with the same backbone on the
    same images finds it there.

    Args:
        model: As of `build_finetune`.
        pack: The images.
        config: Says by `augment.flip` whether mirror images are wanted too.

    Returns:
        `(1 or 2, images, channels)` float32: of the images and, if wanted, of their mirror images.
    """
    path = pack.directory / f"features-{_identify(model, pack, config.augment.flip)}.npy"
    try:
        return np.load(path)
    except (OSError, ValueError, EOFError):  # not there, or damaged
        pass
    print(f"running the frozen backbone once over {len(pack.train_images):,} images", flush=True)
    look = freeze(keras.Model(model.input, model.get_layer(HEAD[0]).output))
    parts = np.array_split(np.arange(len(pack.train_images)), -(-len(pack.train_images) // BATCH_SIZE))
    plain, mirrored = [], []
    for part in parts:
        pixels = read_rows(pack.train_images, part)
        plain.append(look(pixels))
        if config.augment.flip:
            mirrored.append(look(pixels[:, :, ::-1]))
    features = np.stack([np.concatenate(view) for view in (plain, mirrored) if view]).astype(np.float32)
    try:
        with write_atomically(path) as temporary:
            np.save(temporary, features)
    except OSError as error:  # the pack may lie where nothing can be written
        print(f"warning: what the backbone made of the images is not kept for other runs: {error}", file=sys.stderr)
    return features


def split_head(model: keras.Model) -> keras.Model:
    """The layers of a model's head after its pooling, with the same weights, from features `(batch, channels)`."""
    inputs = x = keras.Input(model.get_layer(HEAD[0]).output.shape[1:], name="features")
    for layer in model.layers:
        if layer.name in HEAD[1:]:
            x = layer(x)
    return keras.Model(inputs, x, name="head")


def _identify(model: keras.Model, pack: Pack, flip: bool) -> str:
    digest = hashlib.sha256(json.dumps([pack.hash, pack.image_size, flip]).encode())
    for layer in model.layers:
        if layer.name not in HEAD:
            # Names are counted up within a process, and say nothing.
            settings = {key: value for key, value in layer.get_config().items() if key != "name"}
            digest.update(json.dumps([type(layer).__name__, settings], default=str, sort_keys=True).encode())
            for weight in layer.get_weights():
                digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:24]
