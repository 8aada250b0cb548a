"""Balanced accuracy and the majority baseline on the page, for classes of different size only."""

import csv
import io

import numpy as np
import pytest
from report_workshop import Workshop, format_text

from keras_inat.reporting.history import read_history
from keras_inat.reporting.model_cards import write_cards
from keras_inat.reporting.page import format_results
from keras_inat.reporting.sections import summary
from keras_inat.reporting.sections.comparison_of_runs import compare_runs
from keras_inat.reporting.sections.fine_tuning import describe_fine_tuning
from keras_inat.reporting.sections.learning_curves import describe_learning_curves
from keras_inat.reporting.sections.records import describe_cost
from keras_inat.reporting.sections.sweep import describe_sweeps
from keras_inat.store.balance import NAMES
from keras_inat.store.records import EvaluationScores
from keras_inat.store.scores import score_predictions


def score(correct: int, rare: int) -> EvaluationScores:
    """Returns the scores of a model that classifies so many of 90 and of 10 test images correctly."""
    predicted = [0] * correct + [1] * (90 - correct) + [1] * rare + [0] * (10 - rare)
    labels = [0] * 90 + [1] * 10
    return score_predictions(np.array(predicted), np.array(labels), 2)


@pytest.fixture
def workshop(workshop: Workshop) -> Workshop:
    """Adds runs on 90 and 10 test images. The balanced accuracy of the run `fair` is better, its accuracy worse."""
    workshop.classes = ("common", "rare")
    data = workshop.describe_data(per_class={"train": [108, 12], "test": [90, 10]})
    fields = {"data": data, "objective": "balanced_accuracy", "val_majority_baseline": 0.9}
    workshop.add_run(name="major", val=0.9, test=score(90, 0), val_balanced_accuracy=0.5, **fields)
    for seed, rare in ((0, 8), (1, 6)):
        fair = {"test": score(81, rare), "val_balanced_accuracy": 0.8}
        workshop.add_run(name="fair", seed=seed, val=0.85, **fair, **fields)
    workshop.add_finetuned("head", val=0.9, test=score(90, 5), val_balanced_accuracy=0.75, **fields)
    return workshop


def read_text(*blocks) -> str:
    return format_text(*blocks).replace("\u00a0", " ")


def test_groups_are_compared_by_balanced_accuracy(workshop: Workshop) -> None:
    (data_set,) = read_history(workshop.runs).data_sets
    assert [group.best.result.name for group in data_set.find_groups("train-best")] == ["fair", "major"]
    assert data_set.objective == "balanced_accuracy"


def test_the_findings_and_cards_have_all_three_numbers(workshop: Workshop) -> None:
    history = read_history(workshop.runs)
    [data_set] = history.data_sets
    findings = summary.list_accuracies(data_set) + summary.list_findings(data_set, None)
    findings = [text.replace("\u00a0", " ") for text in findings]
    # The recalls are 0.9 and 0.8, and 0.9 and 0.6.
    assert ", a balanced accuracy of 80.0 % (" in findings[0]
    assert findings[0].endswith("n = 2 seeds) and a majority baseline of 90.0 %.")
    assert findings[1].endswith(
        "a balanced accuracy of 75.0 % (59.2 to 90.6 %, n = 100 images) and a majority baseline of 90.0 %."
    )
    for finding, score in zip(findings[2:4], ("accuracy", "balanced accuracy"), strict=True):
        assert finding.startswith(f"toy: on the same test images, the {score} of the fine-tuned `")
    cards = summary.summarize(history, [], workshop.figures).blocks[0].cards
    assert [label.replace("\u00a0", " ") for label, _ in cards] == [
        "toy: test accuracy from scratch, majority baseline 90.0 %",
        "toy: balanced test accuracy from scratch",
        "toy: test accuracy fine-tuned, majority baseline 90.0 %",
        "toy: balanced test accuracy fine-tuned",
    ]
    assert [round(estimate.value, 3) for _, estimate in cards] == [0.88, 0.8, 0.95, 0.75]


