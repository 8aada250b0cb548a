import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_inat.data.dataset import open_data
from keras_inat.errors import UserError
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.loading import load_config, override
from keras_inat.settings.schema import Model, Training
from keras_inat.store.runs import create_run, finish_run, hash_teacher, identify_group
from keras_inat.training import session, stage_models
from keras_inat.training.distillation import DistillationLoss, StudentModel, load_teacher, make_teacher_function
from keras_inat.training.evaluation import train_and_evaluate
from keras_inat.training.evaluation_model import clone_for_training
from keras_inat.training.losses import build_loss
from keras_inat.training.optimizers import build_optimizer
from keras_inat.training.session import fit

rng = np.random.default_rng(0)
IMAGES = rng.integers(256, size=(12, 16, 16, 3), dtype=np.uint8)
LABELS = np.eye(3, dtype=np.float32)[np.arange(12) % 3]
ONES = np.ones(3, np.float32)
NETWORK = Model(num_blocks=2, filters=4, dense_units=5)


@pytest.fixture
def teacher(make_config, tmp_path):
    """Trains a backbone with random weights at 32 px, on the images of `make_config`."""
    keras.utils.set_random_seed(1)
    build_cnn(NETWORK, 32, 5).save(tmp_path / "own.keras")
    config = make_config(
        *("STRATEGY=full", f"WEIGHTS={tmp_path / 'own.keras'}", "data.image_size=32", "NAME=teacher"),
        *("training.epochs=4", "training.learning_rate=0.02", "finetune.backbone_rate=1"),
    )
    return train_and_evaluate(config, "finetune", "teacher")


def soften(probabilities, temperature):
    powers = np.asarray(probabilities, np.float64) ** (1 / temperature)
    return powers / powers.sum(axis=-1, keepdims=True)


def predict_resized(model, pixels):
    """Returns the probabilities of images that are enlarged to the input of a model."""
    resized = keras.ops.image.resize(pixels.astype(np.float32), model.input_shape[1:3])
    return model.predict(np.array(resized), verbose=0)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_by_hand(temperature):
    targets, predictions = rng.dirichlet([1] * 4, (2, 5)).astype(np.float32)
    first, second = soften(targets, temperature), soften(predictions, temperature)
    divergences = temperature**2 * np.sum(first * np.log(first / second), axis=1)
    weights = np.arange(5, dtype=np.float32)
    loss = DistillationLoss(temperature)
    np.testing.assert_allclose(loss(targets, predictions), divergences.mean(), rtol=1e-4)
    np.testing.assert_allclose(loss(targets, predictions, weights), np.mean(weights * divergences), rtol=1e-4)
    certain = np.eye(4, dtype=np.float32)
    assert np.isfinite(loss(certain, certain[::-1].copy()))


def test_the_target_is_the_prediction_for_the_augmented_image(make_config, teacher, monkeypatch):
    config = make_config(
        *(f"training.teacher={teacher.path}", "training.epochs=1", "training.batch_size=24", "augment.crop=0.3"),
        *("augment.flip=true", "augment.mixup=1.0", "training.optimizer=sgd", "training.label_smoothing=0.2"),
    )
    batches = []
    build = stage_models.build_training_batches

    def recording(*arguments, **named):
        batches.append(next(iter(build(*arguments, **named))))
        return build(*arguments, **named)

    monkeypatch.setattr(stage_models, "build_training_batches", recording)
    trained = fit(config, create_run(config, "pretrain")).model
    [(pixels, _)] = batches
    assert not np.isin(np.array(pixels)[:, 0, 0], open_data(config).images[:, 0, 0]).all()

    keras.utils.set_random_seed(0)
    expected = clone_for_training(build_cnn(config.model, 16, 3), False)
    initial = expected.get_weights()
    expected.compile(build_optimizer(config.training, 1), "categorical_crossentropy")
    expected.train_on_batch(pixels, predict_resized(keras.models.load_model(teacher.model), np.array(pixels)))
    for received, weights, before in zip(trained.get_weights(), expected.get_weights(), initial, strict=True):
        np.testing.assert_allclose(received, weights, atol=2e-5)
        assert np.abs(weights - before).max() > 1e-4 or not before.any()


