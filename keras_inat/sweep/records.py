"""A sweep's own records, a file a trial, each written whole: the source of `trials.csv`, `best.yaml` and resumption."""

import contextlib
import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keras_inat.errors import UserError
from keras_inat.files import hold_lock, write_json, write_text
from keras_inat.settings.loading import format_yaml, merge, override, read_yaml
from keras_inat.settings.schema import Config, Finetune
from keras_inat.store.runs import now
from keras_inat.sweep.pruning import build_curve
from keras_inat.sweep.space import decode_values

# Settings that may change between two calls of one sweep without making its scores incomparable.
FREE_SECTIONS = ("tracking", "train_best", "report", "predict")


@dataclass
class Trial:
    """One configuration and what became of it.

    Attributes:
        id: Its number, zero-padded.
        values: Hyperparameters as KerasTuner encodes them.
        settings: The same as settings, by dotted name.
        status: `running`, `completed`, `pruned` or `failed`.
        score: Best validation accuracy of its epochs; None while it runs or when it failed.
        estimate: What a pruned trial would have had after all its epochs.
        val_accuracies: Validation accuracy of each epoch.
    """

    id: str
    values: dict[str, Any]
    settings: dict[str, Any]
    status: str = "running"
    score: float | None = None
    estimate: float | None = None
    epochs: int | None = None
    val_accuracies: list[float] = field(default_factory=list)
    seconds: float | None = None
    parameters: int | None = None
    macs: int | None = None
    started: str = ""
    ended: str = ""
    error: str = ""

    @property
    def told(self) -> float | None:
        """The accuracy that an oracle learns from."""
        return self.score if self.status == "completed" else self.estimate

    @property
    def curve(self) -> list[float]:
        """The best validation accuracy until each of its epochs."""
        return build_curve(self.val_accuracies)


