"""The one way to export a run: write a format, compare it with Keras, and keep it if it agrees."""

import errno
import os
import platform
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import keras
import numpy as np

from keras_inat.errors import FULL_DISK, UserError, explain_errors, is_out_of_memory
from keras_inat.export.calibration import read_calibration_images
from keras_inat.export.contract import build_contract
from keras_inat.export.formats import FORMATS
from keras_inat.export.graph import build_export_model, use_float32
from keras_inat.export.packages import check_packages, describe_runtime
from keras_inat.export.parity import compare, measure_latency
from keras_inat.export.processor import compute_on_processor
from keras_inat.files import (
    check_writable,
    hold_lock,
    remove,
    remove_temporary_files,
    write_atomically,
    write_folder_atomically,
)
from keras_inat.intervals import count_digits, wilson_interval
from keras_inat.log import warn
from keras_inat.models.model_files import load_model
from keras_inat.models.prediction import predict_in_batches
from keras_inat.progress import hide_startup_messages
from keras_inat.store.exports import (
    MAX_DIFFERENCE,
    MAX_LOSS,
    ExportContract,
    ExportReport,
    ExportRow,
    hash_export,
    select_files,
)
from keras_inat.store.predictions import ValidationSample
from keras_inat.store.provenance import now
from keras_inat.store.records import Result
from keras_inat.store.runs import RunFolder

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Reference:
    """The Keras model on the validation sample."""

    graph: keras.Model  # of `build_export_model`
    sample: ValidationSample
    probabilities: np.ndarray  # `(images, classes)` float32


def export_run(
    run: RunFolder, result: Result, formats: Sequence[str], license_: str | None = None
) -> tuple[ExportContract, ExportReport]:
    """Exports the model of a run to its folder `export/`, in formats of `FORMATS`. Prints a line for each.

    Exports in other formats are kept if they have the same contract.

    Returns:
        The contents of `contract.json` and `export.json`.

    Raises:
        UserError: A package is missing, the run has no validation sample, the folder cannot be written, or an export
            does not agree with Keras. The file of such an export is not kept.
    """
    check_packages(formats)
    sample = _read_sample(run, result)
    _check_writable(run)
    with hold_lock(run.export / ".lock", f"{run.export} is being written by another process: wait until it ends"):
        remove_temporary_files(run.export)
        with compute_on_processor():
            model = use_float32(load_model(run.model, result.data))

        def run_keras(images: np.ndarray) -> np.ndarray:
            with compute_on_processor():
                return model.predict_on_batch(images.astype(np.float32))

        probabilities = predict_in_batches(run_keras, sample.pixels)  # before `build_export_model` changes its layers
        reference = Reference(build_export_model(model), sample, probabilities)
        correct = int((reference.probabilities.argmax(axis=1) == sample.labels).sum())
        contract = build_contract(run, result, tuple(reference.graph.output), license_)
        report = ExportReport(
            model_hash=contract.model_hash,
            created=now(),
            device=f"{platform.machine()}, {os.cpu_count()} cores",
            keras_accuracy=correct / len(sample.labels),
            keras_interval=wilson_interval(correct, len(sample.labels)),
            keras_latency_ms=measure_latency(run_keras, sample),
            num_images=len(sample.labels),
            rows=(),
        )
        contract, report = _keep_others(run, contract, report, formats)
        for name in formats:
            row = _export(run, name, contract, result, reference)
            files = contract.files | hash_export(run.export, row.file)
            contract = contract.model_copy(update={"files": files})
            report = report.model_copy(update={"rows": (*report.rows, row)})
            # After a kill between these files, `find_export` finds nothing.
            contract.write(run.export_contract)
            report.write(run.export_report)
            print(_describe(run, row, report), flush=True)
    return contract, report


def _read_sample(run: RunFolder, result: Result) -> ValidationSample:
    sample = ValidationSample.read_unchanged(run, result, run.sample)
    shape = (result.data.image_size, result.data.image_size, 3)
    if sample is None or not len(sample.labels) or sample.pixels.shape != (len(sample.labels), *shape):
        raise UserError(
            f"{run.sample} is missing or damaged, so that no export can be compared with Keras: restore it, or train "
            "again with another NAME"
        )
    return sample


def _check_writable(run: RunFolder) -> None:
    """Refuses a folder that cannot be written, rather than after minutes of conversion."""
    with explain_errors("write", run.export):
        try:
            check_writable(run.export)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            raise UserError(
                f"cannot write {run.export}: {error.strerror}: copy the run to a folder that you can write, and give "
                "RUN=<copy>"
            ) from None


