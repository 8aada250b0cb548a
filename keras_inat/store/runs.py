"""Run folders: their files, and how they are created, found and finished."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keras_inat.errors import PROGRAM, UserError, describe_os_error
from keras_inat.files import (
    InFolder,
    append_jsonl,
    hash_file,
    list_folders,
    read_lines,
    remove,
    suggest_path,
    write_folder_atomically,
    write_text,
)
from keras_inat.log import warn
from keras_inat.settings import roles
from keras_inat.settings.catalog import name_places, select
from keras_inat.settings.loading import build_config
from keras_inat.settings.roles import Role
from keras_inat.settings.schema import Config
from keras_inat.settings.yaml_files import format_yaml, read_yaml
from keras_inat.store.checksums import WRONG, add_checksum, check_lines, hash_values, parse_record, sign_lines
from keras_inat.store.records import Epoch, Result

# Only the runs of these commands may see the test images. Every other command selects by its results.
EVALUATING_COMMANDS = ("train-best", "finetune")
STAMP = "%Y%m%d-%H%M%S"  # the begin of a run, UTC, in the name of its folder


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run and the paths of its files."""

    path: Path
    command: str

    config = InFolder("config.yaml")
    metrics = InFolder("metrics.jsonl")
    result = InFolder("result.json")
    model = InFolder("best.keras")
    checkpoint = InFolder("checkpoint.npz")
    wandb_id = InFolder("wandb-id")
    mlflow_id = InFolder("mlflow-id")
    lock = InFolder("lock")
    log = InFolder("log.txt")
    predictions = InFolder("test_predictions.npz")
    sample = InFolder("validation_sample.npz")
    training_sample = InFolder("training_sample.npz")
    duplicates = InFolder("duplicates.npz")
    suspects = InFolder("suspects.json")
    suspect_table = InFolder("suspects.csv")
    suspect_pictures = InFolder("suspects.npz")
    tensorboard = InFolder("tensorboard")
    wandb = InFolder("wandb")
    explanations = InFolder("explanations.npz")
    export = InFolder("export")
    export_contract = InFolder("export/contract.json")
    export_report = InFolder("export/export.json")
    app = InFolder("app")
    app_page = InFolder("app/index.html")
    app_contract = InFolder("app/space/contract.json")

    def append_epoch(self, epoch: Epoch) -> None:
        """Adds a line to `metrics.jsonl`, on disk when this returns."""
        append_jsonl(self.metrics, add_checksum(epoch.model_dump()))

    def write_epochs(self, epochs: Iterable[Epoch]) -> None:
        """Replaces the lines of `metrics.jsonl`."""
        write_text(self.metrics, "".join(json.dumps(add_checksum(epoch.model_dump())) + "\n" for epoch in epochs))

    def read_epochs(self) -> list[Epoch]:
        """Returns the epochs of the run, first to last. Damaged lines are skipped with a warning."""
        epochs = []
        *lines, _ = read_lines(self.metrics)  # another process may be writing the last line
        for number, line in enumerate(lines, start=1):
            try:
                epochs.append(Epoch.model_validate(parse_record(line)))
            except ValueError:
                warn(f"line {number} of {self.metrics} {WRONG}, and is skipped")
        return epochs

    def read_result(self) -> Result | None:
        """Returns the result; None while the run is unfinished and, with a warning, if the result is damaged."""
        result = Result.read_if_sound(self.result)
        if result and result.test is None and self.command in EVALUATING_COMMANDS:
            warn(f"{self.result} {WRONG}, and is skipped")
            return None
        is_known = result is not None and self.config.name in result.files and self.config.exists()
        if result and is_known and not self.is_unchanged(result, self.config):
            warn(f"{self.result} does not belong to {self.config}, and is skipped")
            return None
        if result and not self._is_home(result):
            written = f"{result.command}/{result.folder}"
            warn(f"{self.result} was written in the folder {written}, which was moved, renamed or copied")
        return result

    def _is_home(self, result: Result) -> bool:
        """Returns True unless the result was written in the folder of another run, or of another command."""
        is_moved = self.command in EVALUATING_COMMANDS and result.command != self.command
        return not result.folder or (result.folder == self.path.absolute().name and not is_moved)

    def has_model(self, result: Result) -> bool:
        """Returns True if the model is on disk. Warns about a lost one."""
        if not self.model.exists() and self.model.name in result.files:
            warn(f"{self.model} is missing, and its run is skipped")
        return self.model.exists()

    def read_config(self) -> Config | None:
        """Returns the configuration; None if it is of another version or, with a warning, if it is lost or damaged."""
        try:
            check_lines(self.config)
            return build_config(read_yaml(self.config))
        except UserError:
            return None
        except FileNotFoundError:
            warn(f"{self.config} is missing, and its run is skipped")
        except (OSError, ValueError):
            warn(f"{self.config} {WRONG}, and its run is skipped")
        return None

    def is_unchanged(self, result: Result, file: Path) -> bool:
        """Returns True if a file is the one that the finished run has written. Warns about a changed or lost one."""
        try:
            is_same = hash_file(file) == result.files.get(file.name)
        except FileNotFoundError:
            if file.name in result.files:
                warn(f"{file} is missing, and is skipped")
            return False
        except OSError as error:
            warn(describe_os_error(error, "read", str(file)))
            return False
        if not is_same:
            warn(f"{file} {WRONG}, and is skipped")
        return is_same


