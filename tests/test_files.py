import os

import pytest

from keras_inat.files import append_jsonl, read_jsonl, remove_parts, write_whole


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


def test_of_a_folder_only_parts_are_removed(tmp_path):
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".notes").write_text("mine")
    with write_whole(tmp_path / "a.txt") as temporary:
        os.link(temporary, tmp_path / f"{temporary.name}-left")
    remove_parts(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".ipynb_checkpoints", ".notes", "a.txt"]


def test_lines_that_are_no_text_are_left_out(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"a": "\xff"}\n\n')
    append_jsonl(path, {"run": "one\u2028two"})  # which is an end of a line to some
    assert read_jsonl(path) == [{"run": "one\u2028two"}]


def test_a_line_cut_short_is_left_out(tmp_path):
    path = tmp_path / "m.jsonl"
    append_jsonl(path, {"epoch": 1})
    with open(path, "a") as file:
        file.write('{"epoch": 2, "los')
    assert read_jsonl(path) == [{"epoch": 1}]
    append_jsonl(path, {"epoch": 3})  # and takes no other with it
    assert read_jsonl(path) == [{"epoch": 1}, {"epoch": 3}]
