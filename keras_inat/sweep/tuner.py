"""The search: an oracle proposes, slots train, records keep."""

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

from keras_tuner.engine.trial import TrialStatus

from keras_inat.data.pack import load_pack
from keras_inat.runs import hold_lock, now
from keras_inat.sections import Config
from keras_inat.sweep.board import open_board
from keras_inat.sweep.oracle import build_oracle
from keras_inat.sweep.pruning import estimate_end, read_curves
from keras_inat.sweep.records import Records, Trial
from keras_inat.sweep.slots import Slot, open_slots, wait_for
from keras_inat.sweep.space import build_hyperparameters, decode_values
from keras_inat.sweep.trial import Outcome, Task

POLL_SECONDS = 0.5


def search(config: Config) -> list[Trial]:
    """Runs `sweep.trials` trials, or those that are still missing, and gives every trial on record.

    Raises:
        UserError: When the space is wrong, or the folder holds another sweep.
    """
    hyperparameters = build_hyperparameters(config)
    # Data that cannot be had would otherwise fail every trial.
    records = Records(config, load_pack(config).hash)
    with hold_lock(records.folder / "lock", f"the sweep {config.run.name!r} is at work in another process"):
        oracle = build_oracle(records, hyperparameters)
        slots = open_slots(config.sweep.workers, config.sweep.trial_timeout_seconds)
        with open_board(records) as board, _ending(slots):
            _run(records, oracle, slots, board)
        records.write_tables()  # a kill may have come between the last record and its row
    return records.read_trials()


def _run(records: Records, oracle: Any, slots: Sequence[Slot], board: Any) -> None:
    """Keeps every slot busy until the oracle has no more to propose and all trials have ended."""
    running: dict[str, tuple[Trial, float]] = {}
    while True:
        for number, slot in enumerate(slots):
            if slot.task is None and (trial := _propose(oracle, f"slot{number}")):
                load_pack(records.config)  # if the images are gone, that is no fault of the configuration
                record = _begin(records, trial)
                running[record.id] = record, time.perf_counter()
                board.begin(record)
                slot.start(Task(records.config, record.id, record.values, records.trial_folder(record.id)))
        if not running:
            return
        wait_for(slots, POLL_SECONDS)
        board.refresh()
        for slot in slots:
            task = slot.task
            if task and (outcome := slot.poll()):
                record, began = running.pop(task.id)
                _end(records, oracle, record, outcome, time.perf_counter() - began)
                board.end(record)


def _propose(oracle: Any, slot: str) -> Any:
    trial = oracle.create_trial(slot)
    return trial if trial.status == TrialStatus.RUNNING else None


def _begin(records: Records, trial: Any) -> Trial:
    values = dict(trial.hyperparameters.values)
    record = Trial(trial.trial_id, values, decode_values(records.config, values), started=now())
    records.write_trial(record)
    return record


def _end(records: Records, oracle: Any, record: Trial, outcome: Outcome, seconds: float) -> None:
    """Puts on record what became of a trial, then tells the oracle."""
    record.ended, record.seconds = now(), round(seconds, 1)
    if result := outcome.result:
        record.status, record.score = "pruned" if result["pruned"] else "completed", result["val_accuracy"]
        record.epochs, record.parameters, record.macs = result["epochs"], result["parameters"], result["macs"]
        if result["pruned"]:
            curves = read_curves(records.folder / "trials")
            completed = [curves[row.id] for row in records.read_trials() if row.status == "completed"]
            record.estimate = round(estimate_end(curves[record.id], completed), 6)
    else:
        mistake = outcome.mistake
        record.status = "failed"
        record.error = outcome.failure or " ".join(f"{type(mistake).__name__}: {mistake}".split())[:500]
    records.write_trial(record)
    if outcome.mistake:
        raise outcome.mistake
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
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for slot in slots:
            slot.end()
        signal.signal(signal.SIGINT, before)
