"""Decoder processes: image files are decoded outside of this process, so that a hostile one costs itself only.

A file that crashes its decoder, stalls it or needs too much memory is decoded again: alone, in a new process and with
more memory. If that fails as well, the file is refused with a reason.
"""

import atexit
import contextlib
import functools
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

from keras_inat.log import warn
from keras_inat.machine import read_available_memory
from keras_inat.workers import GRACE_SECONDS, list_cores

File = TypeVar("File")
Outcome = TypeVar("Outcome")

READY = "ready"
# A decoder is stopped if it takes longer for one file. The slowest accepted files take a few seconds.
MAX_SECONDS = 60
# Half of the available memory is for images that are decoded at the same time, the other half for one large image.
LARGE_FRACTION = 0.5
# A decoder process may use more memory than that for itself, and for the threads that libraries start on each core.
OWN_BYTES = 256 << 20
CORE_BYTES = 16 << 20
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # its threads would be idle

_lock = threading.Lock()
_idle: list["_Process"] = []  # One process is kept for the next call, as starting one takes longer than most images.
_is_decoder = False  # True in a decoder process


class Decoders:
    """Decodes files in decoder processes. Each thread that calls `decode` uses a process of its own.

    Args:
        num_threads: The number of such threads, which share the available memory.
    """

    def __init__(self, num_threads: int) -> None:
        self._large_memory = int(LARGE_FRACTION * read_available_memory())
        self._memory = self._large_memory // num_threads
        self._large = threading.Lock()
        self._running: set[_Process] = set()
        self._is_closed = False

    def decode(
        self,
        function: Callable[[Sequence[File], int], Iterator[Outcome | MemoryError]],
        files: Sequence[File],
        refuse: Callable[[File, str], Outcome],
    ) -> list[Outcome]:
        """Returns the outcome of each file.

        Args:
            function: A function of a module. For files and the bytes of memory that each may take, it yields the
                outcome of each file, or a `MemoryError` if a file takes more.
            files: The files.
            refuse: Builds the outcome of a file that cannot be decoded. The reason follows "it".

        Raises:
            Exception: An error of `function`.
        """
        outcomes: list[Outcome | Exception] = []
        while len(outcomes) < len(files):
            try:
                for outcome in self._run(function, files[len(outcomes) :], self._memory):
                    outcomes.append(outcome)  # noqa: PERF402, earlier outcomes survive an error
            except _DiedError as error:
                outcomes.append(error)
        return [
            self._decode_alone(function, file, refuse) if isinstance(outcome, Exception) else outcome
            for file, outcome in zip(files, outcomes, strict=True)
        ]

    def close(self) -> None:
        """Stops the processes of running calls."""
        with _lock:
            self._is_closed = True
            for process in self._running:
                process.kill()
            while len(_idle) > 1:
                _idle.pop().stop()

    def _decode_alone(
        self,
        function: Callable[[Sequence[File], int], Iterator[Outcome | MemoryError]],
        file: File,
        refuse: Callable[[File, str], Outcome],
    ) -> Outcome:
        with self._large:
            try:
                (outcome,) = self._run(function, [file], self._large_memory)
            except _DiedError as error:
                return refuse(file, str(error))
        return refuse(file, describe_lack(outcome)) if isinstance(outcome, MemoryError) else outcome

    def _run(self, function: Callable[..., Iterator[Any]], files: Sequence[Any], memory: int) -> Iterator[Any]:
        process = self._take_process()
        if process is None:
            yield from function(files, memory)
            return
        is_whole = False
        try:
            yield from process.call(function, files, memory, self._large_memory)
            is_whole = True
        finally:
            with _lock:
                self._running.discard(process)
                if is_whole:
                    _idle.append(process)
            if not is_whole:
                process.stop()

    def _take_process(self) -> "_Process | None":
        """Returns an idle process or a new one; None, with a warning, if none can be started."""
        with _lock:
            while _idle:
                process = _idle.pop()
                if process.is_usable():
                    return self._register(process)
        try:
            process = _Process()
        except (OSError, _DiedError) as error:
            _warn_of_missing_process(str(error))
            return None
        with _lock:
            return self._register(process)

    def _register(self, process: "_Process") -> "_Process":
        if self._is_closed:
            process.stop()
            raise RuntimeError("the decoders are closed")
        self._running.add(process)
        return process


def describe_lack(error: MemoryError) -> str:
    """Returns the reason for a lack of memory, which follows "it". Python itself gives none."""
    return str(error) or "needs more memory than there is"


