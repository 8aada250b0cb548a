"""Leases on trials: workers send heartbeats, and the chief gives the trials of silent workers to others."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from keras_inat.store.records import Trial
from keras_inat.sweep.kerastuner import ResumableOracle
from keras_inat.sweep.records import Records
from keras_inat.sweep.runner import report_outcome

HEARTBEAT = "alive"  # a file in the folder of a trial; the worker that trains the trial touches it
HEARTBEAT_SECONDS = 5.0
# The trial of a worker that was silent for longer is given to another one.
LEASE_SECONDS = 60.0


class Leases:
    """Gives the trials of silent workers back to the oracle.

    Args:
        records: The records of the sweep.
        oracle: The oracle that proposed the trials.
        clock: A monotonic clock in seconds. The clocks of other machines are not trusted: a heartbeat counts when its
            file has changed.
    """

    def __init__(self, records: Records, oracle: ResumableOracle, clock: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._oracle = oracle
        self._clock = clock
        # The last heartbeat of each trial, and the time at which it was first seen.
        self._seen: dict[str, tuple[float, float]] = {}

    def check(self) -> None:
        """Checks every ongoing trial."""
        ended = {trial.id: trial for trial in self._records.read_trials() if trial.status != "running"}
        for trial_id in self._oracle.list_ongoing():
            heartbeat = _read_heartbeat(self._records.folder.trial_run(trial_id).path / HEARTBEAT)
            now = self._clock()
            last, seen = self._seen.setdefault(trial_id, (heartbeat, now))
            if heartbeat != last:
                self._seen[trial_id] = (heartbeat, now)
            elif now - seen > LEASE_SECONDS:
                del self._seen[trial_id]
                if trial_id in ended:
                    # The worker died after it had recorded the trial and before it had reported it.
                    report_outcome(self._oracle, ended[trial_id])
                else:
                    print(f"trial {trial_id}: its worker is silent, another worker resumes it", flush=True)
                    self._oracle.give_back(trial_id)


def start_heartbeats(records: Records, running: Mapping[str, Trial]) -> None:
    """Starts a thread that sends heartbeats for the running trials until this process ends."""
    threading.Thread(target=_send_heartbeats, args=(records, running), daemon=True).start()


def _send_heartbeats(records: Records, running: Mapping[str, Trial]) -> None:
    while True:
        for trial_id in list(running):
            with contextlib.suppress(OSError):
                (records.folder.trial_run(trial_id).path / HEARTBEAT).touch()
        time.sleep(HEARTBEAT_SECONDS)


def _read_heartbeat(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
