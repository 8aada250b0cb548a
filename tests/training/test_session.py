from pathlib import Path

import keras
import numpy as np
import pytest

from keras_inat.commands import train_best
from keras_inat.data.dataset import Dataset, open_data
from keras_inat.data.packs import load_pack
from keras_inat.errors import UserError
from keras_inat.files import read_jsonl
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.catalog import name_places
from keras_inat.settings.loading import build_config
from keras_inat.settings.yaml_files import read_yaml
from keras_inat.store.records import Result
from keras_inat.store.runs import create_run, list_runs
from keras_inat.store.seed_scores import estimate_accuracy
from keras_inat.training import evaluation, session, stage_models
from keras_inat.training.evaluation import evaluate_on_test, train_and_evaluate
from keras_inat.training.session import TrainedModel, build_model, fit


def test_a_run_from_start_to_result(make_config, capsys):
    config = make_config("training.epochs=3", "training.learning_rate=0.01", "run.name=tiny")
    accuracy = train_and_evaluate(config, "train-best", "seed 0").read_result().test_scores.accuracy
    (folder,) = Path("runs/train-best").iterdir()
    assert folder.name.endswith("-tiny-seed0")
    result = Result.read(folder / "result.json")
    rows = read_jsonl(folder / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) == {
        *("epoch", "stage", "loss", "accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy"),
        *("learning_rate", "seconds", "images_per_second", "checksum"),
    }
    assert result.val_accuracy == max(row["val_accuracy"] for row in rows)
    assert rows[result.best_epoch - 1]["val_accuracy"] == result.val_accuracy
    assert (result.epochs, result.planned_epochs) == (3, 3)
    assert result.data.counts.model_dump() == {"train": 24, "validation": 6, "test": 12}
    assert result.test_scores.accuracy == accuracy
    assert result.test_scores.num_images == 12
    assert result.packages["keras"] == keras.__version__
    assert build_config(read_yaml(folder / "config.yaml")) == result.config == name_places(config)

    # The saved model is the evaluated one, and every test image was evaluated once.
    saved = np.load(folder / "test_predictions.npz")
    assert len(saved["labels"]) == len(set(saved["files"])) == 12
    assert (saved["probabilities"].argmax(1) == saved["labels"]).mean() == accuracy
    model = keras.models.load_model(folder / "best.keras", compile=False)
    again = model.predict(saved["pixels"].astype("float32"), verbose=0)
    np.testing.assert_allclose(again, saved["probabilities"][saved["examples"]], rtol=1e-4, atol=1e-5)
    wrong = saved["probabilities"].argmax(1) != saved["labels"]
    assert wrong[saved["errors"]].all()
    assert len(saved["errors"]) == len(saved["error_pixels"]) == min(12, wrong.sum())
    assert (np.diff(saved["probabilities"].max(1)[saved["errors"]]) <= 0).all()
    sample = np.load(folder / "validation_sample.npz")
    assert sorted(sample["labels"]) == [0, 0, 1, 1, 2, 2]
    assert len({image.tobytes() for image in sample["pixels"]} - {image.tobytes() for image in saved["pixels"]}) == 6
    assert len(read_jsonl(folder.parent.parent / "test_ledger.jsonl")) == 1
    assert "epoch 3/3" in capsys.readouterr().out

    # A second call neither trains nor evaluates on the test images again.
    assert train_and_evaluate(config, "train-best", "seed 0").read_result() == result
    assert "already done" in capsys.readouterr().out
    assert len(list(folder.parent.iterdir())) == len(read_jsonl(folder.parent.parent / "test_ledger.jsonl")) == 1


def test_learns_what_can_be_learned(make_config):
    config = make_config("training.epochs=12", "training.learning_rate=0.01")
    assert fit(config, create_run(config, "train-best")).result.val_accuracy == 1


