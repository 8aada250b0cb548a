"""The chief of a sweep on several machines. It proposes trials to workers and records them in a shared folder."""

import contextlib
import ipaddress
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from keras_tuner.engine.trial import TrialStatus

from keras_inat.errors import UserError
from keras_inat.log import warn
from keras_inat.settings.schema import Config
from keras_inat.store.records import Trial
from keras_inat.sweep.kerastuner import OracleServicer, ResumableOracle, add_servicer, release_lock_on_error
from keras_inat.sweep.leases import Leases
from keras_inat.sweep.live_table import open_live_table
from keras_inat.sweep.oracle import build_oracle
from keras_inat.sweep.records import Records
from keras_inat.sweep.runner import open_records

# The answer to a worker of another sweep.
REFUSED = grpc.StatusCode.FAILED_PRECONDITION
POLL_SECONDS = 1.0
# After the last trial, the workers have this time to ask once more.
LINGER_SECONDS = 5.0


def run_chief(config: Config) -> list[Trial]:
    """Proposes trials to workers until all have ended. The chief trains nothing itself.

    A chief that is started again resumes: the workers keep their trials and wait for it.

    Returns:
        Every recorded trial.

    Raises:
        UserError: The space is wrong, the address is not available, or another process is the chief of this sweep.
        RuntimeError: The oracle failed.
    """
    records = open_records(config)
    with records.hold():
        oracle = build_oracle(config)
        oracle.adopt_running()
        leases = Leases(records, oracle)
        with _serve(oracle, records) as servicer, open_live_table(records) as live_table:
            while not servicer.exhausted and not have_all_ended(records):
                time.sleep(POLL_SECONDS)
                if isinstance(servicer.error, UserError | OSError):
                    raise servicer.error
                if servicer.error:
                    raise RuntimeError("the oracle failed") from servicer.error
                with release_lock_on_error(oracle):
                    leases.check()
                live_table.refresh()
            time.sleep(LINGER_SECONDS)
        records.write_tables()
    return records.read_trials()


def have_all_ended(records: Records) -> bool:
    """Returns True if all trials of a sweep are recorded and have ended."""
    trials = records.read_trials()
    return len(trials) >= records.config.sweep.trials and all(trial.status != "running" for trial in trials)


def _keep_error(method: Callable[..., Any]) -> Callable[..., Any]:
    """Makes an error of the oracle known to the chief."""

    def call(self: "Servicer", request: Any, context: Any) -> Any:
        try:
            with release_lock_on_error(self.oracle):
                return method(self, request, context)
        except Exception as error:
            self.error = error
            raise

    return call


class Servicer(OracleServicer):
    """KerasTuner's service, which also records the trials that it proposes.

    Attributes:
        error: The error that the oracle failed with.
        exhausted: True if the oracle proposes no more trials and none is ongoing.
    """

    def __init__(self, oracle: ResumableOracle, records: Records) -> None:
        super().__init__(oracle)
        self._records = records
        self.error: Exception | None = None
        self.exhausted = False

    UpdateTrial = _keep_error(OracleServicer.UpdateTrial)
    EndTrial = _keep_error(OracleServicer.EndTrial)

    def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
        name = self._records.config.run.name
        if request.tuner_id.partition("/")[0] != name:
            context.abort(REFUSED, f"the chief runs another sweep: give NAME={name}")
        return self._propose(request, context)

    @_keep_error
    def _propose(self, request: Any, context: Any) -> Any:
        response = super().CreateTrial(request, context)
        if response.trial.status == TrialStatus.to_proto(TrialStatus.STOPPED):
            if self.oracle.list_ongoing():
                # A silent worker may give one of them back.
                response.trial.status = TrialStatus.to_proto(TrialStatus.IDLE)
            else:
                self.exhausted = True
        if response.trial.status == TrialStatus.to_proto(TrialStatus.RUNNING):
            # The trial is recorded before the worker knows it, so that a restarted chief does not use its number again.
            trial = self.oracle.get_trial(response.trial.trial_id)
            self._records.begin(trial.trial_id, trial.hyperparameters.values)
        return response


@contextlib.contextmanager
def _serve(oracle: ResumableOracle, records: Records) -> Iterator[Servicer]:
    address = records.config.sweep.chief
    host = address.rpartition(":")[0]
    if not _is_loopback(host):
        warn(
            f"anyone who reaches {address} can take part in this sweep: the channel is not encrypted and needs no "
            "password. Keep it within a private network."
        )
    servicer = Servicer(oracle, records)
    server = grpc.server(ThreadPoolExecutor(max_workers=1), options=[("grpc.so_reuseport", 0)])
    add_servicer(servicer, server)
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        raise UserError(
            f"the address {address} is not available: give CHIEF=host:port, a free port of this machine"
        ) from None
    server.start()
    print(f"workers: make sweep-worker CHIEF={address} with the same settings and folder", flush=True)
    try:
        yield servicer
    finally:
        server.stop(grace=None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
