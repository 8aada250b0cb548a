"""The final evaluation: every test image once, recorded in the ledger, with an interval."""

import contextlib
import functools
import statistics
from collections.abc import Sequence

import numpy as np

from keras_inat.data.dataset import TestSet, open_data
from keras_inat.data.packs import Pack
from keras_inat.data.pipeline import build_evaluation_batches
from keras_inat.files import check_space, hash_file, remove
from keras_inat.log import warn
from keras_inat.models.model_files import write_temperature
from keras_inat.settings.schema import Config
from keras_inat.store.balance import choose_objective, describe_objective
from keras_inat.store.calibration import fit_temperature
from keras_inat.store.checksums import WRONG
from keras_inat.store.ledger import Record
from keras_inat.store.predictions import DuplicatePictures, Predictions, ValidationSample, hash_arrays
from keras_inat.store.records import EvaluationScores, FlipScores, Result
from keras_inat.store.runs import RunFolder, find_finished, finish_run, tidy_run
from keras_inat.store.scores import score_predictions
from keras_inat.store.seed_scores import estimate_accuracy, estimate_balanced_accuracy
from keras_inat.training.checkpoint import claim_run
from keras_inat.training.distillation import check_teacher
from keras_inat.training.session import TrainedModel, check_cnn_memory, fit
from keras_inat.training.stages import plan_stages
from keras_inat.training.training_sample import draw_training_sample

# The numbers of pictures that a run keeps for the report.
NUM_EXAMPLES = 30
NUM_ERRORS = 12
NUM_DUPLICATES = 12
# The size of the sample of validation images.
MAX_SAMPLE = 600
MAX_SAMPLE_BYTES = 16_000_000
MIN_FREE_BYTES = 64_000_000  # before the test images are opened, so that the predictions can be kept


def train_and_evaluate(
    config: Config, command: str, label: str, pack: Pack | None = None, record: Record | None = None
) -> RunFolder:
    """Trains, evaluates on the test images and writes `result.json`. Returns the folder of the run.

    A finished run with these settings is not repeated, so its test images are evaluated once. An interrupted run is
    resumed. See `open_data` for `pack` and `open_test_images` for `record`.
    """
    check_settings(config)
    data = open_data(config, pack)
    check_teacher(config, data.summary)
    if finished := report_finished(config, command, label, data.hash):
        return finished
    setting = config.training.objective
    counts = data.summary.per_class.train
    if reason := describe_objective(setting, choose_objective(setting, counts), counts):
        print(f"{label}: {reason}", flush=True)
    with claim_run(config, command, data.hash) as run:
        if not run.result.exists():
            fit(config, run, label, data=data, evaluate=functools.partial(_evaluate_and_finish, record))
    if not record:  # the folder of another machine is temporary
        print_scores(label, run)
    return run


def print_scores(label: str, run: RunFolder) -> None:
    """Prints the scores of a finished run and its folder."""
    print(f"{label}: {describe_scores(Result.read(run.result))}    {run.path}", flush=True)


def check_settings(config: Config) -> None:
    """Refuses settings that no images can be trained with, before any image is decoded."""
    plan_stages(config)
    check_cnn_memory(config, batch_size=1, num_classes=2)


def report_finished(config: Config, command: str, label: str, data_hash: str) -> RunFolder | None:
    """Returns a finished run with these settings and images, and prints its score; None if there is none."""
    finished = find_finished(config, command, data_hash)
    if finished:
        tidy_run(finished)  # the process that finished it may have been killed before
        result = Result.read(finished.result)
        test = result.test_scores
        balance = ""
        if result.data.is_imbalanced:
            balance = f" (balanced {test.balanced_accuracy:.1%}, majority baseline {test.majority_baseline:.1%})"
        print(
            f"{label}: already done, test {test.accuracy:.1%}{balance}    {finished.path} "
            "(another NAME or seed trains anew)",
            flush=True,
        )
    return finished


