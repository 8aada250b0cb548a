"""The worker on a machine of a Ray cluster: it runs one task at a time, each in a process of its own."""

import contextlib
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from keras_inat import __version__
from keras_inat.errors import UserError
from keras_inat.executors.inputs import Inputs, cache, find_copy, move_config
from keras_inat.executors.local import ProcessSlot, Question, start_forkserver
from keras_inat.executors.mirror import Change, Mirror, apply_changes
from keras_inat.executors.tasks import Ask, Outcome, Task
from keras_inat.files import hold_lock, write_text
from keras_inat.settings.catalog import flatten
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.store.checksums import sign_lines
from keras_inat.store.records import Result
from keras_inat.store.runs import RunFolder

POLL_SECONDS = 1.0  # between two looks at the files of a running task
PARTIAL = ".partial"  # ends the name of a copy that is not complete
# The machine that holds the records tracks the epochs, as only it needs to be logged in.
UNTRACKED = {"tracking.wandb": "disabled", "tracking.mlflow": False, "tracking.tensorboard": False}

PLACES = ("run.directory", "data.directory", "finetune.weights", "training.teacher")


class Report(NamedTuple):
    """The news of a task."""

    changes: Sequence[Change] = ()  # in its run folder
    message: Question | Outcome | None = None  # a question, or the outcome, after which the worker is free


class Worker:
    """An actor of Ray. Its methods are called one at a time.

    Args:
        environment: Additional environment variables of a task.
        timeout_seconds: The time after which a task fails; None means no limit.
    """

    def __init__(self, environment: dict[str, str], timeout_seconds: float | None) -> None:
        # Otherwise each process would first import the program that Ray starts its workers with.
        vars(sys.modules["__main__"]).pop("__file__", None)
        self._slot = ProcessSlot((), environment, timeout_seconds)
        self._held = contextlib.ExitStack()
        self._copying = contextlib.ExitStack()
        tasks = cache() / "tasks"
        tasks.mkdir(parents=True, exist_ok=True)
        with hold_lock(tasks / "lock"):  # a folder without a lock is left by a killed worker
            _remove_left_folders(tasks)
            self._home = tasks / secrets.token_hex(6)
            self._home.mkdir()
            self._held.enter_context(hold_lock(self._home / "lock"))
        start_forkserver()

    def warm_up(self) -> str:
        """Waits until a process can start at once. Returns the version of this program."""
        self._slot.start(Task("keras_inat.executors.node:answer_at_once", Config(), None))
        while self._slot.poll() is None:
            time.sleep(0.01)
        return __version__

    def begin_copy(self, inputs: Inputs) -> list[str]:
        """Returns the names of the files that this machine lacks. Other workers of the machine wait for `end_copy`."""
        if find_copy(inputs)[1]:
            inputs.copy.mkdir(parents=True, exist_ok=True)
            self._copying.enter_context(hold_lock(inputs.copy / "lock"))
            for path in inputs.copy.glob(f"*{PARTIAL}"):  # of a killed worker
                path.unlink()
        return find_copy(inputs)[1]

    def receive(self, inputs: Inputs, name: str, piece: bytes) -> None:
        """Appends a piece to the copy of a file."""
        with open(inputs.copy / f"{name}{PARTIAL}", "ab") as file:
            file.write(piece)

    def end_copy(self, inputs: Inputs) -> None:
        """Completes the copy."""
        for path in inputs.copy.glob(f"*{PARTIAL}"):
            path.rename(path.with_name(path.name.removesuffix(PARTIAL)))
        self._copying.close()

    def start(self, task: Task, inputs: Sequence[Inputs], files: Sequence[Change]) -> None:
        """Starts a task with the files of its run so far."""
        assert task.run
        self._given = task.config
        folders = {given.known_as: find_copy(given)[0] for given in inputs}
        places = {"run.directory": str(self._home / "runs"), "data.directory": str(self._home / "data")}
        config = override(move_config(task.config, folders), UNTRACKED | places)
        run = RunFolder(self._home / "runs" / task.run.path.relative_to(task.config.run.directory), task.run.command)
        apply_changes(run, files)
        write_text(run.config, sign_lines(config.model_dump_json() + "\n"))  # JSON is YAML, and is written in no time
        pack = task.pack and task.pack._replace(directory=folders[task.pack.directory])
        self._run = run
        self._mirror = Mirror(run)
        self._slot.start(replace(task, config=config, run=run, pack=pack))

    def listen(self) -> Report:
        """Returns the news of the task, after up to a second."""
        self._slot.pipe.poll(POLL_SECONDS)
        message = self._slot.poll()
        if self._slot.task:
            # After its last epoch, a training is not lost with this machine.
            unfinished = range(1, self._given.training.epochs)
            is_complete = isinstance(message, Question) and message.value not in unfinished
            return Report(self._mirror.collect(is_complete), message)
        return Report(self._finish(), self._restore(message) if isinstance(message, Result) else message)

    def reply(self, answer: Any) -> None:
        """Answers the question of the task."""
        self._slot.reply(answer)

    def stop(self) -> Report:
        """Ends the task. Returns the last changes in its run folder."""
        if not self._slot.task:
            return Report()
        self._slot.end()
        return Report(self._finish())

    def _finish(self) -> list[Change]:
        if result := Result.read_if_sound(self._run.result):
            self._restore(result).write(self._run.result)
        changes = self._mirror.collect_all()
        shutil.rmtree(self._home / "runs")
        return changes

    def _restore(self, result: Result) -> Result:
        """Returns a result with the places, trackers and `config.yaml` of the machine that holds the records."""
        given = flatten(self._given)
        moved = {name: given[name] for name in (*PLACES, *UNTRACKED) if name in given}
        files = {name: digest for name, digest in result.files.items() if name != self._run.config.name}
        return result.model_copy(update={"config": override(result.config, moved), "files": files})


def answer_at_once(task: Task, ask: Ask) -> str:
    """Does nothing."""
    return "ready"


def _remove_left_folders(tasks: Path) -> None:
    """Removes the folders of workers that were killed."""
    for folder in tasks.glob("*/"):
        with contextlib.suppress(UserError, OSError), hold_lock(folder / "lock", "its worker lives"):
            shutil.rmtree(folder)
