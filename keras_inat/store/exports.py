"""The records of exported models: their contract, `contract.json`, and their comparison with Keras, `export.json`."""

import contextlib
from pathlib import Path
from typing import Any

import pydantic

from keras_inat.errors import describe_os_error
from keras_inat.files import hash_file, list_files
from keras_inat.log import warn
from keras_inat.store.checksums import WRONG
from keras_inat.store.records import Interval, Preparation, Stored
from keras_inat.store.runs import RunFolder

MAX_DIFFERENCE = 1e-4  # of a probability of Keras and of a floating-point export
MAX_LOSS = 0.01  # of accuracy by 8-bit integers, before the export is marked


class ExportInput(Stored):
    """The input of an exported model, `(batch, size, size, 3)`."""

    name: str = "image"
    size: int  # side in pixels
    dtype: str = "uint8"
    layout: str = "NHWC"
    range: str = "RGB from 0 to 255"


class PreparationStep(Stored):
    """One step from an image file to the input. The steps are done in order."""

    step: str  # the name of the step
    text: str  # the step in words
    values: dict[str, Any] = pydantic.Field(default_factory=dict)  # its numbers and names


class ExportAccuracy(Stored):
    """An accuracy on images that did not train the model."""

    value: float
    interval: Interval  # its 95 % interval over images
    num_images: int
    images: str  # "test" or "validation"


class ExportContract(Stored):
    """The use of an exported model, `contract.json`. The metadata of an export have a copy, without `files`."""

    name: str  # name of the run
    classes: tuple[str, ...]  # the class of each output, in order
    input: ExportInput
    # Output `probabilities`, `(batch, classes)` float32, not calibrated. Output `class_activation_maps`, `(batch,
    # height, width, classes)` float32, where the network ends in global average pooling and one dense layer.
    outputs: tuple[str, ...]
    preparation: Preparation  # the settings of the steps, for this program
    steps: tuple[PreparationStep, ...]  # the conversion of an image file to the input, for any program
    # Calibrated probabilities are softmax(log(probabilities) / temperature); None: not fitted.
    temperature: float | None = None
    license: str | None = None  # of the model; None: not stated
    card: str  # the model, its training data, its accuracy and its intended use in a few sentences
    accuracy: ExportAccuracy
    keras: str  # the version of Keras that exported the model
    keras_inat: str  # the version of this program
    model_hash: str  # SHA-256 of `best.keras`
    # SHA-256 of each exported file, by its path in the folder.
    files: dict[str, str] = pydantic.Field(default_factory=dict)


class ExportRow(Stored):
    """One export, run in its own runtime on the validation sample, beside Keras on the same images."""

    format: str  # its name in `export.formats`
    file: str  # a file or folder, relative to the folder of exports
    bytes: int
    max_difference: float  # the largest difference of a probability
    agreement: float  # fraction of the images with the same predicted class
    accuracy: float
    interval: Interval  # its 95 % interval over images
    gain: float  # its accuracy minus that of Keras
    gain_interval: tuple[float, float]  # 95 % interval of this paired difference
    num_images: int
    latency_ms: dict[int, float]  # median time of a batch in milliseconds, by the number of its images
    marked: bool = False  # whether it loses more than `MAX_LOSS`
    runtime: str  # name and version of the runtime
    calibration: str = ""  # the images that the ranges of 8-bit integers come from


class ExportReport(Stored):
    """The comparison of the exports of a run with its Keras model, `export.json`."""

    model_hash: str  # SHA-256 of `best.keras`
    created: str  # UTC, ISO 8601
    device: str  # the processor of the timings
    keras_accuracy: float  # of the Keras model on the same images
    keras_interval: Interval  # its 95 % interval over images
    keras_latency_ms: dict[int, float]  # as in the rows
    num_images: int  # validation images
    rows: tuple[ExportRow, ...]

    def find(self, name: str) -> ExportRow | None:
        """Returns the row of a format."""
        return next((row for row in self.rows if row.format == name), None)


def find_export(run: RunFolder, name: str) -> tuple[Path, ExportContract] | None:
    """Returns the exported file of a format and its contract.

    Returns None unless the export agrees with the present `best.keras` and is the file that was compared with it.
    """
    found = read_exports(run)
    row = found[1].find(name) if found else None
    return (run.export / row.file, found[0]) if found and row and is_sound(run, found[0], row) else None


def read_exports(run: RunFolder) -> tuple[ExportContract, ExportReport] | None:
    """Reads the records of the exports of a run.

    Returns None if nothing is exported and, with a warning, if a record is lost or damaged or is of another model.
    """
    if not any(run.export.glob("[!.]*")):  # the folder may be left by a killed or refused export
        return None
    contract = ExportContract.read_if_sound(run.export_contract)
    report = ExportReport.read_if_sound(run.export_report)
    for path in (run.export_contract, run.export_report):
        if not path.exists():
            warn(f"{path} is missing, and the exports are skipped")
    if not contract or not report:
        return None
    try:
        is_same = hash_file(run.model) == contract.model_hash == report.model_hash
    except OSError as error:
        warn(describe_os_error(error, "read", str(run.model)))
        return None
    if not is_same:
        warn(f"{run.export} has the exports of another model than {run.model}, and is skipped")
        return None
    if unlisted := {Path(file).parts[0] for file in contract.files} - {row.file for row in report.rows}:
        warn(
            f"{run.export_report} does not have {', '.join(sorted(unlisted))}, and is older than {run.export_contract}"
        )
    return contract, report


def is_sound(run: RunFolder, contract: ExportContract, row: ExportRow) -> bool:
    """Returns True if the files of an export are those that were compared with Keras. Warns about other ones."""
    known = select_files(contract, row.file)
    with contextlib.suppress(OSError):  # missing or unreadable
        if known and known == hash_export(run.export, row.file):
            return True
    warn(f"{run.export / row.file} is missing, {WRONG}, and is skipped")
    return False


def select_files(contract: ExportContract, file: str) -> dict[str, str]:
    """Returns the SHA-256 of an exported file, or of each file of an exported folder, when it was exported."""
    return {name: digest for name, digest in contract.files.items() if Path(name).parts[0] == file}


def find_app(run: RunFolder) -> Path | None:
    """Returns the page of the app of a run; None if there is none and, with a warning, if it is of another model."""
    if not any(run.app.glob("[!.]*")):
        return None
    contract = ExportContract.read_if_sound(run.app_contract)
    with contextlib.suppress(OSError):
        if contract and run.app_page.exists() and contract.model_hash == hash_file(run.model):
            return run.app_page
    warn(f"{run.app_page} or {run.app_contract} is missing, damaged or of another model, and the app is skipped")
    return None


def hash_export(folder: Path, file: str) -> dict[str, str]:
    """Returns the SHA-256 of an exported file, or of each file of an exported folder, by its path in `folder`."""
    path = folder / file
    files = list_files(path) if path.is_dir() else [path]
    return {member.relative_to(folder).as_posix(): hash_file(member) for member in files if member.is_file()}
