"""A worker of a sweep on several machines. It trains the trials that the chief proposes."""

import socket
import time
import uuid
from typing import Any

import grpc
from keras_tuner.engine.trial import TrialStatus

from keras_inat.errors import UserError
from keras_inat.settings.schema import Config
from keras_inat.store.records import Trial
from keras_inat.sweep.chief import REFUSED, have_all_ended
from keras_inat.sweep.kerastuner import connect
from keras_inat.sweep.leases import start_heartbeats
from keras_inat.sweep.live_table import open_live_table
from keras_inat.sweep.records import Records
from keras_inat.sweep.runner import TrialLoop, open_records

# A worker waits this long for a chief that does not answer, because it may be starting again.
PATIENCE_SECONDS = 300
# A file that another machine wrote may need this long to appear on a shared disk.
APPEAR_SECONDS = 60.0
POLL_SECONDS = 1.0


def run_worker(config: Config) -> list[Trial]:
    """Trains the trials that the chief at `sweep.chief` proposes, until there are no more.

    Returns:
        Every recorded trial.

    Raises:
        UserError: The sweep in the shared folder has other settings, or the chief does not answer.
    """
    records = open_records(config)
    # Containers may share a host name and process numbers.
    name = f"{config.run.name}/{socket.gethostname()}-{uuid.uuid4().hex[:8]}-"
    try:
        with open_live_table(records) as live_table:
            loop = TrialLoop(records, PatientClient(records, name), live_table, name)
            start_heartbeats(records, loop.running)
            loop.run()
    except grpc.RpcError as error:
        if error.code() == REFUSED:
            raise UserError(error.details()) from None
        if not have_all_ended(records):
            raise UserError(
                f"the chief at {config.sweep.chief} does not answer ({error.code().name}): start it with "
                "`make sweep-chief`"
            ) from None
    return records.read_trials()


class PatientClient:
    """KerasTuner's client of a chief. It asks again if the chief ended before it had answered.

    Args:
        records: The records of the sweep, which the chief writes too.
        name: The name of this worker.
    """

    def __init__(self, records: Records, name: str) -> None:
        self._client = connect(records.config.sweep.chief, name, PATIENCE_SECONDS)
        self._records = records

    def create_trial(self, worker: str) -> Any:
        """Asks the chief for a trial.

        Raises:
            UserError: The chief recorded the trial in another folder, so that its score would be lost.
        """
        trial = self._call("create_trial", worker)
        if trial.status == TrialStatus.RUNNING:
            self._find_record(trial)
        return trial

    def get_trial(self, trial_id: str) -> Any:
        """Asks the chief for the state of a trial."""
        return self._call("get_trial", trial_id)

    def update_trial(self, trial_id: str, metrics: dict[str, float]) -> Any:
        """Reports the score of a trial."""
        return self._call("update_trial", trial_id, metrics)

    def end_trial(self, trial: Any) -> None:
        """Reports the end of a trial."""
        self._call("end_trial", trial)

    def _find_record(self, trial: Any) -> None:
        folder = self._records.folder
        end = time.monotonic() + APPEAR_SECONDS
        while not folder.trial_file(trial.trial_id).exists():
            if time.monotonic() > end:
                raise UserError(
                    f"the chief's trial {trial.trial_id} is not in {folder.path}: give the chief's NAME, and a "
                    "`run.directory` that both see"
                )
            time.sleep(POLL_SECONDS)
        self._records.check()
        if self._records.read_trial(trial.trial_id).values != trial.hyperparameters.values:
            raise UserError(
                f"the chief's trial {trial.trial_id} differs from the one in {folder.path}: give a `run.directory` "
                "that both see"
            )

    def _call(self, method: str, *arguments: Any) -> Any:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return getattr(self._client, method)(*arguments)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise
                time.sleep(POLL_SECONDS)
