from pathlib import Path

import keras
import numpy as np
import pytest

from keras_inat.__main__ import main
from keras_inat.commands import finetune
from keras_inat.errors import UserError
from keras_inat.models.cnn import build_cnn
from keras_inat.models.model_files import load_model
from keras_inat.settings.loading import load_config
from keras_inat.store.records import Result
from keras_inat.store.runs import create_run
from keras_inat.training.stages import STRATEGIES


@pytest.fixture
def own(make_config, tmp_path):
    path = tmp_path / "20260101-000000-first" / "best.keras"
    path.parent.mkdir()
    build_cnn(make_config().model, 16, 3).save(path)
    return f"WEIGHTS={path}"


def read_results():
    return [Result.read(path) for path in sorted(Path("runs/finetune").glob("*/result.json"))]


def test_every_strategy_over_the_same_seeds_in_one_table(make_config, own, capsys, monkeypatch):
    assert finetune.STRATEGIES is STRATEGIES
    monkeypatch.setattr(finetune, "STRATEGIES", chosen := ("head", "lpft"))  # each of the others takes as long
    finetune.run(make_config(own, "STRATEGY=all", "SEEDS=2"))
    results = read_results()
    names = [f"{strategy}-first" for strategy in chosen for _ in range(2)]
    assert sorted((result.name, result.seed) for result in results) == sorted(zip(names, [0, 1] * 2, strict=True))
    table = capsys.readouterr().out.split("95 % interval\n")[-1].splitlines()
    assert [line.split()[0] for line in table] == list(chosen)
    for line, strategy in zip(table, chosen, strict=True):
        runs = [result for result in results if result.config.finetune.strategy == strategy]
        assert f"{max(stage.parameters for stage in runs[0].stages):,}" in line
        assert f" {np.mean([result.test_scores.accuracy for result in runs]):.1%}  " in line
        assert line.endswith("n = 2 seeds")
    before = len(Path("runs/test_ledger.jsonl").read_text().splitlines())
    finetune.run(make_config(own, "STRATEGY=all"))
    assert len(Path("runs/test_ledger.jsonl").read_text().splitlines()) == before == 4
    assert "n = 12 images" in capsys.readouterr().out


def test_the_table_of_strategies_has_balanced_accuracies(make_config, own, build_result, capsys, monkeypatch):
    def train_seeds(configs, command):
        return [[write_result(config, command)] for config in configs.values()]

    def write_result(config, command):
        run = create_run(config, command)
        counts = {"train": (150, 6, 9), "test": (150, 6, 9)}
        result = build_result(per_class=counts).model_copy(update={"val_balanced_accuracy": 0.25})
        result.write(run.result)
        return run

    monkeypatch.setattr(finetune, "train_seeds", train_seeds)
    finetune.run(make_config(own, "STRATEGY=all", "UNFREEZE=1", "training.epochs=4"))
    table = capsys.readouterr().out.split("95 % interval\n")[-1].splitlines()
    assert len(table) == len(STRATEGIES)
    ending = "n = 100 images; balanced: validation 25.0%, test 50.0%; majority baseline 34.0%"
    assert all(line.endswith(ending) for line in table)


def test_an_impossible_strategy_is_refused_before_any_is_evaluated_on_test(make_config, own):
    for arguments, words in (
        (("UNFREEZE=9",), "must be at most 2"),
        (("training.epochs=3",), "must be at least 4"),
        ((f"NAME={94 * 'a'}",), "must be up to 100 letters"),  # too long with -gradual, not with -full
    ):
        with pytest.raises(UserError, match=words):
            finetune.run(make_config(own, "STRATEGY=all", "UNFREEZE=1", *arguments))
    assert not Path("runs/test_ledger.jsonl").exists()


