"""Tasks on a Ray cluster. This process alone writes the records; `bridge` speaks with the cluster."""

import contextlib
import multiprocessing
import time

from keras_inat.errors import ExternalError
from keras_inat.executors.bridge import STOP_SECONDS, Connected, Lost, News, Ready, Reply, Start, run_bridge
from keras_inat.executors.following import Follower
from keras_inat.executors.inputs import list_inputs
from keras_inat.executors.local import Question
from keras_inat.executors.mirror import apply_changes
from keras_inat.executors.tasks import Answer, Outcome, Resources, Task
from keras_inat.log import warn

# A lost cluster, such as one whose head is started anew, has this long to come back.
RETURN_SECONDS = 600.0
RETRY_SECONDS = 5.0
LIVE_SECONDS = 1.0  # a flood of messages does not delay the live table any longer
MAX_LOSSES = 5  # of the workers of one task, without an epoch in between
CONTEXT = multiprocessing.get_context("spawn")


class ClusterExecutor:
    """Runs tasks on a Ray cluster. A task whose worker is lost resumes on another one, from the last checkpoint here.

    Raises:
        ExternalError: There is no cluster at the address, or its workers cannot be used.
    """

    def __init__(self, address: str, wanted: Resources, answer: Answer) -> None:
        self._address = address
        self._wanted = wanted
        self._answer = answer
        self._free: list[int] = []
        self._running: dict[int, Task] = {}
        self._waiting: list[Task] = []
        self._losses: dict[Task, int] = {}
        self._follower = Follower()
        self._lost_at: float | None = None  # the time since which the cluster is lost
        self._was_connected = False
        self._connect()

    @property
    def num_free(self) -> int:
        return max(0, len(self._free) - len(self._waiting))

    def start(self, task: Task) -> None:
        self._waiting.append(task)
        self._dispatch()

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        ended: list[tuple[Task, Outcome]] = []
        end = time.monotonic() + seconds
        while self._pipe.poll(max(0.0, end - time.monotonic())):
            self._receive(ended)
            self._dispatch()
            is_flooded = time.monotonic() > end + LIVE_SECONDS
            if is_flooded or ((ended or self.num_free) and not self._pipe.poll()):
                break
        return ended

    def close(self) -> None:
        self._send(None)
        end = time.monotonic() + STOP_SECONDS + RETRY_SECONDS
        with contextlib.suppress(EOFError, OSError):  # the bridge has ended
            while self._pipe.poll(max(0.0, end - time.monotonic())):
                if isinstance(message := self._pipe.recv(), News) and message.slot in self._running:
                    self._apply(self._running[message.slot], message)
        self._process.kill()
        self._process.join()
        self._follower.close()

    def _connect(self) -> None:
        self._pipe, other_end = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=run_bridge, args=(self._address, self._wanted, other_end), daemon=True)
        self._process.start()
        other_end.close()

    def _send(self, message: Start | Reply | None) -> None:
        with contextlib.suppress(OSError):  # `_receive` notices that the bridge is gone
            self._pipe.send(message)

    def _dispatch(self) -> None:
        """Starts waiting tasks in free slots."""
        while self._waiting and self._free:
            slot = self._free.pop(0)
            task = self._waiting.pop(0)
            self._running[slot] = task
            self._follower.begin(task)
            self._send(Start(slot, task, list_inputs(task.config, task.pack)))

    def _receive(self, ended: list[tuple[Task, Outcome]]) -> None:
        """Receives one message. Adds a task that has ended to `ended`."""
        try:
            message = self._pipe.recv()
        except (EOFError, OSError):
            self._reconnect("its head does not answer")
            return
        if isinstance(message, ConnectionError):
            self._reconnect(str(message))
        elif isinstance(message, Exception):
            raise message
        elif isinstance(message, Connected):
            self._was_connected = True
        elif isinstance(message, Ready):
            self._free.append(message.slot)
            self._lost_at = None
        elif isinstance(message, Lost):
            self._free = [slot for slot in self._free if slot != message.slot]
            if task := self._running.pop(message.slot, None):
                self._lose(task, message, ended)
        elif task := self._running.get(message.slot):
            self._apply(task, message)
            news = message.report.message
            if isinstance(news, Question):
                self._send(Reply(message.slot, self._answer(task, news.value)))
            elif news is not None:
                del self._running[message.slot]
                self._losses.pop(task, None)
                self._follower.update(task, succeeded=not isinstance(news, str | Exception))
                ended.append((task, news))

    def _apply(self, task: Task, news: News) -> None:
        """Writes what has changed in the run folder of a task."""
        assert task.run
        apply_changes(task.run, news.report.changes)
        if any(change.name == task.run.metrics.name for change in news.report.changes):
            self._losses.pop(task, None)
            self._follower.update(task)

    def _lose(self, task: Task, lost: Lost, ended: list[tuple[Task, Outcome]]) -> None:
        """Lets a task wait for another worker. A task that has often lost its worker has failed."""
        losses = self._losses[task] = self._losses.get(task, 0) + 1
        if lost.is_out_of_memory and losses > 1:
            outcome = "MemoryError: its worker was killed twice, as happens when the memory of a machine runs out"
        elif losses == MAX_LOSSES:
            outcome = f"RuntimeError: its worker was lost {losses} times without an epoch in between: {lost.reason}"
        else:
            warn(f"{task.name} has lost its worker and resumes on another one: {lost.reason}")
            self._waiting.insert(0, task)
            return
        self._follower.update(task, succeeded=False)
        ended.append((task, outcome))

    def _reconnect(self, reason: str) -> None:
        """Starts another bridge after a pause. Raises an `ExternalError` if there is no cluster."""
        self._process.kill()
        self._process.join()
        if not self._was_connected:
            raise ExternalError(
                f"no Ray cluster at CLUSTER={self._address} ({reason}): start one with `ray start --head`, or give the "
                "address of one, or CLUSTER=local for this machine"
            )
        self._waiting = [*self._running.values(), *self._waiting]
        self._running = {}
        self._free = []
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            warn(
                f"the Ray cluster is lost ({reason}): waiting up to {RETURN_SECONDS / 60:.0f} minutes for it to come "
                "back. After Ctrl-C, the same command resumes"
            )
        if now - self._lost_at > RETURN_SECONDS:
            raise ExternalError(f"the Ray cluster is lost ({reason}): once it is back, the same command resumes")
        time.sleep(RETRY_SECONDS)
        self._connect()
