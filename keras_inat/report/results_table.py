"""The table of results, `results.csv`, for spreadsheets."""

import csv
import io

from keras_inat.report.history import FinishedRun

COLUMNS = (
    "command", "name", "seed", "strategy", "backbone", "val_accuracy", "test_accuracy", "low", "high", "test_images",
    "flip_test_accuracy", "epochs", "seconds", "images_per_second", "parameters", "macs", "data", "data_hash", "commit",
    "run",
)  # fmt: skip


def format_results(runs: list[FinishedRun]) -> str:
    """Formats `results.csv`, a row for each run."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for run in runs:
        low, high = run.test.interval
        row = dict(run.result) | {
            "strategy": run.finetune.strategy if run.finetune else "scratch",
            "backbone": run.backbone,
            "test_accuracy": run.test.accuracy,
            "low": low,
            "high": high,
            "test_images": run.test.num_images,
            "flip_test_accuracy": run.test.flip.test_accuracy if run.test.flip else "",
            "data": run.data.name,
            "data_hash": run.data.hash,
            "run": str(run.folder.path),
        }
        writer.writerow(row)
    return table.getvalue()
