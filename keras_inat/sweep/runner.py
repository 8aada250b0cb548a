"""The search: an oracle proposes, slots train, records keep."""

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

from keras_tuner.engine.trial import TrialStatus

from keras_inat.data.packs import load_pack
from keras_inat.errors import ObstacleError, UserError
from keras_inat.settings.schema import Config
from keras_inat.store.runs import RunFolder, now
from keras_inat.sweep.executors import Slot, open_slots, wait_for
from keras_inat.sweep.live_table import LiveTable, open_live_table
from keras_inat.sweep.oracle import build_oracle
from keras_inat.sweep.pruning import estimate_end
from keras_inat.sweep.records import Records, Trial
from keras_inat.sweep.space import build_hyperparameters
from keras_inat.sweep.trial import Outcome, Task, configure_trial, forget_checkpoint

POLL_SECONDS = 0.5  # between looks at what the trials have written


def search(config: Config) -> list[Trial]:
    """Runs `sweep.trials` trials, or those that are still missing, and gives every trial on record.

    Raises:
        UserError: When the space is wrong, or the folder holds another sweep.
    """
    records = open_records(config)
    with records.hold():
        oracle = build_oracle(records, build_hyperparameters(config))
        with open_live_table(records) as live_table:
            run_trials(records, oracle, live_table)
        records.write_tables()  # a kill may have come between the last record and its row
    return records.read_trials()


def open_records(config: Config) -> Records:
    """The sweep's folder, after a look at what every trial would otherwise fail for: its space, epochs and images."""
    build_hyperparameters(config)
    try:
        configure_trial(config, {})
    except UserError as error:
        raise UserError(f"no trial of `sweep.epochs`={config.sweep.epochs} can be trained: {error}") from None
    return Records(config, load_pack(config).hash)


def run_trials(
    records: Records, oracle: Any, live_table: LiveTable, name: str = "slot", running: dict[str, Trial] | None = None
) -> None:
    """Keeps every slot busy until the oracle has no more to propose and all trials have ended.

    Args:
        records: Where trials are put on record.
        oracle: Of KerasTuner, or a client of one.
        board: Shows what happens.
        name: Begins the names of the slots, by which the oracle knows them.
        running: Kept up to date: the trials that run here, by their id, until the oracle knows of their end.
    """
    running = {} if running is None else running
    began = dict[str, float]()
    slots = open_slots(records.config.sweep.workers, records.config.sweep.trial_timeout_seconds)
    with _ending(slots):
        exhausted = False
        while True:
            for number, slot in enumerate(slots):
                if slot.task or exhausted:
                    continue
                trial = oracle.create_trial(f"{name}{number}")
                exhausted = trial.status == TrialStatus.STOPPED
                if trial.status == TrialStatus.RUNNING:
                    record = records.begin(trial.trial_id, trial.hyperparameters.values)
                    if record.status != "running":  # another worker, taken for dead, has finished it since
                        tell(oracle, record)
                        continue
                    if load_pack(records.config).hash != records.data_hash:
                        raise ObstacleError("the images changed while the sweep was at work: its scores are of the old")
                    running[record.id], began[record.id] = record, time.perf_counter()
                    live_table.refresh()
                    slot.start(Task(records.config, record.id, record.values, records.trial_folder(record.id)))
            if exhausted and not running:
                return
            wait_for(slots, POLL_SECONDS)
            for slot in slots:
                task = slot.task
                if task and (outcome := slot.poll()):
                    end_trial(records, oracle, running[task.id], outcome, time.perf_counter() - began[task.id])
                    del running[task.id]
            live_table.refresh()


def end_trial(records: Records, oracle: Any, record: Trial, outcome: Outcome, seconds: float) -> None:
    """Puts on record what became of a trial, then tells the oracle."""
    if outcome.mistake:
        raise outcome.mistake  # no fault of the configuration, which goes on when it is mended or there is room
    record.ended, record.seconds = now(), round(seconds, 1)
    if result := outcome.result:
        record.seconds = result.get("seconds", record.seconds)  # those before it was interrupted, too
        record.status, record.score = "pruned" if result["pruned"] else "completed", result["val_accuracy"]
        record.epochs, record.parameters, record.macs = result["epochs"], result["parameters"], result["macs"]
        metrics = RunFolder(records.trial_folder(record.id), "sweep").read_metrics()
        record.val_accuracies = [row["val_accuracy"] for row in metrics]
        if result["pruned"]:
            completed = [row.curve for row in records.read_trials() if row.status == "completed"]
            record.estimate = round(estimate_end(record.curve, completed), 6)
    else:
        record.status, record.error = "failed", outcome.failure
        forget_checkpoint(records.trial_folder(record.id), record.values)
    records.write_trial(record)
    tell(oracle, record)


def tell(oracle: Any, record: Trial) -> None:
    """Tells an oracle what became of a trial."""
    trial = oracle.get_trial(record.id)
    if record.told is None:
        trial.status, trial.message = TrialStatus.FAILED, record.error
    else:
        oracle.update_trial(record.id, {"val_accuracy": record.told})
        trial.status = TrialStatus.COMPLETED
    oracle.end_trial(trial)


@contextlib.contextmanager
def _ending(slots: Sequence[Slot]) -> Iterator[None]:
    """Ends what still runs in the slots, whatever happens; it goes on when the sweep does."""
    try:
        yield
    finally:
        # A second Ctrl-C must not leave processes behind.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        for slot in slots:
            slot.terminate()
        for slot in slots:
            slot.end()
        for number, handler in before.items():
            signal.signal(number, handler)
