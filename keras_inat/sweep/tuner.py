"""Runs the trials of a sweep, one after the other, each the same `fit` as everything else."""

import gc
import time

import keras
import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner

from keras_inat.config import override
from keras_inat.data.pack import load_pack
from keras_inat.errors import UserError
from keras_inat.progress import format_seconds
from keras_inat.runs import hold_lock, now, open_run, write_json
from keras_inat.sections import Config
from keras_inat.sweep.oracle import RecordedOracle
from keras_inat.sweep.records import Records, Trial, find_best
from keras_inat.sweep.space import build_hyperparameters, decode_values, describe_values
from keras_inat.training.loop import fit

# What a configuration that cannot be trained raises; anything else is a mistake in the program and stops the sweep.
FAILURES = (UserError, FloatingPointError, MemoryError)


def search(config: Config) -> list[Trial]:
    """Runs `sweep.trials` trials, or those that are still missing, and gives every trial on record.

    Raises:
        UserError: When the space is wrong, or the folder holds another sweep.
    """
    hyperparameters = build_hyperparameters(config)
    # Data that cannot be had would otherwise fail every trial.
    records = Records(config, load_pack(config).hash)
    with hold_lock(records.folder / "lock", f"the sweep {config.run.name!r} is at work in another process"):
        tuner = TrialTuner(records, hyperparameters)
        try:
            tuner.search()
        except keras_tuner.errors.FatalError as error:
            raise error.__cause__ or error from None
        records.write_tables()  # a kill may have come between the last record and its row
    return records.read_trials()


class TrialTuner(BaseTuner):
    """KerasTuner's loop around our `fit`.

    Args:
        records: Where trials are put on record.
        hyperparameters: The space.
    """

    def __init__(self, records: Records, hyperparameters: keras_tuner.HyperParameters) -> None:
        self.records, self.config = records, records.config
        # Its files are for other tools that read KerasTuner projects; we read our records.
        super().__init__(
            RecordedOracle(records, hyperparameters), directory=records.folder, project_name="tuner", overwrite=True
        )
        self._durations: list[float] = []

    def run_trial(self, trial: keras_tuner.engine.trial.Trial) -> dict[str, float]:
        """Trains one configuration; gives its best validation accuracy."""
        values = dict(trial.hyperparameters.values)
        settings = decode_values(self.config, values)
        record = Trial(trial.trial_id, values, settings, started=now())
        self.records.write_trial(record)
        self._announce(record)
        began = time.perf_counter()
        load_pack(self.config)  # if the images are gone, that is no fault of the configuration
        try:
            config = override(
                self.config, {"training.epochs": self.config.sweep.epochs, "training.min_steps": 0} | settings
            )
            run = open_run(config, self.records.trial_folder(record.id), "sweep")
            label = f"trial {record.id}"
            title = f"{record.id} {describe_values(settings)}"
            result = fit(config, run, label, group=self.config.run.name, title=title).result
            write_json(run.result, result)
            record.status, record.score = "completed", result["val_accuracy"]
            record.epochs, record.parameters, record.macs = result["epochs"], result["parameters"], result["macs"]
        except Exception as error:
            record.status, record.error = "failed", " ".join(f"{type(error).__name__}: {error}".split())[:500]
            if not _is_failure(error):
                raise keras_tuner.errors.FatalError(str(error)) from error
            print(f"trial {record.id} failed: {record.error}", flush=True)
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        finally:
            if record.status != "running":  # an interrupted trial stays as it was, and runs again
                record.ended, record.seconds = now(), round(time.perf_counter() - began, 1)
                self._durations.append(record.seconds)
                self.records.write_trial(record)
            keras.utils.clear_session()
            gc.collect()
        return {"val_accuracy": record.score}

    def _announce(self, record: Trial) -> None:
        total, best = self.config.sweep.trials, find_best(self.records.read_trials())
        line = f"trial {record.id} of {total}: {describe_values(record.settings)}"
        if best:
            line += f"  (best so far {best.score:.1%}, trial {best.id}"
            if self._durations:
                left = (total - len(self.oracle.end_order)) * sum(self._durations) / len(self._durations)
                line += f"; about {format_seconds(left)} left"
            line += ")"
        print(line, flush=True)


def _is_failure(error: Exception) -> bool:
    # TensorFlow's out-of-memory error is named here, not imported: `tf.*` stays out of this room.
    return isinstance(error, FAILURES) or type(error).__name__ == "ResourceExhaustedError"
