"""The records of exported models that were never compared."""

from collections.abc import Sequence
from typing import Any

from keras_inat.files import hash_file
from keras_inat.store.exports import (
    ExportAccuracy,
    ExportContract,
    ExportInput,
    ExportReport,
    ExportRow,
    hash_export,
)
from keras_inat.store.records import Preparation
from keras_inat.store.runs import RunFolder

LATENCIES = {1: 1.5, 64: 60.0}  # milliseconds


def build_row(name: str, file: str, **changes: Any) -> ExportRow:
    """Returns the row of an export that agrees with Keras."""
    row = ExportRow(
        format=name,
        file=file,
        bytes=1000,
        max_difference=1e-6,
        agreement=1.0,
        accuracy=0.5,
        interval=(0.4, 0.6),
        gain=0.0,
        gain_interval=(-0.01, 0.01),
        num_images=100,
        latency_ms=LATENCIES,
        runtime="onnxruntime 1.32.0",
    )
    return row.model_copy(update=changes)


def write_records(run: RunFolder, rows: Sequence[ExportRow], report: dict[str, Any], **changes: Any) -> None:
    """Writes `contract.json` and `export.json` for the model and the exported files of a run.

    `report` and `changes` replace fields of the report and of the contract.
    """
    contract = ExportContract(
        name="tiny",
        classes=("a", "b"),
        input=ExportInput(size=16),
        outputs=("probabilities",),
        preparation=Preparation(),
        steps=(),
        card="A model.",
        accuracy=ExportAccuracy(value=0.5, interval=(0.4, 0.6), num_images=100, images="test"),
        keras="3.15.1",
        keras_inat="0.1.0",
        model_hash=hash_file(run.model),
        files={file: digest for row in rows for file, digest in hash_export(run.export, row.file).items()},
    )
    contract.model_copy(update=changes).write(run.export_contract)
    comparison = ExportReport(
        model_hash=contract.model_hash,
        created="2026-01-01T00:00:00+00:00",
        device="x86_64, 2 cores",
        keras_accuracy=0.5,
        keras_interval=(0.4, 0.6),
        keras_latency_ms={1: 3.0, 64: 90.0},
        num_images=100,
        rows=tuple(rows),
    )
    comparison.model_copy(update=report).write(run.export_report)