def create_run(config: Config, command: str, name: str | None = None) -> RunFolder:
    """Creates `runs/<command>/<date-time>-<name>/`, which has its `config.yaml` from the beginning. The time is UTC.

    Names sort in the order of creation, whatever the clock says: a run that would sort before an older one of this
    command, or of one that evaluates, is named a second after that one.
    """
    directory = Path(config.run.directory)
    older = [path for other in {*EVALUATING_COMMANDS, command} for path in (directory / other).glob("*")]
    times = [time for path in older if (time := _find_next_time(path))]
    time = max([datetime.now(UTC).replace(microsecond=0), *times])
    path = directory / command / f"{time:{STAMP}}-{name or config.run.name}"
    with write_folder_atomically(path, replace=False) as temporary:
        restart_run(config, temporary, command)
    return RunFolder(path, command)


def _find_next_time(path: Path) -> datetime | None:
    """Returns the second after the time in the name of a run's folder; None if the name has another form."""
    with contextlib.suppress(ValueError, OverflowError):  # there is no second after the last one of the year 9999
        return datetime.strptime(path.name[: len("20000101-000000")], STAMP).replace(tzinfo=UTC) + timedelta(seconds=1)
    return None


def restart_run(config: Config, path: Path, command: str) -> RunFolder:
    """Starts a run in a given folder. The files of an earlier attempt are removed.

    Its predictions and duplicates stay: if the new weights are the same, the test images are not opened again.
    """
    run = RunFolder(path, command)
    path.mkdir(parents=True, exist_ok=True)
    files = (run.result, run.metrics, run.model, run.checkpoint, run.wandb_id, run.mlflow_id)
    folders = (run.tensorboard, run.wandb, run.export, run.app)
    for left in (*files, run.sample, run.training_sample, run.explanations, *folders):
        remove(left)
    write_text(run.config, sign_lines(format_yaml(name_places(config).model_dump(mode="json"))))
    return run


def finish_run(run: RunFolder, result: Result) -> Result:
    """Writes `result.json`, which marks the run as finished, and removes the checkpoint.

    Returns the result with the checksums of the other files.
    """
    kept = (run.config, run.model, run.metrics, run.predictions, run.sample, run.training_sample, run.duplicates)
    files = {file.name: hash_file(file) for file in kept if file.exists()}
    result = result.model_copy(update={"folder": run.path.absolute().name, "files": files})
    result.write(run.result)
    tidy_run(run)
    return result


def tidy_run(run: RunFolder) -> None:
    """Removes the files that a finished run no longer needs."""
    with contextlib.suppress(OSError):  # a finished run may be in a folder that cannot be written
        run.checkpoint.unlink(missing_ok=True)
        run.lock.unlink(missing_ok=True)


def list_runs(directory: str | Path, commands: Sequence[str] = EVALUATING_COMMANDS) -> list[RunFolder]:
    """Returns the finished runs of the given commands, oldest first. Warns about a run that has lost its result."""
    folders = [RunFolder(path, command) for command in commands for path in list_folders(Path(directory, command))]
    finished = []
    for run in folders:
        if run.result.exists():
            finished.append(run)
        elif (run.predictions.exists() or run.model.exists()) and not run.checkpoint.exists():
            # An unfinished run has a checkpoint.
            warn(f"{run.result} is missing, and its run is skipped")
    return sorted(finished, key=lambda run: run.path.name)


def open_finished(path: Path) -> tuple[RunFolder, Result] | None:
    """Opens the folder of a run, with its result. Returns None unless it has both a result and a model."""
    run = RunFolder(path, Path(os.path.realpath(path)).parent.name)
    result = run.read_result()
    return (run, result) if result and run.has_model(result) else None


def find_newest(directory: str | Path) -> tuple[RunFolder, Result] | None:
    """Returns the newest run with a result and a model, and its result; None if there is none."""
    for run in reversed(list_runs(directory)):
        if (result := run.read_result()) and run.has_model(result):
            return run, result
    return None


def choose_run(config: Config) -> tuple[RunFolder, Result]:
    """Returns the run that `run.path` names, or the newest one with a model, and its result.

    Raises:
        UserError: There is no such run, or its model was changed.
    """
    if config.run.path is None:
        if newest := find_newest(config.run.directory):
            return check_model(*newest)
        raise UserError(
            f"there is no finished run with a model in {config.run.directory!r}: run `{PROGRAM} train-best` or "
            f"`{PROGRAM} finetune` first, or give RUN=<run folder>"
        )
    return _open_named("RUN", config.run.path)


