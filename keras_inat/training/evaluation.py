"""The final judgement: every test image once, on record, with an interval."""

from typing import Any

import numpy as np

from keras_inat.data.pack import load_pack
from keras_inat.data.pipeline import build_evaluation_batches
from keras_inat.intervals import wilson_interval
from keras_inat.runs import RunFolder, create_run, find_finished, write_json, write_whole
from keras_inat.sections import Config
from keras_inat.training.loop import Fit, fit

NUM_EXAMPLES = 30
NUM_COPIES = 12


def train_and_judge(config: Config, command: str, label: str) -> float:
    """One run from its folder to its `result.json`; gives its accuracy on the test images.

    A run that is already done is not done again: the test images are looked at once.
    """
    if done := find_finished(config, command, load_pack(config).hash):
        accuracy = float((done.read_result() or {})["test_accuracy"])
        print(
            f"{label}: already done, test {accuracy:.1%}    {done.path} (another NAME or seed trains anew)", flush=True
        )
        return accuracy
    run = create_run(config, command, f"{config.run.name}-seed{config.run.seed}")
    result = judge(config, run, fit(config, run, label))
    write_json(run.result, result)
    low, high = result["test_interval"]
    print(
        f"{label}: validation {result['val_accuracy']:.1%}, test {result['test_accuracy']:.1%} "
        f"(95 % interval {low:.1%} to {high:.1%}, n = {result['test_images']})    {run.path}",
        flush=True,
    )
    return float(result["test_accuracy"])


def judge(config: Config, run: RunFolder, fit: Fit) -> dict[str, Any]:
    """Evaluates a fit once on the test images, through the ledger.

    Writes `test_predictions.npz` into the run's folder: `probabilities` `(images, classes)` float32, `labels`
    `(images,)` int64, `files` `(images,)` str, and for the report `examples` `(30,)` int64, rows chosen at random
    without regard to the outcome, with their `pixels` `(30, size, size, 3)` uint8. And `copies.npz`, where there are
    any: `pairs` and `pixels`, as of `Pack.show_copies`.

    Returns:
        The fit's result with `test_accuracy`, its 95 % interval `test_interval` and `test_images`.
    """
    pixels, labels, rows, files = fit.pack.read_test(config, run)
    num_classes = len(fit.pack.classes)
    batches = build_evaluation_batches(pixels, labels, rows, num_classes, config.training.batch_size)
    probabilities = fit.model.predict(batches, verbose=0)
    labels = labels[rows]
    correct = int((probabilities.argmax(axis=1) == labels).sum())
    examples = np.random.default_rng(0).permutation(len(labels))[:NUM_EXAMPLES]
    with write_whole(run.predictions) as path, open(path, "wb") as file:
        np.savez_compressed(
            file,
            probabilities=probabilities.astype(np.float32),
            labels=labels,
            files=np.array(files)[rows],
            examples=examples,
            pixels=pixels[rows[examples]],
        )
    pairs, images = fit.pack.show_copies(pixels, NUM_COPIES)
    if len(pairs):
        with write_whole(run.copies) as path, open(path, "wb") as file:
            np.savez_compressed(file, pairs=pairs, pixels=images)
    low, high = wilson_interval(correct, len(labels))
    return fit.result | {
        "test_accuracy": correct / len(labels),
        "test_interval": [low, high],
        "test_images": len(labels),
    }
