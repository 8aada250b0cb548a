"""Files of weights, HDF5, which may come from strangers: their content is checked before any of it is read."""

import contextlib
import io
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

NUMBERS = "fiub"  # kinds of NumPy's types
# The most that a file holds of each weight: itself, the moments of an optimizer and its averages, at twice the
# precision.
MAX_COPIES = 8
SPARE_BYTES = 2**24  # for the structure of a file and for the counters of an optimizer
# The library of HDF5 takes memory for a text before it finds that the file does not hold it, and a damaged file may
# crash it or keep it busy. Therefore a file is first read by a process of its own.
MAX_MEMORY = 2**30  # bytes of addresses of that process, beside the file
MAX_SECONDS = 30.0


def check_size(num_bytes: int, needed: int) -> None:
    """Compares the bytes of a file of weights with those that its model needs, before the file is read.

    Raises:
        ValueError: The file is too large. Keras reads the whole of it.
    """
    if num_bytes > MAX_COPIES * needed + SPARE_BYTES:
        raise ValueError(f"it holds {num_bytes:,} bytes of weights, but its model has {needed:,}")


def check_weights_apart(file: Path | io.BytesIO) -> int:
    """Checks a file of weights by `check_weights` in a process of its own."""
    command = [sys.executable, "-P", __file__]
    content = None
    if isinstance(file, Path):
        command.append(str(file))
    else:
        content = file.getbuffer()
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=MAX_SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        raise ValueError(f"reading it takes more than {MAX_SECONDS:.0f} s") from None
    if done.returncode:
        raise ValueError(
            done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or "it crashes the library of HDF5"
        )
    return int(done.stdout)


def check_weights(file: Path | io.BytesIO) -> int:
    """Checks that a file of weights holds nothing but numbers, each stored once, uncompressed and in the file itself.

    Then no reader needs more memory than the size of the file. Keras writes no other files. Links, external and virtual
    datasets lead to other files, and a compressed or an empty dataset of a few bytes may declare any size.

    Returns:
        The bytes of all numbers.

    Raises:
        ValueError: The file holds something else.
        OSError: It is damaged.
    """
    size = _measure_file(file)
    total = 0
    with h5py.File(file, "r") as root:
        for name, item in _list_items(root):
            for attribute in item.attrs:
                found = item.attrs.get_id(attribute)
                if math.prod(found.shape) * found.dtype.itemsize > size:
                    raise ValueError(f"the attribute {attribute!r} of {name!r} is larger than the file")
            if isinstance(item, h5py.Dataset):
                total += _measure(name, item, size)
            elif isinstance(file, Path):  # the weights in a model file are found without these lists
                _check_names(name, item)
    if total > size:
        raise ValueError("it declares more weights than it holds")
    return total


def _measure_file(file: Path | io.BytesIO) -> int:
    return file.stat().st_size if isinstance(file, Path) else file.getbuffer().nbytes


def _list_items(root: h5py.File) -> Iterator[tuple[str, Any]]:
    """Yields every group and dataset with its path. Each has one."""
    waiting = [("/", root)]
    known = set()
    while waiting:
        path, item = waiting.pop()
        address = h5py.h5o.get_info(item.id).addr
        if address in known:
            raise ValueError(f"{path!r} is a second name of other content")
        known.add(address)
        yield path, item
        if not isinstance(item, h5py.Group):
            continue
        for name in item:
            if not isinstance(item.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{path}{name} is a link to other content")
            child = item[name]
            if not isinstance(child, h5py.Group | h5py.Dataset):
                raise ValueError(f"{path}{name} is no weight")
            waiting.append((f"{path}{name}/", child))


def _measure(name: str, dataset: h5py.Dataset, size: int) -> int:
    """Returns the bytes of the numbers of a dataset."""
    if dataset.dtype.kind not in NUMBERS or "dtype" in dataset.attrs:
        raise ValueError(f"{name} does not hold numbers of a type that NumPy has")
    settings = dataset.id.get_create_plist()
    if settings.get_layout() not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS) or settings.get_external_count():
        raise ValueError(f"{name} is compressed, in another file or in parts, which Keras never does")
    num_bytes = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if stored != num_bytes or (dataset.id.get_offset() or 0) + stored > size:
        raise ValueError(f"{name} declares {num_bytes:,} bytes, which the file does not hold")
    return num_bytes


def _check_names(path: str, group: h5py.Group) -> None:
    """Refuses a list of weights that names one of them twice, as each name is read into memory of its own."""
    names = []
    for attribute in group.attrs:
        if attribute.startswith("weight_names"):
            names += [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]]
    if len(set(names)) < len(names) or any({"", "."} & set(name.split("/")) for name in names):
        raise ValueError(f"{path} lists a weight twice")


if __name__ == "__main__":
    import resource

    received = Path(sys.argv[1]) if sys.argv[1:] else io.BytesIO(sys.stdin.buffer.read())
    limit = MAX_MEMORY + _measure_file(received)
    with contextlib.suppress(OSError, ValueError):  # a system may not have such a limit
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        print(check_weights(received))
    except Exception as error:
        sys.exit(str(error) or type(error).__name__)
