"""Trains configurations with several seeds, at the same time where there are several GPUs or a cluster."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from keras_inat.data.packs import load_pack
from keras_inat.errors import UserError
from keras_inat.executors.opening import open_executor
from keras_inat.executors.tasks import Ask, Outcome, Resources, Task
from keras_inat.files import file_size
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.store.ledger import record_evaluation
from keras_inat.store.runs import RunFolder
from keras_inat.training.checkpoint import claim_run
from keras_inat.training.devices import count_gpus
from keras_inat.training.evaluation import (
    check_settings,
    print_scores,
    print_seeds,
    report_finished,
    train_and_evaluate,
)

POLL_SECONDS = 0.5  # between two looks at the output of the trainings on a cluster


@dataclass(eq=False)
class SeedRun:
    """The run of a configuration with one seed."""

    config: Config
    command: str
    label: str  # begins every printed line
    folder: RunFolder | None = None  # known when the run has ended; on a cluster, when it begins
    claim: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)  # holds the lock of the folder
    num_printed: int = 0  # bytes of the log

    def prepare(self) -> Task | None:
        """Returns the training as a task; None if the run is finished already."""
        argument = (self.command, self.label)
        if not self.config.run.cluster:
            return Task(TRAIN, self.config, argument)
        check_settings(self.config)
        pack = load_pack(self.config)
        data_hash = pack.manifest.hash
        self.folder = report_finished(self.config, self.command, self.label, data_hash)
        if self.folder:
            return None
        self.folder = self.claim.enter_context(claim_run(self.config, self.command, data_hash))
        if self.folder.result.exists():  # another process has finished it a moment ago
            return None
        self.num_printed = file_size(self.folder.log)
        return Task(TRAIN, self.config, argument, self.folder, pack, self.label)

    def print_log(self) -> None:
        """Prints the lines that a training on a cluster has printed since the last call."""
        if self.folder and self.folder.log.exists():
            with open(self.folder.log, "rb") as file:
                file.seek(self.num_printed)
                lines, newline, _ = file.read().rpartition(b"\n")
            if newline:
                print(lines.decode(errors="replace"), flush=True)
                self.num_printed += len(lines) + 1

    def end(self, outcome: Outcome) -> None:
        """Releases the folder of an ended run. Raises the error of a failed one."""
        self.print_log()
        self.claim.close()
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, str):
            raise UserError(f"{self.label}: {outcome}")
        if self.folder:
            print_scores(self.label, self.folder)
        self.folder = self.folder or outcome


TRAIN = "keras_inat.commands.seeds:train_seed"


def train_seed(task: Task, ask: Ask) -> RunFolder:
    """Trains and evaluates the run of a task. The ledger of another machine is written there."""
    command, label = task.argument
    return train_and_evaluate(task.config, command, label, task.pack, record=ask if task.run else None)


def train_seeds(configs: Mapping[str, Config], command: str) -> list[list[RunFolder]]:
    """Trains and evaluates every configuration `run.seeds` times, each with its own seed and run folder.

    With several seeds, this prints a table of the seeds of a configuration and their mean.

    Args:
        configs: By the label that begins every printed line. It may be empty.
        command: The command that the runs belong to.

    Returns:
        The folders of the runs of each configuration. The lowest seed comes first.
    """
    groups = [_list_seeds(config, command, label) for label, config in configs.items()]
    waiting = [run for group in groups for run in group]
    cluster = waiting[0].config.run.cluster
    running: dict[Task, SeedRun] = {}
    with open_executor(cluster, _choose_resources(cluster, len(waiting)), _record_evaluation) as executor:
        try:
            while waiting or running:
                while waiting and executor.num_free:
                    run = waiting.pop(0)
                    if task := run.prepare():
                        running[task] = run
                        executor.start(task)
                for task, outcome in executor.wait(POLL_SECONDS):
                    running.pop(task).end(outcome)
                for run in running.values():
                    run.print_log()
        finally:
            for run in running.values():
                run.claim.close()
    runs = [[run.folder for run in group if run.folder] for group in groups]
    for group in runs:
        if len(group) > 1:
            print_seeds(group)
    return runs


def _list_seeds(config: Config, command: str, label: str) -> list[SeedRun]:
    first = config.run.seed
    if config.run.seeds == 1:
        return [SeedRun(config, command, label or f"seed {first}")]
    seeds = range(first, first + config.run.seeds)
    return [SeedRun(override(config, {"run.seed": seed}), command, f"{label} seed {seed}".strip()) for seed in seeds]


def _choose_resources(cluster: str | None, num_runs: int) -> Resources:
    """With one GPU or none, the runs of this machine are trained one after the other, in this process."""
    if cluster:
        return Resources(num_runs, workers=num_runs)  # a cluster that grows sees that they wait
    num_gpus = count_gpus()
    return Resources(num_runs, workers=min(num_gpus, num_runs) if num_gpus > 1 and num_runs > 1 else 0)


def _record_evaluation(task: Task, data_hash: str) -> None:
    """Records the evaluation of a training on another machine."""
    assert task.run
    record_evaluation(task.config.run.directory, task.run.command, task.run.path, data_hash)
