"""The process that speaks with a Ray cluster.

Ray ends a process whose cluster is gone. In a process of its own, that ends no sweep: its parent starts another one.
"""

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from keras_inat import __version__
from keras_inat.errors import ExternalError
from keras_inat.executors.inputs import Inputs, read_pieces
from keras_inat.executors.local import Question
from keras_inat.executors.mirror import read_start
from keras_inat.executors.node import Report, Worker
from keras_inat.executors.tasks import Resources, Task
from keras_inat.workers import obey_parent

CAPACITY_SECONDS = 5.0  # between two looks at the machines of the cluster
HEAD_SECONDS = 15  # without an answer of its head, a cluster is lost
STOP_SECONDS = 10.0  # for the last checkpoints of the tasks that are ended
RETRY_SECONDS = 1.0  # before a lost worker is replaced
MAX_BROKEN = 3  # workers of a slot that fail by themselves, one after the other
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing leaves the machine that the user did not send
    "RAY_gcs_rpc_server_reconnect_timeout_s": str(HEAD_SECONDS),
}


class Connected(NamedTuple):
    """There is a cluster."""


class Ready(NamedTuple):
    """The worker of a slot can start a task at once."""

    slot: int


class Lost(NamedTuple):
    """The worker of a slot is gone, with its machine or alone. The slot gets another one."""

    slot: int
    reason: str
    is_out_of_memory: bool


class News(NamedTuple):
    """The task in a slot has a report."""

    slot: int
    report: Report


class Start(NamedTuple):
    """The order to start a task in a slot."""

    slot: int
    task: Task
    inputs: Sequence[Inputs]


class Reply(NamedTuple):
    """The answer to the question of the task in a slot."""

    slot: int
    answer: Any


class Slots(NamedTuple):
    """The number of slots in a cluster, and the resources of each."""

    num_slots: int
    cpus: int
    gpus: float


