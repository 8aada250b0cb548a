import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inat.settings.schema import Training
from keras_inat.store.runs import create_run
from keras_inat.training.losses import build_loss, build_metrics, compute_class_weights, measure_accuracy
from keras_inat.training.session import fit

PREDICTED = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], "float32")


def test_accuracy_of_a_mixed_label_is_its_probability_of_the_predicted_class():
    labels = np.array([[0.6, 0.4, 0.0], [1.0, 0.0, 0.0]], "float32")
    np.testing.assert_allclose(measure_accuracy(labels, PREDICTED), [0.6, 0.0])
    hard = np.eye(3, dtype="float32")[[0, 2]]
    np.testing.assert_allclose(measure_accuracy(hard, PREDICTED), [1.0, 1.0])


def test_balanced_classes_have_the_same_total_weight():
    weights = compute_class_weights(np.array([0, 0, 0, 1, 2, 2]), 3)
    np.testing.assert_allclose(weights, [6 / 9, 6 / 3, 6 / 6])
    loss = build_loss(Training(class_weights="balanced"), np.array([0, 0, 0, 1, 2, 2]), 3)
    mixed = np.array([[0.25, 0.75, 0.0]], "float32")
    expected = -(0.25 * weights[0] * np.log(0.7) + 0.75 * weights[1] * np.log(0.2))
    np.testing.assert_allclose(loss(mixed, PREDICTED[:1]), expected, rtol=1e-5)


def test_the_gradient_of_the_weighted_loss_equals_finite_differences():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, activation="softmax", use_bias=False)])
    inputs = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    labels = np.eye(3)[[0, 1, 2, 0]]
    loss = build_loss(Training(class_weights="balanced", label_smoothing=0.1), np.array([0, 0, 0, 0, 1, 2, 2]), 3)
    kernel = model.layers[0].kernel
    start = model.get_weights()[0]
    slopes = np.zeros((3, 3))
    for index in np.ndindex(3, 3):
        for sign in (1, -1):
            moved = start.copy()
            moved[index] += sign * 1e-2
            kernel.assign(moved)
            slopes[index] += sign * float(loss(labels, model(inputs))) / 2e-2
    kernel.assign(start)
    model.compile(keras.optimizers.SGD(1.0), loss)
    model.train_on_batch(inputs, labels)
    np.testing.assert_allclose(start - model.get_weights()[0], slopes, atol=1e-3)


def test_without_class_weights_the_loss_is_the_plain_cross_entropy():
    loss = build_loss(Training(label_smoothing=0.3), np.array([0, 1]), 3)
    smooth = np.array([0.8, 0.1, 0.1])
    np.testing.assert_allclose(loss(np.eye(3)[:1], PREDICTED[:1]), -(smooth * np.log(PREDICTED[0])).sum(), rtol=1e-5)


def test_the_worst_prediction_has_a_gradient():
    logits = keras.Variable(np.array([[40.0, 0.0, 0.0]], "float32"))
    loss = build_loss(Training(class_weights="balanced"), np.array([0, 1, 2]), 3)
    with tf.GradientTape() as tape:
        value = loss(np.eye(3, dtype="float32")[1:2], keras.ops.softmax(logits))
    np.testing.assert_allclose(value, 40.0, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(value, logits.value), [[1.0, -1.0, 0.0]], atol=1e-5)


def test_steps_are_counted_until_a_prediction_is_not_finite():
    counter = build_metrics()[1]
    for predicted in (PREDICTED, PREDICTED, PREDICTED * np.nan, PREDICTED * np.nan):
        counter.update_state(None, predicted)
    assert float(counter.result()) == 2


def test_training_with_balanced_classes(make_config):
    config = make_config("training.epochs=1", "training.class_weights=balanced", "augment.mixup=0.4")
    assert np.isfinite(fit(config, create_run(config, "train-best")).result.val_accuracy)


def test_a_loss_that_is_not_finite_names_epoch_and_step(make_config):
    config = make_config("training.learning_rate=1e30", "training.optimizer=sgd", "training.epochs=5")
    run = create_run(config, "train-best")
    with pytest.raises(
        FloatingPointError, match=r"not finite in epoch 1, step [23]: try a lower learning rate or weight decay"
    ):
        fit(config, run)
    assert keras.backend.floatx() == "float32"
    assert not run.metrics.read_text()
