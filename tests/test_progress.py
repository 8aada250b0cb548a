import contextlib
import io
import itertools
import re
import sys
import types

import pytest
from rich.console import Console
from rich.live import Live

from keras_inat import progress
from keras_inat.progress import track_progress


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, in a list of one number."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def open_terminal(monkeypatch):
    """Replaces stdout by a terminal of 100 columns without colors."""

    def open_terminal(stdout=None, is_terminal=True):
        terminal = stdout or io.StringIO()
        terminal.isatty = lambda: is_terminal
        monkeypatch.setattr(sys, "stdout", terminal)
        return terminal

    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    return open_terminal


def read_bars(terminal):
    """Returns the different bars in the order of their appearance."""
    lines = re.split(r"\x1b\[\?25l|\x1b\[2K|\r|\n", terminal.getvalue())
    lines = [line.rstrip() for line in lines if "/1,000" in line]
    return [line for line, _ in itertools.groupby(lines)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (90, "2 min"), (3560, "59 min"), (3599, "1.0 h"), (9000, "2.5 h")],
)
def test_duration_in_the_largest_unit_that_it_fills(seconds, text):
    assert progress.format_seconds(seconds) == text


def test_pipe_gets_one_line_for_short_work(capsys):
    with track_progress("decoding", 1000, "images") as advance:
        advance(500)
        assert capsys.readouterr().out == ""
        advance(500)
    assert capsys.readouterr().out == "decoding: 1,000/1,000 images\n"


def test_pipe_gets_a_line_every_30_seconds(clock, capsys):
    with track_progress("decoding", 1000, "images", completed=200) as advance:
        for _ in range(8):
            clock[0] += 20
            advance(100)
    assert capsys.readouterr().out.splitlines() == [
        "decoding: 400/1,000 images  5/s  2 min left",
        "decoding: 600/1,000 images  5/s  1 min left",
        "decoding: 800/1,000 images  5/s  40 s left",
        "decoding: 1,000/1,000 images  5/s",
    ]


def test_transient_work_gets_no_last_line_in_a_pipe(clock, capsys):
    with track_progress("epoch 1", 1000, "steps", transient=True) as advance:
        for _ in range(3):
            clock[0] += 15
            advance(300)
    assert capsys.readouterr().out == "epoch 1: 600/1,000 steps  20/s  20 s left\n"


def test_work_that_fails_or_is_complete_prints_nothing(open_terminal):
    terminal = open_terminal()
    with track_progress("decoding", 10, completed=10):
        pass
    assert terminal.getvalue() == ""
    terminal.isatty = lambda: False
    with contextlib.suppress(ValueError), track_progress("decoding", 10) as advance:
        advance(5)
        raise ValueError("no image")
    assert terminal.getvalue() == ""


def test_terminal_gets_a_bar_with_rate_and_time_left(clock, open_terminal):
    terminal = open_terminal()
    with track_progress("decoding [b] {a}", 1000, "images") as advance:
        clock[0] += 0.05  # too early for another bar
        advance(1)
        clock[0] += 10
        advance(499)
        clock[0] += 9.95
        advance(500)
    begun, half, whole = read_bars(terminal)
    assert begun == f"decoding [b] {{a}} {24 * ' '}     0/1,000 images"
    assert half == f"decoding [b] {{a}} {12 * '━'}{12 * ' '}   500/1,000 images  50/s  10 s left"
    assert whole == f"decoding [b] {{a}} {24 * '━'} 1,000/1,000 images  50/s"


def test_printed_lines_stand_above_the_bar(open_terminal, capfd):
    terminal = open_terminal()
    with track_progress("decoding", 1000) as advance:
        advance(500)
        print("a line")
        print("warning: a message", file=sys.stderr)
        advance(500)
    text = terminal.getvalue()
    assert "\x1b[2Ka line\n" in text
    assert text.endswith("\n\x1b[?25h")
    assert sys.stdout is terminal
    assert capfd.readouterr().err == "warning: a message\n"  # stderr is no terminal


def test_transient_bar_is_removed(open_terminal):
    terminal = open_terminal()
    with track_progress("epoch 1", 1000, transient=True) as advance:
        advance(1000)
    assert terminal.getvalue().endswith("\n\x1b[?25h\r\x1b[1A\x1b[2K")


def test_nothing_is_shown_within_another_display(open_terminal):
    terminal = open_terminal()
    with Live("trials", console=Console(), auto_refresh=False), track_progress("decoding", 1000) as advance:
        advance(1000)
    with track_progress("outer", 1000), track_progress("inner", 1000) as advance:
        advance(1000)
    assert "decoding" not in terminal.getvalue()
    assert "outer" in terminal.getvalue()
    assert "inner" not in terminal.getvalue()


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_forced_colors_do_not_make_a_pipe_a_terminal(variable, monkeypatch, capsys):
    monkeypatch.setenv(variable, "1")
    with track_progress("decoding", 10) as advance:
        advance(10)
    assert capsys.readouterr().out == "decoding: 10/10\n"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_ascii_stdout_gets_escapes(is_terminal, open_terminal):
    stdout = open_terminal(io.TextIOWrapper(io.BytesIO(), "ascii"), is_terminal)
    with track_progress("decoding vögel", 10) as advance:
        advance(10)
    stdout.flush()
    assert rb"decoding v\xf6gel" in stdout.buffer.getvalue()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_work_survives_a_closed_stdout(is_terminal, open_terminal, monkeypatch):
    terminal = open_terminal(is_terminal=is_terminal)
    terminal.close()
    for stdout in (terminal, None):
        monkeypatch.setattr(sys, "stdout", stdout)
        with track_progress("decoding", 10) as advance:
            advance(10)


def test_notebook_gets_a_widget(monkeypatch):
    shown = []

    class Output:
        def __enter__(self):
            pass

        def __exit__(self, *_):
            pass

        def clear_output(self, wait):
            pass

    display = types.SimpleNamespace(display=lambda *shown_now, **_: shown.extend(shown_now))
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setitem(sys.modules, "ipywidgets", types.SimpleNamespace(Output=Output, __spec__=object()))
    monkeypatch.setattr("rich.console.Console", lambda: Console(force_jupyter=True))
    with track_progress("decoding", 1000) as advance:
        advance(1000)
    assert isinstance(shown[0], Output)
    assert any("1,000/1,000" in output._repr_mimebundle_([], [])["text/html"] for output in shown[1:])


def test_notebook_without_widgets_gets_lines(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setattr("rich.console.Console", lambda: Console(force_jupyter=True))
    with track_progress("decoding", 1000) as advance:
        advance(1000)
    assert capsys.readouterr().out == "decoding: 1,000/1,000\n"
