import os

import pytest

from keras_inat.files import append_jsonl, read_jsonl, remove_temporary_files, write_atomically


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with write_atomically(path) as temporary:
        temporary.write_text("old")
        assert not path.exists()

    def write_badly():
        with write_atomically(path) as temporary:
            temporary.write_text("half of the ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_badly()
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["a.txt"]


def test_only_temporary_files_are_removed(tmp_path):
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".notes").write_text("mine")
    with write_atomically(tmp_path / "a.txt") as temporary:
        os.link(temporary, tmp_path / f"{temporary.name}-left")
    remove_temporary_files(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".ipynb_checkpoints", ".notes", "a.txt"]


def test_lines_that_are_not_json_are_skipped(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"a": "\xff"}\n\n')
    append_jsonl(path, {"run": "one\u2028two"})  # Unicode has a line separator of its own
    assert read_jsonl(path) == [{"run": "one\u2028two"}]


def test_an_incomplete_line_is_skipped(tmp_path):
    path = tmp_path / "m.jsonl"
    append_jsonl(path, {"epoch": 1})
    with open(path, "a") as file:
        file.write('{"epoch": 2, "los')
    assert read_jsonl(path) == [{"epoch": 1}]
    append_jsonl(path, {"epoch": 3})  # and it spoils no other line
    assert read_jsonl(path) == [{"epoch": 1}, {"epoch": 3}]
