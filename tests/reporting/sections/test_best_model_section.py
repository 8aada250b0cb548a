"""The section on the best model: learning curves, example predictions, confusion matrix and calibration."""

import re
from dataclasses import replace

import numpy as np
import pytest
from report_workshop import Workshop, format_text

from keras_inat.reporting.history import read_history
from keras_inat.reporting.sections.best_model import (
    describe_best_model,
    describe_confusion_matrix,
    describe_learning_curves,
)
from keras_inat.reporting.sections.data import describe_data
from keras_inat.reporting.sections.records import describe_reproduction
from keras_inat.store.predictions import Predictions


def test_a_perfect_model_has_no_errors(workshop: Workshop) -> None:
    workshop.add_run(correct=100)
    run = workshop.read_data_set().groups[0].best
    predictions = run.read_predictions()
    assert predictions is not None
    text = format_text(describe_confusion_matrix(run, predictions, workshop.figures))
    assert "No test image was misclassified." in text
    assert "highest confidence" not in text


def test_ties_of_frequent_errors_are_counted(workshop: Workshop) -> None:
    workshop.add_run()
    run = workshop.read_data_set().groups[0].best
    predictions = run.read_predictions()
    assert predictions is not None
    num_classes = len(run.data.classes)
    pairs = [(true, guess) for true in range(num_classes) for guess in range(num_classes) if true != guess][:8]
    errors = [*pairs, *pairs, pairs[7]]  # the last pair has three errors, each of the others has two
    labels = np.array([true for true, _ in errors])
    probabilities = np.eye(num_classes, dtype=np.float32)[[guess for _, guess in errors]]
    no_errors = {"errors": np.arange(0), "error_pixels": predictions.error_pixels[:0]}
    known = replace(predictions, labels=labels, probabilities=probabilities, **no_errors)
    text = format_text(describe_confusion_matrix(run, known, workshop.figures)).replace("\xa0", " ")
    [listed] = re.findall(r"Most frequent errors: (.*?)\. ", text + " ")
    first, *_, tied = listed.split("; ")
    true, guess = (run.data.classes[label] for label in pairs[7])
    assert first.startswith(f"{true} predicted as {guess}, 3 images: ")
    assert tied == "and 3 other pairs with 2 images each"


def test_skipped_epochs_are_stated(workshop: Workshop) -> None:
    workshop.add_run(planned_epochs=40)
    [group] = workshop.read_data_set().groups
    assert "trained for 12 of 40 epochs" in format_text(describe_learning_curves(group, workshop.figures))


def test_many_classes_are_shown_in_an_excerpt(workshop: Workshop) -> None:
    workshop.classes = tuple(f"class {number}" for number in range(60))
    workshop.add_run(correct=700, data=workshop.describe_data(num_test=1200))
    data_set = workshop.read_data_set()
    run = data_set.groups[0].best
    predictions = run.read_predictions()
    assert predictions is not None
    text = format_text(
        describe_confusion_matrix(run, predictions, workshop.figures), describe_data(data_set, workshop.figures)
    )
    assert "Confusion matrix of the first 40 of 60 classes, n = 1,200 test images." in text.replace("\xa0", " ")
    assert (
        "usable images by class, for the first 40 of 60 classes, for training and validation and for the test."
        in text.replace("\xa0", " ")
    )


def test_calibration_is_shown_before_and_after_temperature_scaling(workshop: Workshop) -> None:
    """The probabilities have three classes of equal logits, so that everything can be computed by hand."""
    run = workshop.add_run(temperature=2.0)
    predictions = Predictions.read(run.predictions)
    assert predictions is not None
    labels = predictions.labels
    probabilities = np.full((100, 4), 0.01, np.float32)
    probabilities[np.arange(100), labels] = 0.97
    probabilities[:20] = np.roll(probabilities[:20], 1, axis=1)  # wrong
    replace(predictions, probabilities=probabilities, errors=np.arange(12)).write(run.predictions)
    [group] = workshop.read_data_set().groups
    text = format_text(describe_best_model(group, workshop.figures, workshop.config.report)).replace("\xa0", " ")
    right = np.sqrt(0.97) / (np.sqrt(0.97) + 3 * np.sqrt(0.01))  # 0.7665
    losses = [-0.8 * np.log(0.97) - 0.2 * np.log(0.01), -0.8 * np.log(right) - 0.2 * np.log((1 - right) / 3)]
    assert "divides the logits by 2.00. This temperature was fitted on the 48 validation images" in text
    assert f"error is 17.0 points before and {100 * (0.8 - right):.1f} points after scaling" in text
    assert f"log-likelihood is {losses[0]:.3f} before and {losses[1]:.3f} after, a change of −0.222 (" in text
    assert "n = 100 images)" in text


def test_a_missing_temperature_is_explained(workshop: Workshop) -> None:
    workshop.add_run(temperature=None)
    [group] = workshop.read_data_set().groups
    text = format_text(describe_best_model(group, workshop.figures, workshop.config.report))
    assert "No temperature was fitted (Guo et al. 2017), because every validation image is classified correctly" in text


@pytest.mark.parametrize("content", [b"PK damaged", b""])
def test_missing_files_are_stated(workshop: Workshop, content: bytes) -> None:
    run = workshop.add_run()
    run.predictions.write_bytes(content)
    run.metrics.unlink()
    [group] = workshop.read_data_set().groups
    section = describe_best_model(group, workshop.figures, workshop.config.report)
    assert "are not on disk, so they are not shown" in format_text(section)
    assert workshop.list_figures() == set()


def test_predictions_need_all_arrays(workshop: Workshop) -> None:
    run = workshop.add_run()
    with np.load(run.predictions) as arrays:
        np.savez(run.predictions, **{name: array for name, array in arrays.items() if "error" not in name})
    assert read_history(workshop.runs).runs[0].read_predictions() is None


def test_each_run_is_reproduced_alone(workshop: Workshop) -> None:
    first = workshop.add_run(settings={"run.seeds": 3})
    second = workshop.add_finetuned("topk", settings={"run.seeds": 3})
    text = format_text(describe_reproduction(read_history(workshop.runs).runs))
    for command, run in (("train-best", first), ("finetune", second)):
        assert f"keras-inat {command} NAME=again SEEDS=1 CONFIG={run.config}" in text
