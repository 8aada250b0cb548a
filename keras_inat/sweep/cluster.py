"""One sweep on several machines: a chief proposes, workers train, all put on record in a folder that they share."""

import contextlib
import ipaddress
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_chief, oracle_client
from keras_tuner.src.engine import conditions
from keras_tuner.src.engine import oracle as oracle_module

from keras_inat.errors import UserError
from keras_inat.settings.schema import Config
from keras_inat.store.trials import Trial
from keras_inat.sweep.live_table import open_live_table
from keras_inat.sweep.oracle import Recorded, build_oracle
from keras_inat.sweep.records import Records
from keras_inat.sweep.runner import TrialLoop, open_records, report_outcome
from keras_inat.sweep.space import build_hyperparameters

conditions.print = lambda *_: None  # it prints a condition whenever one is sent

REFUSED = grpc.StatusCode.FAILED_PRECONDITION
BEAT = "alive"  # a file in a trial's folder, touched by the worker that trains it
BEAT_SECONDS = 5.0
# A worker that was silent for so long is taken for dead, and its trial goes to another.
LEASE_SECONDS = 60.0
# What a worker waits for a chief that does not answer: it may be starting again.
PATIENCE_SECONDS = 300
# What a chief waits, when all is done, for the workers to ask once more.
LINGER_SECONDS = 5.0
POLL_SECONDS = 1.0
# What a file that another machine wrote may take to be seen on a shared disk.
SHOW_SECONDS = 60.0


def lead(config: Config) -> list[Trial]:
    """Proposes trials to workers until all have ended, and gives every trial on record; trains nothing itself.

    Stopped and started again, it goes on: workers keep their trials and wait for it.

    Raises:
        UserError: When the space is wrong, the address cannot be had, or another process leads this sweep.
        RuntimeError: When the oracle fails.
    """
    records = open_records(config)
    with records.hold():
        oracle = build_oracle(records, build_hyperparameters(config))
        oracle.resume_running()
        leases = Leases(records, oracle)
        with _serve(oracle, records) as servicer, open_live_table(records) as live_table:
            while not servicer.exhausted and not _all_ended(records):
                time.sleep(POLL_SECONDS)
                if isinstance(servicer.error, UserError | OSError):
                    raise servicer.error
                if servicer.error:
                    raise RuntimeError("the oracle failed") from servicer.error
                with _releasing(oracle):
                    leases.check()
                live_table.refresh()
            time.sleep(LINGER_SECONDS)
        records.write_tables()
    return records.read_trials()


def work(config: Config) -> list[Trial]:
    """Trains what the chief at `sweep.chief` proposes, until there is no more.

    Raises:
        UserError: When the sweep in the shared folder has other settings, or the chief does not answer.
    """
    records = open_records(config)
    host, _, port = config.sweep.chief.rpartition(":")
    # Containers may have the same name and numbers for processes.
    name = f"{config.run.name}/{socket.gethostname()}-{uuid.uuid4().hex[:8]}-"
    os.environ |= {"KERASTUNER_ORACLE_IP": host, "KERASTUNER_ORACLE_PORT": port, "KERASTUNER_TUNER_ID": name}
    os.environ |= {"no_grpc_proxy": host}  # a cluster may have one for the outside
    try:
        with open_live_table(records) as live_table:
            loop = TrialLoop(records, PatientClient(records), live_table, name)
            threading.Thread(target=_beat, args=(records, loop.running), daemon=True).start()
            loop.run()
    except grpc.RpcError as error:
        if error.code() == REFUSED:
            raise UserError(error.details()) from None
        if not _all_ended(records):
            raise UserError(
                f"the chief at {config.sweep.chief} does not answer ({error.code().name}): start it with "
                "`make sweep-chief`"
            ) from None
    return records.read_trials()


def _beat(records: Records, running: Mapping[str, Trial]) -> None:
    """Shows again and again that this worker lives, whatever else it waits for."""
    while True:
        for trial_id in list(running):
            with contextlib.suppress(OSError):
                (records.folder.trial_run(trial_id).path / BEAT).touch()
        time.sleep(BEAT_SECONDS)


class PatientClient:
    """KerasTuner's client of a chief, which asks again where the chief ended in the middle of an answer.

    Args:
        records: Where the chief puts what it proposes on record.
    """

    def __init__(self, records: Records) -> None:
        oracle_client.TIMEOUT = PATIENCE_SECONDS
        self._client, self._records = oracle_client.OracleClient(None), records

    def create_trial(self, name: str) -> Any:
        """A trial that the chief has put on record; were it in another folder, its score would be lost."""
        trial = self.__getattr__("create_trial")(name)
        file, end = self._records.folder.trial_run(trial.trial_id).path / "trial.json", time.monotonic() + SHOW_SECONDS
        while trial.status == TrialStatus.RUNNING and not file.exists():
            if time.monotonic() > end:
                raise UserError(
                    f"the chief's trial {trial.trial_id} is not in {self._records.folder.path}: give the chief's NAME, and "
                    "a `run.directory` that both see"
                )
            time.sleep(POLL_SECONDS)
        if trial.status == TrialStatus.RUNNING:
            self._records.check()
            if self._records.read_trial(trial.trial_id).values != trial.hyperparameters.values:
                raise UserError(
                    f"the chief's trial {trial.trial_id} is another one in {self._records.folder.path}: give a "
                    "`run.directory` that both see"
                )
        return trial

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any) -> Any:
            end = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    return method(*arguments)
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                        raise
                    time.sleep(POLL_SECONDS)

        return call


