"""The files that a task on another machine reads: its images, its initial weights and its teacher."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from keras_inat.data.packs import Pack, list_sizes
from keras_inat.data.scan import pixel_path
from keras_inat.files import file_size, find_cache, hash_file
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.store.runs import locate_weights, open_teacher

PIECE = 32 * 2**20  # bytes that travel at a time
INDEX = ("index.npz", "paths.json", "manifest.json", "scan.json")


class Inputs(NamedTuple):
    """Files of one folder."""

    name: str  # name of the folder of a copy
    digest: str  # SHA-256 of the first file, which changes with the content of all of them
    folder: Path  # on the machine that holds the records, absolute
    known_as: Path  # the same folder as the task names it
    sizes: dict[str, int]  # bytes of each file, by name

    @property
    def copy(self) -> Path:
        """The folder of a copy on this machine."""
        return cache() / "inputs" / f"{self.name}-{self.digest[:16]}"


def list_inputs(config: Config, pack: Pack | None) -> list[Inputs]:
    """Returns the files that training with a configuration reads."""
    inputs = []
    if pack:
        size = config.data.image_size
        pixels = [pixel_path(pack.directory, size, stored, config.data.fit).name for stored in list_sizes(config)]
        inputs.append(
            _describe(pack.directory, [name for name in (*INDEX, *pixels) if (pack.directory / name).exists()])
        )
    weights = locate_weights(config)
    if weights.is_file():
        inputs.append(_describe(weights.parent, [weights.name]))
    if teacher := open_teacher(config):
        run, _ = teacher
        inputs.append(_describe(run.path, [run.model.name, run.result.name]))
    return inputs


def move_config(config: Config, folders: Mapping[Path, Path]) -> Config:
    """Returns a configuration whose initial weights and teacher are in other folders, by the present ones."""
    weights = locate_weights(config)
    if weights.parent in folders:
        config = override(config, {"finetune.weights": str(folders[weights.parent] / weights.name)})
    if config.training.teacher and (folder := folders.get(Path(config.training.teacher))):
        config = override(config, {"training.teacher": str(folder)})
    return config


def find_copy(inputs: Inputs) -> tuple[Path, list[str]]:
    """Returns the folder on this machine with some inputs, and the names of the files that it lacks.

    A shared folder has the files under the same path.
    """
    first = inputs.folder / next(iter(inputs.sizes))
    missing = _list_missing(inputs, inputs.folder)
    if not missing and _hash(first) == inputs.digest:
        return inputs.folder, []
    return inputs.copy, _list_missing(inputs, inputs.copy)


def read_pieces(path: Path) -> Iterator[bytes]:
    """Yields the content of a file in pieces."""
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            yield piece


def cache() -> Path:
    """Returns the folder on this machine for the files of tasks that come from another one."""
    return find_cache() / "keras-inat"


def _describe(folder: Path, names: list[str]) -> Inputs:
    sizes = {name: (folder / name).stat().st_size for name in names}
    return Inputs(folder.name, _hash(folder / names[0]), folder.absolute(), folder, sizes)


def _list_missing(inputs: Inputs, folder: Path) -> list[str]:
    return [name for name, size in inputs.sizes.items() if file_size(folder / name) != size]


def _hash(path: Path) -> str:
    status = path.stat()
    return _hash_content(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _hash_content(path: Path, size: int, changed: int) -> str:
    return hash_file(path)
