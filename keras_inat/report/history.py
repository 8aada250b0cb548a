"""The contents of `runs/`: finished runs, seed groups, sweeps and the test ledger, sorted by their images.

Only the run folders are read: no data set, no test images except those that a run kept, no TensorFlow.
"""

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from keras_inat.errors import UserError
from keras_inat.report.seed_groups import FinishedRun, SeedGroup
from keras_inat.report.statistics.accuracy import estimate_validation_accuracy
from keras_inat.report.sweep_history import SweepHistory, read_sweep
from keras_inat.settings import roles
from keras_inat.settings.catalog import select
from keras_inat.settings.loading import build_config, read_yaml
from keras_inat.store.ledger import LedgerEntry, read_ledger
from keras_inat.store.records import DataSummary
from keras_inat.store.runs import list_runs
from keras_inat.store.sweeps import SweepFolder, list_sweeps


@dataclass
class DataSet:
    """Everything that was done with one set of images."""

    name: str
    data: DataSummary | None = None  # None if no run and no trial has a result
    groups: list[SeedGroup] = field(default_factory=list)
    sweeps: list[SweepHistory] = field(default_factory=list)  # the newest first

    def find_groups(self, command: str) -> list[SeedGroup]:
        """Returns the groups of a command, the best validation accuracy first."""
        found = [group for group in self.groups if group.command == command]
        return sorted(found, key=lambda group: -estimate_validation_accuracy(group).value)

    @property
    def num_commands(self) -> int:
        """The number of different commands that used the images."""
        return bool(self.sweeps) + len({group.command for group in self.groups})


@dataclass(frozen=True)
class History:
    """The contents of `runs/`."""

    data_sets: list[DataSet]
    runs: list[FinishedRun]
    ledger: list[LedgerEntry]


def read_history(directory: str | Path) -> History:
    """Reads the folder of all runs. Unfinished runs are skipped, and damaged ones are skipped with a warning."""
    runs = []
    for folder in list_runs(directory):
        result = folder.read_result()
        if result and result.test:
            runs.append(FinishedRun(folder, result, result.test))
    sweeps = [read_sweep(folder) for folder in list_sweeps(directory)]
    data_sets = sort_by_data(runs, [sweep for sweep in sweeps if sweep.trials])
    return History(data_sets, runs, read_ledger(directory))


def sort_by_data(runs: list[FinishedRun], sweeps: list[SweepHistory]) -> list[DataSet]:
    """Sorts runs and sweeps by the hash of their images. The data set that most commands used comes first."""
    data_sets = dict[str, DataSet]()
    for run in runs:
        # The newest run describes the data: the hash is the same, but the image size may differ.
        data_sets.setdefault(run.data.hash, DataSet(run.data.name)).data = run.data
    for group in group_by_seed(runs):
        data_sets[group.best.data.hash].groups.append(group)
    for sweep in sorted(sweeps, key=lambda sweep: sweep.last_started, reverse=True):
        name = sweep.data.name if sweep.data else _read_source_name(sweep.folder)
        data_set = data_sets.setdefault(sweep.data_hash, DataSet(name))
        data_set.data = data_set.data or sweep.data
        data_set.name = data_set.data.name if data_set.data else name
        data_set.sweeps.append(sweep)
    return sorted(data_sets.values(), key=lambda data_set: -data_set.num_commands)


def group_by_seed(runs: list[FinishedRun]) -> list[SeedGroup]:
    """Groups runs that differ only in the seed. Of several runs with one seed the newest is taken."""
    groups = dict[str, dict[int, FinishedRun]]()
    for run in runs:
        settings = select(run.result.config, roles.GROUP)
        key = json.dumps([settings, run.data.hash, run.result.weights_hash])
        groups.setdefault(key, {})[run.result.seed] = run
    return [SeedGroup(tuple(seeds[seed] for seed in sorted(seeds))) for seeds in groups.values()]


def _read_source_name(folder: SweepFolder) -> str:
    """Returns the name of the folder or archive of a sweep's images, or the sweep's name if no trial tells it."""
    for trial_id in folder.list_trial_ids():
        with contextlib.suppress(UserError):
            source = Path(build_config(read_yaml(folder.trial_run(trial_id).config)).data.source)
            return source.stem if source.suffix == ".zip" else source.name
    return folder.name
