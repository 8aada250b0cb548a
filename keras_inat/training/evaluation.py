"""The final evaluation: every test image once, recorded in the ledger, with an interval."""

import statistics
from collections.abc import Sequence

import numpy as np

from keras_inat.data.dataset import TestSet, open_data
from keras_inat.data.pipeline import build_evaluation_batches
from keras_inat.intervals import accuracy_interval, wilson_interval
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.store.predictions import DuplicatePictures, Predictions, ValidationSample
from keras_inat.store.records import EvaluationScores, FlipScores, Result
from keras_inat.store.runs import RunFolder, find_finished, finish_run
from keras_inat.training.checkpoint import claim_run
from keras_inat.training.session import TrainedModel, check_cnn_memory, fit
from keras_inat.training.stages import plan_stages

# The numbers of pictures that a run keeps for the report.
NUM_EXAMPLES = 30
NUM_ERRORS = 12
NUM_DUPLICATES = 12
# The size of the sample of validation images.
MAX_SAMPLE = 600
MAX_SAMPLE_BYTES = 16_000_000


def train_seeds(config: Config, command: str, label: str) -> list[RunFolder]:
    """Trains and evaluates `run.seeds` times, each with its own seed and run folder. The lowest seed comes first.

    With several seeds, this prints a table of all of them and their mean.
    """
    seeds = range(config.run.seed, config.run.seed + config.run.seeds)
    if len(seeds) == 1:
        return [train_and_evaluate(config, command, label or f"seed {config.run.seed}")]
    runs = []
    for seed in seeds:
        seeded = override(config, {"run.seed": seed})
        runs.append(train_and_evaluate(seeded, command, f"{label} seed {seed}".strip()))
    _print_seeds([Result.read(run.result) for run in runs])
    return runs


def train_and_evaluate(config: Config, command: str, label: str) -> RunFolder:
    """Trains, evaluates on the test images and writes `result.json`. Returns the folder of the run.

    A finished run with these settings is not repeated, so its test images are evaluated once. An interrupted run is
    resumed.
    """
    # Settings that no images can be trained with are refused before any image is decoded.
    plan_stages(config)
    check_cnn_memory(config, batch_size=1, num_classes=2)
    data_hash = open_data(config).hash
    if finished := find_finished(config, command, data_hash):
        result = Result.read(finished.result)
        print(
            f"{label}: already done, test {result.test_scores.accuracy:.1%}    {finished.path} "
            "(another NAME or seed trains anew)",
            flush=True,
        )
        return finished
    with claim_run(config, command, data_hash, f"{config.run.name}-seed{config.run.seed}") as run:
        result = fit(config, run, label, evaluate=_evaluate_and_finish).result
    test = result.test_scores
    low, high = test.interval
    flip = f", {test.flip.test_accuracy:.1%} with test-time augmentation" if test.flip else ""
    print(
        f"{label}: validation {result.val_accuracy:.1%}, test {test.accuracy:.1%} "
        f"(95 % interval {low:.1%} to {high:.1%}, n = {test.num_images}){flip}    {run.path}",
        flush=True,
    )
    return run


def _evaluate_and_finish(run: RunFolder, trained: TrainedModel) -> Result:
    # The result is on disk before a tracker gets it, so that no tracker can make a run evaluate twice.
    result = evaluate_on_test(run, trained)
    finish_run(run, result)
    return result


def evaluate_on_test(run: RunFolder, trained: TrainedModel) -> Result:
    """Evaluates a trained model once on the test images, through the ledger.

    Writes the predictions, a sample of the validation images and some pairs of duplicates for the report; see
    `store.predictions`. Returns the result of the training with its test scores.
    """
    data = trained.data
    test = data.open_test(run)
    probabilities = _predict(trained, test.images, test.rows)
    labels = test.labels[test.rows]
    correct = _count_correct(probabilities, labels)
    scores = EvaluationScores(
        accuracy=correct / len(labels), interval=wilson_interval(correct, len(labels)), num_images=len(labels)
    )
    if data.config.training.test_time_augmentation:
        rows = data.validation_rows
        validation = _predict(trained, data.images, rows) + _predict(trained, data.images, rows, flip=True)
        correct = _count_correct(probabilities + _predict(trained, test.images, test.rows, flip=True), labels)
        flip = FlipScores(
            val_accuracy=_count_correct(validation, data.labels[rows]) / len(rows),
            test_accuracy=correct / len(labels),
            test_interval=wilson_interval(correct, len(labels)),
        )
        scores = scores.model_copy(update={"flip": flip})
    _keep_predictions(test, probabilities).write(run.predictions)
    count = max(1, min(MAX_SAMPLE, MAX_SAMPLE_BYTES // data.images[0].nbytes))
    sample = np.sort(np.random.default_rng(0).permutation(data.validation_rows)[:count])
    ValidationSample(pixels=data.images[sample], labels=data.labels[sample]).write(run.sample)
    duplicates = DuplicatePictures(*data.read_duplicates(test, NUM_DUPLICATES))
    if len(duplicates.pairs):
        duplicates.write(run.duplicates)
    return trained.result.model_copy(update={"test": scores})


def _keep_predictions(test: TestSet, probabilities: np.ndarray) -> Predictions:
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
    )


def _predict(trained: TrainedModel, images: np.ndarray, rows: np.ndarray, flip: bool = False) -> np.ndarray:
    batches = build_evaluation_batches(images, rows, trained.data.config.training.batch_size, flip)
    return trained.model.predict(batches, verbose=0)


def _count_correct(probabilities: np.ndarray, labels: np.ndarray) -> int:
    return int((probabilities.argmax(axis=1) == labels).sum())


def _print_seeds(results: Sequence[Result]) -> None:
    accuracies = [result.test_scores.accuracy for result in results]
    print(f"{'seed':>6} {'validation':>11} {'test':>7} {'minutes':>8}")
    for result, accuracy in zip(results, accuracies, strict=True):
        print(f"{result.seed:>6} {result.val_accuracy:>11.1%} {accuracy:>7.1%} {result.seconds / 60:>8.1f}")
    # The epochs were selected by validation accuracy. An interval would not account for that.
    mean = statistics.mean(result.val_accuracy for result in results)
    print(f"validation accuracy, mean of {len(results)} seeds: {mean:.1%}")
    low, high = accuracy_interval(accuracies, results[0].test_scores.num_images)
    print(
        f"test accuracy, mean of {len(results)} seeds: {statistics.mean(accuracies):.1%} "
        f"(95 % interval {low:.1%} to {high:.1%})"
    )
    best = max(results, key=lambda result: result.val_accuracy)
    print(f"best on validation: seed {best.seed}. The report shows its pictures.")
