"""A training as a task for an executor, and the interface of the executors."""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from keras_inat.data.packs import Pack
from keras_inat.settings.schema import Config
from keras_inat.store.runs import RunFolder

Ask = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Task:
    """One training. It can move to another machine with its run folder and its images."""

    # The name of a function, as in "package.module:function". It takes the task and a function that asks the process of
    # the executor a question. It trains and returns the outcome.
    function: str
    config: Config
    argument: Any  # the other facts that the function needs
    # The folder of the run, whose log gets the output. None: the function chooses it, and the output is printed.
    run: RunFolder | None = None
    pack: Pack | None = None  # the images; None: those of the configuration
    title: str | None = None  # of its records in W&B and MLflow; None: the name of the folder

    @property
    def name(self) -> str:
        """The title, or else the name of the folder."""
        return self.title or (self.run.path.name if self.run else "")

    def perform(self, ask: Ask) -> "Outcome":
        """Calls the function. Its module is imported only here, because it may import TensorFlow."""
        return pkgutil.resolve_name(self.function)(self, ask)


class Resources(NamedTuple):
    """The slots that an executor opens, and the machine that each of them needs."""

    tasks: int  # number of tasks; more slots would be idle
    workers: int | None = None  # number of slots; None: as many as fit into a cluster, and one on this machine
    cpus: int | None = None  # CPU cores of a slot in a cluster; None: an even share
    gpus: float | None = None  # GPUs of a slot in a cluster; None: one if the cluster has any
    timeout_seconds: float | None = None  # the time after which a task fails; None means no limit


# What the function returned; or a reason, in one line, why it cannot be done; or an error that stops everything.
Outcome = Any
# Answers the questions of a task in the process of its executor.
Answer = Callable[[Task, Any], Any]


class Executor(Protocol):
    """Runs tasks in a number of slots."""

    @property
    def num_free(self) -> int:
        """The number of tasks that can start now."""

    def start(self, task: Task) -> None:
        """Starts a task in a free slot. Without processes, the call returns when the task has ended."""

    def wait(self, seconds: float) -> list[tuple[Task, Outcome]]:
        """Waits until a task may have ended, or until the time is over. Returns the tasks that have ended."""

    def close(self) -> None:
        """Ends the running tasks. Their runs can resume."""
