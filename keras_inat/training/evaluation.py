"""The final evaluation: every test image once, recorded in the ledger, with an interval."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_inat.data.dataset import Dataset, TestSet, open_data
from keras_inat.data.pipeline import build_evaluation_batches, flip_batches
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


def train_seeds(config: Config, command: str, label: str) -> list[Result]:
    """Trains and evaluates `run.seeds` times, each with its own seed and run folder.

    With several seeds, this prints a table of all of them and their mean.

    Args:
        config: Gives the first seed and the number of seeds.
        command: The command that the runs belong to.
        label: Begins every printed line.

    Returns:
        The results, lowest seed first.
    """
    seeds = range(config.run.seed, config.run.seed + config.run.seeds)
    if len(seeds) == 1:
        return [train_and_evaluate(config, command, label or f"seed {config.run.seed}")]
    results = []
    for seed in seeds:
        seeded = override(config, {"run.seed": seed})
        results.append(train_and_evaluate(seeded, command, f"{label} seed {seed}".strip()))
    _print_seeds(results)
    return results


def train_and_evaluate(config: Config, command: str, label: str) -> Result:
    """Trains, evaluates on the test images and writes `result.json`.

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
        return result
    with claim_run(config, command, data_hash, f"{config.run.name}-seed{config.run.seed}") as run:
        result = evaluate_on_test(run, fit(config, run, label))
        finish_run(run, result)
    _print_scores(label, result, run)
    return result


def evaluate_on_test(run: RunFolder, trained: TrainedModel) -> Result:
    """Evaluates a trained model once on the test images, through the ledger.

    Writes the predictions, a sample of the validation images and some pairs of duplicates for the report; see
    `store.predictions`.

    Returns:
        The result of the training with its test scores.

    Raises:
        PermissionError: The run belongs to a command that selects by its results, such as a sweep.
    """
    data = trained.data
    test = data.open_test(run)
    batches = _build_batches(data, test.images, test.labels, test.rows)
    probabilities = trained.model.predict(batches, verbose=0)
    labels = test.labels[test.rows]
    correct = _count_correct(probabilities, labels)
    scores = EvaluationScores(
        accuracy=correct / len(labels), interval=wilson_interval(correct, len(labels)), num_images=len(labels)
    )
    if data.config.training.test_time_augmentation:
        flipped = trained.model.predict(flip_batches(batches), verbose=0)
        correct = _count_correct(probabilities + flipped, labels)
        flip = FlipScores(
            val_accuracy=_validate_flipped(trained),
            test_accuracy=correct / len(labels),
            test_interval=wilson_interval(correct, len(labels)),
        )
        scores = scores.model_copy(update={"flip": flip})
    _keep_predictions(test, probabilities).write(run.predictions)
    _sample_validation(data).write(run.sample)
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


def _sample_validation(data: Dataset) -> ValidationSample:
    count = max(1, min(MAX_SAMPLE, MAX_SAMPLE_BYTES // data.images[0].nbytes))
    rows = np.sort(np.random.default_rng(0).permutation(data.validation_rows)[:count])
    return ValidationSample(pixels=data.images[rows], labels=data.labels[rows])


def _validate_flipped(trained: TrainedModel) -> float:
    """Returns the validation accuracy of the mean prediction over each image and its horizontal flip."""
    data = trained.data
    batches = _build_batches(data, data.images, data.labels, data.validation_rows)
    probabilities = trained.model.predict(batches, verbose=0)
    probabilities += trained.model.predict(flip_batches(batches), verbose=0)
    return _count_correct(probabilities, data.labels[data.validation_rows]) / len(data.validation_rows)


def _build_batches(data: Dataset, images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Any:
    return build_evaluation_batches(images, labels, rows, len(data.classes), data.config.training.batch_size)


def _count_correct(probabilities: np.ndarray, labels: np.ndarray) -> int:
    return int((probabilities.argmax(axis=1) == labels).sum())


def _print_scores(label: str, result: Result, run: RunFolder) -> None:
    test = result.test_scores
    low, high = test.interval
    flip = f", {test.flip.test_accuracy:.1%} with test-time augmentation" if test.flip else ""
    print(
        f"{label}: validation {result.val_accuracy:.1%}, test {test.accuracy:.1%} "
        f"(95 % interval {low:.1%} to {high:.1%}, n = {test.num_images}){flip}    {run.path}",
        flush=True,
    )


def _print_seeds(results: Sequence[Result]) -> None:
    tests = [result.test_scores for result in results]
    print(f"{'seed':>6} {'validation':>11} {'test':>7} {'minutes':>8}")
    for result, test in zip(results, tests, strict=True):
        minutes = result.seconds / 60
        print(f"{result.seed:>6} {result.val_accuracy:>11.1%} {test.accuracy:>7.1%} {minutes:>8.1f}")
    # The epochs were selected by validation accuracy. An interval would not account for that.
    mean = statistics.mean(result.val_accuracy for result in results)
    print(f"validation accuracy, mean of {len(results)} seeds: {mean:.1%}")
    accuracies = [test.accuracy for test in tests]
    low, high = accuracy_interval(accuracies, tests[0].num_images)
    print(
        f"test accuracy, mean of {len(results)} seeds: {statistics.mean(accuracies):.1%} "
        f"(95 % interval {low:.1%} to {high:.1%})"
    )
    best = max(results, key=lambda result: result.val_accuracy)
    print(f"best on validation: seed {best.seed}. The report shows its pictures.")
