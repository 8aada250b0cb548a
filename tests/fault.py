"""Runs a command with a fault at its n-th change of a file: `python fault.py <fault> <n> <command> ...`.

Changes are those that Python makes in the working folder: a file is opened for writing, moved, removed or synced, or a
folder is made. The faults `kill`, `term` and `int` send a signal before the change, `full` fails it and `stay-full` all
later ones, too, as a full disk does. With `limit`, no file can have more than n bytes, whoever writes it. With `count`,
the number of changes is written to stderr at the end.
"""

import errno
import os
import resource
import signal
import sys
from pathlib import Path

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
CHANGES = {"open": 0, "os.rename": 1, "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "os.truncate": 0, "os.link": 1}
FREEING = ("os.remove", "os.rmdir")  # a full disk allows it


def main(fault: str, number: int, words: list[str]) -> None:
    home = Path.cwd()
    process = os.getpid()
    count = 0
    sync = os.fsync

    def change(event: str) -> None:
        nonlocal count
        if os.getpid() != process:
            return
        count += 1
        if count == number and fault in SIGNALS:
            os.kill(process, SIGNALS[fault])
        is_full = (fault == "full" and count == number) or (fault == "stay-full" and count >= number)
        if is_full and event not in FREEING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def watch(event: str, arguments: tuple) -> None:
        if event not in CHANGES or (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            return
        place = arguments[CHANGES[event]]
        if isinstance(place, str | bytes | os.PathLike) and home in Path(os.path.abspath(os.fsdecode(place))).parents:
            change(event)

    def fail_sync(descriptor: int) -> None:
        change("fsync")
        sync(descriptor)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # processes that a shell starts with `&` ignore Ctrl-C
    os.fsync = fail_sync
    sys.addaudithook(watch)
    if fault == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
    sys.argv = ["keras-inat", *words]
    from keras_inat.__main__ import enter

    try:
        enter()
    finally:
        if fault == "count":
            print(f"changes: {count}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