@pytest.mark.parametrize("size", [8, 16, 40])
def test_images_of_any_size_are_resized_to_the_input_of_the_teacher(size):
    model = build_cnn(NETWORK, 16, 3)
    pixels = rng.integers(256, size=(4, size, size, 3), dtype=np.uint8)
    received = make_teacher_function(model)(pixels)
    np.testing.assert_allclose(received, predict_resized(model, pixels), atol=1e-5)
    if size == 16:
        np.testing.assert_allclose(received, model.predict(pixels, verbose=0), atol=1e-5)


def build_student(network, training, class_weights=ONES):
    """Returns a compiled student of a network with its teacher."""
    teacher = build_cnn(NETWORK, 16, 3)
    student = StudentModel(network, teacher, training, class_weights)
    size = len(student.outputs) - 1
    student.compile(keras.optimizers.SGD(0.5), build_loss(training, LABELS.argmax(axis=1), 3, size))
    return student, teacher


def step(network, targets, sample_weight=None):
    network.compile(keras.optimizers.SGD(0.5), "categorical_crossentropy")
    network.train_on_batch(IMAGES, targets, sample_weight)


def assert_same_weights(first, second):
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_labels_take_the_rest_of_the_loss():
    network = clone_for_training(build_cnn(NETWORK, 16, 3), False)
    alone = clone_for_training(network, False)
    student, teacher = build_student(network, Training(teacher="x", teacher_weight=0.25, label_smoothing=0.1))
    student.train_on_batch(IMAGES, LABELS)
    labels = 0.9 * LABELS + 0.1 / 3
    step(alone, 0.25 * teacher.predict(IMAGES, verbose=0) + 0.75 * labels)
    assert_same_weights(network, alone)


def test_class_weights_apply_to_the_teacher():
    network = clone_for_training(build_cnn(NETWORK, 16, 3), False)
    alone = clone_for_training(network, False)
    weights = np.array([0.5, 1.0, 2.0], np.float32)
    student, teacher = build_student(network, Training(teacher="x"), weights)
    student.train_on_batch(IMAGES, LABELS)
    step(alone, teacher.predict(IMAGES, verbose=0), LABELS @ weights)
    assert_same_weights(network, alone)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_each_member_of_an_ensemble_learns_on_its_own(temperature):
    model = build_cnn(NETWORK.model_copy(update={"ensemble_size": 2}), 16, 3)
    training = Training(teacher="x", distillation_temperature=temperature)
    network = clone_for_training(model, False)
    student, teacher = build_student(network, training)
    alone = [build_cnn(NETWORK, 16, 3) for _ in range(2)]
    for prefix, single in zip(("", "member2_"), alone, strict=True):
        for layer in single.layers:
            name = f"{prefix or 'member1_'}predictions" if layer.name == "predictions" else prefix + layer.name
            if layer.weights:
                layer.set_weights(model.get_layer(name).get_weights())
    student.train_on_batch(IMAGES, LABELS)
    for single, output in zip(alone, student.outputs[1:], strict=True):
        taught = StudentModel(single, teacher, training, ONES)
        taught.compile(keras.optimizers.SGD(0.5), "categorical_crossentropy")
        taught.train_on_batch(IMAGES, LABELS)
        member = keras.Model(network.input, output)
        np.testing.assert_allclose(member(IMAGES), single(IMAGES), atol=1e-4)


def test_the_teacher_is_no_part_of_the_student(make_config, teacher, monkeypatch):
    built = []
    build = session.build_stage_model
    monkeypatch.setattr(session, "build_stage_model", lambda *given: built.append(build(*given)) or built[-1])
    before = teacher.model.read_bytes()
    config = make_config(f"training.teacher={teacher.path}")
    run = create_run(config, "pretrain")
    trained = fit(config, run)
    plain = make_config()
    without = fit(plain, create_run(plain, "pretrain"))
    student, network = (stage.model for stage in built)
    assert [variable.path for variable in student.variables] == [variable.path for variable in network.variables]
    assert trained.result.parameters == without.result.parameters == trained.model.count_params()
    assert trained.result.macs == without.result.macs
    saved = keras.models.load_model(run.model)
    assert [weight.path for weight in saved.weights] == [weight.path for weight in without.model.weights]
    assert teacher.model.read_bytes() == before
    assert not np.array_equal(trained.model.get_weights()[0], without.model.get_weights()[0])
    assert (trained.result.teacher_hash, without.result.teacher_hash) == (hash_teacher(config), "")
    assert identify_group(trained.result) != identify_group(without.result)