def _keep_others(
    run: RunFolder, contract: ExportContract, report: ExportReport, formats: Sequence[str]
) -> tuple[ExportContract, ExportReport]:
    """Adds the present exports in other formats to the records. Those with another contract are removed."""
    old = ExportContract.read_if_sound(run.export_contract)
    old_report = ExportReport.read_if_sound(run.export_report)
    is_same = old is not None and old.model_copy(update={"files": {}}) == contract
    rows = []
    files = dict[str, str]()
    for name, kind in FORMATS.items():
        if name in formats:
            continue
        row = old_report.find(name) if old_report and is_same else None
        hashes = hash_export(run.export, kind.file)
        known = select_files(old, kind.file) if old else {}
        if row and hashes and hashes == known:
            rows.append(row)
            files |= hashes
        elif hashes or known:
            remove(run.export / kind.file)
            fault = "is missing or damaged" if is_same else "had another contract"
            warn(f"{run.export / kind.file} {fault} and is removed: FORMAT={name} exports it again")
    return contract.model_copy(update={"files": files}), report.model_copy(update={"rows": tuple(rows)})


def _export(run: RunFolder, name: str, contract: ExportContract, result: Result, reference: Reference) -> ExportRow:
    """Writes one format and compares it. Its file appears only if it agrees."""
    kind = FORMATS[name]
    calibration, description = read_calibration_images(result) if kind.is_integer else (None, "")
    write_whole = write_folder_atomically if kind.is_folder else write_atomically
    print(f"{name}: converting and comparing with Keras", flush=True)
    with write_whole(run.export / kind.file) as temporary:
        _run_quietly(name, lambda: kind.write(reference.graph, temporary, contract, calibration))
        row = _run_quietly(name, lambda: _compare(name, temporary, reference))
        if not kind.is_integer and (row.max_difference > MAX_DIFFERENCE or row.agreement < 1):
            raise UserError(
                f"{name} does not agree with Keras: a probability differs by {row.max_difference:.2g} (at most "
                f"{MAX_DIFFERENCE:g} is accepted), and {1 - row.agreement:.1%} of {row.num_images} images have another "
                "class. The file is not kept: export another format, or report the model"
            )
    return row.model_copy(update={"calibration": description})


def _compare(name: str, path: Path, reference: Reference) -> ExportRow:
    kind = FORMATS[name]
    sample = reference.sample
    with compute_on_processor():
        function = kind.open(path)
        agreement = compare(predict_in_batches(function, sample.pixels), reference.probabilities, sample.labels)
        latencies = measure_latency(function, sample)
    files = [file for file in (path, *path.rglob("*")) if file.is_file()]
    return ExportRow(
        format=name,
        file=kind.file,
        bytes=sum(file.stat().st_size for file in files),
        num_images=len(sample.labels),
        latency_ms=latencies,
        marked=kind.is_integer and agreement.gain < -MAX_LOSS,
        runtime=describe_runtime(kind.runtime),
        **asdict(agreement),
    )


def _run_quietly(name: str, function: Callable[[], Outcome]) -> Outcome:
    """Calls a function without the messages of its libraries. A failure to convert becomes a `UserError`."""
    failure: Exception
    with hide_startup_messages(), warnings.catch_warnings(action="ignore"):
        try:
            return function()
        except Exception as error:  # converters and runtimes raise many classes of errors
            failure = error
    if FULL_DISK in str(failure):  # TensorFlow does not raise an OSError
        raise OSError(errno.ENOSPC, FULL_DISK)
    if isinstance(failure, UserError | OSError) or is_out_of_memory(failure):
        raise failure
    reason = " ".join(str(failure).split())[:200]
    raise UserError(f"the model cannot be exported as {name}: {reason}: export another format") from failure


def _describe(run: RunFolder, row: ExportRow, report: ExportReport) -> str:
    """Describes an export in one line."""
    ends = [f"{100 * end:+.{count_digits(100 * end, 1)}f}" for end in row.gain_interval]
    one, keras_one = row.latency_ms[1], report.keras_latency_ms[1]
    if FORMATS[row.format].is_integer:
        mark = f", more than {100 * MAX_LOSS:g} point lost" if row.marked else ""
        quality = (
            f"accuracy {row.accuracy:.1%}, Keras {report.keras_accuracy:.1%}: {100 * row.gain:+z.1f} points (95 % "
            f"interval {' to '.join(ends)}){mark}"
        )
    else:
        quality = f"the same classes as Keras, and probabilities within {row.max_difference:.1g}"
    return (
        f"{row.format}: {quality} (n = {row.num_images} validation images), {row.bytes / 1e6:.1f} MB, {one:.1f} ms an "
        f"image (Keras {keras_one:.1f} ms)    {run.export / row.file}"
    )
