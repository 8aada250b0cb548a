"""The training of one trial."""

import errno

import keras

from keras_inat.data.dataset import open_data
from keras_inat.errors import FULL_DISK, ExternalError, UserError, is_out_of_memory
from keras_inat.executors.tasks import Ask, Outcome, Task
from keras_inat.files import hash_file, hold_lock, remove_temporary_files
from keras_inat.store.records import Result
from keras_inat.store.runs import RunFolder, hash_settings, restart_run
from keras_inat.training.checkpoint import read_progress
from keras_inat.training.session import fit


def train_trial(task: Task, ask: Ask) -> Outcome:
    """Trains a recorded trial. An interrupted trial resumes from its last epoch.

    Returns its result, a reason in one line why its configuration cannot be trained, or an error that stops the sweep.
    """
    run = task.run
    assert run
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        # After a kill of the sweep, the process of its trial may still be alive for a moment.
        with hold_lock(run.lock):
            # An earlier attempt may have been killed after it had written the result.
            result = run.read_result()
            return result if result and _is_complete(task, run, result) else _train(task, run, ask)
    except Exception as error:
        return _classify_error(error, run)
    finally:
        keras.utils.clear_session()


def _is_complete(task: Task, run: RunFolder, result: Result) -> bool:
    """Returns True if a result is that of the task, and its epochs are on disk."""
    is_same = (
        result.command == run.command
        and hash_settings(result.config) == hash_settings(task.config)
        and (task.pack is None or result.data.hash == task.pack.manifest.hash)
    )
    return is_same and run.is_unchanged(result, run.metrics)


def _train(task: Task, run: RunFolder, ask: Ask) -> Result:
    progress = read_progress(run)
    if progress is None or progress.settings_hash != hash_settings(task.config):
        restart_run(task.config, run.path, run.command)
    remove_temporary_files(run.path)
    pruned = False

    def stop(epoch: int) -> bool:
        nonlocal pruned
        pruned = ask(epoch)
        return pruned

    fitted = fit(
        task.config,
        run,
        f"trial {run.path.name}",
        data=open_data(task.config, task.pack),
        title=task.title,
        keep_best=False,
        stop=stop,
    )
    result = fitted.result.model_copy(update={"pruned": pruned, "files": {run.metrics.name: hash_file(run.metrics)}})
    result.write(run.result)
    return result


def _classify_error(error: Exception, run: RunFolder) -> Outcome:
    """Returns a failure of the configuration, or an error that stops the sweep."""
    if FULL_DISK in str(error):
        return OSError(errno.ENOSPC, FULL_DISK, str(run.path))
    is_failure = isinstance(error, UserError | FloatingPointError) or is_out_of_memory(error)
    if isinstance(error, ExternalError) or not is_failure:
        return error
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
