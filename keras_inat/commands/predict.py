"""`predict`: class probabilities and an explanation picture for one image or for a folder of them."""

import itertools
import json
import os
import sys
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inat.data.decode import decode_image
from keras_inat.errors import UserError
from keras_inat.explain.guided import explain_predictions
from keras_inat.files import make_printable
from keras_inat.plotting import save_figure
from keras_inat.report.charts.explanations import draw_prediction
from keras_inat.settings.schema import Config
from keras_inat.store.runs import RunFolder, list_runs

BATCH_SIZE, MAX_PICTURES, NUM_CLASSES = 64, 20, 3
MAX_STEM = 200  # bytes: with what is added to it while it is written, file systems take 255


def run(config: Config) -> None:
    """Prints the most probable classes of each image, and explains the first of them in pictures.

    The pictures go to `<run>/predictions/<image>.png`. With `predict.format=json` stdout has an object a line and
    image: `file`, `class`, `probabilities` by class, and `explanation`, the path of the picture or null.

    Raises:
        UserError: When run or image are missing, or no file is a readable image.
    """
    run_folder, result = _find_run(config)
    home, paths = _list_images(config)
    class_names, image_size = result["data"]["classes"], result["data"]["image_size"]
    model = _load_model(run_folder, (image_size, image_size, 3), len(class_names))
    as_json = config.predict.format == "json"
    remarks = sys.stderr if as_json else sys.stdout
    print(f"model: {run_folder.path}", file=remarks, flush=True)
    directory, num_read = run_folder.path / "predictions", 0
    pictures: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for readable, images in _read_batches(home, paths, image_size):
        probabilities = keras.ops.convert_to_numpy(model(images.astype(np.float32), training=False))
        for path, image, row in zip(readable, images, probabilities, strict=True):
            explanation = None
            if len(pictures) < MAX_PICTURES:
                explanation = _name_picture(path.stem, pictures)
                pictures[explanation] = image, row
            file = path.relative_to(home)
            picture = None if explanation is None else directory / f"{explanation}.png"
            told = _to_json(file, class_names, row, picture) if as_json else _describe(file, class_names, row)
            print(told, flush=True)
        num_read += len(readable)
    if not num_read:
        raise UserError(
            f"IMAGE {config.predict.image!r} holds no readable image: give a JPEG, a PNG or a folder of them"
        )
    gradients = explain_predictions(model, np.stack([image for image, _ in pictures.values()]))
    for (name, (image, row)), gradient in zip(pictures.items(), gradients, strict=True):
        save_figure(draw_prediction(image, class_names, row, gradient), directory / f"{name}.png")
    if num_read == 1:
        print(make_printable(f"explanation: {directory / f'{next(iter(pictures))}.png'}"), file=remarks)
    else:
        print(f"explanations of {len(pictures)} of {num_read} images: {directory}", file=remarks)


def _describe(path: Path, class_names: list[str], row: np.ndarray) -> str:
    best = np.argsort(-row, kind="stable")[:NUM_CLASSES]
    classes = ", ".join(f"{class_names[label]} {100 * row[label]:.1f} %" for label in best)
    return f"{make_printable(str(path))}: {classes}"


def _to_json(path: Path, class_names: list[str], row: np.ndarray, picture: Path | None) -> str:
    told = {
        "file": str(path),
        "class": class_names[int(row.argmax())],
        "probabilities": {name: round(float(value), 6) for name, value in zip(class_names, row, strict=True)},
        "explanation": picture and str(picture),
    }
    return json.dumps(told)


def _find_run(config: Config) -> tuple[RunFolder, dict[str, Any]]:
    """The run that `predict.run` names, else the newest with a model, and its result."""
    if config.predict.run is None:
        for run_folder in reversed(list_runs(config.run.directory)):
            if run_folder.model.exists() and (result := run_folder.read_result()):
                return run_folder, result
        raise UserError(
            f"there is no finished run with a model in {config.run.directory!r}: run `make train-best` or "
            "`make finetune` first, or give RUN=<run folder>"
        )
    path = Path(config.predict.run)
    run_folder = RunFolder(path, path.resolve().parent.name)
    missing = [file.name for file in (run_folder.model, run_folder.result) if not file.exists()]
    if missing:
        raise UserError(
            f"RUN must be the folder of a finished run, with best.keras and result.json. Received: "
            f"{config.predict.run!r}, which has no {' and no '.join(missing)}."
        )
    result = run_folder.read_result()
    if result is None:
        raise UserError(f"{run_folder.result} is damaged: give another RUN")
    return run_folder, result


def _list_images(config: Config) -> tuple[Path, list[Path]]:
    """The files that `predict.image` names, and the folder that they are in."""
    if not config.predict.image:
        raise UserError("what to predict is missing: give IMAGE=<image file or folder>")
    image = Path(config.predict.image)
    if not image.exists():
        raise UserError(f"IMAGE {config.predict.image!r} does not exist: give an image file or a folder of them")
    if not image.is_dir():
        return image.parent, [image]
    paths = (path for path in image.rglob("*") if path.is_file())
    return image, sorted(
        path for path in paths if not any(part.startswith(".") for part in path.relative_to(image).parts)
    )


def _load_model(run_folder: RunFolder, image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    try:
        model = keras.models.load_model(run_folder.model, compile=False)
    except Exception as error:  # whatever a damaged archive leads Keras into
        raise UserError(f"{run_folder.model} cannot be loaded: {' '.join(str(error).split())[:200]}") from None
    if model.input_shape[1:] != image_shape or model.output_shape[1:] != (num_classes,):
        raise UserError(f"{run_folder.model} is not the model that result.json describes: give another RUN")
    return model


def _read_batches(home: Path, paths: list[Path], size: int) -> Iterator[tuple[list[Path], np.ndarray]]:
    """Readable files with their pixels `(files, size, size, 3)` uint8; the others are named on stderr."""
    for start in range(0, len(paths), BATCH_SIZE):
        readable, images = [], []
        for path in paths[start : start + BATCH_SIZE]:
            try:
                images.append(decode_image(path.read_bytes(), size))
                readable.append(path)
            except ValueError as error:
                _warn(path.relative_to(home), str(error))
            except OSError as error:
                _warn(path.relative_to(home), str(error.strerror))
        if images:
            yield readable, np.stack(images)


def _warn(path: Path, reason: str) -> None:
    print(f"warning: {make_printable(str(path))} is skipped: {reason}", file=sys.stderr)


def _name_picture(stem: str, taken: Container[str]) -> str:
    """`stem`, or with a number where another folder's image has the same name."""
    stem = os.fsdecode(os.fsencode(stem)[:MAX_STEM])
    names = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
    return next(name for name in names if name not in taken)
