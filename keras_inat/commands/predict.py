"""`predict`: class probabilities and an attribution map for one image or for a folder of images."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import numpy as np

from keras_inat.data.decode import decode_image
from keras_inat.errors import UserError
from keras_inat.explain.guided_backpropagation import explain_predictions
from keras_inat.files import list_files, make_printable
from keras_inat.log import warn
from keras_inat.models.model_files import load_model
from keras_inat.models.prediction import predict_images
from keras_inat.plotting import save_figure
from keras_inat.reporting.charts.explanations import draw_prediction
from keras_inat.settings.schema import Config
from keras_inat.store.records import DataSummary
from keras_inat.store.runs import RunFolder, choose_run

MAX_PICTURES = 20


def run(config: Config) -> None:
    """Prints the most probable classes of each image and explains the first predictions in pictures.

    The pictures are written to `<run>/predictions/<image>.png`, or to `predictions/` here if the run is read-only. With
    `predict.format=json`, stdout has one JSON object per line and image: `file`, `class`, `probabilities` by class, and
    `explanation`, the path of the picture or null.
    """
    run_folder, result = choose_run(config)
    folder, files = _list_images(config)
    model = load_model(run_folder.model, result.data)
    classes = result.data.classes
    as_json = config.predict.format == "json"
    notes = sys.stderr if as_json else sys.stdout
    print(f"model: {run_folder.path}", file=notes, flush=True)
    pictures = _choose_folder(run_folder)
    explained: dict[Path, tuple[np.ndarray, np.ndarray]] = {}
    num_images = 0
    for file, pixels, probabilities in predict_images(model, _read_images(folder, files, result.data)):
        num_images += 1
        picture = None
        if pictures and len(explained) < MAX_PICTURES:
            picture = _choose_path(pictures, file.stem, explained)
            explained[picture] = (pixels, probabilities)
        if as_json:
            print(_format_json(file, probabilities, classes, picture), flush=True)
        else:
            print(_format_line(file, probabilities, classes), flush=True)
    if not num_images:
        raise UserError(
            f"IMAGE {config.predict.image!r} contains no readable image: give a JPEG file, a PNG file or a folder"
        )
    if not pictures:
        return
    gradients = explain_predictions(model, np.stack([pixels for pixels, _ in explained.values()]))
    for (path, (pixels, probabilities)), gradient in zip(explained.items(), gradients, strict=True):
        save_figure(draw_prediction(pixels, classes, probabilities, gradient), path)
    if num_images == 1:
        print(make_printable(f"explanation: {next(iter(explained))}"), file=notes)
    else:
        print(f"explanations of {len(explained)} of {num_images} images: {pictures}", file=notes)


def _choose_folder(run: RunFolder) -> Path | None:
    """Returns a folder for the pictures that can be written: in the run or in the working folder. None if neither."""
    inside = run.path / "predictions"
    for folder in (inside, Path("predictions") / run.path.name):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
            if folder is not inside:
                warn(f"{run.path} cannot be written: the explanations are in {folder}")
            return folder
    warn(f"neither {run.path} nor the working folder can be written: the predictions come without explanations")
    return None


def _list_images(config: Config) -> tuple[Path, list[Path]]:
    """Returns the folder of the images that `predict.image` names, and their files. Hidden files are skipped."""
    image = Path(str(config.predict.image))
    if not image.is_dir():
        return image.parent, [image]
    return image, list_files(image)


def _read_images(folder: Path, files: Sequence[Path], data: DataSummary) -> Iterator[tuple[Path, np.ndarray]]:
    """Yields the path in `folder` and the pixels of each image. Other files get a warning."""
    for path in files:
        file = path.relative_to(folder)
        try:
            yield file, decode_image(path.read_bytes(), data.image_size, data.preparation)
        except ValueError as error:
            warn(f"skipped {make_printable(str(file))}: it {error}")
        except OSError as error:
            warn(f"skipped {make_printable(str(file))}: it cannot be read: {error.strerror}")


def _choose_path(folder: Path, stem: str, taken: Container[Path]) -> Path:
    """Returns the path of a picture, with a number if an image of another folder has the same name."""
    stem = os.fsdecode(os.fsencode(stem)[:200])  # file systems accept names of 255 bytes
    path = folder / f"{stem}.png"
    number = 2
    while path in taken:
        path = folder / f"{stem}-{number}.png"
        number += 1
    return path


def _format_line(file: Path, probabilities: np.ndarray, classes: Sequence[str]) -> str:
    best = np.argsort(-probabilities, kind="stable")[:3]
    scores = ", ".join(f"{classes[label]} {100 * probabilities[label]:.1f} %" for label in best)
    return f"{make_printable(str(file))}: {scores}"


def _format_json(file: Path, probabilities: np.ndarray, classes: Sequence[str], picture: Path | None) -> str:
    values = {
        "file": str(file),
        "class": classes[int(probabilities.argmax())],
        "probabilities": {name: round(float(value), 6) for name, value in zip(classes, probabilities, strict=True)},
        "explanation": str(picture) if picture else None,
    }
    return json.dumps(values)