def test_every_table_of_accuracies_has_balanced_ones(workshop: Workshop) -> None:
    history = read_history(workshop.runs)
    (data_set,) = history.data_sets
    tuned = read_text(describe_fine_tuning(data_set, workshop.figures))
    assert "Fine-tuned models, the best balanced validation accuracy first." in tuned
    assert "balanced validation balanced test" in tuned
    assert "90.0 % 95.0 % 88.8 to 97.8 %, 100 images 75.0 % 75.0 %" in tuned
    compared = read_text(*compare_runs(history, "major fair", workshop.figures).sections)
    assert "50.0 % 50.0 % (48.0 to 65.4 %, n = 100 images), baseline 90.0 %" in compared
    assert "with the best balanced validation accuracy" in compared
    assert "Paired differences in test accuracy relative to the first run" in compared
    assert "Paired differences in balanced test accuracy relative to the first run" in compared
    assert "; balanced 85.0 %, baseline 90.0 %" in read_text(describe_cost(history.runs))
    curves = read_text(describe_learning_curves(data_set, workshop.figures))
    assert "because they have the best balanced validation accuracy." in curves
    assert "and a majority baseline of 90.0 %" in curves


def test_results_have_balanced_scores(workshop: Workshop) -> None:
    rows = list(csv.DictReader(io.StringIO(format_results(read_history(workshop.runs).runs))))
    assert [row["objective"] for row in rows] == ["balanced_accuracy"] * 4
    names = ("val_balanced_accuracy", "test_balanced_accuracy", "majority_baseline")
    assert [float(rows[1][name]) for name in names] == pytest.approx([0.8, 0.85, 0.9])
    assert float(rows[1]["balanced_low"]) < 0.85 < float(rows[1]["balanced_high"])


def test_a_model_card_has_balanced_scores(workshop: Workshop) -> None:
    run = next(run for run in read_history(workshop.runs).runs if run.result.name == "major")
    run.folder.model.write_bytes(b"a model")
    write_cards([run], workshop.reports)
    card = (workshop.reports / "models" / f"{run.title}.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    assert "Balanced validation accuracy, by which the weights were selected: 50.0 %." in card
    assert "the accuracy is 90.0 %, the balanced accuracy 50.0 % and the majority baseline 90.0 %." in card
    assert "a balanced accuracy of 50.0 % (48.0 to 65.4 %, n = 100 images) and a majority baseline of 90.0 %." in card


@pytest.mark.parametrize("objective", ["accuracy", "balanced_accuracy"])
def test_a_sweep_shows_its_objective_and_both_accuracies(workshop: Workshop, objective: str) -> None:
    data = workshop.describe_data(per_class={"train": [108, 12], "test": [90, 10]})
    settings = [{"model.filters": filters} for filters in (8, 16)]
    sweep = workshop.add_sweep("first", settings, [0.6, 0.5], data)
    for trial in sweep.read_trials(sweep.read_identity()):
        trial.model_copy(update={"objective": objective}).write(sweep.trial_file(trial.id))
    (data_set,) = read_history(workshop.runs).data_sets
    text = read_text(*describe_sweeps(data_set, workshop.figures))
    assert f"The best is trial 000 with a {NAMES[objective]} of 60.0 %" in text
    assert "at an accuracy of 60.0 %, a balanced accuracy of 30.0 % and a majority baseline of 90.0 %" in text
    assert "The interval does not account for this selection." in text or objective != "accuracy"
    assert "trial validation balanced validation" in text
    assert ("Accuracy means balanced validation accuracy" in text) == (objective != "accuracy")


def test_balanced_classes_are_shown_as_before(tmp_path) -> None:
    plain = Workshop(tmp_path / "plain")
    plain.add_run(correct=60)
    plain.add_finetuned("head", correct=80, val=0.8)
    plain.add_sweep("first", [{"model.filters": filters} for filters in (8, 16)], [0.6, 0.5])
    history = read_history(plain.runs)
    (data_set,) = history.data_sets
    sections = [
        summary.summarize(history, summary.list_findings(data_set, None), plain.figures),
        describe_fine_tuning(data_set, plain.figures),
        describe_cost(history.runs),
        *describe_sweeps(data_set, plain.figures),
    ]
    text = format_text(*sections)
    assert "balanced" not in text
    assert "baseline" not in text
