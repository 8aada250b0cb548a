"""Warnings. They go to stderr, a line each, in the form `warning: …`."""

import sys


def warn(message: str) -> None:
    """Prints a warning: what happened, and what to do about it."""
    print(f"warning: {message}", file=sys.stderr, flush=True)
