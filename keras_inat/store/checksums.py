"""Checksums of records, so that damage, and a change by hand, is noticed when a record is read."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_inat.files import read_regular

CHECKSUM = "checksum"  # the last key of a JSON record
COMMENT = (f"# {CHECKSUM} of the lines above: ", "")  # begin and end of the last line of a YAML or CSV file
WRONG = "is damaged or was changed by hand"  # follows the path of a file


def add_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns JSON values with their SHA-256."""
    return {**values, CHECKSUM: hash_values(values)}


def parse_record(text: str | bytes) -> dict[str, Any]:
    """Parses the JSON of a record and removes its checksum. A text that was changed is a ValueError."""
    try:
        values = json.loads(text)
    except RecursionError as error:  # thousands of nested brackets
        raise ValueError(str(error)) from None
    if not isinstance(values, dict) or values.pop(CHECKSUM, None) != hash_values(values):
        raise ValueError("the checksum is missing or wrong")
    return values


def sign_lines(text: str, comment: tuple[str, str] = COMMENT, subject: str = "") -> str:
    """Returns a text with a comment as its last line: the SHA-256 of the other lines, and of what they belong to."""
    begin, end = comment
    return f"{text}{begin}{hash_bytes((text + subject).encode())}{end}\n"


def check_lines(path: Path, comment: tuple[str, str] = COMMENT, subject: str = "") -> str:
    """Returns the lines of a file without their checksum.

    Raises a ValueError if they, or their subject, are not those of `sign_lines`, and an OSError if there is no file.
    """
    begin, end = comment
    lines, _, found = read_regular(path).rpartition(begin.encode())
    if found.decode(errors="replace") != f"{hash_bytes(lines + subject.encode())}{end}\n":
        raise ValueError(f"{path} {WRONG}")
    return lines.decode()


def hash_values(values: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of JSON values as hexadecimal digits."""
    return hash_bytes(json.dumps(values).encode())


def hash_bytes(content: bytes) -> str:
    """Returns the SHA-256 of bytes as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
