"""What `runs/` tells: finished runs, their seeds, the sweeps, the ledger, sorted by the images they saw.

Reads the run folders alone: no data set, no test images but those that a run kept, no TensorFlow.
"""

import contextlib
import csv
import io
import json
import math
import sys
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from keras_inat.errors import UserError
from keras_inat.report.groups import Record, SeedGroup, SweepHistory, Trial
from keras_inat.settings.loading import read_yaml
from keras_inat.settings.schema import Model
from keras_inat.store.ledger import read_ledger
from keras_inat.store.runs import RunFolder, list_runs

# Sections of a configuration that leave the result as it is, beside the seed.
INDIFFERENT_SECTIONS = ("run", "sweep", "train_best", "tracking", "report", "predict")


@dataclass
class DataSet:
    """All that was done with one set of images, told apart by the hash of their contents."""

    name: str
    data: dict[str, Any] | None
    groups: list[SeedGroup] = field(default_factory=list)
    sweeps: list[SweepHistory] = field(default_factory=list)

    def find_groups(self, command: str) -> list[SeedGroup]:
        """The groups of a command, best validation accuracy first."""
        found = [group for group in self.groups if group.command == command]
        return sorted(found, key=lambda group: -float(np.mean([r.result["val_accuracy"] for r in group.records])))


@dataclass(frozen=True)
class History:
    """Everything that the report shows."""

    data_sets: list[DataSet]
    records: list[Record]
    ledger: list[dict[str, Any]]


def read_history(directory: str | Path) -> History:
    """Reads `runs/`. Runs without a `result.json` are still at work, or were given up, and are left out."""
    records = [
        record
        for run in list_runs(directory)
        if (result := run.read_result()) and _is_known(record := Record(run, result))
    ]
    sweeps = list[SweepHistory]()
    for path in sorted(Path(directory, "sweep").glob("*/trials.csv")):
        try:
            sweeps.append(read_sweep(path.parent))
        except (ValueError, TypeError, KeyError, csv.Error):
            print(f"warning: {path} is damaged and left out", file=sys.stderr)
    data_sets: dict[str, DataSet] = {}
    for record in records:
        # The newest run describes the data: the hash is the same, the image size need not be.
        data_sets.setdefault(record.data["hash"], DataSet(record.data["name"], None)).data = record.data
    for group in group_seeds(records):
        data_sets[group.best.data["hash"]].groups.append(group)
    for sweep in sorted(sweeps, key=lambda sweep: sweep.last_started, reverse=True):
        if sweep.data:
            key = sweep.data["hash"]
        else:
            # No trial came to open the images: the name is all there is to go by.
            named = [key for key, data_set in data_sets.items() if data_set.name == sweep.source]
            key = named[-1] if named else f"unopened {sweep.source}"
        data_set = data_sets.setdefault(key, DataSet(sweep.source, None))
        data_set.data = data_set.data or sweep.data
        data_set.name = data_set.data["name"] if data_set.data else data_set.name
        data_set.sweeps.append(sweep)
    # Most told first: the set on which the most was done leads.
    ordered = sorted(data_sets.values(), key=lambda data_set: -_count_commands(data_set))
    return History(ordered, records, read_ledger(directory))


def group_seeds(records: list[Record]) -> list[SeedGroup]:
    """Puts runs together that differ in nothing but the seed; of a seed run twice, the newest counts."""
    groups: dict[str, dict[int, Record]] = {}
    for record in records:
        settings = {name: values for name, values in record.config.items() if name not in INDIFFERENT_SECTIONS}
        settings["data"] = {"image_size": record.data["image_size"], "hash": record.data["hash"]} | {
            name: record.config["data"].get(name) for name in ("val_fraction", "split_seed", "near_duplicates")
        }
        weights = record.result.get("weights_hash", "")
        key = json.dumps([record.command, record.name, settings, weights], sort_keys=True)
        groups.setdefault(key, {})[record.result["seed"]] = record
    return [SeedGroup(tuple(seeds[seed] for seed in sorted(seeds))) for seeds in groups.values()]


def read_sweep(folder: Path) -> SweepHistory:
    """Reads `trials.csv` and the first trial's result, which names the data.

    Raises:
        ValueError: When the table is damaged; or `TypeError`, `KeyError`, `csv.Error`.
    """
    rows = list(csv.DictReader(io.StringIO((folder / "trials.csv").read_text(encoding="utf-8"))))
    trials = []
    for row in rows:
        values = {name: parse_cell(text) for name, text in row.items()}
        score = values["score"]
        if is_number(score) and not 0 <= score <= 1:
            raise ValueError(f"{score} is no accuracy")
        trials.append(
            Trial(
                id=row["id"],
                status=row["status"],
                score=float(score) if is_number(score) else None,
                settings={name: value for name, value in values.items() if "." in name},
                parameters=values["parameters"],
                seconds=values["seconds"],
                started=row["started"],
                error=row["error"],
                curve=tuple(accumulate(map(float, (row.get("val_accuracies") or "").split()), max)),
            )
        )
    for trial in trials:
        run = RunFolder(folder / "trials" / trial.id, "sweep")
        if trial.score is not None and (result := run.read_result()):
            return SweepHistory(folder, trials, result["data"], result["data"]["name"])
    return SweepHistory(folder, trials, None, _read_source(folder))


def parse_cell(text: str) -> bool | int | float | str | None:
    """A cell of `trials.csv` as what it was before it was text; an empty one is None."""
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text) if math.isfinite(kind(text)) else None
    return text


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a number on a scale, which True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_known(record: Record) -> bool:
    """Whether its network can be described: another version of the program may have had other settings."""
    try:
        Model(**record.config["model"])
        return True
    except ValueError:
        print(f"warning: {record.folder.result} is of another version and left out", file=sys.stderr)
        return False


def _read_source(folder: Path) -> str:
    """The name of the data that a sweep was meant for; its own where that is not known."""
    values: Any = {}
    with contextlib.suppress(UserError, OSError):
        values = read_yaml(folder / "space.yaml")
    values = values.get("base") or values
    data = values.get("data") if isinstance(values, dict) else None
    source = Path(str((data.get("source") if isinstance(data, dict) else None) or folder.name))
    return source.stem if source.suffix == ".zip" else source.name


def _count_commands(data_set: DataSet) -> int:
    return bool(data_set.sweeps) + len({group.command for group in data_set.groups})
