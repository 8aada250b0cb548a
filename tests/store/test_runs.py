import pytest

from keras_inat.files import write_json
from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Config
from keras_inat.store.runs import create_run, find_finished, list_runs


def test_runs_of_the_same_second_get_folders_of_their_own():
    first, second = (create_run(Config(), "train-best", "x") for _ in range(2))
    assert first.path != second.path
    assert load_config([], first.config) == Config()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"data": 1}', '{"data": {}}'])
def test_a_damaged_result_is_left_out_with_a_warning(text, capsys):
    run = create_run(Config(), "train-best", "a")
    run.result.write_text(text)
    assert run.read_result() is None
    assert find_finished(Config(), "train-best", "abc") is None
    assert "result.json is damaged and left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lost", "section"),
    [("seed", ""), ("val_accuracy", ""), ("data", ""), ("commit", ""), ("hash", "data"), ("per_class", "data"),
     ("model", "config")],
)  # fmt: skip
def test_a_result_that_lacks_something_is_damaged(lost, section, describe_result):
    run, result = create_run(Config(), "train-best", "a"), describe_result()
    write_json(run.result, result)
    assert run.read_result() == result
    del (result[section] if section else result)[lost]
    write_json(run.result, result)
    assert run.read_result() is None


def test_only_finished_runs_are_listed(describe_result):
    done, _ = create_run(Config(), "train-best", "a"), create_run(Config(), "train-best", "b")
    write_json(done.result, describe_result())
    assert list_runs("runs") == [done]
    assert find_finished(Config(), "train-best", "abc") is None  # no model yet
    done.model.touch()
    assert find_finished(Config(), "train-best", "abc") == done
    assert find_finished(load_config(["SEEDS=3", "DATA=moved"]), "train-best", "abc") == done
    assert find_finished(Config(), "train-best", "other images") is None
    assert find_finished(load_config(["model.filters=8"]), "train-best", "abc") is None
    assert find_finished(load_config(["run.seed=1"]), "train-best", "abc") is None