class Records:
    """The folder `runs/sweep/<name>/`.

    Args:
        config: Of the sweep; `run.name` names the folder.
        data_hash: Of its images; scores on others could not be compared.

    Raises:
        UserError: When the folder holds a sweep over another space or with other settings, saying what differs.
    """

    def __init__(self, config: Config, data_hash: str) -> None:
        self.config, self.data_hash = config, data_hash
        self.folder = locate_sweep(config)
        self._ended: dict[Path, Trial] = {}
        self._claim()

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keeps other processes from leading this sweep meanwhile; a second one is told so."""
        with self._lock():
            self.check()  # another process may have claimed the folder since
            yield

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        return hold_lock(self.folder / "lock", f"the sweep {self.config.run.name!r} is at work in another process")

    def trial_folder(self, trial_id: str) -> Path:
        """Where a trial's run files go."""
        return self.folder / "trials" / trial_id

    def begin(self, trial_id: str, values: Mapping[str, Any]) -> Trial:
        """Puts a trial on record that is about to run, unless it is there; gives the record.

        Args:
            trial_id: Its number.
            values: Its hyperparameters as KerasTuner encodes them.
        """
        file = self.trial_folder(trial_id) / "trial.json"
        if file.exists():
            return self.read_trial(file)
        trial = Trial(trial_id, dict(values), decode_values(self.config, values), started=now())
        self.write_trial(trial)
        return trial

    def write_trial(self, trial: Trial) -> None:
        """Puts a trial on record, and brings the tables up to date."""
        write_json(self.trial_folder(trial.id) / "trial.json", asdict(trial))
        self.write_tables()

    def write_tables(self) -> None:
        """Writes `trials.csv` and `best.yaml` from the trials on record."""
        trials = self.read_trials()
        names = list(self.config.sweep.space)
        before, after = ("id", "status", "score"), ("epochs", "val_accuracies", "seconds", "parameters", "macs")
        columns = (*before, *names, *after, "started", "ended", "error")
        table = io.StringIO()
        writer = csv.DictWriter(table, columns)
        writer.writeheader()
        for row in trials:
            # An empty cell says that a hyperparameter did not apply.
            given = {name: "null" if value is None else value for name, value in row.settings.items()}
            values = asdict(row) | {name: given.get(name) for name in names}
            values["val_accuracies"] = " ".join(map(str, row.val_accuracies))
            writer.writerow({column: values[column] for column in columns})
        write_text(self.folder / "trials.csv", table.getvalue())
        if best := find_best(trials):
            values = override(self.config, best.settings).model_dump()
            sections = ("data", "augment", "model", "training", "finetune", "run", "train_best")
            values["train_best"]["sweep"] = self.config.run.name
            write_text(
                self.folder / "best.yaml",
                f"# Trial {best.id}, validation accuracy {best.score:.4f}; the best of {len(trials)} so far.\n"
                + format_yaml({section: values[section] for section in sections}),
            )

    def read_trials(self) -> list[Trial]:
        """Every trial on record, in order of creation."""
        files = [file for file in self.folder.glob("trials/*/trial.json") if file.parent.name.isdecimal()]
        files.sort(key=lambda file: int(file.parent.name))
        return [self._ended.get(file) or self.read_trial(file) for file in files]

    def read_trial(self, file: Path) -> Trial:
        """The trial of a `trial.json`."""
        try:
            trial = Trial(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            folder = file.parents[2]
            raise UserError(f"{file} is damaged: give another NAME, or delete {folder} to start anew") from None
        if trial.status != "running":
            self._ended[file] = trial  # it will not change
        return trial

    def check(self) -> None:
        """Refuses, as a `UserError`, a folder that holds a sweep over another space or with other settings."""
        written, wanted = read_yaml(self._space), self._describe()
        # An older sweep did as the settings that came after it do by default.
        written["base"] = merge(_list_base(Config(finetune=Finetune())), written.get("base") or {})
        differences = _compare(written, wanted)
        if differences:
            raise UserError(
                f"{self.folder} holds a sweep with other settings ({'; '.join(differences)}): "
                f"give another NAME, or delete the folder to start anew"
            )

    def _claim(self) -> None:
        if not self._space.exists():
            self._write_space()
            return
        try:
            self.check()
        except UserError as error:
            # One that never had a trial is no sweep: the name stays free for settings that are mended.
            if self.read_trials():
                raise
            try:
                with self._lock():
                    self._write_space()
            except UserError:
                raise error from None

    def _write_space(self) -> None:
        write_text(self._space, format_yaml(self._describe()))

    @property
    def _space(self) -> Path:
        return self.folder / "space.yaml"

    def _describe(self) -> dict[str, Any]:
        base = _list_base(self.config)
        base["data"]["hash"] = self.data_hash
        return {"space": self.config.model_dump(mode="json")["sweep"]["space"], "base": base}


def _list_base(config: Config) -> dict[str, Any]:
    """The settings that make scores comparable, all but the space."""
    values = config.model_dump(mode="json", exclude=set(FREE_SECTIONS))
    # More trials, more hands, and another place for the same files, leave the scores comparable.
    for name in ("space", "trials", "workers", "chief", "trial_timeout_seconds"):
        values["sweep"].pop(name)
    values["run"].pop("directory")
    values["data"].pop("directory")
    values["data"] |= {"source": None}  # its images are told by their hash
    return values


def locate_sweep(config: Config) -> Path:
    """The folder of the sweep that `run.name` names."""
    return Path(config.run.directory) / "sweep" / config.run.name


def find_best(trials: list[Trial]) -> Trial | None:
    """The completed trial with the best score, the earliest among equals."""
    completed = [trial for trial in trials if trial.status == "completed" and trial.score is not None]
    return max(completed, key=lambda trial: trial.score or 0.0, default=None)


def find_best_config(runs: str | Path, sweep: str | None) -> Path:
    """The `best.yaml` of a sweep, or of the sweep that was last at work.

    Raises:
        UserError: When there is none, naming the sweeps that there are.
    """
    found = sorted(Path(runs, "sweep").glob("*/best.yaml"), key=lambda path: path.stat().st_mtime)
    if sweep is None and found:
        return found[-1]
    path = Path(runs, "sweep", sweep or "", "best.yaml")
    if sweep is None or not path.is_file():
        names = ", ".join(sorted(best.parent.name for best in found)) or "none"
        wanted = f"the sweep {sweep!r} has no finished trial" if sweep else "there is no sweep with a finished trial"
        raise UserError(f"{wanted} in {Path(runs, 'sweep')}: run `make sweep` first. With one: {names}.")
    return path


def _compare(old: Any, new: Any, name: str = "") -> list[str]:
    """What differs between two nested values, as `name: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        parts = [_compare(old.get(key), new.get(key), f"{name}.{key}") for key in sorted({*old, *new}, key=str)]
        return [difference for part in parts for difference in part]
    return [] if old == new else [f"{name.removeprefix('.').removeprefix('base.')}: {old} -> {new}"]