def describe_scores(result: Result) -> str:
    """Describes accuracies with their intervals, on imbalanced images with balanced accuracy and the baseline."""
    test = result.test_scores
    low, high = test.interval
    flip = f", {test.flip.test_accuracy:.1%} with test-time augmentation" if test.flip else ""
    if not result.data.is_imbalanced:
        return (
            f"validation {result.val_accuracy:.1%}, test {test.accuracy:.1%} "
            f"(95 % interval {low:.1%} to {high:.1%}, n = {test.num_images}){flip}"
        )
    balanced_low, balanced_high = test.balanced_interval
    if test.flip:
        flip += f" (balanced {test.flip.test_balanced_accuracy:.1%})"
    return (
        f"validation {result.val_accuracy:.1%} (balanced {result.val_balanced_accuracy:.1%}, majority baseline "
        f"{result.val_majority_baseline:.1%}), test {test.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}; "
        f"balanced {test.balanced_accuracy:.1%}, {balanced_low:.1%} to {balanced_high:.1%}; majority baseline "
        f"{test.majority_baseline:.1%}; n = {test.num_images}){flip}"
    )


def _evaluate_and_finish(record: Record | None, run: RunFolder, trained: TrainedModel) -> Result:
    # The result is on disk before a tracker gets it, so that no tracker can make a run evaluate twice.
    return finish_run(run, evaluate_on_test(run, trained, record))


