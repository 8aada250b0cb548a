"""Timed comparisons: all sides take turns, and each row shows the median and the range of the ratios."""

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from keras_inat.errors import UserError
from keras_inat.workers import obey_parent

# A stream first uses up what it prepared during the other turns.
SETTLE_SECONDS = 0.3
NO_TORCH = "  PyTorch is not installed: pip install torch"

# Works for a while, or once, and returns the images per second.
Turn = Callable[[], float]


class Comparison(NamedTuple):
    """A row of the table: the names of two sides, ours and a baseline."""

    ours: str
    baseline: str


def compare(images: str, size: int, comparisons: tuple[Comparison, ...], sides: dict[str, Turn], rounds: int) -> None:
    """Times all sides and prints a row for each comparison.

    Args:
        images: The name of the images.
        size: The side of the images in pixels.
        comparisons: The rows. A side that is missing in `sides` needs PyTorch, which is not installed.
        sides: The turn of each side by name.
        rounds: The number of turns of each side. Every second round reverses the order of the sides.
    """
    speeds = []
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        speeds.append({name: sides[name]() for name in order})
    print_comparisons(images, size, comparisons, speeds)


def print_comparisons(
    images: str, size: int, comparisons: tuple[Comparison, ...], speeds: list[dict[str, float]]
) -> None:
    """Prints a row for each comparison, given the images per second of each side in every round."""
    for ours, baseline in comparisons:
        if baseline in speeds[0]:
            our_median = statistics.median(turn[ours] for turn in speeds)
            baseline_median = statistics.median(turn[baseline] for turn in speeds)
            ratios = sorted(turn[ours] / turn[baseline] for turn in speeds)
            figures = (
                f"{our_median:9,.0f}{baseline_median:9,.0f}{statistics.median(ratios):9.2f} "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )
        else:
            figures = NO_TORCH
        print_row(images, size, ours, baseline, figures)


def print_row(images: str, size: int | str, ours: str, baseline: str, figures: str) -> None:
    """Prints a row of the table."""
    print(f"{images:12}{size:>5}  {ours:33}{baseline:32}{figures}", flush=True)


def stream(batches: Iterator[Any], seconds: float) -> Turn:
    """Returns a turn that takes batches for `seconds`. The images of a batch are its first element."""
    next(batches)  # starts workers and traces functions

    def turn() -> float:
        _consume(batches, SETTLE_SECONDS)
        return _consume(batches, seconds)

    return turn


@contextlib.contextmanager
def stream_apart(open_batches: Callable[..., Iterator[Any]], *arguments: Any, seconds: float) -> Iterator[Turn]:
    """Yields a turn as that of `stream`, of batches that a process of its own opens with `open_batches(*arguments)`.

    TensorFlow and PyTorch each bring their own threads and OpenMP. In one process, they slow down or abort each other.

    Raises:
        UserError: The process has ended.
    """
    context = multiprocessing.get_context("spawn")
    pipe, end = context.Pipe()
    process = context.Process(target=_serve_turns, args=(end, open_batches, arguments, seconds))
    process.start()
    end.close()  # otherwise the end of the process would not be noticed

    def receive() -> Any:
        try:
            return pipe.recv()
        except EOFError:
            process.join()
            raise UserError(f"the process of {open_batches.__name__} ended with code {process.exitcode}") from None

    def turn() -> float:
        pipe.send(True)
        return float(receive())

    try:
        receive()  # it is ready
        yield turn
    finally:
        process.terminate()
        process.join()


def _serve_turns(
    pipe: Connection, open_batches: Callable[..., Iterator[Any]], arguments: Sequence[Any], seconds: float
) -> None:
    obey_parent()
    turn = stream(open_batches(*arguments), seconds)
    pipe.send("ready")
    while pipe.recv():
        pipe.send(turn())


def _consume(batches: Iterator[Any], seconds: float) -> float:
    count = 0
    elapsed = 0.0
    began = time.perf_counter()
    while elapsed < seconds:
        count += len(next(batches)[0])
        elapsed = time.perf_counter() - began
    return count / elapsed


def time_once(work: Callable[[], Any], num_images: int) -> float:
    """Returns the images per second of one call."""
    began = time.perf_counter()
    work()
    return num_images / (time.perf_counter() - began)
