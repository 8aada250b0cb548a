import dataclasses

import keras
import numpy as np
import pytest

from keras_inat.data.dataset import open_data
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.schema import Model, Training
from keras_inat.store.runs import create_run
from keras_inat.training.evaluation_model import (
    EvaluationModel,
    clone_for_training,
    estimate_statistics,
    keep_average_separate,
    plan_calibration,
)
from keras_inat.training.fast_layers import FusedBatchNormalization
from keras_inat.training.optimizers import build_optimizer
from keras_inat.training.session import fit

IMAGES = np.random.default_rng(0).uniform(0, 255, (12, 16, 16, 3)).astype("float32")
LABELS = np.eye(3, dtype="float32")[np.arange(12) % 3]


def build(**settings):
    return build_cnn(Model(filters=4, num_blocks=2, pooling="average", dense_units=0, **settings), 16, 3)


def insert_dropout(model, name):
    """Returns the same network with a dropout after the given layer, as backbones have."""
    x = model.input
    for layer in model.layers[1:]:
        x = layer(x)
        if layer.name == name:
            x = keras.layers.Dropout(0.5, name="dropout")(x)
    return keras.Model(model.input, x)


def test_a_clone_has_the_same_weights_and_takes_every_size():
    model = build()
    for any_size in (False, True):
        clone = clone_for_training(model, any_size)
        np.testing.assert_array_equal(clone(IMAGES), model(IMAGES))
        assert type(clone.get_layer("block1_norm")) is FusedBatchNormalization
        assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)  # the model that is saved
        clone.layers[-1].bias.assign([1, 2, 3])
        assert model.layers[-1].bias.numpy().tolist() == [0, 0, 0]  # no weights are shared
    assert clone(IMAGES[:, :12, :12]).shape == (12, 3)


@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer])
def test_the_evaluation_model_has_the_average_and_training_keeps_the_weights(wrap):
    model = build()
    trained = clone_for_training(model, False)
    training = Training(ema=0.5, learning_rate=0.1, optimizer="sgd")
    optimizer = build_optimizer(training, 8)  # an average over 4 steps
    trained.compile(wrap(optimizer), "categorical_crossentropy")
    keep_average_separate(trained.optimizer)
    average = []
    for step in range(5):
        trained.fit(IMAGES, LABELS, batch_size=12, verbose=0)
        live = [weight.numpy() for weight in trained.trainable_weights]
        fraction = max(0.25, 1 / (step + 1))  # a plain mean of the first four
        average = [old + fraction * (new - old) for old, new in zip(average or [0.0] * len(live), live, strict=True)]
    EvaluationModel(model, trained, None).update(trained.optimizer)
    for kept, expected in zip(model.trainable_weights, average, strict=True):
        np.testing.assert_allclose(kept, expected, rtol=1e-5, atol=1e-6)
    for weight, expected in zip(trained.trainable_weights, live, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_without_an_average_the_evaluation_model_has_the_weights():
    model = build()
    trained = clone_for_training(model, False)
    trained.compile(build_optimizer(Training(learning_rate=0.1), 3), "categorical_crossentropy")
    keep_average_separate(trained.optimizer)
    trained.fit(IMAGES, LABELS, batch_size=12, verbose=0)
    EvaluationModel(model, trained, None).update(trained.optimizer)
    for kept, weight in zip(model.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(kept, weight)


def test_statistics_are_the_means_over_the_batches():
    model = insert_dropout(build(), "block1_pool")
    before = [weight.numpy() for weight in model.trainable_weights]
    estimate_statistics(model, [IMAGES[:6], IMAGES[6:9], IMAGES[9:]])
    convolve = keras.Model(model.input, model.get_layer("block1_conv").output)
    parts = [convolve(part).numpy().reshape(-1, 4) for part in (IMAGES[:6], IMAGES[6:9], IMAGES[9:])]
    norm = model.get_layer("block1_norm")
    np.testing.assert_allclose(norm.moving_mean, np.mean([part.mean(axis=0) for part in parts], axis=0), atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, np.mean([part.var(axis=0) for part in parts], axis=0), rtol=1e-4)
    for weight, expected in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    # Dropout was off before the second block, and all settings are restored.
    inner = keras.Model(model.input, model.get_layer("block2_conv").output)
    again = model.get_layer("block2_norm").moving_mean.numpy()
    norm.moving_mean.assign(parts[0].mean(axis=0))
    norm.moving_variance.assign(parts[0].var(axis=0))
    estimate_statistics(model, [IMAGES[:6]])
    np.testing.assert_allclose(
        model.get_layer("block2_norm").moving_mean, inner(IMAGES[:6]).numpy().mean(axis=(0, 1, 2)), atol=1e-4
    )
    assert not np.allclose(again, model.get_layer("block2_norm").moving_mean)
    assert (norm.momentum, model.get_layer("dropout").rate) == (0.9, 0.5)


def test_frozen_statistics_do_not_change():
    model = build()
    model.get_layer("block1_norm").trainable = False
    before = model.get_layer("block1_norm").moving_mean.numpy()
    estimate_statistics(model, [IMAGES])
    np.testing.assert_array_equal(model.get_layer("block1_norm").moving_mean, before)
    assert model.get_layer("block2_norm").moving_mean.numpy().any()


def test_averaging_and_evaluation_do_not_change_the_training(make_config):
    def losses(*arguments):
        config = make_config("training.epochs=3", "model.pooling=average", *arguments)
        run = create_run(config, "train-best")
        fit(config, run)
        return [epoch.loss for epoch in run.read_epochs()]

    plain = losses()
    assert losses("training.ema=0.9") == plain
    assert losses("training.image_scales=[1]") == plain


def test_the_saved_model_is_the_averaged_one_that_was_evaluated(make_config):
    config = make_config(
        *("training.epochs=8", "training.ema=0.2", "training.learning_rate=0.03", "model.pooling=average"),
        "training.image_scales=[0.75]",
    )
    run = create_run(config, "train-best")
    done = fit(config, run)
    kept = keras.models.load_model(run.model, compile=False)
    rows = done.data.validation_rows
    predicted = kept.predict(done.data.images[rows], verbose=0).argmax(axis=1)
    assert kept.input_shape == (None, 16, 16, 3)
    assert (predicted == done.data.labels[rows]).mean() == pytest.approx(done.result.val_accuracy)
    assert done.result.val_accuracy >= 5 / 6  # with the statistics of the training it is far below


def test_statistics_are_estimated_on_batches_of_equal_size(make_config):
    data = dataclasses.replace(open_data(make_config("training.ema=0.1")), training_rows=np.arange(25))
    calibrate = plan_calibration(data, 8)
    assert sorted(map(len, calibrate())) == [6, 6, 6, 7]  # not 8, 8, 8 and one image, which has no variance
    assert plan_calibration(open_data(make_config()), 8) is None
