"""The command `suspects`: the images for training whose labels are probably wrong, the most suspicious first."""

import re

import numpy as np

from keras_inat.data.dataset import Dataset, open_data
from keras_inat.errors import PROGRAM
from keras_inat.files import make_printable
from keras_inat.log import warn
from keras_inat.models.backbones import name_backbone
from keras_inat.settings.loading import build_config
from keras_inat.settings.schema import Config
from keras_inat.store.predictions import SuspectPictures
from keras_inat.store.provenance import now
from keras_inat.store.runs import RunFolder
from keras_inat.store.suspects import Suspect, SuspectRun, Suspects, claim_folder, write_suspects
from keras_inat.training.confident_learning import find_label_suspects
from keras_inat.training.label_suspects import predict_out_of_fold

NUM_PICTURES = 24


def run(config: Config) -> SuspectRun:
    """Writes `suspects.csv` and prints where it is. Returns the run.

    The test images are never read.
    """
    if config.finetune and config.finetune.weights == "none":
        warn("WEIGHTS=none: the features of random weights say little, so the CNN of `model` is trained on each fold")
        config = build_config(config.model_dump() | {"finetune": None})
    data = open_data(config)
    network = name_backbone(config.finetune) if config.finetune else "CNN"
    named = config.run.name != Config().run.name
    # The name of a run's folder may become the network's.
    name = config.run.name if named else re.sub(r"[^A-Za-z0-9._-]+", "-", network)[:100]
    with claim_folder(config, name) as folder:
        return _find_suspects(config, data, folder, network)


def _find_suspects(config: Config, data: Dataset, folder: RunFolder, network: str) -> SuspectRun:
    rows, probabilities, num_folds = predict_out_of_fold(config, data, folder)
    labels = data.labels[rows]
    chosen = find_label_suspects(labels, probabilities)
    suspects = Suspects(
        created=now(),
        network=f"linear heads on the features of {network}" if config.finetune else "CNNs trained from scratch",
        num_folds=num_folds,
        num_images=len(rows),
        accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
        data=data.summary,
        suspects=_describe_suspects(data, rows[chosen], probabilities[chosen]),
    )
    SuspectPictures(pixels=data.images[rows[chosen[:NUM_PICTURES]]]).write(folder.suspect_pictures)
    suspects = write_suspects(folder, suspects)
    print(
        f"{len(chosen):,} label suspects of {len(rows):,} images: {folder.suspect_table}    next: look at them "
        f"(`{PROGRAM} report` shows the first), delete the lines of those with right labels, and train with "
        f"data.exclude={folder.suspect_table}"
    )
    return SuspectRun(folder, suspects)


def _describe_suspects(data: Dataset, rows: np.ndarray, probabilities: np.ndarray) -> tuple[Suspect, ...]:
    suspects = []
    for rank, (row, predicted) in enumerate(zip(rows.tolist(), probabilities, strict=True), 1):
        label = int(data.labels[row])
        suggested = int(predicted.argmax())
        suspects.append(
            Suspect(
                file=make_printable(data.paths[row]),
                label=data.classes[label],
                suggested=data.classes[suggested],
                probability_of_label=round(float(predicted[label]), 4),
                probability_of_suggested=round(float(predicted[suggested]), 4),
                rank=rank,
            )
        )
    return tuple(suspects)