class _DiedError(Exception):
    """A decoder process has ended. The message is a reason for its file, and follows "it"."""


class _Raised(NamedTuple):
    """An error that is not one of a file."""

    error: Exception


class _Process:
    """A decoder process, seen from the process that uses it. It ends with the latter, as its input ends then."""

    def __init__(self) -> None:
        paths = [os.path.abspath(path) for path in sys.path]
        code = f"import sys; sys.path[:] = {paths!r}; from {__name__} import serve; serve()"
        self._owner = os.getpid()
        # In a session of its own, because Ctrl-C is for the process that uses it.
        self._popen = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, **ENVIRONMENT},
        )
        self._input = cast(BinaryIO, self._popen.stdin)
        self._output = cast(BinaryIO, self._popen.stdout)
        try:
            self._read()  # `READY`
        except _DiedError:
            self.stop()
            raise

    def is_usable(self) -> bool:
        """Returns True if the process runs, and was not started before this process was forked."""
        return self._owner == os.getpid() and self._popen.poll() is None

    def call(self, *task: Any) -> Iterator[Any]:
        """Yields the outcome of each file of a task for `serve`."""
        try:
            _write(task, self._input)
        except OSError:
            raise _DiedError(self._explain_end()) from None
        for _ in task[1]:
            yield self._read()

    def _read(self) -> Any:
        try:
            outcome = pickle.load(self._output)
        except Exception:  # of a process that has ended, or that writes anything else
            raise _DiedError(self._explain_end()) from None
        if isinstance(outcome, _Raised):
            raise outcome.error
        return outcome

    def _explain_end(self) -> str:
        """Returns the reason for the end of the process, which is ended if it does not end by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(GRACE_SECONDS)
        self._popen.kill()
        code = self._popen.wait()
        if code == -signal.SIGALRM:
            return f"cannot be decoded (its decoder was stopped after {MAX_SECONDS} s)"
        end = f"the exit code {code}" if code >= 0 else signal.Signals(-code).name
        return f"cannot be decoded (it ends its decoder with {end})"

    def kill(self) -> None:
        """Kills the process, so that a thread that waits for an outcome gets an error."""
        self._popen.kill()

    def stop(self) -> None:
        """Kills the process and releases everything that belongs to it."""
        self._popen.kill()
        self._popen.wait()
        self._output.close()
        with contextlib.suppress(OSError):  # a task may be incomplete
            self._input.close()


@functools.cache
def _warn_of_missing_process(reason: str) -> None:
    warn(f"images are decoded in this process, because another cannot be started: {reason}")


@atexit.register
def stop_idle() -> None:
    """Stops the process that is kept for the next call."""
    while _idle:
        process = _idle.pop()
        if process.is_usable():
            process.stop()


@contextlib.contextmanager
def limit_time() -> Iterator[None]:
    """Ends a decoder process if the decoding of a file takes too long, even if it never returns to Python."""
    if not _is_decoder or not hasattr(signal, "setitimer"):
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def serve() -> None:
    """Runs the tasks of another process, which come by stdin. The outcomes go to stdout, until stdin ends.

    A task is a function with the arguments files and bytes, as in `Decoders.decode`, and the bytes of one large image.
    """
    global _is_decoder
    _is_decoder = True
    outcomes = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no outcome
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    own_bytes = _prepare_limits()
    _write(READY, outcomes)
    while True:
        try:
            function, files, memory, large_memory = pickle.load(sys.stdin.buffer)
            _limit_memory(own_bytes + large_memory)
            for outcome in function(files, memory):
                _write(outcome, outcomes)
        except (EOFError, BrokenPipeError):
            os._exit(0)  # The other process is gone, or needs no more.
        except Exception as error:
            error.add_note(traceback.format_exc())
            _write(_Raised(error), outcomes)


def _write(outcome: Any, file: BinaryIO) -> None:
    pickle.dump(outcome, file)
    file.flush()


def _prepare_limits() -> int:
    """Forbids core dumps. Returns the bytes of memory that this process may use without an image."""
    with contextlib.suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return OWN_BYTES + CORE_BYTES * len(list_cores())


def _limit_memory(num_bytes: int) -> None:
    """Lets allocations beyond so many bytes fail, so that the system kills no process for them."""
    with contextlib.suppress(ImportError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = num_bytes if hard == resource.RLIM_INFINITY else min(num_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