def test_a_student_learns_to_predict_like_its_teacher(make_config, teacher):
    config = make_config(f"training.teacher={teacher.path}", "training.epochs=20", "training.learning_rate=0.02")
    trained = fit(config, create_run(config, "pretrain"))
    images = trained.data.images[trained.data.training_rows]
    expected = predict_resized(keras.models.load_model(teacher.model), images)
    untrained = build_cnn(config.model, 16, 3).predict(images, verbose=0)
    distances = [np.abs(each - expected).mean() for each in (trained.model.predict(images, verbose=0), untrained)]
    assert distances[0] < 0.5 * distances[1]


def test_the_teacher_computes_with_the_precision_of_the_student(make_config, teacher):
    config = make_config(f"training.teacher={teacher.path}", "training.precision=mixed_float16", "training.epochs=1")
    result = fit(config, create_run(config, "pretrain")).result
    assert result.precision == "mixed_float16"
    with session.use_precision("mixed_float16"):
        model = load_teacher(config, open_data(config).summary)
    assert model.get_layer("block1_conv").compute_dtype == "float16"
    assert model.get_layer("predictions").compute_dtype == "float32"


def test_memory_for_the_teacher_counts(make_config, teacher, monkeypatch):
    given = []
    monkeypatch.setattr(session, "check_memory", lambda *arguments: given.append(arguments[2]))
    config = make_config(f"training.teacher={teacher.path}", "training.epochs=1")
    fit(config, create_run(config, "pretrain"))
    parameters = keras.models.load_model(teacher.model).count_params()
    assert given == [0, 4 * (parameters + 8 * 2 * 32 * 32 * 4)]  # a batch of 8, and two layers of 32 x 32 x 4


def test_unsuitable_teachers_are_refused_before_a_run_begins(make_config, teacher, write_photos, tmp_path):
    def refuse(words, *settings):
        config = make_config(f"training.teacher={teacher.path}", *settings)
        with pytest.raises(UserError, match=words) as caught:
            train_and_evaluate(config, "train-best", "")
        assert "\n" not in str(caught.value)
        assert not Path("runs/train-best").exists()

    refuse("has other validation images, so it was trained on some of those of this run", "data.split_seed=1")
    refuse("has other validation images", "data.val_fraction=0.4")
    other = write_photos(tmp_path / "other", num_train=11)
    refuse(r"was trained on other images or classes: photos \(hash \w+\).* those of this run: other", f"DATA={other}")
    shutil.move(other / "train" / "red", other / "train" / "rust")
    shutil.move(other / "val" / "red", other / "val" / "rust")
    refuse("was trained on other images or classes", f"DATA={other}")
    teacher.result.unlink()
    refuse(r"`training.teacher` must be the folder of a finished run, with best\.keras and result\.json")


def test_a_damaged_teacher_is_refused(make_config, teacher):
    content = bytearray(teacher.model.read_bytes())
    content[len(content) // 2] ^= 1
    teacher.model.write_bytes(content)
    config = make_config(f"training.teacher={teacher.path}")
    with pytest.raises(UserError, match=r"best\.keras is damaged or was changed by hand: restore it"):
        train_and_evaluate(config, "train-best", "")


def test_a_changed_teacher_is_refused(make_config, teacher):
    config = make_config(f"training.teacher={teacher.path}")
    run = create_run(config, "train-best")
    fit(config, run, stop=lambda epoch: True)
    model = build_cnn(NETWORK, 32, 3)
    model.save(teacher.model)
    finish_run(teacher, teacher.read_result())
    with pytest.raises(UserError, match=r"the teacher of .* have changed since it began"):
        fit(config, run)


def test_settings_of_the_teacher():
    with pytest.raises(UserError, match="this configuration has a `finetune` section"):
        load_config(["training.teacher=runs/a", "STRATEGY=head"])
    for setting in ("distillation_temperature=2", "teacher_weight=0.5"):
        with pytest.raises(UserError, match=rf"`training\.{setting.split('=')[0]}` needs `training\.teacher`"):
            load_config([f"training.{setting}"])
    config = load_config(["training.teacher=~/runs/a"])
    assert config.training.teacher == str(Path.home() / "runs" / "a")
    assert load_config(["training.teacher=runs/a/best.keras"]) == load_config(["training.teacher=runs/a/"])
    assert override(config, {"training.teacher": None}).training.teacher is None
