"""YAML of settings, which may come from strangers: its size is limited, and it is read without code of its own."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from keras_inat.errors import UserError, shorten_error
from keras_inat.files import read_regular, suggest_path

# Malformed YAML raises these. The last three are for an impossible date, a tag that does not fit its value, and
# thousands of nested brackets.
MALFORMED = (YAMLError, ValueError, LookupError, RecursionError)
MAX_BYTES = 1 << 18
# Aliases may repeat one value so often that no memory would hold its text.
MAX_VALUES = 100_000
MAX_BITS = 1024  # of an integer: more do not fit a floating-point number


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML 1.2 mapping (`1e-3` is a number, `no` is a word).

    Raises:
        UserError: The file cannot be read, or it is not such a mapping.
    """
    try:
        values = parse_yaml(read_regular(Path(path), MAX_BYTES).decode())
    except OSError as error:
        raise UserError(f"cannot read the configuration {str(path)!r}: {error.strerror}.{suggest_path(path)}") from None
    except MALFORMED as error:
        raise UserError(f"{path} is not valid YAML: {shorten_error(error, 300)}") from None
    if values is not None and not isinstance(values, dict):
        raise UserError(f"{path} must hold sections with settings. Received: {values!r:.80}")
    return values or {}


def parse_yaml(text: str) -> Any:
    """Parses YAML 1.2. One of `MALFORMED` says that it cannot be used."""
    values = YAML(typ="safe", pure=True).load(text)
    found = [values]
    for value in found:
        if len(found) > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES:,} values")
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise ValueError(f"it has a whole number of {value.bit_length():,} bits")
        if isinstance(value, str) and b"\0" in os.fsencode(value):  # which refuses halves of characters
            raise ValueError("it has a text with a NUL character")
        if isinstance(value, dict):
            found += [*value, *value.values()]
        elif isinstance(value, list | set | tuple):
            found += value
    return values


def format_yaml(values: Mapping[str, Any]) -> str:
    """Formats nested JSON values as YAML text."""
    yaml = YAML(typ="safe", pure=True)
    text = io.StringIO()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(dict(values), text)
    return text.getvalue()
