"""A trained model for use: predictions, explanations and evaluation on labeled images."""

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_inat.api.display import format_bars, format_picture, format_pixels, format_table
from keras_inat.api.history import Run
from keras_inat.api.images import open_images
from keras_inat.data.reading import decode_files
from keras_inat.errors import UserError
from keras_inat.explain.prediction_maps import GUIDED, LEGEND
from keras_inat.log import warn
from keras_inat.models.prediction import predict_images
from keras_inat.models.predictors import Predictor, open_export, wrap_model
from keras_inat.reporting.prediction_pictures import draw_prediction
from keras_inat.store.balance import is_imbalanced
from keras_inat.store.contracts import read_contract
from keras_inat.store.ledger import NAMED_IMAGES, record_evaluation
from keras_inat.store.runs import RunFolder
from keras_inat.store.scores import score_predictions

NUM_SHOWN = 3  # classes beside a picture
MAX_SHOWN = 20  # pictures in a notebook


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image."""

    file: str  # its path, or its number for an image in memory
    class_name: str  # the most probable class
    confidence: float  # its probability
    probabilities: dict[str, float]  # the probability of every class
    pixels: np.ndarray  # `(size, size, 3)` uint8, the image as the model sees it

    def _repr_html_(self) -> str:
        ranked = sorted(self.probabilities.items(), key=lambda entry: -entry[1])[:NUM_SHOWN]
        picture = format_pixels(self.pixels, self.file, side=112)
        return f"<div style='display:flex;gap:1em;align-items:center;margin:4px 0'>{picture}{format_bars(ranked)}</div>"


class Predictions(Sequence[Prediction]):
    """The predictions for several images."""

    def __init__(self, predictions: Iterable[Prediction]) -> None:
        self._predictions = list(predictions)

    def __getitem__(self, index: Any) -> Any:
        return Predictions(self._predictions[index]) if isinstance(index, slice) else self._predictions[index]

    def __len__(self) -> int:
        return len(self._predictions)

    @property
    def probabilities(self) -> np.ndarray:
        """`(images, classes)` float64, the classes in alphabetical order."""
        return np.array([list(prediction.probabilities.values()) for prediction in self._predictions])

    def __repr__(self) -> str:
        return "\n".join(f"{each.file}: {each.class_name} {each.confidence:.1%}" for each in self._predictions)

    def _repr_html_(self) -> str:
        shown = "".join(prediction._repr_html_() for prediction in self._predictions[:MAX_SHOWN])
        hidden = len(self) - MAX_SHOWN
        return shown + (f"<p>and {hidden:,} more</p>" if hidden > 0 else "")


@dataclass(frozen=True)
class Explanations:
    """Guided backpropagation of predictions."""

    predictions: Predictions
    gradients: np.ndarray  # `(images, size, size, 3)` float32, of the logit of the predicted class

    def _repr_html_(self) -> str:
        parts = []
        for prediction, gradient in zip(self.predictions[:MAX_SHOWN], self.gradients, strict=False):
            probabilities = np.array(list(prediction.probabilities.values()))
            classes = list(prediction.probabilities)
            picture = draw_prediction(prediction.pixels, classes, probabilities, GUIDED, LEGEND, gradient)
            parts.append(format_picture(picture, f"{prediction.file}: {prediction.class_name}"))
        return "".join(parts)


@dataclass(frozen=True)
class Evaluation:
    """The accuracy on labeled images."""

    accuracy: float
    interval: tuple[float, float]  # its 95 % interval over images
    balanced_accuracy: float  # mean recall of the classes that have images
    balanced_interval: tuple[float, float]  # its 95 % interval over images
    majority_baseline: float  # fraction of the images that belong to their most frequent class
    num_images: int
    predictions: Predictions
    labels: list[str]  # the class of each image

    def __repr__(self) -> str:
        low, high = self.interval
        text = f"accuracy {self.accuracy:.1%} ({low:.1%} to {high:.1%}, n = {self.num_images:,} images)"
        if self.is_imbalanced:
            low, high = self.balanced_interval
            text += f", balanced accuracy {self.balanced_accuracy:.1%} ({low:.1%} to {high:.1%})"
            text += f", majority baseline {self.majority_baseline:.1%}"
        return f"<Evaluation: {text}>"

    def _repr_html_(self) -> str:
        low, high = self.interval
        head = ["accuracy", "95 % interval", "n"]
        cells = [f"{self.accuracy:.1%}", f"{low:.1%} to {high:.1%}", f"{self.num_images:,} images"]
        if self.is_imbalanced:
            low, high = self.balanced_interval
            head += ["balanced accuracy", "95 % interval", "majority baseline"]
            cells += [f"{self.balanced_accuracy:.1%}", f"{low:.1%} to {high:.1%}", f"{self.majority_baseline:.1%}"]
        return format_table(head, [cells])

    @property
    def is_imbalanced(self) -> bool:
        """True if balanced accuracy is worth showing beside accuracy."""
        return is_imbalanced(list(Counter(self.labels).values()))


class Classifier:
    """A trained model. It takes photographs of any size and prepares them like its training images."""

    def __init__(self, path: Path, run: Run | None = None) -> None:
        contract = read_contract(path)
        self.path = path
        self._contract = contract
        self.classes = list(contract.classes)  # in alphabetical order
        self.image_size = contract.image_size  # side in pixels of the model's input
        self.preparation = contract.preparation  # the conversion of an image file to the model's input
        self.temperature = contract.temperature  # of the calibrated probabilities; None if it was not fitted
        self.run = run  # None for a model file that has left its run

    @functools.cached_property
    def model(self) -> Any:
        """The Keras model, from `(batch, size, size, 3)` in [0, 255] to `(batch, classes)` probabilities.

        Raises:
            UserError: The file is missing or damaged.
        """
        from keras_inat.progress import import_quietly

        return import_quietly("keras_inat.models.model_files").load_model(self.path, self._contract)

    @functools.cached_property
    def _predictor(self) -> Predictor:
        """The exported model of the run if there is one that agrees with this model, otherwise the Keras model."""
        run = RunFolder(self.path.parent, "")
        exported = open_export(run) if self.path.name == run.model.name else None
        return exported or wrap_model(self.model)

    def predict(self, images: Any, calibrated: bool = True) -> Predictions:
        """Predicts images, by the exported model of the run if it has one.

        Args:
            images: A file or a folder, an image of Pillow, pixels `(height, width, 3)` or `(n, height, width, 3)` from
                0 to 255, or a list of these. Files that are not images are skipped with a warning.
            calibrated: True for temperature scaling, False for the output of the model itself.

        Raises:
            UserError: There is no readable image.
        """
        decoded = decode_files(open_images(images), self.image_size, self.preparation)
        predictions = []
        for batch in predict_images(self._predictor.predict, decoded, self.temperature if calibrated else None):
            for file, image, row in zip(batch.names, batch.pixels, batch.probabilities, strict=True):
                probabilities = dict(zip(self.classes, row.astype(float).tolist(), strict=True))
                best = self.classes[int(row.argmax())]
                predictions.append(Prediction(file, best, probabilities[best], probabilities, image))
        if not predictions:
            raise UserError("there is no readable image: give an image file, a folder or pixels from 0 to 255")
        return Predictions(predictions)

    def explain(self, images: Any) -> Explanations:
        """Explains the predicted class of images by guided backpropagation. Images are given as for `predict`."""
        from keras_inat.explain.guided_backpropagation import explain_predictions

        predictions = self.predict(images)
        pixels = np.stack([prediction.pixels for prediction in predictions])
        return Explanations(predictions, explain_predictions(self.model, pixels))

    def evaluate(self, folder: str | os.PathLike[str]) -> Evaluation:
        """Measures the accuracy on a folder of labeled images, `<folder>/<Class>/<file>`.

        The ledger of the run records it.

        Raises:
            UserError: The folder has no images of the model's classes.
        """
        root = Path(folder).expanduser()
        present = [name for name in self.classes if (root / name).is_dir()]
        if not present:
            raise UserError(f"{root} has no folder named like a class of the model: {', '.join(self.classes)}")
        files = [(str(file), name) for name in present for file in sorted((root / name).rglob("*")) if file.is_file()]
        if self.run:
            digest = hashlib.sha256()
            for file, name in files:
                digest.update(name.encode() + hashlib.sha256(Path(file).read_bytes()).digest())
            try:
                record_evaluation(self.run.path.parents[1], NAMED_IMAGES, self.run.path, digest.hexdigest()[:16])
            except OSError as error:  # the runs may be those of somebody else
                warn(f"the ledger does not record this evaluation: {error}")
        label_of = dict(files)
        predictions = self.predict([file for file, _ in files])
        labels = [label_of[prediction.file] for prediction in predictions]
        predicted = np.array([self.classes.index(prediction.class_name) for prediction in predictions])
        scores = score_predictions(predicted, np.array([*map(self.classes.index, labels)]), len(self.classes))
        return Evaluation(
            accuracy=scores.accuracy,
            interval=scores.interval,
            balanced_accuracy=scores.balanced_accuracy,
            balanced_interval=scores.balanced_interval,
            majority_baseline=scores.majority_baseline,
            num_images=scores.num_images,
            predictions=predictions,
            labels=labels,
        )

    def __repr__(self) -> str:
        return f"<Classifier {self.path}: {len(self.classes)} classes, {self.image_size} px>"
