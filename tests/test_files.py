import os

import pytest

from keras_inat.files import append_jsonl, read_jsonl, write_whole


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
    append_jsonl(path, {"epoch": 3})  # and takes no other with it
    assert read_jsonl(path) == [{"epoch": 1}, {"epoch": 3}]
