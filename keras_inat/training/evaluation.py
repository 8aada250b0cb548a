"""The final judgement: every test image once, on record, with an interval."""

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from keras_inat.data.packs import load_pack
from keras_inat.data.pipeline import build_evaluation_batches, flip_batches
from keras_inat.files import write_atomically
from keras_inat.intervals import accuracy_interval, wilson_interval
from keras_inat.models.cost import check_memory
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.store.runs import RunFolder, find_finished, finish_run
from keras_inat.training.checkpoint import claim_run
from keras_inat.training.devices import has_accelerator
from keras_inat.training.session import Fit, fit
from keras_inat.training.stages import plan_stages

NUM_EXAMPLES, NUM_ERRORS, NUM_DUPLICATES = 30, 12, 12
MAX_SAMPLE, MAX_SAMPLE_BYTES = 600, 16_000_000


def train_and_evaluate(config: Config, command: str, label: str) -> dict[str, Any]:
    """One run from its folder to its `result.json`, which it gives.

    A run that is already done is not done again: the test images are looked at once. One that was interrupted goes on.
    """
    _check_feasible(config)
    data_hash = load_pack(config).hash
    if done := find_finished(config, command, data_hash):
        result = done.read_result() or {}
        print(
            f"{label}: already done, test {result['test_accuracy']:.1%}    {done.path} "
            "(another NAME or seed trains anew)",
            flush=True,
        )
        return result
    with claim_run(config, command, data_hash, f"{config.run.name}-seed{config.run.seed}") as run:
        result = evaluate_on_test(config, run, fit(config, run, label))
        finish_run(run, result)
    low, high = result["test_interval"]
    mirrored = f", {result['mirrored']['test_accuracy']:.1%} with mirror images" if "mirrored" in result else ""
    print(
        f"{label}: validation {result['val_accuracy']:.1%}, test {result['test_accuracy']:.1%} "
        f"(95 % interval {low:.1%} to {high:.1%}, n = {result['test_images']}){mirrored}    {run.path}",
        flush=True,
    )
    return result


def _check_feasible(config: Config) -> None:
    """Refuses what no images could be trained with, before any is decoded."""
    plan_stages(config)
    if not config.finetune and not has_accelerator():
        check_memory(override(config, {"training.batch_size": 1}), num_classes=2)


def train_seeds(config: Config, command: str, label: str) -> list[dict[str, Any]]:
    """Trains and judges `run.seeds` times, each with its own seed and run folder; gives the results, lowest seed first.

    With several seeds it ends by saying each and their mean, `label` first.
    """
    seeds = range(config.run.seed, config.run.seed + config.run.seeds)
    if len(seeds) == 1:
        return [train_and_evaluate(config, command, label or f"seed {config.run.seed}")]
    results = [
        train_and_evaluate(override(config, {"run.seed": seed}), command, f"{label} seed {seed}".strip())
        for seed in seeds
    ]
    print(f"{'seed':>6} {'validation':>11} {'test':>7} {'minutes':>8}")
    for result in results:
        minutes = result["seconds"] / 60
        print(f"{result['seed']:>6} {result['val_accuracy']:>11.1%} {result['test_accuracy']:>7.1%} {minutes:>8.1f}")
    validation, test = ([result[key] for result in results] for key in ("val_accuracy", "test_accuracy"))
    low, high = accuracy_interval(test, results[0]["test_images"])
    # The epochs were chosen by validation accuracy, which an interval would not know.
    print(f"validation accuracy, mean of {len(seeds)} seeds: {statistics.mean(validation):.1%}")
    print(
        f"test accuracy, mean of {len(seeds)} seeds: {statistics.mean(test):.1%} "
        f"(95 % interval {low:.1%} to {high:.1%})"
    )
    best = max(results, key=lambda result: result["val_accuracy"])
    print(f"best on validation: seed {best['seed']}, which the report's pictures are of")
    return results


