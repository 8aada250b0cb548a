import pytest

from keras_inat.files import read_jsonl
from keras_inat.settings.schema import Config
from keras_inat.store.ledger import open_test_images
from keras_inat.store.runs import RunFolder


@pytest.mark.parametrize("command", ["sweep", "pretrain", "predict"])
def test_commands_that_select_cannot_open_the_test_images(tmp_path, command):
    opened = []
    with pytest.raises(PermissionError, match="final evaluation"):
        open_test_images(Config(), RunFolder(tmp_path, command), "hash", lambda: opened.append(1))
    assert not opened
    assert not (tmp_path / "runs" / "test_ledger.jsonl").exists()


def test_an_evaluation_is_in_the_ledger_before_it_happens(tmp_path):
    ledger = tmp_path / "runs" / "test_ledger.jsonl"
    seen = open_test_images(Config(), RunFolder(tmp_path / "r", "finetune"), "abc", lambda: read_jsonl(ledger))
    assert len(seen) == 1
    assert seen[0]["data"] == "abc"
    assert seen[0]["run"] == str(tmp_path / "r")
    assert set(seen[0]) == {"time", "command", "run", "data", "commit"}
