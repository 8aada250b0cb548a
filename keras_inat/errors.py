"""The one error a user should ever see."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend. Its text is the one line printed before exit code 2."""


def describe_choices(received: object, choices: Iterable[str]) -> str:
    """Says what is accepted, what came instead, and which choice was probably meant."""
    choices = sorted(choices)
    near = difflib.get_close_matches(str(received), choices, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"must be one of {{{', '.join(choices)}}}. Received: {received!r}.{hint}"
