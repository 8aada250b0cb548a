"""stdout and stderr: what their encoding lacks is written in other characters, and they may be closed."""

import codecs
import io
import os
import sys

REPLACED = {"\xa0": " ", "−": "-", "×": "x", "–": "-", "…": "...", "→": "->", "“": '"', "”": '"'}
ERRORS = "keras_inat.replace"


def prepare_streams() -> None:
    """Lets stdout and stderr write any text, also file names that are no text, and opens closed ones."""
    codecs.register_error(ERRORS, _replace)
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # otherwise the next file to be opened would have its descriptor
            stream = os.fdopen(os.open(os.devnull, os.O_RDWR), "w" if descriptor else "r", encoding="utf-8")
            setattr(sys, name, stream)
        if isinstance(stream, io.TextIOWrapper) and descriptor:  # not that of a test
            stream.reconfigure(errors=ERRORS)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(REPLACED.get(one) or ascii(one)[1:-1] for one in characters), error.end
