"""`results.csv`: the numbers of the report, for a spreadsheet."""

import csv
import io

from keras_inat.report.groups import Record

COLUMNS = (
    "command", "name", "seed", "strategy", "backbone", "val_accuracy", "test_accuracy", "low", "high", "test_images",
    "mirrored", "epochs", "seconds", "images_per_second", "parameters", "macs", "data", "data_hash", "commit", "run",
)  # fmt: skip


def format_results(records: list[Record]) -> str:
    """`results.csv`: a row a run."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        result = record.result
        low, high = result.get("test_interval") or ("", "")
        strategy = record.finetune["strategy"] if record.finetune else "scratch"
        row = {"strategy": strategy, "backbone": record.backbone, "low": low, "high": high}
        row["mirrored"] = (result.get("mirrored") or {}).get("test_accuracy", "")
        row |= {"data": record.data["name"], "data_hash": record.data["hash"], "run": str(record.folder.path)}
        writer.writerow([row.get(column, result.get(column, "")) for column in COLUMNS])
    return table.getvalue()
