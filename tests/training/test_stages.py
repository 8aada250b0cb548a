import keras
import numpy as np
import pytest

from keras_inat.errors import UserError
from keras_inat.models.backbones import HEAD
from keras_inat.models.cnn import build_cnn
from keras_inat.models.pretrained import build_finetune
from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Finetune
from keras_inat.training.stages import STRATEGIES, apply_stage, plan_epochs, plan_stages


@pytest.fixture
def backbone(tmp_path):
    """Returns the path of one of our own models: four convolutions, each with batch normalization."""
    config = load_config(["model.num_blocks=4", "model.filters=4", "data.image_size=16"])
    build_cnn(config.model, 16, 3).save(tmp_path / "own.keras")
    return str(tmp_path / "own.keras")


def plan(strategy, epochs):
    config = load_config([f"STRATEGY={strategy}", f"training.epochs={epochs}"])
    return [(planned.name, planned.last_epoch) for planned in plan_stages(config)]


def test_plans():
    assert plan("head", 6) == [("head", 6)]
    assert plan("topk", 10) == [("head", 3), ("top", 10)]
    assert plan("lpft", 3) == [("head", 2), ("all", 3)]
    assert [last for _, last in plan("gradual", 4)] == [1, 2, 3, 4]
    with pytest.raises(UserError, match="at least 4"):
        plan("gradual", 3)
    assert plan_stages(load_config(["training.epochs=7"]))[0].last_epoch == 7
    planned = plan_stages(load_config(["STRATEGY=topk", "training.epochs=10"]))
    assert [(stage.index, stage.initial_epoch) for stage in planned] == [(0, 0), (1, 3)]


def test_few_steps_need_more_epochs():
    config = load_config(["training.epochs=120", "training.min_steps=3000"])
    assert plan_epochs(config, 12).training.epochs == 250
    assert plan_epochs(config, 25).training.epochs == 120
    assert plan_epochs(config, 24).training.epochs == 125
    assert plan_epochs(load_config(["training.epochs=7"]), 1).training.epochs == 7


def test_fractions_add_up():
    assert all(sum(stage.fraction for stage in stages) == pytest.approx(1) for stages in STRATEGIES.values())


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
def test_exactly_the_trainable_weights_change_in_a_step(backbone, strategy, stage, moving):
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


def test_batch_normalization_of_a_backbone_is_frozen(backbone):
    settings = Finetune(strategy="full", weights=backbone)
    model = build_finetune(settings, 16, 3)
    apply_stage(model, STRATEGIES["full"][0], settings)
    kinds = {type(layer) for layer in model.layers if layer.trainable and layer.weights and layer.name not in HEAD}
    assert kinds == {keras.layers.Conv2D}


def test_batch_normalization_of_unfrozen_layers_can_be_trained(backbone):
    settings = Finetune(strategy="topk", weights=backbone, unfreeze=1, batch_norm="trained")
    model = build_finetune(settings, 16, 3)
    apply_stage(model, STRATEGIES["topk"][1], settings)
    names = [layer.name for layer in model.layers if layer.trainable and layer.weights]
    assert names == ["block4_conv", "block4_norm", "predictions"]


@pytest.mark.parametrize(
    ("unfreeze", "names"),
    [
        (1, ["block4_conv"]),
        (0.1, ["block4_conv"]),
        (0.5, ["block3_conv", "block4_conv"]),
        (1.0, ["block1_conv", "block2_conv", "block3_conv", "block4_conv"]),
        ("block3", ["block3_conv", "block4_conv"]),
        ("block3_pool", ["block4_conv"]),
    ],
)
def test_trainable_layers_of_topk(backbone, unfreeze, names):
    settings = Finetune(strategy="topk", weights=backbone, unfreeze=unfreeze)
    model = build_finetune(settings, 16, 3)
    apply_stage(model, STRATEGIES["topk"][1], settings)
    assert [layer.name for layer in model.layers if layer.trainable and layer.weights] == [*names, "predictions"]


def test_a_block_name_matches_its_whole_number():
    settings = Finetune(strategy="topk", backbone="MobileNetV2", weights="none", unfreeze="block_1")
    model = build_finetune(settings, 32, 3)
    apply_stage(model, STRATEGIES["topk"][1], settings)
    trained = [layer.name for layer in model.layers if layer.trainable and layer.weights]
    assert trained[0] == "block_1_expand"


@pytest.mark.parametrize(
    ("unfreeze", "words"),
    [
        (9, r"`finetune\.unfreeze` must be at most 4 .* Received: 9"),
        ("blok3_conv", r"one of \{block1_conv, .* Did you mean 'block3_conv'"),
        ("pool", r"one of \{block1_conv"),
    ],
)
def test_unknown_layers_are_refused(backbone, unfreeze, words):
    settings = Finetune(strategy="topk", weights=backbone, unfreeze=unfreeze)
    with pytest.raises(UserError, match=words):
        apply_stage(build_finetune(settings, 16, 3), STRATEGIES["topk"][1], settings)


def test_learning_rates_fall_from_the_top_of_the_backbone_to_its_bottom(backbone):
    settings = Finetune(strategy="full", weights=backbone, backbone_rate=0.5, bottom_rate=0.01)
    model = build_finetune(settings, 16, 3)
    rate_multipliers = apply_stage(model, STRATEGIES["full"][0], settings)
    rates = {f"block{block}_conv/kernel": 0.5 * 0.01 ** ((4 - block) / 3) for block in (1, 2, 3, 4)}
    assert rate_multipliers == pytest.approx(rates)


def test_all_strategies_are_not_a_plan():
    with pytest.raises(UserError, match=r"`finetune\.strategy`=all is for `keras-inat finetune`"):
        plan("all", 8)
