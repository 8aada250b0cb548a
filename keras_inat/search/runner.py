"""The search loop: an oracle proposes trials, slots train them, and every outcome is recorded."""

import dataclasses
import time
from typing import Any

from keras_tuner.engine.trial import TrialStatus

from keras_inat.data.packs import Pack, list_sizes, load_pack
from keras_inat.errors import ExternalError, UserError
from keras_inat.executors.opening import open_executor
from keras_inat.executors.tasks import Executor, Outcome, Resources, Task
from keras_inat.search.kerastuner import SCORE
from keras_inat.search.live_table import LiveTable, open_live_table
from keras_inat.search.oracle import build_oracle
from keras_inat.search.pruning import RULES
from keras_inat.search.records import Records
from keras_inat.search.space import build_hyperparameters, configure_trial, describe_values
from keras_inat.settings.schema import Config
from keras_inat.store.balance import choose_objective, describe_objective
from keras_inat.store.provenance import now
from keras_inat.store.records import Result, Trial

POLL_SECONDS = 0.5  # between two updates of the live table
TRAIN = "keras_inat.search.trial:train_trial"
CHECK_PERIOD = 20  # pause between two checks of the images, in units of the time that a check takes


def search(config: Config) -> list[Trial]:
    """Runs the trials that `sweep.trials` still lacks. Returns every recorded trial.

    Raises:
        UserError: The space is wrong, or the folder holds another sweep.
        ExternalError: The images changed during the sweep.
    """
    records = open_records(config)
    counts = load_pack(config).manifest.per_class.train
    if reason := describe_objective(config.training.objective, records.objective, counts):
        print(reason, flush=True)
    with records.hold():
        oracle = build_oracle(records)
        with open_live_table(records) as live_table:
            TrialLoop(records, oracle, live_table).run()
    return records.read_trials()


def open_records(config: Config) -> Records:
    """Opens the folder of a sweep. Raises a `UserError` if no trial could be trained, or if it holds another sweep."""
    build_hyperparameters(config)
    try:
        configure_trial(config, {})
    except UserError as error:
        raise UserError(f"no trial of `sweep.epochs`={config.sweep.epochs} can be trained: {error}") from None
    manifest = load_pack(config).manifest
    objective = choose_objective(config.training.objective, manifest.per_class.train)
    return Records(config, manifest.hash, objective, manifest.is_imbalanced)