def test_settings_without_effect_cause_a_warning(make_config, monkeypatch, capsys):
    monkeypatch.setattr(finetune, "train_seeds", lambda *_: [[]])
    finetune.run(make_config("STRATEGY=full", "WEIGHTS=none"))
    assert "give STRATEGY=full, finetune.batch_norm=trained and finetune.backbone_rate=1" in capsys.readouterr().err
    trained = ["STRATEGY=full", "WEIGHTS=none", "finetune.batch_norm=trained"]
    finetune.run(load_config(trained))
    assert not capsys.readouterr().err
    finetune.run(load_config([*trained, "model.dropout=0.9"]))
    assert capsys.readouterr().err == (
        "warning: settings of `model` are for training from scratch. They do not change a backbone\n"
    )


def test_other_weights_under_the_same_name_are_trained_anew(make_config, own, capsys):
    arguments = (own, "STRATEGY=head", "training.epochs=1")
    finetune.run(make_config(*arguments))
    finetune.run(make_config(*arguments))
    assert "already done" in capsys.readouterr().out
    build_cnn(make_config().model, 16, 5).save(own.removeprefix("WEIGHTS="))
    finetune.run(make_config(*arguments))
    assert "already done" not in capsys.readouterr().out
    assert len(read_results()) == 2
    assert len({result.weights_hash for result in read_results()}) == 2


def test_names(make_config, own):
    for arguments in ((), ("NAME=mine",)):
        finetune.run(make_config(own, "STRATEGY=head", "training.epochs=1", *arguments))
    assert [result.name for result in read_results()] == ["head-first", "mine"]


def test_without_a_section():
    with pytest.raises(UserError, match="no `finetune` section"):
        finetune.run(load_config([]))


def build_foreign(kind):
    """Builds a network of another program: a convolutional one inside another, or one without convolutions."""
    layers = keras.layers
    if kind == "perceptron":
        inner = [layers.Flatten(), layers.Dense(8, activation="relu")]
    else:
        inner = [layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(), layers.ReLU(name="relu")]
    image = keras.Input((16, 16, 3))
    base = keras.Sequential([keras.Input((16, 16, 3)), *inner], name="base")
    x = base(layers.RandomRotation(0.1)(layers.Rescaling(1 / 255)(image)), training=False)
    x = layers.GlobalAveragePooling2D()(x) if kind == "convolutional" else x
    return keras.Model(image, layers.Dense(7, activation="softmax")(x))


def test_the_network_inside_a_foreign_model_is_trained(make_config, tmp_path, capsys):
    model = build_foreign("convolutional")
    model.save(tmp_path / "plankton.keras")
    options = ("finetune.backbone_rate=1", "training.learning_rate=0.01", "training.epochs=4")
    [run] = finetune.run(make_config("STRATEGY=full", f"WEIGHTS={tmp_path / 'plankton.keras'}", *options))
    result = Result.read(run.result)
    assert result.name == "full-plankton"
    assert [(stage.layers, stage.parameters) for stage in result.stages] == [(1, 3 * 3 * 3 * 4 + 4 + 4 * 3 + 3)]
    assert "plankton.keras was saved by another program" in capsys.readouterr().err
    before = model.get_layer("base").get_layer("conv").get_weights()[0]
    after = load_model(run.model, result.data).get_layer("conv").get_weights()[0]
    assert np.abs(after - before).min(axis=(0, 1, 2)).max() > 1e-4
    assert result.val_accuracy > 0.5
    assert main(["predict", f"RUN={run.path}", "IMAGE=photos/val/red/0.png"]) == 0
    assert len(list((run.path / "predictions").iterdir())) == 1
    assert "red" in capsys.readouterr().out


def test_a_foreign_model_without_feature_maps_is_refused_before_any_training(make_config, tmp_path):
    build_foreign("perceptron").save(tmp_path / "plankton.keras")
    with pytest.raises(UserError, match=r"plankton\.keras cannot be a backbone: it computes no feature maps"):
        finetune.run(make_config("STRATEGY=full", f"WEIGHTS={tmp_path / 'plankton.keras'}"))
    assert not Path("runs/test_ledger.jsonl").exists()
    assert not any(path.stat().st_size for path in Path("runs").rglob("metrics.jsonl"))