class Leases:
    """Gives the trials of workers that are silent back to the oracle.

    Args:
        records: Of the sweep.
        oracle: Whose ongoing trials are watched.
        clock: Seconds that only grow. Clocks of other machines are not trusted: what counts is that a file changes.
    """

    def __init__(self, records: Records, oracle: Recorded, clock: Callable[[], float] = time.monotonic) -> None:
        self._records, self._oracle, self._clock = records, oracle, clock
        self._seen: dict[str, tuple[float, float]] = {}

    def check(self) -> None:
        """Looks at every ongoing trial."""
        ended = {trial.id: trial for trial in self._records.read_trials() if trial.status != "running"}
        for trial_id in self._oracle.list_ongoing():
            beat, since = _read_beat(self._records.folder.trial_run(trial_id).path / BEAT), self._clock()
            known = self._seen.get(trial_id)
            if known is None or known[0] != beat:
                self._seen[trial_id] = beat, since
            elif since - known[1] > LEASE_SECONDS:
                del self._seen[trial_id]
                if trial_id in ended:  # it died between record and report
                    report_outcome(self._oracle, ended[trial_id])
                else:
                    print(f"trial {trial_id}: its worker is silent, another goes on with it", flush=True)
                    self._oracle.give_back(trial_id)


@contextlib.contextmanager
def _releasing(oracle: Recorded) -> Iterator[None]:
    """Gives the oracle's lock back when it fails: KerasTuner's would be held, and the chief hang, for ever."""
    try:
        yield
    except BaseException:
        if oracle_module.THREADS[oracle] == threading.current_thread().name:
            oracle_module.THREADS[oracle] = None
            oracle_module.LOCKS[oracle].release()
        raise


def _watched(method: Callable[..., Any]) -> Callable[..., Any]:
    """Makes an error of the oracle known to the chief."""

    def call(self: "Servicer", request: Any, context: Any) -> Any:
        try:
            with _releasing(self.oracle):
                return method(self, request, context)
        except Exception as error:
            self.error = error
            raise

    return call


class Servicer(oracle_chief.OracleServicer):
    """KerasTuner's service, which puts proposals on record, and knows when it has failed or has no more."""

    def __init__(self, oracle: Recorded, records: Records) -> None:
        super().__init__(oracle)
        self._records = records
        self.error: Exception | None = None
        self.exhausted = False

    UpdateTrial = _watched(oracle_chief.OracleServicer.UpdateTrial)
    EndTrial = _watched(oracle_chief.OracleServicer.EndTrial)

    def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
        name = self._records.config.run.name
        if request.tuner_id.partition("/")[0] != name:
            context.abort(REFUSED, f"the chief is at work on another sweep: give NAME={name}")
        return self._propose(request, context)

    @_watched
    def _propose(self, request: Any, context: Any) -> Any:
        response = super().CreateTrial(request, context)
        if response.trial.status == TrialStatus.to_proto(TrialStatus.STOPPED):
            if self.oracle.list_ongoing():
                # One of them may come back.
                response.trial.status = TrialStatus.to_proto(TrialStatus.IDLE)
            else:
                self.exhausted = True
        if response.trial.status == TrialStatus.to_proto(TrialStatus.RUNNING):
            # Before the worker knows of it: a chief that starts again must not give its number to another.
            trial = self.oracle.get_trial(response.trial.trial_id)
            self._records.begin(trial.trial_id, trial.hyperparameters.values)
        return response


@contextlib.contextmanager
def _serve(oracle: Recorded, records: Records) -> Iterator[Servicer]:
    address = records.config.sweep.chief
    host = address.rpartition(":")[0]
    if not _is_loopback(host):
        print(
            f"warning: whoever reaches {address} can take part in this sweep: the channel is not encrypted and asks "
            "for no password. Keep it within a private network.",
            file=sys.stderr,
        )
    servicer = Servicer(oracle, records)
    server = grpc.server(ThreadPoolExecutor(max_workers=1), options=[("grpc.so_reuseport", 0)])
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        raise UserError(
            f"the address {address} cannot be had: give CHIEF=host:port, of this machine and free"
        ) from None
    server.start()
    print(f"workers: make sweep-worker CHIEF={address} with the same settings and folder", flush=True)
    try:
        yield servicer
    finally:
        server.stop(grace=None)


def _all_ended(records: Records) -> bool:
    trials = records.read_trials()
    return len(trials) >= records.config.sweep.trials and all(trial.status != "running" for trial in trials)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_beat(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
