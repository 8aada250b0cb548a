import json
import os

import pytest

from keras_inat.config import load_config
from keras_inat.runs import (
    RunFolder,
    append_jsonl,
    create_run,
    find_finished,
    list_runs,
    look_at_test,
    read_jsonl,
    write_json,
    write_whole,
)
from keras_inat.sections import Config


def test_runs_of_the_same_second_get_folders_of_their_own():
    first, second = (create_run(Config(), "train-best", "x") for _ in range(2))
    assert first.path != second.path
    assert load_config([], first.config) == Config()


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with write_whole(path) as temporary:
        temporary.write_text("old")
        assert not path.exists()

    def write_badly():
        with write_whole(path) as temporary:
            temporary.write_text("half of the ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_badly()
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_line_cut_short_is_left_out(tmp_path):
    path = tmp_path / "m.jsonl"
    append_jsonl(path, {"epoch": 1})
    with open(path, "a") as file:
        file.write('{"epoch": 2, "los')
    assert read_jsonl(path) == [{"epoch": 1}]


@pytest.mark.parametrize("command", ["sweep", "pretrain", "predict"])
def test_the_test_images_stay_shut_for_whoever_selects(tmp_path, command):
    opened = []
    with pytest.raises(PermissionError, match="final evaluation"):
        look_at_test(Config(), RunFolder(tmp_path, command), "hash", lambda: opened.append(1))
    assert not opened
    assert not (tmp_path / "runs" / "test_ledger.jsonl").exists()


def test_every_look_is_in_the_ledger_before_it_happens(tmp_path):
    ledger = tmp_path / "runs" / "test_ledger.jsonl"
    seen = look_at_test(Config(), RunFolder(tmp_path / "r", "finetune"), "abc", lambda: read_jsonl(ledger))
    assert len(seen) == 1
    assert seen[0]["data"] == "abc"
    assert seen[0]["run"] == str(tmp_path / "r")
    assert set(seen[0]) == {"time", "command", "run", "data", "commit"}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_a_damaged_result_is_left_out_with_a_warning(text, capsys):
    run = create_run(Config(), "train-best", "a")
    run.result.write_text(text)
    assert run.read_result() is None
    assert find_finished(Config(), "train-best", "abc") is None
    assert "result.json is damaged and left out" in capsys.readouterr().err


def test_only_finished_runs_are_listed(tmp_path):
    done, _ = create_run(Config(), "train-best", "a"), create_run(Config(), "train-best", "b")
    write_json(done.result, {"config": json.loads(Config().model_dump_json()), "data": {"hash": "abc"}})
    assert list_runs("runs") == [done]
    assert find_finished(Config(), "train-best", "abc") is None  # no model yet
    done.model.touch()
    assert find_finished(Config(), "train-best", "abc") == done
    assert find_finished(load_config(["SEEDS=3", "DATA=moved"]), "train-best", "abc") == done
    assert find_finished(Config(), "train-best", "other images") is None
    assert find_finished(load_config(["model.filters=8"]), "train-best", "abc") is None
    assert find_finished(load_config(["run.seed=1"]), "train-best", "abc") is None