def plan_slots(machines: Sequence[Mapping[str, float]], wanted: Resources) -> Slots:
    """Plans the slots of a cluster.

    Without a wish, a slot has one GPU if there is any, and an even share of the cores: of its machine among the GPUs,
    otherwise of the cluster among the slots. A cluster without room for a slot gets one, which waits for a machine.

    Args:
        machines: The resources of each machine as Ray names them, "CPU" and "GPU".
        wanted: The wishes of the user.
    """
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    accelerators = [machine.get("GPU", 0.0) for machine in machines]
    gpus = wanted.gpus if wanted.gpus is not None else float(any(accelerators))
    if wanted.cpus:
        cpus = wanted.cpus
    elif gpus:
        shares = [int(core * gpus / gpu) for core, gpu in zip(cores, accelerators, strict=True) if gpu]
        cpus = max(1, min(shares, default=1))
    else:
        count = wanted.workers or wanted.tasks
        shares = [
            share for share in range(1, max(cores, default=1) + 1) if sum(core // share for core in cores) >= count
        ]
        cpus = max(shares, default=1)
    room = 0
    for core, gpu in zip(cores, accelerators, strict=True):
        fits = core // cpus
        # Whole numbers of tasks share a GPU, so that no task is on two of them.
        if gpus:
            fits = min(fits, int(gpu) * int(1 / gpus) if gpus <= 1 else int(gpu // gpus))
        room += fits
    return Slots(min(wanted.workers or max(1, room), wanted.tasks), cpus, gpus)


def run_bridge(address: str, wanted: Resources, pipe: Connection) -> None:
    """Opens slots in the cluster at an address and passes messages between them and the parent.

    Sends `Connected`, `Ready`, `Lost` and `News`, a `ConnectionError` if there is no cluster, and an `ExternalError` if
    its workers cannot be used. Receives `Start` and `Reply`, and None, which ends the tasks.
    """
    obey_parent()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Ray prints pages about every loss. The parent says it in one line.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    import ray

    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        pipe.send(ConnectionError(_shorten(error)))
        return
    pipe.send(Connected())
    Bridge(wanted, pipe).run()


class Bridge:
    """The slots of a cluster, each served by a thread."""

    def __init__(self, wanted: Resources, pipe: Connection) -> None:
        self._wanted = wanted
        self._pipe = pipe
        self._pipe_lock = threading.Lock()
        self._orders: list[queue.SimpleQueue[Start | Reply | None]] = []
        self._busy: set[int] = set()
        self._is_stopping = False

    def run(self) -> None:
        """Passes orders to the slots until the parent has had enough."""
        threading.Thread(target=self._watch_cluster, daemon=True).start()
        with contextlib.suppress(EOFError):
            while order := self._pipe.recv():
                self._orders[order.slot].put(order)
        self._is_stopping = True
        for orders in self._orders:
            orders.put(None)
        end = time.monotonic() + STOP_SECONDS
        while self._busy and time.monotonic() < end:
            time.sleep(0.05)
        os._exit(0)  # Ray ends the workers of a process that is gone. Its own shutdown may wait for a dead machine

    def _watch_cluster(self) -> None:
        """Opens slots as machines join the cluster."""
        import ray

        try:
            while True:
                machines = [machine["Resources"] for machine in ray.nodes() if machine["Alive"]]
                planned = plan_slots(machines, self._wanted)
                while len(self._orders) < planned.num_slots:
                    self._orders.append(queue.SimpleQueue())
                    arguments = (len(self._orders) - 1, planned)
                    threading.Thread(target=self._serve, args=arguments, daemon=True).start()
                time.sleep(CAPACITY_SECONDS)
        finally:
            os._exit(1)  # the cluster is lost

    def _serve(self, slot: int, planned: Slots) -> None:
        """Runs the tasks of a slot. A worker that is lost is replaced."""
        import ray
        from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

        # With a GPU, the other cores prepare images. Without one, Ray hides none.
        environment = {} if planned.gpus else dict.fromkeys(THREADS, str(planned.cpus)) | {"CUDA_VISIBLE_DEVICES": "-1"}
        options = {"num_cpus": planned.cpus, "num_gpus": planned.gpus, "scheduling_strategy": "SPREAD"}
        num_broken = 0
        while not self._is_stopping:
            worker: Any = ray.remote(Worker).options(**options).remote(environment, self._wanted.timeout_seconds)
            try:
                version = ray.get(worker.warm_up.remote())
                if version != __version__:
                    self._send(ExternalError(f"a machine of the cluster has keras-inat {version}, not {__version__}"))
                self._send(Ready(slot))
                while order := self._orders[slot].get():
                    if isinstance(order, Start):  # a reply to the lost worker before this one is of no use
                        self._run_task(slot, worker, order)
                        num_broken = 0
                        self._send(Ready(slot))
            except RayError as error:
                is_broken = isinstance(error, RayTaskError) or "creation task" in str(error)
                num_broken = num_broken + 1 if is_broken else 0
                if num_broken == MAX_BROKEN:
                    self._send(ExternalError(f"the workers of the cluster cannot be started: {_shorten(error)}"))
                is_out_of_memory = isinstance(error, OutOfMemoryError) or "low on memory" in str(error)
                self._send(Lost(slot, _shorten(error), is_out_of_memory))
                with contextlib.suppress(Exception):
                    ray.kill(worker)
                time.sleep(RETRY_SECONDS)

    def _run_task(self, slot: int, worker: Any, order: Start) -> None:
        """Runs one task and sends its reports. Raises a `RayError` if the worker is lost."""
        self._busy.add(slot)
        try:
            self._run(slot, worker, order)
        finally:
            self._busy.discard(slot)

    def _run(self, slot: int, worker: Any, order: Start) -> None:
        import ray

        assert order.task.run
        for inputs in order.inputs:
            for name in ray.get(worker.begin_copy.remote(inputs)):
                for piece in read_pieces(inputs.folder / name):
                    ray.get(worker.receive.remote(inputs, name, ray.put(piece)))
            ray.get(worker.end_copy.remote(inputs))
        ray.get(worker.start.remote(order.task, order.inputs, read_start(order.task.run)))
        while not self._is_stopping:
            report = ray.get(worker.listen.remote())
            if report.changes or report.message is not None:
                self._send(News(slot, report))
            if isinstance(report.message, Question):
                reply = self._orders[slot].get()
                if not isinstance(reply, Reply):
                    break
                ray.get(worker.reply.remote(reply.answer))
            elif report.message is not None:
                return
        self._send(News(slot, ray.get(worker.stop.remote())))

    def _send(self, message: Any) -> None:
        with self._pipe_lock, contextlib.suppress(OSError):  # the parent may be gone
            self._pipe.send(message)


def _shorten(error: Exception) -> str:
    """Returns the last line of an error of Ray, which has the cause, or its first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300]
