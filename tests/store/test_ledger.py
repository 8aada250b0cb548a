import pytest

from keras_inat.settings.schema import Config
from keras_inat.store.ledger import NAMED_IMAGES, ledger_path, open_test_images, read_ledger, record_evaluation
from keras_inat.store.runs import RunFolder


@pytest.mark.parametrize("command", ["sweep", "pretrain", "predict"])
def test_commands_that_select_cannot_open_the_test_images(tmp_path, command):
    opened = []
    with pytest.raises(PermissionError, match="final evaluation"):
        open_test_images(Config(), RunFolder(tmp_path, command), "hash", lambda: opened.append(1))
    assert not opened
    assert not (tmp_path / "runs" / "test_ledger.jsonl").exists()


def test_an_evaluation_is_in_the_ledger_before_it_happens(tmp_path):
    run = RunFolder(tmp_path / "runs" / "finetune" / "r", "finetune")
    ledger = open_test_images(Config(), run, "abc", lambda: read_ledger("runs"))
    [entry] = ledger.entries
    assert (entry.command, entry.run, entry.data, entry.previous) == ("finetune", "finetune/r", "abc", "")
    assert ledger.faults == []


def record(tmp_path, names="abcd"):
    for name in names:
        record_evaluation(tmp_path, "finetune", tmp_path / "finetune" / name, "hash")
    return ledger_path(tmp_path)


def test_every_change_of_a_line_shows(tmp_path, capsys):
    path = record(tmp_path)
    assert read_ledger(tmp_path).faults == []
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    for number in range(4):
        without = lines[:number] + lines[number + 1 :]
        for changed in (
            without,
            [*lines[: number + 1], *lines[number:]],  # a line twice
            [*lines[:number], lines[number].replace(b"hash", b"hush"), *lines[number + 1 :]],
            [*lines[:number], b"\xff garbage\n", *lines[number + 1 :]],
            [*lines[:number], lines[number][:-9], *lines[number + 1 :]],  # joined with the next line
        ):
            path.write_bytes(b"".join(changed))
            ledger = read_ledger(tmp_path)
            assert ledger.faults, changed
            assert all(f"{path}: {fault}" in capsys.readouterr().err for fault in ledger.faults[:1])
    path.write_bytes(content)
    assert read_ledger(tmp_path).faults == []
    path.unlink()
    assert read_ledger(tmp_path).faults == ["line 4 was removed or changed"]


def test_a_damaged_ledger_continues_and_stays_damaged(tmp_path):
    path = record(tmp_path, "ab")
    path.write_bytes(b"garbage")
    record(tmp_path, "c")
    ledger = read_ledger(tmp_path)
    assert [entry.run for entry in ledger.entries] == ["finetune/c"]
    assert ledger.faults == ["line 1 is damaged"]


def test_a_run_without_an_entry_shows(tmp_path):
    record(tmp_path, "a")
    runs = [RunFolder(tmp_path / "finetune" / name, "finetune") for name in "ab"]
    assert read_ledger(tmp_path, runs).faults == ["the evaluation of finetune/b is missing"]
    record_evaluation(tmp_path, NAMED_IMAGES, tmp_path / "finetune" / "b", "hash")
    assert read_ledger(tmp_path, runs).faults == ["the evaluation of finetune/b is missing"]


def test_the_next_evaluation_names_the_runs_that_a_lost_ledger_had(tmp_path, capsys):
    path = record(tmp_path, "a")
    path.unlink()
    path.with_name(".test_ledger_end.json").unlink()
    (tmp_path / "finetune" / "a").mkdir(parents=True)
    (tmp_path / "finetune" / "a" / "result.json").touch()
    record(tmp_path, "b")
    assert capsys.readouterr().err == f"warning: {path}: the evaluation of finetune/a is missing\n"


@pytest.mark.parametrize("removed", ["the last line", "every line", "the end", "the last line and the end"])
def test_the_next_evaluation_does_not_hide_what_was_removed(tmp_path, removed):
    path = record(tmp_path, "abcd")
    end = path.with_name(".test_ledger_end.json")
    if "line" in removed:
        kept = [] if removed == "every line" else path.read_bytes().splitlines(keepends=True)[:-1]
        path.write_bytes(b"".join(kept))
    if "end" in removed.split():
        end.unlink()
    assert len(read_ledger(tmp_path).faults) == 1
    record(tmp_path, "e")
    assert len(read_ledger(tmp_path).faults) == 1


def test_an_evaluation_whose_predictions_are_lost_is_named(tmp_path, capsys):
    record(tmp_path, "ab")
    assert capsys.readouterr().err == ""
    record(tmp_path, "a")
    path = tmp_path / "finetune" / "a" / "test_predictions.npz"
    lost = f"warning: {path} is missing, damaged or of other weights: the test images are evaluated again\n"
    assert capsys.readouterr().err == lost


def test_a_kill_between_the_line_and_the_known_end_is_no_fault(tmp_path):
    record(tmp_path, "a")
    end = ledger_path(tmp_path).with_name(".test_ledger_end.json")
    content = end.read_bytes()
    record(tmp_path, "b")
    end.write_bytes(content)
    assert read_ledger(tmp_path).faults == []
    record(tmp_path, "c")
    assert [entry.run[-1] for entry in read_ledger(tmp_path).entries] == ["a", "b", "c"]
    assert read_ledger(tmp_path).faults == []
