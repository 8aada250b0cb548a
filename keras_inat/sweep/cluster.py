"""One sweep on several machines: a chief proposes, workers train, all put on record in a folder that they share."""

import ipaddress
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_chief, oracle_client
from keras_tuner.src.engine import oracle as oracle_module

from keras_inat.errors import UserError
from keras_inat.sections import Config
from keras_inat.sweep.board import open_board
from keras_inat.sweep.oracle import Recorded, build_oracle
from keras_inat.sweep.records import Records, Trial
from keras_inat.sweep.space import build_hyperparameters
from keras_inat.sweep.tuner import open_records, run_trials, tell

BEAT = "alive"  # a file in a trial's folder, touched by the worker that trains it
BEAT_SECONDS = 5.0
# A worker that was silent for so long is taken for dead, and its trial goes to another.
LEASE_SECONDS = 60.0
# What a worker waits for a chief that does not answer: it may be starting again.
PATIENCE_SECONDS = 300
# What a chief waits, when all is done, for the workers to ask once more.
LINGER_SECONDS = 5.0
POLL_SECONDS = 1.0


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
        with _serve(oracle, config.sweep.chief) as servicer, open_board(records) as board:
            while not servicer.exhausted and not _all_ended(records):
                time.sleep(POLL_SECONDS)
                if servicer.error:
                    raise RuntimeError("the oracle failed") from servicer.error
                leases.check()
                board.refresh()
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
    name = f"{socket.gethostname()}-{os.getpid()}-"
    os.environ |= {
        "KERASTUNER_ORACLE_IP": host,
        "KERASTUNER_ORACLE_PORT": port,
        "KERASTUNER_TUNER_ID": name,
    }
    oracle_client.TIMEOUT = PATIENCE_SECONDS
    oracle = oracle_client.OracleClient(build_oracle(records, build_hyperparameters(config)))
    beaten = dict[str, float]()

    def beat(trial_id: str) -> None:
        if time.monotonic() - beaten.get(trial_id, -BEAT_SECONDS) >= BEAT_SECONDS:
            beaten[trial_id] = time.monotonic()
            (records.trial_folder(trial_id) / BEAT).touch()

    try:
        with open_board(records) as board:
            run_trials(records, oracle, board, name, beat)
    except grpc.RpcError as error:
        raise UserError(
            f"the chief at {config.sweep.chief} does not answer ({error.code().name}): start it with `make sweep-chief`"
        ) from None
    return records.read_trials()


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
            beat, since = _read_beat(self._records.trial_folder(trial_id) / BEAT), self._clock()
            known = self._seen.get(trial_id)
            if known is None or known[0] != beat:
                self._seen[trial_id] = beat, since
            elif since - known[1] > LEASE_SECONDS:
                del self._seen[trial_id]
                if trial_id in ended:  # it died between record and report
                    tell(self._oracle, ended[trial_id])
                else:
                    print(f"trial {trial_id}: its worker is silent, another goes on with it", flush=True)
                    self._oracle.give_back(trial_id)


def _watched(method: Callable[..., Any]) -> Callable[..., Any]:
    """Makes an error of the oracle known, where KerasTuner's would leave its lock held and the chief hanging."""

    def call(self: "Servicer", request: Any, context: Any) -> Any:
        try:
            return method(self, request, context)
        except Exception as error:
            self.error = error
            if oracle_module.THREADS[self.oracle] == threading.current_thread().name:
                oracle_module.THREADS[self.oracle] = None
                oracle_module.LOCKS[self.oracle].release()
            raise

    return call


class Servicer(oracle_chief.OracleServicer):
    """KerasTuner's service, which also knows when it has failed and when there is no more to do."""

    def __init__(self, oracle: Recorded) -> None:
        super().__init__(oracle)
        self.error: Exception | None = None
        self.exhausted = False

    UpdateTrial = _watched(oracle_chief.OracleServicer.UpdateTrial)
    EndTrial = _watched(oracle_chief.OracleServicer.EndTrial)

    @_watched
    def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
        response = super().CreateTrial(request, context)
        if response.trial.status == TrialStatus.to_proto(TrialStatus.STOPPED):
            if self.oracle.list_ongoing():
                # One of them may come back.
                response.trial.status = TrialStatus.to_proto(TrialStatus.IDLE)
            else:
                self.exhausted = True
        return response


@contextmanager
def _serve(oracle: Recorded, address: str) -> Iterator[Servicer]:
    host = address.rpartition(":")[0]
    if not _is_loopback(host):
        print(
            f"warning: whoever reaches {address} can take part in this sweep: the channel is not encrypted and asks "
            "for no password. Keep it within a private network.",
            file=sys.stderr,
        )
    servicer = Servicer(oracle)
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
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _read_beat(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
