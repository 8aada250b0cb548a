"""A sweep on several machines. A chief proposes trials to workers and records them in a shared folder."""

import contextlib
import dataclasses
import functools
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from keras_tuner.engine.trial import TrialStatus

from keras_inat.errors import UserError
from keras_inat.log import warn
from keras_inat.settings.schema import Config
from keras_inat.store.records import Trial
from keras_inat.sweep.kerastuner import OracleServicer, ResumableOracle, add_servicer, connect
from keras_inat.sweep.live_table import open_live_table
from keras_inat.sweep.oracle import build_oracle
from keras_inat.sweep.records import Records
from keras_inat.sweep.runner import TrialLoop, open_records, report_outcome

REFUSED = grpc.StatusCode.FAILED_PRECONDITION  # the answer to a worker of another sweep
LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")
HEARTBEAT = "alive"  # a file in the folder of a trial; the worker that trains the trial touches it
HEARTBEAT_SECONDS = 5.0
LEASE_SECONDS = 60.0  # the trial of a worker that was silent for longer is given to another one
LINGER_SECONDS = 5.0  # after the last trial, so that every worker can ask once more and learn that the sweep is over
PATIENCE_SECONDS = 300  # to wait for a chief that does not answer, because it may be starting again
APPEAR_SECONDS = 60.0  # to wait for another machine's file to appear on a shared disk
POLL_SECONDS = 1.0


def run_chief(config: Config) -> list[Trial]:
    """Proposes trials to workers until all have ended. Returns every recorded trial.

    The chief trains nothing itself. A chief that is started again resumes: the workers keep their trials and wait.

    Raises:
        UserError: The space is wrong, the address is not available, or another process is the chief of this sweep.
        RuntimeError: The oracle failed.
    """
    records = open_records(config)
    with records.hold(), contextlib.ExitStack() as stack:
        oracle = build_oracle(config)
        oracle.adopt_running()
        leases = Leases(records, oracle)
        servicer = Servicer(oracle, records)
        # One thread calls the oracle, because KerasTuner never releases the lock of an oracle that fails.
        thread = ThreadPoolExecutor(max_workers=1)
        server = _start_server(config.sweep.chief, servicer, thread)
        stack.callback(server.stop, None)
        live_table = stack.enter_context(open_live_table(records))
        while not servicer.exhausted and not records.have_all_ended():
            time.sleep(POLL_SECONDS)
            if isinstance(servicer.error, UserError | OSError):
                raise servicer.error
            if servicer.error:
                raise RuntimeError("the oracle failed") from servicer.error
            thread.submit(leases.check).result()
            live_table.refresh()
        time.sleep(LINGER_SECONDS)
        records.write_tables()
    return records.read_trials()


@dataclasses.dataclass
class Leases:
    """Gives the trials of silent workers back to the oracle that proposed them."""

    records: Records
    oracle: ResumableOracle
    # The clocks of other machines are not trusted: a heartbeat counts when its file has changed.
    clock: Callable[[], float] = time.monotonic
    # The last heartbeat of each trial, and the time at which it was first seen.
    seen: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    def check(self) -> None:
        """Checks every ongoing trial."""
        ended = {trial.id: trial for trial in self.records.read_trials() if trial.status != "running"}
        for trial_id in self.oracle.list_ongoing():
            heartbeat = 0.0
            with contextlib.suppress(FileNotFoundError):
                heartbeat = (self.records.folder.trial_run(trial_id).path / HEARTBEAT).stat().st_mtime
            now = self.clock()
            last, seen = self.seen.setdefault(trial_id, (heartbeat, now))
            if heartbeat != last:
                self.seen[trial_id] = (heartbeat, now)
            elif now - seen > LEASE_SECONDS:
                del self.seen[trial_id]
                if trial_id in ended:
                    # The worker died after it had recorded the trial and before it had reported it.
                    report_outcome(self.oracle, ended[trial_id])
                else:
                    print(f"trial {trial_id}: its worker is silent, another worker resumes it", flush=True)
                    self.oracle.give_back(trial_id)


def _keep_error(method: Callable[..., Any]) -> Callable[..., Any]:
    """Makes an error of the oracle known to the chief."""

    def call(self: "Servicer", request: Any, context: Any) -> Any:
        try:
            return method(self, request, context)
        except Exception as error:
            self.error = error
            raise

    return call


class Servicer(OracleServicer):
    """KerasTuner's service, which also records the trials that it proposes."""

    error: Exception | None = None  # the error that the oracle failed with
    exhausted = False  # true if the oracle proposes no more trials and none is ongoing

    def __init__(self, oracle: ResumableOracle, records: Records) -> None:
        super().__init__(oracle)
        self._records = records

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


def _start_server(address: str, servicer: Servicer, thread: ThreadPoolExecutor) -> grpc.Server:
    if not LOOPBACK.fullmatch(address.rpartition(":")[0]):
        warn(
            f"anyone who reaches {address} can take part in this sweep: the channel is not encrypted and needs no "
            "password. Keep it within a private network."
        )
    server = grpc.server(thread, options=[("grpc.so_reuseport", 0)])
    add_servicer(servicer, server)
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        raise UserError(
            f"the address {address} is not available: give CHIEF=host:port, a free port of this machine"
        ) from None
    server.start()
    print(f"workers: make sweep-worker CHIEF={address} with the same settings and folder", flush=True)
    return server


def run_worker(config: Config) -> list[Trial]:
    """Trains the trials that the chief at `sweep.chief` proposes. Returns every recorded trial.

    Raises:
        UserError: The sweep in the shared folder has other settings, or the chief does not answer.
    """
    records = open_records(config)
    # Containers may share a host name and process numbers.
    name = f"{config.run.name}/{socket.gethostname()}-{uuid.uuid4().hex[:8]}-"
    try:
        with open_live_table(records) as live_table:
            loop = TrialLoop(records, PatientClient(records, name), live_table, name)
            threading.Thread(target=_send_heartbeats, args=(records, loop.running), daemon=True).start()
            loop.run()
    except grpc.RpcError as error:
        if error.code() == REFUSED:
            raise UserError(error.details()) from None
        if not records.have_all_ended():
            raise UserError(
                f"the chief at {config.sweep.chief} does not answer ({error.code().name}): start it with "
                "`make sweep-chief`"
            ) from None
    return records.read_trials()


def _send_heartbeats(records: Records, running: Iterable[str]) -> None:
    while True:
        for trial_id in list(running):
            with contextlib.suppress(OSError):
                (records.folder.trial_run(trial_id).path / HEARTBEAT).touch()
        time.sleep(HEARTBEAT_SECONDS)


class PatientClient:
    """KerasTuner's client of a chief, for the worker `name`. It keeps asking while the chief cannot be reached."""

    def __init__(self, records: Records, name: str) -> None:
        self._client = connect(records.config.sweep.chief, name, PATIENCE_SECONDS)
        self._records = records

    def create_trial(self, worker: str) -> Any:
        """Asks the chief for a trial. Raises a `UserError` if it is recorded elsewhere: its score would be lost."""
        trial = self._call("create_trial", worker)
        if trial.status != TrialStatus.RUNNING:
            return trial
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
        if folder.read_trial(trial.trial_id).values != trial.hyperparameters.values:
            raise UserError(
                f"the chief's trial {trial.trial_id} differs from the one in {folder.path}: give a `run.directory` "
                "that both see"
            )
        return trial

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return functools.partial(self._call, method)

    def _call(self, method: str, *arguments: Any) -> Any:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return getattr(self._client, method)(*arguments)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise
                time.sleep(POLL_SECONDS)
