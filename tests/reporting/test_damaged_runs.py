"""The report of runs with a damaged file: the page is as before, or a line names the file."""

import pytest
from mutations import damage
from report_workshop import Workshop

from keras_inat import plotting
from keras_inat.errors import UserError
from keras_inat.reporting.page import write_report


def test_the_page_of_damaged_runs_is_as_before_or_a_line_names_the_file(
    workshop: Workshop, list_seeds, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plotting.STYLE, "savefig.dpi", 30)
    settings = [{"model.filters": 8 * (1 + index % 3)} for index in range(6)]
    workshop.add_sweep("first", settings, [0.3, 0.32, 0.34, None, 0.38, 0.36])
    workshop.add_run(seed=0, correct=60, val=0.52)
    workshop.add_run(seed=1, correct=64, val=0.55)
    workshop.add_finetuned("head", correct=80, val=0.8)
    workshop.add_suspects(3)
    write_report(workshop.config)
    sound = workshop.read_page()
    capsys.readouterr()
    write_report(workshop.config)
    assert workshop.read_page() == sound
    assert capsys.readouterr().err == ""
    files = [path for path in sorted(workshop.runs.rglob("*")) if path.is_file() and path.stat().st_size]
    for seed in list_seeds(8):
        path = files[seed % len(files)]
        content = path.read_bytes()
        words = damage(path, seed, files)
        try:
            write_report(workshop.config)
            said = capsys.readouterr().err
        except UserError as error:
            said = str(error)
        assert path.name in said or workshop.read_page() == sound, (seed, path, words)
        path.write_bytes(content)


def test_a_damaged_ledger_is_the_first_sentence_of_the_page(workshop: Workshop) -> None:
    workshop.add_run()
    workshop.add_run(seed=1)
    ledger = workshop.runs / "test_ledger.jsonl"
    ledger.write_bytes(b"garbage")
    write_report(workshop.config)
    text = workshop.read_text()
    fault = "The test ledger was damaged or changed by hand: line 1 is damaged, line 2 was removed or changed"
    assert fault in text
    assert text.index(fault) < text.index("test accuracy")
    assert "no model was evaluated" not in text
