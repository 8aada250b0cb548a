import keras
import numpy as np
import pytest

from keras_inat.config import load_config
from keras_inat.errors import UserError
from keras_inat.models.backbones import HEAD, build_finetune
from keras_inat.models.cnn import build_cnn
from keras_inat.sections import Finetune
from keras_inat.training.stages import STRATEGIES, apply_stage, plan_stages


@pytest.fixture
def backbone(tmp_path):
    """One of our own: four convolutions, each with batch normalisation."""
    config = load_config(["model.num_blocks=4", "model.filters=4", "data.image_size=16"])
    build_cnn(config.model, 16, 3).save(tmp_path / "own.keras")
    return str(tmp_path / "own.keras")


def plan(strategy, epochs):
    config = load_config([f"STRATEGY={strategy}", f"training.epochs={epochs}", "training.learning_rate=0.01"])
    return [(stage.name, last, rate) for stage, last, rate in plan_stages(config)]


def test_plans():
    assert plan("head", 6) == [("head", 6, 0.01)]
    assert plan("topk", 10) == [("head", 3, 0.01), ("top", 10, 0.001)]
    assert plan("lpft", 3) == [("head", 2, 0.01), ("all", 3, 0.001)]
    assert [last for _, last, _ in plan("gradual", 4)] == [1, 2, 3, 4]
    with pytest.raises(UserError, match="at least 4"):
        plan("gradual", 3)
    assert plan_stages(load_config(["training.epochs=7"]))[0][1:] == (7, 1e-3)


def test_shares_add_up():
    assert all(sum(stage.share for stage in stages) == pytest.approx(1) for stages in STRATEGIES.values())


@pytest.mark.parametrize(
    ("strategy", "stage", "moving"),
    [
        ("head", 0, []),
        ("topk", 1, ["block3_conv", "block4_conv"]),
        ("full", 0, ["block1_conv", "block2_conv", "block3_conv", "block4_conv"]),
        ("gradual", 1, ["block4_conv"]),
        ("lpft", 1, ["block1_conv", "block2_conv", "block3_conv", "block4_conv"]),
    ],
)
def test_exactly_the_stages_weights_move_in_a_step(backbone, strategy, stage, moving):
    settings = Finetune(strategy=strategy, weights=backbone, unfreeze=2)
    model = build_finetune(settings, 16, 3)
    apply_stage(model, STRATEGIES[strategy][stage], settings)
    model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy")
    before = {weight.path: weight.numpy() for weight in model.weights}
    images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 3)).astype("float32")
    model.train_on_batch(images, np.eye(3)[np.arange(8) % 3])
    moved = {path.split("/")[0] for path, old in before.items() if not np.array_equal(old, model_weight(model, path))}
    assert moved == {*moving, "predictions"}


def model_weight(model, path):
    return next(weight.numpy() for weight in model.weights if weight.path == path)


def test_batch_normalisation_of_a_backbone_stays(backbone):
    settings = Finetune(strategy="full", weights=backbone)
    model = build_finetune(settings, 16, 3)
    apply_stage(model, STRATEGIES["full"][0], settings)
    kinds = {type(layer) for layer in model.layers if layer.trainable and layer.weights and layer.name not in HEAD}
    assert kinds == {keras.layers.Conv2D}


def test_batch_normalisation_of_unfrozen_layers_trains_when_asked_to(backbone):
    settings = Finetune(strategy="topk", weights=backbone, unfreeze=1, batch_norm="trained")
    model = build_finetune(settings, 16, 3)
    apply_stage(model, STRATEGIES["topk"][1], settings)
    names = [layer.name for layer in model.layers if layer.trainable and layer.weights]
    assert names == ["block4_conv", "block4_norm", "predictions"]


def test_more_layers_than_there_are(backbone):
    settings = Finetune(strategy="topk", weights=backbone, unfreeze=9)
    with pytest.raises(UserError, match=r"`finetune\.unfreeze` must be at most 4 .* Received: 9"):
        apply_stage(build_finetune(settings, 16, 3), STRATEGIES["topk"][1], settings)
