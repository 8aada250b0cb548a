"""stdout and stderr in any encoding: what it lacks is written in other characters."""

import codecs
import io
import sys

REPLACED = {"\xa0": " ", "−": "-", "×": "x", "–": "-", "…": "...", "→": "->", "“": '"', "”": '"'}
ERRORS = "keras_inat.replace"


def accept_all_text() -> None:
    """Lets stdout and stderr write any text, also file names that are no text."""
    codecs.register_error(ERRORS, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not closed, and no stream of a test
            stream.reconfigure(errors=ERRORS)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(REPLACED.get(one) or ascii(one)[1:-1] for one in characters), error.end
