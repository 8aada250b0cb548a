"""The process that tracks, on this machine, the runs that train on others: only this machine needs to be logged in."""

import contextlib
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from keras_inat.executors.tasks import Task
from keras_inat.progress import hide_startup_messages
from keras_inat.settings.schema import Config
from keras_inat.store.runs import RunFolder
from keras_inat.workers import obey_parent

CONTEXT = multiprocessing.get_context("spawn")
CLOSE_SECONDS = 150.0  # a tracker may wait for its server for 120 s


class Event(NamedTuple):
    """A run has begun, has new epochs, or has ended."""

    run: RunFolder
    begun: tuple[Config, str] | None = None  # its configuration and title
    succeeded: bool | None = None  # None while it trains


class Follower:
    """Passes events to the process, which starts with the first one. A slow tracker delays no training."""

    def __init__(self) -> None:
        self._process: Any = None

    def begin(self, task: Task) -> None:
        """Opens the records of a run."""
        assert task.run
        tracking = task.config.tracking
        if tracking.wandb == "disabled" and not tracking.mlflow and not tracking.tensorboard:
            return
        if not self._process:
            self._events = CONTEXT.Queue()
            self._process = CONTEXT.Process(target=_run_process, args=(self._events.get,), daemon=True)
            self._process.start()
        self._events.put(Event(task.run, (task.config, task.name)))

    def update(self, task: Task, succeeded: bool | None = None) -> None:
        """Tracks the new epochs of a run, or its end."""
        if self._process and task.run:
            self._events.put(Event(task.run, succeeded=succeeded))

    def close(self) -> None:
        """Waits for the trackers."""
        if self._process:
            self._events.put(None)
            self._process.join(CLOSE_SECONDS)
            self._process.kill()


class _UnfinishedError(Exception):
    """Ends the record of a run that has not succeeded."""


def _run_process(get: Callable[[], Event | None]) -> None:
    obey_parent()
    follow_runs(get)


def follow_runs(get: Callable[[], Event | None]) -> None:
    """Tracks runs by their `metrics.jsonl` and `result.json`, until there is no event."""
    with hide_startup_messages():
        from keras_inat.training.tracking import open_tracking

    followed: dict[Path, FollowedRun] = {}
    while event := get():
        path = event.run.path
        if event.begun and path not in followed:
            followed[path] = FollowedRun(event.run, open_tracking(event.begun[0], event.run, event.begun[1]))
        elif path in followed:
            followed[path].write_epochs()
            if event.succeeded is not None:
                followed.pop(path).close(event.succeeded)
    for run in followed.values():
        run.close(succeeded=False)


class FollowedRun:
    """A run with its open trackers."""

    def __init__(self, run: RunFolder, tracking: contextlib.AbstractContextManager) -> None:
        self._run = run
        self._open = contextlib.ExitStack()
        self._num_written = len(run.read_epochs())  # `open_tracking` writes these
        self._trackers = self._open.enter_context(tracking)

    def write_epochs(self) -> None:
        """Writes the epochs since the last call."""
        for epoch in self._run.read_epochs()[self._num_written :]:
            self._num_written = epoch.epoch
            for tracker in self._trackers:
                tracker.on_epoch_end(epoch.epoch - 1)

    def close(self, succeeded: bool) -> None:
        """Writes the evaluation on the test images, if there was one, and ends the records."""
        result = self._run.read_result() if succeeded else None
        with contextlib.suppress(_UnfinishedError), self._open:
            if not succeeded:
                raise _UnfinishedError
            if result and result.test:
                for tracker in self._trackers:
                    tracker.log_evaluation(result)
