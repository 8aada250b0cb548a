"""The base class of every record that crosses a file or a process boundary."""

import json
from pathlib import Path
from typing import Self

import pydantic

from keras_inat.files import write_json
from keras_inat.log import warn


class Stored(pydantic.BaseModel):
    """An immutable record. Reading one checks every field and refuses unknown ones."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    def write(self, path: Path) -> None:
        """Writes the record as JSON, whole or not at all."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a record.

        Raises:
            FileNotFoundError: When there is no such file.
            ValueError: When it is not a record of this kind.
        """
        return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def read_if_sound(cls, path: Path) -> Self | None:
        """Reads a record. Returns None where there is none and, with a warning, where it is damaged."""
        try:
            return cls.read(path)
        except FileNotFoundError:
            return None
        except ValueError:
            warn(f"{path} is damaged and skipped")
            return None
