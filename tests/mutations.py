"""Seeded damage to files: what a disk, an editor, a copy or an attacker may do to them."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_inat.errors import UserError

WRONG_VALUES = (None, True, -1, 0, 1e30, -1e30, float("nan"), float("inf"), 10**400, "", "x", "\0", [], {}, [[]])


def damage(path: Path, seed: int, others: list[Path] | None = None) -> str:
    """Damages a file in a way that the seed chooses. Returns the damage in words.

    With `others`, the content of one of these files may take the place of its own. Half of the damage to a text of
    JSON, or of lines of JSON, changes its keys and values, so that it stays JSON.
    """
    chance = random.Random(seed)
    content = path.read_bytes()
    if others and chance.random() < 0.1:
        other = chance.choice(others)
        path.write_bytes(other.read_bytes())
        return f"the content of {other.name}"
    if path.suffix in (".json", ".jsonl") and chance.random() < 0.5:
        text, words = _damage_json(content.decode(), chance)
        path.write_text(text, encoding="utf-8")
        return words
    action = chance.choice(BYTES)
    path.write_bytes(action(content, chance))
    return action.__name__.strip("_").replace("_", " ")


def replace(path: Path, seed: int) -> str:
    """Puts nothing, or something that is not a file, in the place of a file. Returns it in words."""
    path.unlink()
    kind = random.Random(seed).choice(("nothing", "a folder", "a pipe", "a link to nothing", "a link to itself"))
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind != "nothing":
        path.symlink_to("nowhere" if kind == "a link to nothing" else path.name)
    return kind


def damage_one(paths: list[Path], seed: int, others: list[Path]) -> tuple[Path, str]:
    """Damages or replaces one of several files. Returns its path, and the damage in words."""
    path = random.Random(f"file {seed}").choice(paths)
    return path, replace(path, seed) if seed % 5 == 0 else damage(path, seed, others)


class DamagedRuns:
    """Copies of the folder `runs/`, each with a damaged file.

    Args:
        is_damaged: Returns True for the path of a file that may be damaged.
    """

    def __init__(self, is_damaged: Callable[[Path], bool]) -> None:
        shutil.copytree("runs", "whole")
        self.files = [path for path in sorted(Path("whole").rglob("*")) if path.is_file() and path.stat().st_size]
        self.own = [Path("runs", path.relative_to("whole")) for path in self.files]
        self.own = [path for path in self.own if is_damaged(path)]

    def resume(self, seed: int, resume: Callable[[], Any]) -> tuple[Path, str, Any, str]:
        """Resumes after the damage that a seed chooses.

        Returns the damaged file, the damage in words, the outcome, which is None after an error, and its message.
        """
        shutil.rmtree("runs")
        shutil.copytree("whole", "runs")
        path, words = damage_one(self.own, seed, self.files)
        try:
            return path, words, resume(), ""
        except (UserError, OSError) as error:
            return path, words, None, str(error)


def _damage_json(text: str, chance: random.Random) -> tuple[str, str]:
    """Changes a value, a key or a line."""
    lines = text.split("\n")
    try:
        document = json.loads(text)
        number = None
    except ValueError:  # lines of JSON
        number = chance.randrange(len(lines) - 1)
        document = json.loads(lines[number])
    places = list(_list_places(document))
    holder, key = chance.choice(places)
    kind = chance.choice(("wrong value", "missing value", "duplicated key", "near value", "unknown key"))
    if kind == "missing value":
        del holder[key]
    elif kind == "near value" and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = holder[key] * 1.5 + 0.25
    elif kind == "unknown key" and isinstance(holder, dict):
        holder["unknown"] = 1
    else:
        holder[key] = chance.choice(WRONG_VALUES)
    written = json.dumps(document)
    if kind == "duplicated key" and isinstance(document, dict):
        name = next(iter(document))
        written = f'{written[:-1]}, "{name}": {json.dumps(chance.choice(WRONG_VALUES[:3]))}}}'
    if number is None:
        return written, f"{kind} at {key!r}"
    lines[number] = written
    return "\n".join(lines), f"{kind} at {key!r} of line {number + 1}"


def _list_places(document: Any) -> Any:
    """Yields every container in a document with each of its keys or indices."""
    for key in list(document) if isinstance(document, dict) else range(len(document)):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from _list_places(document[key])


def _flipped_bit(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _truncated(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def _missing_part(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    return content[:start] + content[start + chance.randint(1, 64) :]


def _repeated_part(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    return content[:start] + content[start : start + chance.randint(1, 64)] + content[start:]


def _zeroed_block(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    end = min(len(content), start + 512)
    return content[:start] + bytes(end - start) + content[end:]


def _random_block(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    end = min(len(content), start + 512)
    return content[:start] + chance.randbytes(end - start) + content[end:]


def _empty(content: bytes, chance: random.Random) -> bytes:
    return b""


def _garbage(content: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.randint(1, 2 * len(content)))


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flipped_bit,
    _flipped_bit,
    _flipped_bit,
    _truncated,
    _missing_part,
    _repeated_part,
    _zeroed_block,
    _random_block,
    _empty,
    _garbage,
)
