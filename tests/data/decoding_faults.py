"""What a hostile image does to its decoder. Decoder processes import this module."""

import errno
import os
import signal
import time

from keras_inat.data import decoders

# Each kind of fault, with the reason why its file is refused.
REASONS = {
    "segmentation fault": r"cannot be decoded \(it ends its decoder with SIGSEGV\)",
    "abort": r"cannot be decoded \(it ends its decoder with SIGABRT\)",
    "exit": r"cannot be decoded \(it ends its decoder with the exit code 3\)",
    "stall": r"cannot be decoded \(its decoder was stopped after \d+ s\)",
    "closed output": r"cannot be decoded \(it ends its decoder with SIGKILL\)",
    "allocation": "needs more memory than there is",
}
# Decoder processes import a module of this name when they start. It plants the faults into Pillow.
PLUG_IN = """
from PIL import Image

def open_image(file, *arguments, _open=Image.open, **options):
    import decoding_faults
    kind = file.getvalue().rpartition(b"FAULT ")[2].decode(errors="replace")
    if kind in decoding_faults.REASONS:
        decoding_faults.fail(kind)
    return _open(file, *arguments, **options)

Image.open = open_image
"""


def fail(kind):
    match kind:
        case "segmentation fault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "stall":
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # instead of a minute
            time.sleep(60)
        case "closed output":
            os.closerange(3, 64)
            time.sleep(60)
        case "allocation":
            bytearray(1 << 40)


def decode(kinds, memory):
    """Yields the outcomes of files that are only kinds of faults."""
    for kind in kinds:
        match kind:
            case "noise":
                print("noise", flush=True)
            case "full disk":
                raise OSError(errno.ENOSPC, "No space left on device")
            case "forever":
                time.sleep(60)
            case "large":
                if memory < 100 << 20:
                    yield MemoryError("needs 100 MiB")
                    continue
        try:
            with decoders.limit_time():
                fail(kind)
            yield f"{kind}, decoded"
        except MemoryError as error:
            yield error


def refuse(kind, reason):
    return reason