def _open_named(setting: str, name: str) -> tuple[RunFolder, Result]:
    """Returns the finished run that a setting names, and its result.

    Raises:
        UserError: There is no such run, or it is damaged. The message names the setting.
    """
    path = Path(name)
    if path.is_file():
        path = path.parent  # the model of a run stands for the run
    if found := open_finished(path):
        return check_model(*found)
    raise UserError(
        f"{setting} must be the folder of a finished run, with best.keras and result.json. "
        f"Received: {name!r}.{suggest_path(path)}"
    )


def check_model(run: RunFolder, result: Result) -> tuple[RunFolder, Result]:
    """Returns the arguments, or raises a UserError if the model is not the one that was evaluated."""
    if hash_file(run.model) != result.files.get(run.model.name):
        raise UserError(f"{run.model} {WRONG}: restore it, or train again with another NAME")
    return run, result


def open_teacher(config: Config) -> tuple[RunFolder, Result] | None:
    """Returns the run that `training.teacher` names, and its result; None if the setting is null.

    Raises:
        UserError: There is no such run.
    """
    return _open_named("`training.teacher`", config.training.teacher) if config.training.teacher else None


def identify_group(result: Result) -> str:
    """Returns a key that the results of runs share which differ only in the seed."""
    return json.dumps([select(result.config, roles.GROUP), result.data.hash, result.weights_hash, result.teacher_hash])


def find_finished(config: Config, command: str, data_hash: str) -> RunFolder | None:
    """Returns a finished run of `command` with the same images, settings, initial weights and teacher, or None.

    Raises:
        UserError: The result of a run with the same settings is damaged. Another run would repeat its evaluation.
    """
    wanted = (data_hash, hash_weights(config), hash_teacher(config), select(config, roles.RUN))
    for run in list_runs(config.run.directory, sorted({*EVALUATING_COMMANDS, command})):  # it may have been moved
        result = run.read_result()
        if result is None:
            recorded = [run.read_config()]
            with contextlib.suppress(OSError, ValueError):  # the configuration may be the damaged one
                recorded.append(Result.read(run.result).config)
            if any(select(found, roles.RUN) == wanted[-1] for found in recorded if found):
                wrong = f"{run.result} or {run.config} {WRONG}"
                raise UserError(f"{wrong}: restore it, or remove {run.path} to train and evaluate again")
            continue
        settings = select(result.config, roles.RUN)
        found = (result.data.hash, result.weights_hash, result.teacher_hash, settings)
        if result.command == command and found == wanted and run.has_model(result):
            return run
    return None


def find_unfinished(config: Config, command: str) -> Iterator[RunFolder]:
    """Yields the runs of `command` with the same settings and without a result, newest first."""
    wanted = select(config, roles.RUN)
    for run in list_unfinished(config.run.directory, command):
        if (recorded := run.read_config()) and select(recorded, roles.RUN) == wanted:
            yield run


def list_unfinished(directory: str, command: str) -> list[RunFolder]:
    """Returns the runs of `command` without a result, newest first."""
    runs = [RunFolder(path, command) for path in sorted(Path(directory, command).glob("[!.]*/"), reverse=True)]
    return [run for run in runs if not run.result.exists()]


def hash_settings(config: Config) -> str:
    """Returns a hash of the settings that decide the outcome of a run.

    The files of initial weights and of the teacher have hashes of their own, as they have other paths on a cluster.
    """
    settings = select(config, roles.RUN - {Role.TEACHER})
    if settings.get("finetune.weights") not in ("imagenet", "none"):
        settings.pop("finetune.weights", None)
    return hash_values(settings)


def hash_weights(config: Config) -> str:
    """Returns the SHA-256 of the file of pretrained weights; empty if there is no such file.

    Raises:
        UserError: It is the model of a finished run, and was changed.
    """
    path = locate_weights(config)
    find_origin(path)
    return hash_file(path) if path.is_file() else ""


def find_origin(weights: Path) -> Result | None:
    """Returns the result of the run in whose folder a `.keras` file is; None, with a warning, if it is lost or damaged.

    Raises:
        UserError: The file is the model of the run, and was changed.
    """
    run = RunFolder(weights.parent, weights.absolute().parent.parent.name)
    if weights.suffix != run.model.suffix or not (run.metrics.exists() or run.result.exists()):
        return None
    result = run.read_result()
    if result and weights.name == run.model.name and weights.is_file():
        check_model(run, result)
    if not run.result.exists():
        warn(f"{run.result} is missing, so nothing shows whether {weights} is the model of its run")
    return result


def hash_teacher(config: Config) -> str:
    """Returns the SHA-256 of the model file of the teacher; empty without a teacher.

    Raises:
        UserError: There is no such run.
    """
    teacher = open_teacher(config)
    return hash_file(teacher[0].model) if teacher else ""


def locate_weights(config: Config) -> Path:
    """Returns the path of the file of pretrained weights. There is no such file if the weights are given by a name."""
    return Path(config.finetune.weights if config.finetune else "")
