"""Label suspects: images for training whose labels contradict predictions by models that have not seen them."""

import dataclasses
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from keras_inat.data.dataset import Dataset
from keras_inat.data.pipeline import build_evaluation_batches
from keras_inat.errors import UserError
from keras_inat.progress import track_progress
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.store.runs import RunFolder, find_origin, restart_run
from keras_inat.training.devices import choose_precision, init_devices, use_precision
from keras_inat.training.session import build_model, fit
from keras_inat.training.stage_models import load_features

# A function from the rows to train on and the rows to predict to probabilities `(rows, classes)`.
FoldPredictor = Callable[[np.ndarray, np.ndarray], np.ndarray]
# The L2 penalty of a linear head is a Gaussian prior on its weights. This is the standard deviation that the prior
# gives to a logit, whatever the number of features. With 200 to 7,600 photographs (features of MobileNetV2), accuracy
# and likelihood on held-out images are close to their best.
PRIOR_DEVIATION = 2.0
MAX_ITERATIONS = 300


class OutOfFold(NamedTuple):
    """Predictions for every training and validation image by a model that was not trained on it."""

    rows: np.ndarray  # `(images,)` int64, the sorted indices of the images
    probabilities: np.ndarray  # `(images, classes)` float64
    num_folds: int  # number of models


def predict_out_of_fold(config: Config, data: Dataset, run: RunFolder) -> OutOfFold:
    """Predicts every training and validation image with a model that was not trained on it or on its duplicates.

    With a pretrained backbone, the models are linear heads on its features. Otherwise, they are the CNN of `config`,
    trained for all of its epochs in a folder of `run`, which is removed.

    Raises:
        UserError: The pretrained weights cannot be used, or they come from a training on these images.
    """
    rows = np.sort(np.concatenate([data.training_rows, data.validation_rows]))
    num_classes = len(data.classes)
    init_devices(config.run.deterministic)
    if config.finetune:
        _check_origin(Path(config.finetune.weights), data)
        with use_precision(choose_precision() if config.training.precision == "auto" else config.training.precision):
            features = load_features(build_model(config, num_classes), data)[0]
        keras.utils.clear_session()
        predict = build_linear_predictor(features, data.labels, num_classes)
    else:
        predict = _build_cnn_predictor(config, data, run)
    folds = split_folds(data.labels[rows], data.groups[rows], config.suspects.folds, config.data.split_seed)
    probabilities = np.zeros((len(rows), num_classes))
    # The training of a CNN shows its own progress.
    total = len(rows) if config.finetune else 0
    with track_progress("predicting held-out images", total, "images") as advance:
        for train, held in folds:
            probabilities[held] = predict(rows[train], rows[held])
            advance(len(held))
    return OutOfFold(rows, probabilities, len(folds))


def split_folds(
    labels: np.ndarray, groups: np.ndarray, num_folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Splits images into stratified folds, with images of equal `groups` in one fold.

    Returns:
        For each fold the sorted indices of the other images and of its own. There are fewer than `num_folds` if the
        largest class has fewer images.
    """
    num_folds = min(num_folds, int(np.bincount(labels).max()))
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings(action="ignore"):  # a class may have fewer images than there are folds
        folds = list(splitter.split(np.zeros(len(labels)), labels, groups))
    return [(train, held) for train, held in folds if len(held)]


def build_linear_predictor(features: np.ndarray, labels: np.ndarray, num_classes: int) -> FoldPredictor:
    """Returns a function that trains a linear head, a multinomial logistic regression, on rows of `features`."""

    def predict(train: np.ndarray, held: np.ndarray) -> np.ndarray:
        variance = PRIOR_DEVIATION**2 / features.shape[1]  # of a weight, as the features are standardized
        regression = LogisticRegression(C=variance, max_iter=MAX_ITERATIONS, tol=1e-3)
        head = make_pipeline(StandardScaler(), regression)
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            head.fit(features[train], labels[train])
        probabilities = np.zeros((len(held), num_classes))
        probabilities[:, regression.classes_] = head.predict_proba(features[held])
        return probabilities

    return predict


def _build_cnn_predictor(config: Config, data: Dataset, run: RunFolder) -> FoldPredictor:
    # Selecting an epoch by the held-out images would be a training on them.
    changes = {"training.patience": 0, "tracking.wandb": "disabled", "tracking.mlflow": False}
    config = override(config, changes | {"tracking.tensorboard": False})
    number = 0

    def predict(train: np.ndarray, held: np.ndarray) -> np.ndarray:
        nonlocal number
        number += 1
        fold = dataclasses.replace(data, config=config, training_rows=train, validation_rows=held)
        folder = restart_run(config, run.path / "fold", run.command)
        model = fit(config, folder, f"fold {number}", data=fold, keep_best=False).model
        batches = build_evaluation_batches(data.images, held, config.training.batch_size)
        probabilities = np.asarray(model.predict(batches, verbose=0))
        shutil.rmtree(folder.path)
        keras.utils.clear_session()
        return probabilities

    return predict


# Equal for two runs on the same images, also if `data.exclude` names other ones. The hash is not.
SAME_IMAGES = ("source", "classes", "files")


def _check_origin(weights: Path, data: Dataset) -> None:
    """Refuses a model that was trained on the same images: it has learned their wrong labels, too."""
    trained = find_origin(weights)
    if trained and all(getattr(trained.data, name) == getattr(data.summary, name) for name in SAME_IMAGES):
        raise UserError(
            f"WEIGHTS {str(weights)!r} was trained on the labels of {data.summary.name}, which are to be checked: give "
            "weights of other images, such as WEIGHTS=imagenet, or CONFIG=scratch to train a CNN on each fold"
        )
