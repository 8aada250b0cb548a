"""`predict`: class probabilities and an attribution map for one image or for a folder of images."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from keras_inat.data.reading import NamedFile, decode_files
from keras_inat.errors import UserError, explain_errors
from keras_inat.explain.prediction_maps import compute_prediction_maps
from keras_inat.files import check_writable, list_files, make_printable, write_atomically
from keras_inat.log import warn
from keras_inat.models.prediction import PredictedBatch, predict_images
from keras_inat.models.predictors import Predictor, open_export, wrap_model
from keras_inat.progress import import_quietly
from keras_inat.reporting.prediction_lines import FORMATS, Prediction, format_csv_head
from keras_inat.reporting.prediction_pictures import draw_prediction
from keras_inat.settings.schema import Config
from keras_inat.store.records import DataSummary
from keras_inat.store.runs import RunFolder, choose_run

MAX_PICTURES = 20
CLOSED_PIPE = 141  # the exit code of a program whose reader has left, as shells report it


def run(config: Config) -> None:
    """Prints the most probable classes of each image and explains the first predictions in pictures.

    The images are decoded in parallel, and a batch is printed as soon as it is predicted. The pictures are written to
    `<run>/predictions/<image>.png`, or to `predictions/` here if the run is read-only. With another `predict.format`
    than text, stdout has the predictions only. With `predict.format=json`, it has one JSON object per line and image:
    `file`, `class`, `confidence`, `uncertain`, `probabilities` by class, and `explanation`, the path of the picture or
    null.
    """
    settings = config.predict
    run_folder, result = choose_run(config)
    data = result.data
    exported = open_export(run_folder, data) if settings.runtime == "auto" else None
    predictor = exported or _open_keras(run_folder, data)
    temperature = result.temperature if settings.calibrated else None
    is_text = settings.format == "text"
    files = decode_files(_list_images(config), data.image_size, data.preparation)
    with _exit_with_reader(), contextlib.closing(files) as images:
        _print_note(f"model: {run_folder.path}", is_text)
        pictures = Pictures(_choose_folder(run_folder, settings.output) if settings.explain else None)
        num_images = 0
        for batch in predict_images(predictor.predict, images, temperature):
            if settings.format == "csv" and not num_images:
                print(format_csv_head(len(data.classes), settings.top))
            num_images += len(batch.names)
            paths = pictures.choose_paths(batch.names)
            for name, probabilities, path in zip(batch.names, batch.probabilities, paths, strict=True):
                is_uncertain = float(probabilities.max()) < settings.threshold
                picture = str(path) if path else None
                prediction = Prediction(name, data.classes, probabilities, is_uncertain, picture)
                print(FORMATS[settings.format](prediction, settings.top))
            sys.stdout.flush()
            _explain(predictor, data.classes, batch, [path for path in paths if path])
        if not num_images:
            raise UserError(
                f"IMAGE {config.predict.image!r} contains no readable image: give a JPEG file, a PNG file or a folder"
            )
        if num_images == 1 and pictures.paths:
            _print_note(make_printable(f"explanation: {pictures.paths[0]}"), is_text)
        elif pictures.paths:
            _print_note(f"explanations of {len(pictures.paths)} of {num_images} images: {pictures.folder}", is_text)


class Pictures:
    """The paths of the pictures of a command, each used once. Without a folder there are none."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.paths: list[Path] = []

    def choose_paths(self, names: Sequence[str]) -> list[Path | None]:
        """Returns a path for each image; None if enough images have one."""
        return [self._choose_path(Path(name).stem) for name in names]

    def _choose_path(self, stem: str) -> Path | None:
        """Returns the path of a picture, with a number if an image of another folder has the same name."""
        if not self.folder or len(self.paths) >= MAX_PICTURES:
            return None
        stem = os.fsdecode(os.fsencode(stem)[:200])  # file systems accept names of 255 bytes
        path = self.folder / f"{stem}.png"
        number = 2
        while path in self.paths:
            path = self.folder / f"{stem}-{number}.png"
            number += 1
        self.paths.append(path)
        return path


def _explain(predictor: Predictor, classes: Sequence[str], batch: PredictedBatch, paths: Sequence[Path]) -> None:
    """Writes the pictures of the first images of a batch."""
    if not paths:
        return
    pixels = batch.pixels[: len(paths)]
    maps = compute_prediction_maps(predictor, pixels, batch.probabilities[: len(paths)].argmax(axis=1))
    for path, image, row, values in zip(paths, pixels, batch.probabilities, maps.values, strict=False):
        picture = draw_prediction(image, classes, row, maps.method, maps.legend, values)
        with write_atomically(path) as temporary:
            picture.save(temporary, "PNG", compress_level=1)  # twice as fast, and larger by an eighth


def _open_keras(run: RunFolder, data: DataSummary) -> Predictor:
    return wrap_model(import_quietly("keras_inat.models.model_files").load_model(run.model, data))


def _choose_folder(run: RunFolder, output: str | None) -> Path | None:
    """Returns a folder for the pictures that can be written: the given one, in the run, or in the working folder.

    Returns None if neither the run nor the working folder can be written.
    """
    if output:
        with explain_errors("write", output):
            check_writable(Path(output))
        return Path(output)
    inside = run.path / "predictions"
    for folder in (inside, Path("predictions") / run.path.name):
        with contextlib.suppress(OSError):
            check_writable(folder)
            if folder is not inside:
                warn(f"{run.path} cannot be written: the explanations are in {folder}")
            return folder
    warn(f"neither {run.path} nor the working folder can be written: the predictions come without explanations")
    return None


def _list_images(config: Config) -> Iterator[NamedFile]:
    """Yields the files of the image or folder that `predict.image` names, without hidden files and own pictures."""
    image = Path(str(config.predict.image))
    if not image.is_dir():
        yield image.name, image
        return
    output = Path(config.predict.output).absolute() if config.predict.output else None
    for path in list_files(image):
        if output not in path.absolute().parents:
            yield str(path.relative_to(image)), path


def _print_note(text: str, is_text: bool) -> None:
    """Prints a line beside the predictions. It goes to stderr unless they are text for readers, too."""
    print(text, file=sys.stdout if is_text else sys.stderr, flush=True)


@contextlib.contextmanager
def _exit_with_reader() -> Iterator[None]:
    """Ends the process without a message if stdout is a pipe whose reader, such as `head`, has enough."""
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # otherwise Python reports at its end what stdout still holds
            sys.stdout.flush()
        if isinstance(error, BrokenPipeError):
            sys.exit(CLOSED_PIPE)
        raise