def test_the_same_seed_gives_the_same_weights(make_config):
    def train(*arguments):
        config = make_config("augment.crop=0.5", "augment.flip=true", *arguments)
        return fit(config, create_run(config, "pretrain")).model.get_weights()

    first, again, other = train(), train(), train("run.seed=1")
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def record_first_step(build, begun):
    def recording(*arguments, first_step=0, **named):
        begun.append(first_step)
        return build(*arguments, first_step=first_step, **named)

    return recording


def test_fine_tuning_goes_through_its_stages(make_config, tmp_path, monkeypatch):
    build_cnn(make_config("model.batch_norm=false").model, 16, 5).save(tmp_path / "own.keras")
    config = make_config(
        *("STRATEGY=lpft", f"WEIGHTS={tmp_path / 'own.keras'}", "training.epochs=4", "training.learning_rate=0.01")
    )
    begun = []
    recording = record_first_step(stage_models.build_training_batches, begun)
    monkeypatch.setattr(stage_models, "build_training_batches", recording)
    run = create_run(config, "finetune")
    result = fit(config, run).result
    assert begun == [0, 2 * 3]  # the second stage begins with the batches of the third epoch
    rows = read_jsonl(run.metrics)
    assert [row["stage"] for row in rows] == ["head", "head", "all", "all"]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], [0.01] * 4, rtol=1e-5)
    assert [stage.backbone_rates for stage in result.stages] == [(), pytest.approx((0.001, 0.001))]
    assert [stage.parameters for stage in result.stages] == [4 * 3 + 3, 4 * 3 + 3 + 112 + 148]
    assert [stage.layers for stage in result.stages] == [0, 2]


def test_an_impossible_stage_is_refused_before_any_is_trained(make_config, tmp_path):
    build_cnn(make_config().model, 16, 5).save(tmp_path / "own.keras")
    config = make_config("STRATEGY=topk", "UNFREEZE=block7", f"WEIGHTS={tmp_path / 'own.keras'}")
    run = create_run(config, "finetune")
    with pytest.raises(UserError, match=r"one of \{block1_conv, block2_conv\}\. Received: 'block7'"):
        fit(config, run)
    assert run.read_epochs() == []


def test_impossible_settings_are_refused_before_images_are_decoded(make_config, monkeypatch):
    monkeypatch.setattr("keras_inat.training.evaluation.open_data", lambda config: pytest.fail("decoded"))
    large = ("model.num_blocks=1", "data.image_size=1024", "model.filters=1024", "model.dense_units=16384")
    for settings, words in (
        (large, "The largest layer, dense, has 4.4e.12 weights"),
        (("STRATEGY=gradual", "training.epochs=2"), "at least 4"),
    ):
        with pytest.raises(UserError, match=words):
            train_and_evaluate(make_config(*settings), "train-best", "")
    assert not Path("runs").exists()


def test_loss_and_optimizer_get_their_arguments(make_config, tmp_path, monkeypatch):
    received = {}
    for module, name in ((stage_models, "build_loss"), (session, "build_optimizer")):
        build = getattr(module, name)
        recording = lambda *given, name=name, build=build: received.update({name: given}) or build(*given)  # noqa: E731
        monkeypatch.setattr(module, name, recording)
    config = make_config("model.ensemble_size=2", "training.epochs=1")
    fit(config, create_run(config, "train-best"))
    data = open_data(config)
    training, labels, num_classes, ensemble_size = received["build_loss"]
    assert (training, num_classes, ensemble_size) == (config.training, 3, 2)
    np.testing.assert_array_equal(labels, data.labels[data.training_rows])
    assert received["build_optimizer"] == (config.training, 3, {}, {})

    build_cnn(make_config().model, 16, 3).save(tmp_path / "own.keras")
    config = make_config(
        *(
            "STRATEGY=full",
            f"WEIGHTS={tmp_path / 'own.keras'}",
            "model.ensemble_size=2",
            "finetune.decay_to=pretrained",
        ),
        "training.epochs=1",
    )
    fit(config, create_run(config, "finetune"))
    assert received["build_loss"][3] == 1
    _, steps, rate_multipliers, decay_targets = received["build_optimizer"]
    assert (steps, set(rate_multipliers.values())) == (3, {0.1})
    own = keras.models.load_model(tmp_path / "own.keras", compile=False)
    kernels = {f"block{block}_conv/kernel" for block in (1, 2)}
    assert kernels == {path for path in decay_targets if path.endswith("kernel")} <= set(rate_multipliers)
    for path in kernels:
        np.testing.assert_array_equal(decay_targets[path], own.get_layer(path.split("/")[0]).kernel)


