"""Selection and evaluation on a planted set of 150 images of one class and 6 of another."""

import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

from keras_inat.api.history import Run, Runs
from keras_inat.commands.seeds import train_seeds
from keras_inat.data.dataset import open_data
from keras_inat.reporting.page import write_report
from keras_inat.settings.loading import override
from keras_inat.store.records import Result
from keras_inat.store.runs import create_run, finish_run
from keras_inat.training import evaluation
from keras_inat.training.epochs import EpochEnd
from keras_inat.training.evaluation import evaluate_on_test, train_and_evaluate
from keras_inat.training.evaluation_model import plan_calibration
from keras_inat.training.session import TrainedModel, fit

COUNTS = {"common": 150, "rare": 6}


@pytest.fixture
def planted(workplace):
    """Writes the planted set, of 8 by 8 pixels, with as many training images as test images."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, count in COUNTS.items():
            folder = workplace / "planted" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return f"DATA={workplace / 'planted'}"


@pytest.fixture
def plant_scores(monkeypatch):
    """Gives the epochs of every training these accuracies and balanced accuracies."""

    def plant(accuracies, balanced):
        scores = iter(zip(accuracies, balanced, strict=True))

        def evaluate(self):
            accuracy, balanced_accuracy = next(scores)
            return {"val_loss": 1.0, "val_accuracy": accuracy, "val_balanced_accuracy": balanced_accuracy}

        monkeypatch.setattr(EpochEnd, "_evaluate", evaluate)

    return plant


def predict_majority(config, run, label="", data=None, evaluate=None):
    """Stands for a training whose model predicts the majority for every image."""
    data = data or open_data(config)
    image = keras.Input((8, 8, 3))
    zeros = keras.layers.Dense(2, kernel_initializer="zeros")(keras.layers.Flatten()(image))
    model = keras.Model(image, keras.layers.Softmax()(zeros))  # of two equal probabilities, the first class counts
    fields = {"objective": "balanced_accuracy", "val_accuracy": 30 / 31, "val_majority_baseline": 30 / 31}
    result = predict_majority.build_result().model_copy(update={"data": data.summary, "config": config, **fields})
    trained = TrainedModel(model, data, result)
    return replace(trained, result=evaluate(run, trained)) if evaluate else trained


@pytest.fixture
def majority(monkeypatch, build_result):
    predict_majority.build_result = build_result
    monkeypatch.setattr(evaluation, "fit", predict_majority)


def test_predicting_the_majority_is_not_mistaken_for_success(make_config, planted, majority, capsys):
    config = make_config(planted, "data.image_size=8", "run.name=planted")
    run = train_and_evaluate(config, "train-best", "seed 0")
    test = Result.read(run.result).test_scores
    assert (test.correct_per_class, test.images_per_class) == ((150, 0), (150, 6))
    lines = capsys.readouterr().out.splitlines()
    assert (
        "seed 0: the largest class has 25.0 times as many training images as the smallest, so the balanced validation "
        "accuracy selects (training.objective=accuracy selects by accuracy)"
    ) in lines
    assert lines[-1].startswith(
        "seed 0: validation 96.8% (balanced 50.0%, majority baseline 96.8%), test 96.2% (95 % interval 91.9% to 98.2%; "
        "balanced 50.0%, 48.8% to 73.0%; majority baseline 96.2%; n = 156)"
    )

    # The headline of the page has all three numbers.
    page = write_report(config)
    finding = page.findings[0]
    assert finding.replace("\u00a0", " ") == (
        "planted: the best model from scratch has a test accuracy of 96.2 % (91.9 to 98.2 %, n = 156 images), a "
        "balanced accuracy of 50.0 % (48.8 to 73.0 %, n = 156 images) and a majority baseline of 96.2 %."
    )
    (accuracy, first), (balanced, second) = page.chapters[0].sections[0].blocks[0].cards
    assert accuracy.replace("\u00a0", " ") == "planted: test accuracy from scratch, majority baseline 96.2 %"
    assert balanced == "planted: balanced test accuracy from scratch"
    assert (round(first.value, 3), second.value) == (0.962, 0.5)
    for file in ("reports/README.md", "reports/index.html"):
        with open(file, encoding="utf-8") as text:
            assert re.search(r"balanced accuracy of 50\.0.%", text.read())

    (run.path / "best.keras").write_bytes(b"a model")
    train_and_evaluate(config, "train-best", "seed 0")
    assert "already done, test 96.2% (balanced 50.0%, majority baseline 96.2%)" in capsys.readouterr().out

    # So have the objects of the API.
    shown = Run(run, run.read_result())
    assert repr(shown).endswith(
        "test accuracy 96.2% (91.9% to 98.2%), balanced 50.0% (48.8% to 73.0%), majority baseline 96.2%>"
    )
    assert "<th style='text-align:left'>majority baseline</th>" in shown._repr_html_()
    assert Runs([shown]).best is shown


def test_seeds_are_printed_with_balanced_accuracy(make_config, planted, majority, capsys):
    config = make_config(planted, "data.image_size=8", "SEEDS=2")
    train_seeds({"": config}, "train-best")
    lines = capsys.readouterr().out.splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("  seed"))
    assert lines[head].split()[-4:] == ["balanced", "validation", "balanced", "test"]
    assert lines[head + 1].split()[-2:] == ["50.0%", "50.0%"]
    assert "balanced validation accuracy, mean of 2 seeds: 50.0%" in lines
    assert (
        "balanced test accuracy, mean of 2 seeds: 50.0% (95 % interval 48.8% to 73.0%; majority baseline 96.2%)"
        in lines
    )


def test_test_time_augmentation_has_balanced_scores(make_config, planted, majority, capsys):
    config = make_config(planted, "data.image_size=8", "training.test_time_augmentation=true")
    run = create_run(config, "train-best")
    result = evaluate_on_test(run, predict_majority(config, run))
    finish_run(run, result)
    flip = result.test_scores.flip
    assert (flip.val_balanced_accuracy, flip.test_balanced_accuracy, flip.test_accuracy) == (0.5, 0.5, 150 / 156)
    assert flip.test_balanced_interval == result.test_scores.balanced_interval


@pytest.mark.parametrize(
    ("objective", "best_epoch", "epochs"), [("accuracy", 1, 3), ("balanced_accuracy", 2, 4), ("auto", 1, 3)]
)
def test_the_objective_selects_the_epoch_and_counts_the_patience(
    make_config, plant_scores, objective, best_epoch, epochs
):
    accuracies = [0.9, 0.8, 0.7, 0.6, 0.5]
    balanced = [0.5, 0.7, 0.6, 0.65, 0.6]
    plant_scores(accuracies, balanced)
    config = make_config(f"training.objective={objective}", "training.epochs=5", "training.patience=2")
    run = create_run(config, "train-best")
    result = fit(config, run).result
    assert (result.best_epoch, result.epochs) == (best_epoch, epochs)
    assert result.objective == objective.replace("auto", "accuracy")
    assert (result.val_accuracy, result.val_balanced_accuracy) == (accuracies[best_epoch - 1], balanced[best_epoch - 1])
    assert result.val_score == (balanced if objective == "balanced_accuracy" else accuracies)[best_epoch - 1]
    assert [epoch.val_balanced_accuracy for epoch in run.read_epochs()] == balanced[:epochs]


def test_an_epoch_on_imbalanced_images_is_exact(make_config, planted, capsys):
    config = make_config(planted, "data.image_size=8", "training.epochs=1", "training.learning_rate=1e-9")
    run = create_run(config, "train-best")
    done = fit(config, run, "seed 0")
    assert done.result.objective == "balanced_accuracy"
    rows = done.data.validation_rows
    labels = done.data.labels[rows]
    predicted = done.model.predict(done.data.images[rows], verbose=0).argmax(axis=1)
    recalls = [(predicted[labels == label] == label).mean() for label in (0, 1)]
    (epoch,) = run.read_epochs()
    assert epoch.val_balanced_accuracy == pytest.approx(np.mean(recalls), abs=1e-6)
    assert epoch.val_accuracy == pytest.approx((predicted == labels).mean(), abs=1e-6)
    assert done.result.val_majority_baseline == 30 / 31
    assert f"(balanced {np.mean(recalls):6.1%}, majority baseline 96.8%)  best balanced" in capsys.readouterr().out


def test_balanced_images_are_printed_as_before(make_config, capsys):
    config = make_config("training.epochs=1")
    train_and_evaluate(config, "train-best", "seed 0")
    assert "balanced" not in capsys.readouterr().out


def test_batch_norm_statistics_are_estimated_from_what_is_trained_on(make_config, planted):
    config = make_config(planted, "data.image_size=8", "training.ema=0.1", "training.sampling=balanced")
    data = open_data(config)
    rare = {data.images[row].tobytes() for row in data.training_rows if data.labels[row] == 1}
    numbers = [sum(image.tobytes() in rare for image in batch) for batch in plan_calibration(data, 20)()]
    assert sum(numbers) == len(data.training_rows) // 2
    shuffled = open_data(override(config, {"training.sampling": "shuffle"}))
    numbers = [sum(image.tobytes() in rare for image in batch) for batch in plan_calibration(shuffled, 20)()]
    assert sum(numbers) == len(rare)
