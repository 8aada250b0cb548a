"""The training of one trial."""

import errno

import keras

from keras_inat.errors import FULL_DISK, ExternalError, UserError, is_out_of_memory
from keras_inat.files import hold_lock, remove_temporary_files
from keras_inat.search.pruning import is_to_be_pruned
from keras_inat.search.slots import Outcome
from keras_inat.search.space import configure_trial, describe_values
from keras_inat.settings.schema import Config
from keras_inat.store.records import Result, Trial
from keras_inat.store.runs import RunFolder, restart_run
from keras_inat.store.sweeps import locate_sweep
from keras_inat.training.checkpoint import read_progress
from keras_inat.training.session import fit


def train_trial(config: Config, trial: Trial) -> Outcome:
    """Trains a recorded trial of the sweep `config`. An interrupted trial resumes from its last epoch."""
    run = locate_sweep(config).trial_run(trial.id)
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        # After a kill of the sweep, the process of its trial may still be alive for a moment.
        with hold_lock(run.lock):
            # An earlier attempt may have been killed after it had written the result.
            return run.read_result() or _train(config, trial, run)
    except Exception as error:
        return _classify_error(error, run)
    finally:
        keras.utils.clear_session()


def _train(config: Config, trial: Trial, run: RunFolder) -> Result:
    configured = configure_trial(config, trial.settings)
    if read_progress(run) is None:
        restart_run(configured, run.path, run.command)
    remove_temporary_files(run.path)
    pruned = False

    def stop(epoch: int) -> bool:
        nonlocal pruned
        pruned = is_to_be_pruned(config, trial.id)
        return pruned

    fitted = fit(
        configured,
        run,
        f"trial {trial.id}",
        title=f"{trial.id} {describe_values(trial.settings)}",
        keep_best=False,
        stop=stop,
    )
    result = fitted.result.model_copy(update={"pruned": pruned})
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
