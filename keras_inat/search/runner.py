"""The search loop: an oracle proposes trials, slots train them, and every outcome is recorded."""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

from keras_tuner.engine.trial import TrialStatus

from keras_inat.data.packs import load_pack
from keras_inat.errors import ExternalError, UserError
from keras_inat.search.kerastuner import SCORE
from keras_inat.search.live_table import LiveTable, open_live_table
from keras_inat.search.oracle import build_oracle
from keras_inat.search.pruning import estimate_final_score
from keras_inat.search.records import Records
from keras_inat.search.slots import Outcome, Slot, open_slots, wait_for
from keras_inat.search.space import build_hyperparameters, configure_trial
from keras_inat.settings.schema import Config
from keras_inat.store.balance import choose_objective, describe_objective
from keras_inat.store.provenance import now
from keras_inat.store.records import Trial

POLL_SECONDS = 0.5  # between two updates of the live table


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
        oracle = build_oracle(config)
        with open_live_table(records) as live_table:
            TrialLoop(records, oracle, live_table).run()
        records.write_tables()  # a kill may have come between the last record and the tables
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
    """Keeps every slot busy until the oracle proposes no more trials."""

    records: Records
    oracle: Any  # an oracle of KerasTuner
    live_table: LiveTable
    # The times at which this process started its trials, by number, until the oracle knows their end.
    running: dict[str, float] = dataclasses.field(default_factory=dict)
    exhausted: bool = False  # true if the oracle proposes no more trials

    def run(self) -> None:
        """Runs trials until all have ended."""
        sweep = self.records.config.sweep
        slots = open_slots(sweep.workers, sweep.trial_timeout_seconds)
        with _ending(slots):
            while True:
                for number, slot in enumerate(slots):
                    if not slot.trial and not self.exhausted:
                        self._fill(slot, f"slot{number}")
                if self.exhausted and not self.running:
                    return
                wait_for(slots, POLL_SECONDS)
                for slot in slots:
                    trial = slot.trial
                    if trial and (outcome := slot.poll()):
                        end_trial(self.records, self.oracle, self._apply_outcome(trial, outcome))
                        del self.running[trial.id]
                self.live_table.refresh()

    def _fill(self, slot: Slot, worker: str) -> None:
        """Starts the next trial in a free slot, if the oracle proposes one."""
        proposed = self.oracle.create_trial(worker)
        self.exhausted = proposed.status == TrialStatus.STOPPED
        if proposed.status != TrialStatus.RUNNING:
            return
        trial = self.records.begin(proposed.trial_id, proposed.hyperparameters.values)
        if load_pack(self.records.config).manifest.hash != self.records.data_hash:
            raise ExternalError(
                "the images changed during the sweep, and its scores belong to the old ones: restore them, or give "
                "another NAME"
            )
        self.running[trial.id] = time.perf_counter()
        self.live_table.refresh()
        slot.start(self.records.config, trial)

    def _apply_outcome(self, trial: Trial, outcome: Outcome) -> Trial:
        """Returns the record of an ended trial. Raises an error that the configuration does not cause."""
        if isinstance(outcome, Exception):
            raise outcome
        run = self.records.folder.trial_run(trial.id)
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


def end_trial(records: Records, oracle: Any, trial: Trial) -> Trial:
    """Records an ended trial and reports it to the oracle. Returns the record with the estimate of a pruned trial."""
    if trial.status == "pruned":
        completed = [other.curve for other in records.read_trials() if other.status == "completed"]
        trial = trial.model_copy(update={"estimate": round(estimate_final_score(trial.curve, completed), 6)})
    records.write_trial(trial)
    report_outcome(oracle, trial)
    return trial


def report_outcome(oracle: Any, trial: Trial) -> None:
    """Reports the final score of an ended trial, or its failure, to an oracle."""
    proposed = oracle.get_trial(trial.id)
    if trial.final_score is None:
        proposed.status = TrialStatus.FAILED
        proposed.message = trial.error
    else:
        oracle.update_trial(trial.id, {SCORE: trial.final_score})
        proposed.status = TrialStatus.COMPLETED
    oracle.end_trial(proposed)


@contextlib.contextmanager
def _ending(slots: Sequence[Slot]) -> Iterator[None]:
    """Ends the trials that still run in the slots on every way out. They resume when the sweep does."""
    try:
        yield
    finally:
        # A second Ctrl-C must not leave processes behind.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        for slot in slots:
            slot.terminate()
        for slot in slots:
            slot.end()
        for number, handler in handlers.items():
            signal.signal(number, handler)