def test_the_best_epoch_is_kept(make_config):
    config = make_config("training.epochs=6", "training.learning_rate=0.02", "training.schedule=linear")
    run = create_run(config, "train-best")
    done = fit(config, run)
    accuracies = [epoch.val_accuracy for epoch in run.read_epochs()]
    assert done.result.best_epoch == accuracies.index(max(accuracies)) + 1
    rows = done.data.validation_rows
    kept = keras.models.load_model(run.model, compile=False)
    predicted = kept.predict(done.data.images[rows], verbose=0).argmax(axis=1)
    assert (predicted == done.data.labels[rows]).mean() == pytest.approx(max(accuracies))
    for first, second in zip(kept.get_weights(), done.model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_few_images_are_trained_on_for_more_epochs(make_config, capsys):
    config = make_config("training.epochs=2", "training.min_steps=10")  # an epoch has 3 steps
    result = train_and_evaluate(config, "train-best", "seed 0").read_result()
    assert (result.epochs, result.planned_epochs) == (4, 4)
    assert (result.config.training.epochs, result.config.training.min_steps) == (2, 10)
    printed = capsys.readouterr().out
    assert (
        "seed 0 training for 4 epochs, not 2: training.min_steps=10, and an epoch has 3 steps "
        "(training.min_steps=0 trains for 2)\n"
    ) in printed
    assert "epoch 4/4" in printed
    # The finished run is found, although it had more epochs than configured.
    assert train_and_evaluate(config, "train-best", "seed 0").read_result() == result


def test_more_epochs_than_configured_train_like_as_many_configured(make_config):
    def train(*arguments):
        config = make_config("training.schedule=cosine", "training.ema=0.3", "augment.crop=0.5", *arguments)
        return fit(config, create_run(config, "pretrain")).model.get_weights()

    longer = train("training.epochs=2", "training.min_steps=12")
    for first, second in zip(longer, train("training.epochs=4"), strict=True):
        np.testing.assert_array_equal(first, second)


def test_small_images_first(make_config, monkeypatch):
    config = make_config("training.epochs=5", "training.image_scales=[0.5,0.75,1]", "model.pooling=average")
    seen = []
    build = stage_models.build_training_batches

    def recording(*arguments, **keywords):
        batches = build(*arguments, **keywords)
        seen.extend(pixels.shape[1:] for pixels, _ in batches.take(5 * 3))
        return batches

    monkeypatch.setattr(stage_models, "build_training_batches", recording)
    assert fit(config, create_run(config, "train-best")).model.input_shape == (None, 16, 16, 3)
    assert [shape[0] for shape in seen[::3]] == [8, 8, 12, 12, 16]


def test_a_backbone_takes_smaller_images_too(make_config, tmp_path, monkeypatch):
    build_cnn(make_config().model, 16, 5).save(tmp_path / "own.keras")
    config = make_config(
        *("STRATEGY=lpft", f"WEIGHTS={tmp_path / 'own.keras'}", "training.epochs=2", "training.image_scales=[0.5]"),
    )
    shapes = []
    build = stage_models.build_training_batches

    def recording(*arguments, **named):
        batches = build(*arguments, **named)
        shapes.append(batches.element_spec[0].shape[1:])
        return batches

    monkeypatch.setattr(stage_models, "build_training_batches", recording)
    assert fit(config, create_run(config, "finetune")).model.input_shape == (None, 16, 16, 3)
    assert shapes == [(4,), (8, 8, 3)]  # the cached features of the first stage, then images


def test_test_time_augmentation_is_evaluated_beside_the_images(make_config):
    config = make_config("training.epochs=1", "training.test_time_augmentation=true")
    result = train_and_evaluate(config, "train-best", "seed 0").read_result()
    (folder,) = Path("runs/train-best").iterdir()
    saved = np.load(folder / "test_predictions.npz")
    model = keras.models.load_model(folder / "best.keras", compile=False)
    pixels = saved["pixels"].astype("float32")  # all of them: 12 are fewer than 30
    mean = model.predict(pixels, verbose=0) + model.predict(pixels[:, :, ::-1], verbose=0)
    expected = (mean.argmax(axis=1) == saved["labels"][saved["examples"]]).mean()
    assert result.test_scores.flip.test_accuracy == pytest.approx(expected)
    assert result.test_scores.accuracy == (saved["probabilities"].argmax(axis=1) == saved["labels"]).mean()
    assert 0 <= result.test_scores.flip.val_accuracy <= 1


def test_the_temperature_is_fitted_on_the_validation_images(make_config, monkeypatch):
    given = []
    monkeypatch.setattr(evaluation, "fit_temperature", lambda *arrays: given.append(arrays) or 1.5)
    config = make_config("training.epochs=1")
    run = train_and_evaluate(config, "train-best", "")
    assert Result.read(run.result).temperature == 1.5
    data = open_data(config)
    [(probabilities, labels)] = given
    np.testing.assert_array_equal(labels, data.labels[data.validation_rows])
    model = keras.models.load_model(run.model, compile=False)
    expected = model.predict(data.images[data.validation_rows].astype(np.float32), verbose=0)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_seeds_are_printed_one_by_one_and_as_a_mean(make_config, capsys):
    train_best.run(make_config("training.epochs=1", "SEEDS=3", "run.seed=4"))
    runs = [(run, run.read_result()) for run in list_runs("runs")]
    results = [result for _, result in runs]
    assert [result.seed for result in results] == [4, 5, 6]
    estimate = estimate_accuracy(runs)
    tests = [result.test_scores.accuracy for result in results]
    printed = capsys.readouterr().out
    assert f"test accuracy, mean of 3 seeds: {np.mean(tests):.1%} " in printed
    assert f"({'95 % interval'} {estimate.low:.1%} to {estimate.high:.1%})" in printed
    best = max(results, key=lambda result: result.val_accuracy).seed
    assert f"best on validation: seed {best}" in printed


def test_a_step_is_traced_once(make_config, monkeypatch):
    calls, step = [], keras.Model.train_step
    monkeypatch.setattr(keras.Model, "train_step", lambda self, data: calls.append(1) or step(self, data))
    config = make_config("training.optimizer=adamw", "training.ema=0.1")
    fit(config, create_run(config, "pretrain"))
    assert len(calls) == 1


def test_early_stopping(make_config):
    config = make_config("training.epochs=30", "training.patience=2", "training.learning_rate=0.01")
    run = create_run(config, "train-best")
    result = fit(config, run).result
    assert result.epochs == len(run.read_epochs()) == result.best_epoch + 2 < 30


def test_a_run_that_selects_cannot_be_evaluated_on_test(make_config):
    config = make_config()
    trained = TrainedModel(build_model(config, 3), open_data(config), None)
    with pytest.raises(PermissionError):
        evaluate_on_test(create_run(config, "pretrain"), trained)


def test_the_best_model_is_not_written_on_request(make_config):
    config = make_config("training.epochs=1")
    run = create_run(config, "sweep")
    fit(config, run, keep_best=False)
    assert run.metrics.exists()
    assert not run.model.exists()


def test_no_test_image_is_opened_while_training(make_config, monkeypatch):
    config = make_config("training.epochs=1")
    pixels = load_pack(config).directory / "16.uint8"
    before = fit(config, create_run(config, "train-best"))
    with open(pixels, "r+b") as file:
        file.write(np.random.default_rng(0).bytes(12 * 16 * 16 * 3))  # the test images come first
    monkeypatch.setattr(Dataset, "open_test", lambda *_: pytest.fail("the test images were opened"))
    after = fit(config, create_run(config, "train-best"))
    for first, second in zip(before.model.get_weights(), after.model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
