"""How far a long job is: one line that moves on a terminal, one line at the end in a file."""

import sys


def show_progress(what: str, done: int, total: int) -> None:
    """Shows `done` of `total`; ends the line when they are equal."""
    if not sys.stdout.isatty():
        if done == total:
            print(f"{what}: {total}/{total}", flush=True)
    elif done == total or done % max(1, total // 200) == 0:
        print(f"\r{what}: {done}/{total}", end="\n" if done == total else "", flush=True)
