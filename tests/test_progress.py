import io

import pytest

from keras_inat import progress


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (90, "2 min"), (3560, "59 min"), (3599, "1.0 h"), (9000, "2.5 h")],
)
def test_a_time_to_go_in_the_largest_unit_that_it_fills(seconds, told):
    assert progress.format_seconds(seconds) == told


def test_a_pipe_gets_one_line_at_the_end(capsys):
    for done in (0, 500, 1000):
        progress.show_progress("decoding", done, 1000)
    assert capsys.readouterr().out == "decoding: 1,000/1,000\n"


def test_a_terminal_sees_rate_and_time_left(monkeypatch):
    clock, terminal = iter([100.0, 100.05, 110.0, 120.0]), io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(progress.sys, "stdout", terminal)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    for done in (0, 1, 500, 1000):
        progress.show_progress("decoding", done, 1000)
    begun, half, whole = (line.rstrip() for line in terminal.getvalue().split("\r")[1:])
    assert begun == f"decoding  [{24 * '.'}]     0/1,000"
    assert half == f"decoding  [{12 * '#'}{12 * '.'}]   500/1,000  50/s  10 s left"
    assert whole == f"decoding  [{24 * '#'}] 1,000/1,000  50/s"
    assert terminal.getvalue().endswith("\n")
    assert not progress._started
