from pathlib import Path

import numpy as np
import pytest

from keras_inat.commands import finetune
from keras_inat.errors import UserError
from keras_inat.models.cnn import build_cnn
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
