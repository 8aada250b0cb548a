import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_inat.errors import UserError
from keras_inat.workers import list_cores, map_in_threads, map_unordered


def square(number):
    return number * number


def refuse(number):
    raise ValueError(f"not {number}")


def kill_once(path):
    """Kills its process at the first call."""
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@pytest.mark.parametrize("num_workers", [1, 2, None])
def test_every_item_has_its_output(num_workers):
    assert sorted(map_unordered(square, range(40), num_workers)) == [number**2 for number in range(40)]
    assert list(map_unordered(square, [], num_workers)) == []


def test_threads_keep_the_order():
    def wait_and_square(number):
        time.sleep(0.02 * (number % 3 == 0))
        return number * number

    assert list(map_in_threads(wait_and_square, range(40), num_ahead=6)) == [number**2 for number in range(40)]
    assert list(map_in_threads(square, [])) == []


def test_threads_take_few_items_ahead():
    taken = []
    outputs = map_in_threads(square, (taken.append(number) or number for number in range(100)), num_ahead=10)
    assert not taken
    assert [next(outputs) for _ in range(3)] == [0, 1, 4]
    assert taken == list(range(13))
    outputs.close()
    assert taken == list(range(13))


def test_error_of_a_thread_is_raised():
    with pytest.raises(ValueError, match="not 0"):
        list(map_in_threads(refuse, range(9)))


def test_few_items_need_no_process():
    assert set(map_unordered(process_id, range(3), 2)) == {os.getpid()}
    assert os.getpid() not in set(map_unordered(process_id, range(9), 2))


def process_id(_):
    return os.getpid()


def test_error_of_a_worker_is_raised_in_the_parent():
    with pytest.raises(ValueError, match="not "):
        list(map_unordered(refuse, range(9), 2))


def test_closing_the_generator_kills_running_calls():
    outputs = map_unordered(time.sleep, [0.0, 0.0, *[60.0] * 9], 2)
    next(outputs)
    began = time.monotonic()
    outputs.close()
    assert time.monotonic() - began < 10


def test_killed_worker_loses_no_output(tmp_path, capsys):
    done = list(map_unordered(kill_once, [str(tmp_path / "mark")] * 9, 2))
    assert len(done) == 9
    assert os.getpid() not in done
    assert capsys.readouterr().err == (
        "warning: a worker process was killed; the remaining work runs in one process at a time\n"
    )


def kill_at_seven(number):
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_item_that_kills_its_process_is_named_in_the_error():
    outputs = map_unordered(kill_at_seven, range(12), 2)
    with pytest.raises(UserError, match="killed twice by the same item: 7"):
        list(outputs)


def test_workers_end_with_their_parent(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from keras_inat.workers import map_unordered\n"
        "def note(path):\n"
        "    Path(path, str(os.getpid())).touch()\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        f"    list(map_unordered(note, [{str(tmp_path / 'pids')!r}] * 9, 2))\n"
    )
    (tmp_path / "pids").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen([sys.executable, str(script)], env=environment)
    while len(pids := list((tmp_path / "pids").iterdir())) < 2:
        time.sleep(0.02)
    process.kill()
    process.wait()
    for _ in range(250):
        if not any(Path("/proc", pid.name).exists() for pid in pids):
            break
        time.sleep(0.02)
    else:
        pytest.fail("a worker outlived its parent")


def test_a_main_program_that_cannot_be_imported_needs_no_process():
    script = "from keras_inat.workers import map_unordered; print(sorted(map_unordered(abs, range(9), 2)))"
    command = [sys.executable, "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
    assert done.stdout == f"{list(range(9))}\n"
    assert "a worker process was killed" not in done.stderr


def test_at_least_one_core_may_be_used():
    assert 1 <= len(list_cores()) <= (os.cpu_count() or 1)


def test_without_semaphores_the_work_runs_in_this_process(monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_inat.workers.ProcessPoolExecutor", fail)
    assert list(map_unordered(abs, [-1] * 10, 2)) == [1] * 10
    assert capsys.readouterr().err.startswith(
        "warning: the work runs in one process, because several cannot share /dev/"
    )


def test_a_process_ends_with_its_parent_while_it_only_waits(tmp_path):
    child = (
        "import os, time\n"
        "from keras_inat.workers import end_with_parent\n"
        "with end_with_parent():\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()) + '\\n')\n"
        "    time.sleep(60)\n"
    )
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen([sys.executable, "-c", parent], env=environment)
    while not (tmp_path / "pid").exists() or not (text := (tmp_path / "pid").read_text()).endswith("\n"):
        time.sleep(0.02)
    process.kill()
    process.wait()
    for _ in range(250):
        if not Path("/proc", text.strip()).exists():
            break
        time.sleep(0.02)
    else:
        pytest.fail("a process outlived its parent")