@dataclasses.dataclass
class TrialLoop:
    """Keeps the executor busy until the oracle proposes no more trials."""

    records: Records
    oracle: Any  # an oracle of KerasTuner
    live_table: LiveTable
    # The times at which this process started its trials, by number, until the oracle knows their end.
    running: dict[str, float] = dataclasses.field(default_factory=dict)
    num_started: int = 0
    exhausted: bool = False  # true if the oracle proposes nothing before another trial has ended
    packs: dict[tuple, Pack] = dataclasses.field(default_factory=dict)  # by their sizes
    packs_expire: float = 0.0  # the time at which the images are checked again

    def run(self) -> None:
        """Runs trials until all have ended."""
        sweep = self.records.config.sweep
        resources = Resources(
            sweep.trials, sweep.workers, sweep.trial_cpus, sweep.trial_gpus, sweep.trial_timeout_seconds
        )
        with open_executor(self.records.config.run.cluster, resources, self._is_to_be_pruned) as executor:
            while True:
                while executor.num_free and not self.exhausted:
                    if not self._start_next(executor):
                        break
                if self.exhausted and not self.running:
                    return
                for task, outcome in executor.wait(POLL_SECONDS):
                    self._end(task.argument, outcome)
                self.live_table.refresh()

    def _start_next(self, executor: Executor) -> bool:
        """Starts the next trial. Returns False if the oracle proposes none at present."""
        self.num_started += 1
        proposed = self.oracle.create_trial(
            f"worker{self.num_started}"
        )  # KerasTuner gives a worker one trial at a time
        self.exhausted = proposed.status == TrialStatus.STOPPED
        if proposed.status != TrialStatus.RUNNING:
            return False
        records = self.records
        trial = records.begin(proposed.trial_id, proposed.hyperparameters.values)
        self.running[trial.id] = time.perf_counter()
        self.live_table.refresh()
        try:
            config = configure_trial(records.config, trial.settings)
        except UserError as error:
            self._end(trial, f"UserError: {error}")
            return True
        run = records.folder.trial_run(trial.id)
        title = f"{trial.id} {describe_values(trial.settings)}"
        task = Task(TRAIN, config, trial, run, self._load_pack(config), title)
        executor.start(task)
        return True

    def _end(self, trial: Trial, outcome: Outcome) -> None:
        end_trial(self.records, self.oracle, self._apply_outcome(trial, outcome))
        del self.running[trial.id]
        self.exhausted = False

    def _load_pack(self, config: Config) -> Pack:
        """Returns the images of a trial. Raises an `ExternalError` if they have changed.

        Finding out takes time in a folder of many images, so that it is not done for every short trial.
        """
        key = (config.data.image_size, config.data.fit, *list_sizes(config))
        began = time.monotonic()
        if key not in self.packs or began > self.packs_expire:
            pack = load_pack(config)
            if pack.manifest.hash != self.records.data_hash:
                raise ExternalError(
                    "the images changed during the sweep, and its scores belong to the old ones: restore them, or "
                    "give another NAME"
                )
            self.packs[key] = pack
            self.packs_expire = time.monotonic() + CHECK_PERIOD * (time.monotonic() - began)
        return self.packs[key]

    def _is_to_be_pruned(self, task: Task, epochs: int) -> bool:
        """Answers a trial, by the epochs that all trials have recorded."""
        return is_to_be_pruned(self.records, self.oracle, task.argument.id)

    def _apply_outcome(self, trial: Trial, outcome: Outcome) -> Trial:
        """Returns the record of an ended trial. Raises an error that the configuration does not cause."""
        if isinstance(outcome, Exception):
            raise outcome
        run = self.records.folder.trial_run(trial.id)
        can_resume = self.records.config.sweep.rule == "freeze-thaw" and isinstance(outcome, Result) and outcome.pruned
        if not can_resume:
            run.checkpoint.unlink(missing_ok=True)
        if isinstance(outcome, str):
            seconds = round(time.perf_counter() - self.running[trial.id], 1)
            ended: dict[str, Any] = {"status": "failed", "error": outcome, "seconds": seconds}
        else:
            ended = outcome.model_dump(include={"epochs", "seconds", "parameters", "macs", "val_majority_baseline"})
            ended["status"] = "pruned" if outcome.pruned else "completed"
            ended["score"] = outcome.val_score
            epochs = run.read_epochs()
            ended["val_accuracies"] = tuple(epoch.val_accuracy for epoch in epochs)
            ended["val_balanced_accuracies"] = tuple(epoch.val_balanced_accuracy for epoch in epochs)
        return trial.model_copy(update={**ended, "ended": now()})


def is_to_be_pruned(records: Records, oracle: Any, trial_id: str) -> bool:
    """Returns True if a running trial is to be stopped after the epochs that it has recorded."""
    records.update_curve(trial_id)
    sweep = records.config.sweep
    if sweep.rule == "freeze-thaw":
        return oracle.prefers_another(trial_id)
    curves = records.read_curves()
    others = [curve for number, curve in curves.items() if number != trial_id]
    return RULES[sweep.rule](curves[trial_id], others, sweep.epochs)


def end_trial(records: Records, oracle: Any, trial: Trial) -> None:
    """Records an ended trial and reports its best score, or its failure, to the oracle."""
    records.write_trial(trial)
    proposed = oracle.get_trial(trial.id)
    if trial.status == "failed":
        proposed.status = TrialStatus.FAILED
        proposed.message = trial.error
    else:
        oracle.update_trial(trial.id, {SCORE: trial.score})
        proposed.status = TrialStatus.COMPLETED
    oracle.end_trial(proposed)