def evaluate_on_test(config: Config, run: RunFolder, fit: Fit) -> dict[str, Any]:
    """Evaluates a fit once on the test images, through the ledger.

    Writes `test_predictions.npz` into the run's folder: `probabilities` `(images, classes)` float32, `labels`
    `(images,)` int64, `files` `(images,)` str, and for the report `examples` `(30,)` int64, rows chosen at random
    without regard to the outcome, with their `pixels` `(30, size, size, 3)` uint8, and `mistakes` and
    `mistake_pixels`, the same for the twelve errors that the model is most sure of. In `validation_sample.npz` go
    `pixels` and `labels` of validation images chosen at random, for pictures of what excites the model: up to 600, or
    16 MB. In `copies.npz`, where there are any, `pairs` and `pixels`, as of `Pack.show_copies`.

    Returns:
        The fit's result with `test_accuracy`, its 95 % interval `test_interval` and `test_images`; with
        `training.test_time_augmentation` also `mirrored`: `val_accuracy`, `test_accuracy` and `test_interval` of the mean over each
        image and its mirror image.
    """
    pixels, labels, rows, files = fit.pack.read_test(config, run)
    batches = _serve(fit, config, pixels, labels, rows)
    probabilities = fit.model.predict(batches, verbose=0)
    correct, labels = _count_correct(probabilities, labels[rows]), labels[rows]
    scores: dict[str, Any] = _describe_test(correct, len(labels)) | {"test_images": len(labels)}
    _, validation = fit.pack.split(config)
    if config.training.test_time_augmentation:
        scores["mirrored"] = {"val_accuracy": _validate_mirrored(config, fit, validation)} | _describe_test(
            _count_correct(probabilities + fit.model.predict(flip_batches(batches), verbose=0), labels), len(labels)
        )
    examples = np.random.default_rng(0).permutation(len(labels))[:NUM_EXAMPLES]
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    errors = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:NUM_ERRORS]
    _write_arrays(
        run.predictions,
        probabilities=probabilities.astype(np.float32),
        labels=labels,
        files=np.array(files)[rows],
        examples=examples,
        pixels=pixels[rows[examples]],
        errors=errors,
        error_pixels=pixels[rows[errors]],
    )
    _keep_sample(run, fit, validation)
    pairs, images = fit.pack.show_duplicates(pixels, NUM_DUPLICATES)
    if len(pairs):
        _write_arrays(run.duplicates, pairs=pairs, pixels=images)
    return fit.result | scores


def _keep_sample(run: RunFolder, fit: Fit, rows: np.ndarray) -> None:
    images = fit.pack.train_images
    number = min(MAX_SAMPLE, MAX_SAMPLE_BYTES // images[0].nbytes)
    sample = np.sort(np.random.default_rng(0).permutation(rows)[: max(1, number)])
    _write_arrays(run.sample, pixels=images[sample], labels=fit.pack.train_labels[sample])


def _write_arrays(path: Path, **arrays: Any) -> None:
    with write_atomically(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def _serve(fit: Fit, config: Config, pixels: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Any:
    return build_evaluation_batches(pixels, labels, rows, len(fit.pack.classes), config.training.batch_size)


def _validate_mirrored(config: Config, fit: Fit, rows: np.ndarray) -> float:
    labels = fit.pack.train_labels
    batches = _serve(fit, config, fit.pack.train_images, labels, rows)
    probabilities = fit.model.predict(batches, verbose=0) + fit.model.predict(flip_batches(batches), verbose=0)
    return _count_correct(probabilities, labels[rows]) / len(rows)


def _count_correct(probabilities: np.ndarray, labels: np.ndarray) -> int:
    return int((probabilities.argmax(axis=1) == labels).sum())


def _describe_test(correct: int, total: int) -> dict[str, Any]:
    return {"test_accuracy": correct / total, "test_interval": list(wilson_interval(correct, total))}
