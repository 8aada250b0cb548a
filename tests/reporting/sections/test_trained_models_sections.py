"""The sections on the best models: learning curves, confusion matrix and calibration."""

import re
from dataclasses import replace

import numpy as np
import pytest
from report_workshop import Workshop, format_text

from keras_inat.reporting.history import read_history
from keras_inat.reporting.sections.calibration import describe_calibration
from keras_inat.reporting.sections.confusion_matrix import describe_confusion_matrix, list_frequent_errors
from keras_inat.reporting.sections.learning_curves import describe_learning_curves
from keras_inat.reporting.sections.records import describe_reproduction
from keras_inat.reporting.sections.trained_models import read_models
from keras_inat.settings.places import name_path
from keras_inat.store.predictions import Predictions


def test_a_perfect_model_has_no_errors(workshop: Workshop) -> None:
    workshop.add_run(correct=100)
    text = format_text(describe_confusion_matrix(read_models(workshop.read_data_set()), workshop.figures))
    assert "No test image was misclassified." in text
    assert "highest confidence" not in text


def test_ties_of_frequent_errors_are_counted() -> None:
    classes = ["a", "b", "c", "d"]
    counts = np.diag([5, 5, 5, 5])
    pairs = [(true, guess) for true in range(4) for guess in range(4) if true != guess][:8]
    for true, guess in pairs:
        counts[true, guess] = 2
    counts[pairs[7]] = 3  # the last pair has three errors, each of the others has two
    first, *_, tied = list_frequent_errors(counts, classes)
    true, guess = (classes[label] for label in pairs[7])
    assert first.replace("\xa0", " ").startswith(f"{true} predicted as {guess}, 3 images: ")
    assert tied.replace("\xa0", " ") == "and 5 other pairs with 2 images each"
    assert list_frequent_errors(np.diag([5, 5]), ["a", "b"]) == []


def test_skipped_epochs_are_stated(workshop: Workshop) -> None:
    workshop.add_run(planned_epochs=40)
    text = format_text(describe_learning_curves(workshop.read_data_set(), workshop.figures))
    assert "trained for 12 of 40 epochs" in text


def test_many_classes_are_shown_in_an_excerpt(workshop: Workshop) -> None:
    workshop.classes = tuple(f"class {number}" for number in range(60))
    workshop.add_run(correct=700, data=workshop.describe_data(num_test=1200))
    data_set = workshop.read_data_set()
    text = format_text(describe_confusion_matrix(read_models(data_set), workshop.figures)).replace("\xa0", " ")
    assert "Confusion matrix of the first 40 of 60 classes, n = 1,200 test images." in text


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
    workshop.sign(run)
    text = format_text(describe_calibration(read_models(workshop.read_data_set()), workshop.figures))
    text = " ".join(text.replace("\xa0", " ").split())
    right = np.sqrt(0.97) / (np.sqrt(0.97) + 3 * np.sqrt(0.01))  # 0.7665
    losses = [-0.8 * np.log(0.97) - 0.2 * np.log(0.01), -0.8 * np.log(right) - 0.2 * np.log((1 - right) / 3)]
    assert "expected calibration error 17.0 points (chance: up to" in text
    assert "temperature 2.00" in text
    assert f"expected calibration error after scaling {100 * (0.8 - right):.1f} points (chance: up to" in text
    assert f"before and after scaling {losses[0]:.4f} and {losses[1]:.4f}" in text
    assert re.search(r"change of the negative log-likelihood −0\.22\d\d \(.*, n = 100 images\)", text)


def test_models_with_different_numbers_of_bins_share_a_table(workshop: Workshop) -> None:
    workshop.add_run()
    run = workshop.add_finetuned("head", correct=70)
    predictions = Predictions.read(run.predictions)
    assert predictions is not None
    certain = np.eye(4, dtype=np.float32)[predictions.labels]  # a single bin
    no_errors = {"errors": np.arange(0), "error_pixels": predictions.error_pixels[:0]}
    replace(predictions, probabilities=certain, **no_errors).write(run.predictions)
    workshop.sign(run)
    models = read_models(workshop.read_data_set())
    assert len(models) == 2
    text = format_text(describe_calibration(models, workshop.figures)).replace("\xa0", " ")
    assert re.search(r"expected calibration error \d+\.\d points \(chance: up to \d+\.\d\) 0\.0 points", text)


def test_a_missing_temperature_is_explained(workshop: Workshop) -> None:
    workshop.add_run(temperature=None)
    text = format_text(describe_calibration(read_models(workshop.read_data_set()), workshop.figures))
    assert "No temperature was fitted where every validation image is classified correctly" in text


@pytest.mark.parametrize("content", [b"PK damaged", b""])
def test_missing_files_are_stated(workshop: Workshop, content: bytes) -> None:
    run = workshop.add_run()
    run.predictions.write_bytes(content)
    run.metrics.unlink()
    data_set = workshop.read_data_set()
    assert read_models(data_set) == []
    section = describe_learning_curves(data_set, workshop.figures)
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
        assert f"keras-inat {command} NAME=again SEEDS=1 CONFIG={name_path(str(run.config))}" in text