def evaluate_on_test(run: RunFolder, trained: TrainedModel, record: Record | None = None) -> Result:
    """Evaluates a trained model once on the test images, through the ledger.

    Writes the predictions, samples of the validation and training images and some pairs of duplicates for the report;
    see `store.predictions`. Returns the result of the training with its test scores and with a temperature, which the
    validation images determine. The model file gets the temperature, too.

    An attempt that was interrupted after the predictions were written is continued from them. The test images are not
    opened again.
    """
    data = trained.data
    # The predictions name the files, and have those on flipped images or not.
    facts = [data.hash, hash_file(data.directory / "paths.json"), data.config.training.test_time_augmentation]
    origin = " ".join(map(str, [hash_arrays(trained.model.get_weights()), *facts]))
    predictions = _read_predictions(run, len(data.classes), origin) or _predict_test(run, trained, record, origin)
    scores = _score(predictions.probabilities, predictions.labels)
    rows = data.validation_rows
    validation = _predict(trained, data.images, rows)
    if data.config.training.test_time_augmentation:
        on_validation = _score(validation + _predict(trained, data.images, rows, flip=True), data.labels[rows])
        on_test = _score(predictions.probabilities + predictions.flipped, predictions.labels)
        flip = FlipScores(
            val_accuracy=on_validation.accuracy,
            val_balanced_accuracy=on_validation.balanced_accuracy,
            test_accuracy=on_test.accuracy,
            test_interval=on_test.interval,
            test_balanced_accuracy=on_test.balanced_accuracy,
            test_balanced_interval=on_test.balanced_interval,
        )
        scores = scores.model_copy(update={"flip": flip})
    count = max(1, min(MAX_SAMPLE, MAX_SAMPLE_BYTES // data.images[0].nbytes))
    sample = np.sort(np.random.default_rng(0).permutation(data.validation_rows)[:count])
    ValidationSample(pixels=data.images[sample], labels=data.labels[sample]).write(run.sample)
    draw_training_sample(data).write(run.training_sample)
    temperature = fit_temperature(validation, data.labels[rows])
    if run.model.exists():  # a run may keep no model
        write_temperature(run.model, temperature)
    return trained.result.model_copy(update={"test": scores, "temperature": temperature})


def _read_predictions(run: RunFolder, num_classes: int, origin: str) -> Predictions | None:
    """Reads the predictions of an interrupted attempt. Returns None without sound ones of the same origin."""
    predictions = Predictions.read(run.predictions)
    is_same = predictions and predictions.is_consistent(num_classes) and str(predictions.origin) == origin
    if not predictions or not is_same:
        return None
    _check_duplicates(run, predictions)
    return predictions


def _check_duplicates(run: RunFolder, predictions: Predictions) -> None:
    """Removes the pictures of duplicates with a warning, unless they are those that the test images gave."""
    known = str(predictions.duplicates_hash)
    with contextlib.suppress(OSError):
        if hash_file(run.duplicates) == known:
            return
    if known or run.duplicates.exists():
        warn(f"{run.duplicates} is missing, {WRONG}, and is skipped")
    remove(run.duplicates)


def _predict_test(run: RunFolder, trained: TrainedModel, record: Record | None, origin: str) -> Predictions:
    """Opens the test images and writes everything that needs them, the predictions last."""
    data = trained.data
    check_space(run.predictions, MIN_FREE_BYTES, "free some space, then run the command again: the training is kept")
    test = data.open_test(run, record)
    probabilities = _predict(trained, test.images, test.rows)
    flipped = probabilities[:0]
    if data.config.training.test_time_augmentation:
        flipped = _predict(trained, test.images, test.rows, flip=True)
    remove(run.duplicates)  # of an attempt whose predictions were not taken
    duplicates = DuplicatePictures(*data.read_duplicates(test, NUM_DUPLICATES))
    duplicates_hash = ""
    if len(duplicates.pairs):
        duplicates.write(run.duplicates)
        duplicates_hash = hash_file(run.duplicates)
    predictions = _keep_predictions(test, probabilities, flipped, origin, duplicates_hash)
    predictions.write(run.predictions)
    return predictions


def _keep_predictions(
    test: TestSet, probabilities: np.ndarray, flipped: np.ndarray, origin: str, duplicates_hash: str
) -> Predictions:
    labels = test.labels[test.rows]
    examples = np.random.default_rng(0).permutation(len(labels))[:NUM_EXAMPLES]
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    confidences = probabilities[wrong].max(axis=1)
    errors = wrong[np.argsort(-confidences, kind="stable")][:NUM_ERRORS]
    return Predictions(
        probabilities=probabilities.astype(np.float32),
        labels=labels,
        files=np.array(test.paths)[test.rows],
        examples=examples,
        pixels=test.images[test.rows[examples]],
        errors=errors,
        error_pixels=test.images[test.rows[errors]],
        flipped=flipped.astype(np.float32),
        origin=np.array(origin),
        duplicates_hash=np.array(duplicates_hash),
    )


def _predict(trained: TrainedModel, images: np.ndarray, rows: np.ndarray, flip: bool = False) -> np.ndarray:
    batches = build_evaluation_batches(images, rows, trained.data.config.training.batch_size, flip)
    return trained.model.predict(batches, verbose=0)


def _score(probabilities: np.ndarray, labels: np.ndarray) -> EvaluationScores:
    return score_predictions(probabilities.argmax(axis=1), labels, probabilities.shape[1])


def print_seeds(runs: Sequence[RunFolder]) -> None:
    """Prints a table of finished runs that differ in the seed, and their mean."""
    results = [Result.read(run.result) for run in runs]
    finished = list(zip(runs, results, strict=True))
    tests = [result.test_scores for result in results]
    is_imbalanced = results[0].data.is_imbalanced
    balanced_head = f" {'balanced validation':>20} {'balanced test':>14}" if is_imbalanced else ""
    print(f"{'seed':>6} {'validation':>11} {'test':>7} {'minutes':>8}{balanced_head}")
    for result, test in zip(results, tests, strict=True):
        row = f"{result.seed:>6} {result.val_accuracy:>11.1%} {test.accuracy:>7.1%} {result.seconds / 60:>8.1f}"
        balanced = f" {result.val_balanced_accuracy:>20.1%} {test.balanced_accuracy:>14.1%}" if is_imbalanced else ""
        print(row + balanced)
    # The epochs were selected by validation accuracy. An interval would not account for that.
    mean = statistics.mean(result.val_accuracy for result in results)
    print(f"validation accuracy, mean of {len(results)} seeds: {mean:.1%}")
    test_accuracy = estimate_accuracy(finished)
    print(
        f"test accuracy, mean of {len(results)} seeds: {test_accuracy.value:.1%} "
        f"(95 % interval {test_accuracy.low:.1%} to {test_accuracy.high:.1%})"
    )
    if is_imbalanced:
        mean = statistics.mean(result.val_balanced_accuracy for result in results)
        print(f"balanced validation accuracy, mean of {len(results)} seeds: {mean:.1%}")
        test_balance = estimate_balanced_accuracy(finished)
        print(
            f"balanced test accuracy, mean of {len(results)} seeds: {test_balance.value:.1%} (95 % interval "
            f"{test_balance.low:.1%} to {test_balance.high:.1%}; majority baseline {tests[0].majority_baseline:.1%})"
        )
    best = max(results, key=lambda result: result.val_score)
    print(f"best on validation: seed {best.seed}. The report shows its pictures.")
