"""The records of a sweep in progress: a file a trial, written whole, from which a sweep resumes."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from keras_inat.errors import UserError
from keras_inat.files import hold_lock, write_text
from keras_inat.search.space import decode_values, encode_base
from keras_inat.settings import roles
from keras_inat.settings.catalog import flatten, list_names, nest, select
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.settings.yaml_files import format_yaml
from keras_inat.spreadsheets import format_csv
from keras_inat.store.balance import NAMES, Objective, read_score
from keras_inat.store.checksums import WRONG, sign_lines
from keras_inat.store.provenance import now
from keras_inat.store.records import Trial, build_curve, find_best
from keras_inat.store.sweeps import SweepIdentity, locate_sweep

CURVES = ("val_accuracies", "val_balanced_accuracies")
COLUMNS = ("epochs", *CURVES, "val_majority_baseline", "seconds", "parameters", "macs", "started", "ended", "error")


class Records:
    """Reads and writes the records of the sweep that `run.name` names; see `check`.

    Args:
        config: The configuration of the sweep.
        data_hash: The hash of the images.
        objective: The score that selects, written into every trial.
        shows_balance: Shows balanced accuracy and the majority baseline of a trial beside its score.
    """

    def __init__(
        self, config: Config, data_hash: str, objective: Objective = "accuracy", shows_balance: bool = False
    ) -> None:
        self.config = config
        self.data_hash = data_hash
        self.objective = objective
        self.shows_balance = shows_balance
        self.folder = locate_sweep(config)
        self._tables_written = 0.0
        self._trials: dict[str, Trial] = {}
        self._curves: dict[str, list[float]] = {}
        self._identity = SweepIdentity(
            space=config.model_dump(mode="json")["sweep"]["space"],
            settings={name: value for name, value in select(config, roles.SWEEP).items() if name != "sweep.space"},
            data_hash=data_hash,
        )
        self.check()

    def check(self) -> None:
        """Raises a `UserError` if the folder has trials of another space, other settings or other images."""
        # A sweep without a trial does not occupy its name: the settings may be corrected.
        if self.folder.list_trial_ids() and (changes := self.folder.read_identity().compare(self._identity)):
            raise UserError(
                f"{self.folder.path} holds a sweep with other settings ({'; '.join(changes)}): "
                "give another NAME, or delete the folder to start anew"
            )

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the lock of the sweep and leaves its tables complete. A second process gets a `UserError`."""
        self.folder.path.mkdir(parents=True, exist_ok=True)
        with hold_lock(self.folder.lock, f"another process is running the sweep {self.config.run.name!r}"):
            self.check()  # another process may have recorded a trial since
            self.folder.mark_newest()
            self.folder.write_identity(self._identity)
            for trial_id in self.folder.list_trial_ids():
                recorded = self.folder.read_trial(trial_id, self._identity)
                self._trials[trial_id] = recorded or self._restore_trial(trial_id)
                self.update_curve(trial_id)
            try:
                yield
            finally:
                self.write_tables()

    def _restore_trial(self, trial_id: str) -> Trial:
        """Makes the record of a trial anew, so that it runs again; one that has a result ends with it.

        Its values come from its result or from its configuration. Without both, it counts as failed.
        """
        run = self.folder.trial_run(trial_id)
        result = run.read_result()
        config = result.config if result else run.read_config()
        values = encode_base(config) if config else None
        trial = self._build_trial(trial_id, values or {})
        if values is None:
            trial = trial.model_copy(update={"status": "failed", "error": f"the record of this trial {WRONG}"})
        trial.write(self.folder.trial_file(trial_id))
        return trial

    def _build_trial(self, trial_id: str, values: Mapping[str, Any]) -> Trial:
        settings = decode_values(self.config, values)
        origin = {"sweep": self._identity.hash, "objective": self.objective, "started": now()}
        return Trial(id=trial_id, values=dict(values), settings=settings, **origin)

    def read_trials(self) -> list[Trial]:
        """Returns every trial that `hold` has found or this object has written, in order of creation."""
        return list(self._trials.values())

    def read_curves(self) -> dict[str, list[float]]:
        """Returns the best score of every trial up to and including each of its epochs, by number."""
        return self._curves

    def update_curve(self, trial_id: str) -> None:
        """Reads the epochs that a running trial has recorded. Those of an ended trial are in its record."""
        trial = self._trials[trial_id]
        epochs = self.folder.trial_run(trial_id).read_epochs() if trial.status == "running" else []
        self._curves[trial_id] = build_curve(read_score(trial.objective, epoch) for epoch in epochs) or trial.curve

    def begin(self, trial_id: str, values: Mapping[str, Any]) -> Trial:
        """Records that a trial runs, with `values` as KerasTuner encodes them. A pruned trial resumes."""
        if trial := self._trials.get(trial_id):
            if trial.status != "running":
                trial = trial.model_copy(update={"status": "running"})
                self.write_trial(trial)
                # Only now: without its result, a trial that is recorded as pruned would be damaged.
                self.folder.trial_run(trial_id).result.unlink(missing_ok=True)
            return trial
        trial = self._build_trial(trial_id, values)
        self.write_trial(trial)
        return trial

    def write_trial(self, trial: Trial) -> None:
        """Records a trial. Updates `trials.csv` and `best.yaml`, at most once a second unless it is the best one."""
        trial.write(self.folder.trial_file(trial.id))
        self._trials[trial.id] = trial
        self.update_curve(trial.id)
        if time.monotonic() - self._tables_written >= 1 or trial is find_best(self.read_trials()):
            self.write_tables()

    def write_tables(self) -> None:
        """Writes `trials.csv` and `best.yaml` from the recorded trials."""
        self._tables_written = time.monotonic()
        trials = self.read_trials()
        space = self.config.sweep.space
        rows = []
        for trial in trials:
            row = trial.model_dump()
            for name in CURVES:
                row[name] = " ".join(map(str, row[name]))
            rows.append(row | trial.settings)  # an empty cell marks a setting that does not apply
        columns = ("id", "status", "objective", "score", *space, *COLUMNS)
        write_text(self.folder.table, format_csv(columns, rows))
        if best := find_best(trials):
            values = flatten(override(self.config, best.settings))
            # With the places of this machine, as it is no record: `train-best` needs no other settings.
            configuration = {name: values[name] for name in list_names(roles.BEST) if name in values}
            configuration["train_best.sweep"] = self.config.run.name
            score = f"{NAMES[best.objective]} {best.score:.4f}"
            comment = f"# Trial {best.id}, {score}: the best of {len(trials)} so far.\n"
            lines = comment + format_yaml(nest(configuration))
            write_text(self.folder.best, sign_lines(lines, subject=self._identity.hash))
