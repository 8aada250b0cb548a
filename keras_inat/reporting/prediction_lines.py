"""Predictions as lines of text, as JSON and as CSV."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_inat.files import make_printable
from keras_inat.spreadsheets import format_cell, format_line

TOP = 3  # classes, unless a number is given


class Prediction(NamedTuple):
    """The prediction for one image."""

    file: str  # its path
    classes: Sequence[str]
    probabilities: np.ndarray  # `(classes,)`
    is_uncertain: bool  # true if its confidence is below the threshold
    explanation: str | None = None  # path of its picture

    def rank(self, top: int | None) -> list[tuple[str, float]]:
        """Returns the most probable classes, `top` or all, with their probabilities."""
        best = np.argsort(-self.probabilities, kind="stable")[:top].tolist()
        return [(self.classes[label], float(self.probabilities[label])) for label in best]


def format_text(prediction: Prediction, top: int | None) -> str:
    """Returns `photo.jpg: Aves 81.2 %, Fungi 9.0 %, Plantae 3.1 %`."""
    scores = ", ".join(f"{make_printable(name)} {100 * value:.1f} %" for name, value in prediction.rank(top or TOP))
    if prediction.is_uncertain:
        scores = f"uncertain ({scores})"
    return f"{make_printable(prediction.file)}: {scores}"


def format_json(prediction: Prediction, top: int | None) -> str:
    """Returns an object in one line. Without `top`, it has the probabilities of all classes, in their order."""
    ranked = prediction.rank(top or 1)
    probabilities = dict(ranked if top else zip(prediction.classes, prediction.probabilities.tolist(), strict=True))
    values = {
        "file": prediction.file,
        "class": ranked[0][0],
        "confidence": round(ranked[0][1], 6),
        "uncertain": prediction.is_uncertain,
        "probabilities": {name: round(value, 6) for name, value in probabilities.items()},
        "explanation": prediction.explanation,
    }
    return json.dumps(values)


def format_csv(prediction: Prediction, top: int | None) -> str:
    """Returns a row of the table that begins with `format_csv_head`."""
    (name, confidence), *others = prediction.rank(top or TOP)
    cells = [prediction.file, name, f"{confidence:.6f}", str(prediction.is_uncertain).lower()]
    cells.append(prediction.explanation or "")
    for other, probability in others:
        cells += [other, f"{probability:.6f}"]
    return _join_cells(cells)


def format_csv_head(num_classes: int, top: int | None) -> str:
    """Returns the names of the columns."""
    cells = ["file", "class", "confidence", "uncertain", "explanation"]
    for rank in range(2, min(top or TOP, num_classes) + 1):
        cells += [f"class_{rank}", f"probability_{rank}"]
    return _join_cells(cells)


def _join_cells(cells: Sequence[Any]) -> str:
    """Returns a line of CSV. Bytes that are not text are escaped."""
    line = format_line([format_cell(cell) for cell in cells])
    return line.removesuffix("\r\n").encode("utf-8", "backslashreplace").decode()


FORMATS = {"text": format_text, "json": format_json, "csv": format_csv}
