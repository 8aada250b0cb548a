import dataclasses
from pathlib import Path

import numpy as np
import pytest

from keras_inat.data.dataset import open_data
from keras_inat.errors import UserError
from keras_inat.store.runs import create_run
from keras_inat.training import label_suspects
from keras_inat.training.confident_learning import find_label_suspects
from keras_inat.training.label_suspects import build_linear_predictor, predict_out_of_fold, split_folds


def test_folds_are_stratified_and_keep_duplicates_together():
    labels = np.repeat([0, 1, 2], [40, 20, 20])
    groups = np.arange(80) // 2  # pairs of duplicates
    folds = split_folds(labels, groups, 5, seed=0)
    assert len(folds) == 5
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(80))
    for train, held in folds:
        assert not set(groups[train]) & set(groups[held])
        assert np.bincount(labels[held]).tolist() == [8, 4, 4]
        assert len(train) + len(held) == 80
    other = split_folds(labels, groups, 5, seed=1)
    assert any(set(first[1]) != set(second[1]) for first, second in zip(folds, other, strict=True))


def test_small_classes_get_fewer_folds():
    folds = split_folds(np.array([0, 0, 0, 1, 1, 1]), np.arange(6), 5, seed=0)
    assert [len(held) for _, held in folds] == [2, 2, 2]


def test_planted_wrong_labels_are_found_with_their_class():
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(4), 60)
    features = rng.normal(0, 1, (240, 16)).astype(np.float32)
    features[np.arange(240), true] += 8
    labels = true.copy()
    wrong = rng.choice(240, 12, replace=False)
    labels[wrong] = (labels[wrong] + 1) % 4
    predict = build_linear_predictor(features, labels, 4)
    probabilities = np.zeros((240, 4))
    for train, held in split_folds(labels, np.arange(240), 5, seed=0):
        probabilities[held] = predict(train, held)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    suspects = find_label_suspects(labels, probabilities)
    assert set(suspects) < set(wrong)
    assert len(suspects) == 11
    assert (probabilities[wrong].argmax(axis=1) == true[wrong]).all()


def test_a_class_that_is_absent_from_the_training_gets_no_probability():
    features = np.eye(6, dtype=np.float32)
    predict = build_linear_predictor(features, np.array([0, 0, 2, 2, 1, 1]), 3)
    probabilities = predict(np.arange(4), np.array([4, 5]))
    assert (probabilities[:, 1] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_every_image_of_train_is_predicted_by_a_model_that_was_not_trained_on_it(make_config, photos, monkeypatch):
    calls = []

    def build(features, labels, num_classes):
        assert features.shape == (30, 5)

        def predict(train, held):
            calls.append((train, held))
            return np.eye(num_classes)[labels[held]]

        return predict

    monkeypatch.setattr(label_suspects, "build_linear_predictor", build)
    monkeypatch.setattr(label_suspects, "load_features", lambda model, data: np.zeros((1, 30, 5), np.float32))
    monkeypatch.setattr(label_suspects, "build_model", lambda config, num_classes: None)
    Path("bad.txt").write_text("train/red/3.png")
    config = make_config("BACKBONE=MobileNetV2", "data.exclude=bad.txt", "suspects.folds=3")
    data = open_data(config)
    found = predict_out_of_fold(config, data, create_run(config, "suspects"))
    expected = sorted([*data.training_rows.tolist(), *data.validation_rows.tolist()])
    assert found.rows.tolist() == expected
    assert len(expected) == 29
    assert found.num_folds == len(calls) == 3
    assert sorted(row for _, held in calls for row in held.tolist()) == expected
    for train, held in calls:
        assert sorted([*train.tolist(), *held.tolist()]) == expected
    np.testing.assert_array_equal(found.probabilities.argmax(axis=1), data.labels[found.rows])


def test_the_cnn_is_trained_on_each_fold(make_config, capsys):
    config = make_config("suspects.folds=2", "training.epochs=3", "training.learning_rate=1e-30", "training.patience=1")
    data = open_data(config)
    run = create_run(config, "suspects")
    found = predict_out_of_fold(config, data, run)
    assert found.probabilities.shape == (30, 3)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    assert [path.name for path in run.path.iterdir()] == ["config.yaml"]
    out = capsys.readouterr().out
    assert [f"fold {number} epoch 3/3" in out for number in (1, 2, 3)] == [True, True, False]


def test_weights_that_were_trained_on_the_same_labels_are_refused(make_config, build_result, tmp_path):
    folder = tmp_path / "runs" / "train-best" / "first"
    folder.mkdir(parents=True)
    data = open_data(make_config())
    result = build_result()
    result.model_copy(update={"data": data.summary}).write(folder / "result.json")
    config = make_config(f"WEIGHTS={folder / 'best.keras'}")
    with pytest.raises(UserError, match="was trained on the labels of photos, which are to be checked"):
        predict_out_of_fold(config, data, create_run(config, "suspects"))
    other = dataclasses.replace(data, summary=data.summary.model_copy(update={"source": "elsewhere"}))
    with pytest.raises(UserError, match="does not exist"):
        predict_out_of_fold(config, other, create_run(config, "suspects"))
