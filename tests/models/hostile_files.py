"""Model files and files of weights that attack their reader, each in another way."""

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

HUGE = 10**11  # numbers


def build_honest(size: int = 16) -> keras.Model:
    """Builds a small network with a network inside, the usual way of transfer learning."""
    image = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(image)
    inner = keras.Model(image, keras.layers.ReLU(name="relu")(x), name="inner")
    inner.compile("adam", "mse")
    outer = keras.Input((size, size, 3), name="image")
    x = inner(keras.layers.Rescaling(1 / 255, name="scale")(outer), training=False)
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(outer, keras.layers.Dense(3, activation="softmax", name="classes")(x))


class Editor:
    """The honest model file, with changes."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        self.config = json.loads(self.members["config.json"])

    def write(self, path: Path, compression: int = zipfile.ZIP_STORED) -> None:
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in self.members.items():
                archive.writestr(name, content)

    def find(self, name: str) -> dict[str, Any]:
        """Returns the object of a layer of the outer network."""
        return next(layer for layer in self.config["config"]["layers"] if layer["name"] == name)

    def replace(self, name: str, class_name: str, module: str = "keras.layers", **config: Any) -> None:
        """Puts a layer of another class into the place of one of the outer network."""
        layer = self.find(name)
        registered = config.pop("registered_name", None)
        layer |= {"class_name": class_name, "module": module, "registered_name": registered}
        layer["config"] = {"name": name} | config


def _edit_config(change: Callable[[Editor], Any]) -> Callable[[Path, Path], None]:
    def write(honest: Path, path: Path) -> None:
        editor = Editor(honest)
        change(editor)
        editor.members["config.json"] = json.dumps(editor.config).encode()
        editor.write(path)

    return write


def _function(module: str, name: str) -> dict[str, Any]:
    return {"class_name": "function", "module": module, "config": name, "registered_name": name}


def _constant_call(editor: Editor) -> None:
    """A layer that is applied to a constant is computed while the network is built."""
    editor.replace("scale", "Resizing", height=10**5, width=10**5)
    constant = {"class_name": "__numpy__", "config": {"value": [[[[1.0]]]], "dtype": "float32"}}
    editor.find("scale")["inbound_nodes"] = [{"args": [constant], "kwargs": {"note": "__keras_tensor__"}}]


def _inner(editor: Editor) -> dict[str, Any]:
    return editor.find("inner")


CONFIGS: dict[str, Callable[[Editor], Any]] = {
    "lambda": lambda editor: editor.replace(
        "scale", "Lambda", function={"class_name": "__lambda__", "config": {"value": ["4wEA", None, None]}}
    ),
    "named-lambda": lambda editor: editor.replace("scale", "Lambda", function=_function("keras.utils", "get_file")),
    "module-os": lambda editor: editor.replace("scale", "system", "os", command="touch ran"),
    "module-of-keras": lambda editor: editor.replace("scale", "get_file", "keras.utils", origin="http://127.0.0.1/x"),
    "import": lambda editor: editor.replace("scale", "Popen", "keras.src.utils.python_utils"),
    "function": lambda editor: editor.replace("scale", "Activation", activation=_function("os", "system")),
    "registered": lambda editor: editor.replace(
        "scale", "Rescaling", scale=1.0, registered_name="keras_inat>IndependentAverage"
    ),
    "custom-class": lambda editor: editor.replace("scale", "Rescale", "stranger", registered_name="stranger>Rescale"),
    "no-module": lambda editor: editor.find("scale").pop("module"),
    "typespec": lambda editor: editor.replace("scale", "__typespec__", "tensorflow"),
    "bytes": lambda editor: editor.find("scale")["config"].update(
        scale={"class_name": "__numpy__", "config": {"value": ["x"], "dtype": "S4000000000"}}
    ),
    "embedding": lambda editor: editor.replace("scale", "Embedding", input_dim=10**9, output_dim=10**3),
    "string-lookup": lambda editor: editor.replace("scale", "StringLookup", vocabulary="/etc/passwd"),
    "text-vectorization": lambda editor: editor.replace("scale", "TextVectorization", vocabulary="/etc/passwd"),
    "hashing": lambda editor: editor.replace("scale", "Hashing", num_bins=10**9),
    "saved-model": lambda editor: editor.replace("scale", "TFSMLayer", filepath="/tmp"),
    "wrapper": lambda editor: editor.replace(
        "scale", "TimeDistributed", layer={"class_name": "Lambda", "module": "keras.layers", "config": {}}
    ),
    "huge-dense": lambda editor: editor.find("classes")["config"].update(units=10**9),
    "huge-kernel": lambda editor: _inner(editor)["config"]["layers"][1]["config"].update(kernel_size=[10**5, 10**5]),
    "huge-build": lambda editor: editor.find("classes").update(build_config={"input_shape": [None, 10**10]}),
    "huge-output": lambda editor: editor.replace("average", "UpSampling2D", size=[10**6, 10**6]),
    "huge-padding": lambda editor: editor.replace("average", "ZeroPadding2D", padding=10**7),
    "huge-dilation": lambda editor: _inner(editor)["config"]["layers"][1]["config"].update(
        dilation_rate=[10**6, 10**6]
    ),
    "huge-integer": lambda editor: editor.find("classes")["config"].update(units=10**4000),
    "negative": lambda editor: editor.find("classes")["config"].update(units=-5),
    "not-a-number": lambda editor: editor.find("classes")["config"].update(units=float("nan")),
    "constant-call": _constant_call,
    "many-layers": lambda editor: editor.config["config"].update(layers=editor.config["config"]["layers"] * 2_000),
    "loop": lambda editor: editor.find("scale").update(inbound_nodes=editor.find("average")["inbound_nodes"]),
    "no-layers": lambda editor: editor.config["config"].update(layers=[]),
    "a-list": lambda editor: setattr(editor, "config", [1, 2]),
    "a-layer": lambda editor: setattr(editor, "config", editor.find("classes")),
    "channels-first": lambda editor: _inner(editor)["config"]["layers"][1]["config"].update(
        data_format="channels_first"
    ),
}


def _write_raw_config(text: str) -> Callable[[Path, Path], None]:
    def write(honest: Path, path: Path) -> None:
        editor = Editor(honest)
        editor.members["config.json"] = text.encode()
        editor.write(path)

    return write


def _add_member(name: str, content: bytes = b"x", **attributes: Any) -> Callable[[Path, Path], None]:
    def write(honest: Path, path: Path) -> None:
        Editor(honest).write(path)
        with zipfile.ZipFile(path, "a") as archive:
            info = zipfile.ZipInfo(name)
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, content)

    return write


def _write_many_members(honest: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"assets/{number}", b"")


def _bomb(member: str) -> Callable[[Path, Path], None]:
    """Half a gigabyte of zeros in half a megabyte."""

    def write(honest: Path, path: Path) -> None:
        editor = Editor(honest)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, content in editor.members.items():
                if name != member:
                    archive.writestr(name, content)
            with archive.open(member, "w", force_zip64=True) as file:
                for _ in range(50):
                    file.write(bytes(10_000_000))

    return write


def _lie_about_size(honest: Path, path: Path) -> None:
    """The list of members declares 4 GB of weights."""
    content = bytearray(honest.read_bytes())
    place = content.rindex(b"model.weights.h5") - 46
    content[place + 20 : place + 28] = struct.pack("<LL", 2**32 - 2, 2**32 - 2)
    path.write_bytes(content)


def _write_sparse_weights(honest: Path, path: Path) -> None:
    """Weights of three gigabytes of zeros, which take no place on disk."""
    editor = Editor(honest)
    weights = editor.members.pop("model.weights.h5")
    editor.write(path)
    name = b"model.weights.h5"
    size = 3 * 10**9
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
        members = len(archive.namelist())
    content = path.read_bytes()
    directory = content[start : content.rindex(b"PK\5\6")]
    head = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, size, size, len(name), 0) + name
    entry = (
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, size, size, len(name), 0, 0, 0, 0, 0, start)
        + name
    )
    with open(path, "wb") as file:
        file.write(content[:start] + head + weights)
        file.truncate(start + len(head) + size)
        file.seek(0, 2)
        place = file.tell()
        file.write(directory + entry)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, members + 1, members + 1, len(directory + entry), place, 0))


ARCHIVES: dict[str, Callable[[Path, Path], None]] = {
    "deep": _write_raw_config("[" * 100_000 + "]" * 100_000),
    "deep-objects": _write_raw_config('{"class_name": "Functional", "config": ' * 500 + "1" + "}" * 500),
    "many-digits": _write_raw_config("9" * 100_000),
    "long-config": _write_raw_config("[" + "[]," * 5_000_000 + "[]]"),
    "no-json": _write_raw_config("\0"),
    "second-config": _add_member("config.json", b"{}"),
    "outside": _add_member("../outside.txt"),
    "absolute": _add_member("/tmp/outside.txt"),
    "asset": _add_member("assets/vocabulary.txt"),
    "link": _add_member("assets", b"/etc", external_attr=0o120777 << 16),
    "many-members": _write_many_members,
    "config-bomb": _bomb("config.json"),
    "weights-bomb": _bomb("model.weights.h5"),
    "lie": _lie_about_size,
    "sparse": _write_sparse_weights,
    "not-an-archive": lambda honest, path: path.write_bytes(b"PK\3\4" + bytes(1000)),
    "empty": lambda honest, path: path.write_bytes(b""),
}


def _find_dataset(root: h5py.File) -> tuple[h5py.Group, str]:
    """Returns the last weight of a file: its group and its name."""
    found = []
    root.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) and item.ndim > 1 else None)
    group, _, name = found[-1].rpartition("/")
    return root[group], name


def _external_dataset(group: h5py.Group, name: str) -> None:
    shape = group[name].shape
    del group[name]
    group.create_dataset(name, shape, "f4", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])


def _virtual_dataset(group: h5py.Group, name: str) -> None:
    shape = group[name].shape
    del group[name]
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "weights", shape)
    group.create_virtual_dataset(name, layout)


def _replace(**settings: Any) -> Callable[[h5py.Group, str], None]:
    def change(group: h5py.Group, name: str) -> None:
        given = {"shape": group[name].shape, "dtype": "f4"} | settings
        del group[name]
        group.create_dataset(name, **given)

    return change


def _link(kind: Any) -> Callable[[h5py.Group, str], None]:
    def change(group: h5py.Group, name: str) -> None:
        group.move(name, "elsewhere")
        group[name] = kind(group)

    return change


def _repeat_names(group: h5py.Group, name: str) -> None:
    listed = [key for key in group.parent.attrs if key.startswith("weight_names")] or ["weight_names"]
    group.parent.attrs.pop(listed[0], None)
    group.parent.attrs[listed[0]] = [group[name].name.rpartition("/")[2].encode()] * 1_000


def _compressed(group: h5py.Group, name: str) -> None:
    """Two gigabytes of zeros in a few kilobytes."""
    _replace(shape=(500, 10**6), chunks=(1, 10**6), compression="gzip")(group, name)
    group[name][0] = 1


WEIGHTS: dict[str, Callable[[h5py.Group, str], None]] = {
    "external-link": _link(lambda group: h5py.ExternalLink("/etc/other.h5", "/weights")),
    "soft-link": _link(lambda group: h5py.SoftLink(f"{group.name}/elsewhere")),
    "loop-link": _link(lambda group: group),
    "hard-link": _link(lambda group: group["elsewhere"]),
    "external-dataset": _external_dataset,
    "virtual-dataset": _virtual_dataset,
    "declared": _replace(shape=(HUGE,)),
    "declared-in-chunks": _replace(shape=(HUGE,), chunks=(10**6,), compression="gzip"),
    "compressed": _compressed,
    "texts": _replace(dtype=h5py.string_dtype()),
    "references": _replace(dtype=h5py.ref_dtype),
    "records": _replace(dtype=[("a", "f4"), ("b", "S100")]),
    "not-finite": lambda group, name: group[name].write_direct(np.full(group[name].shape, np.nan, "f4")),
    "another-shape": _replace(shape=(3, 5), data=np.zeros((3, 5))),
    "repeated-names": _repeat_names,
    "missing": lambda group, name: group.__delitem__(name),
}


def _edit_weights(content: bytes, change: Callable[[h5py.Group, str], None]) -> bytes:
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as root:
        change(*_find_dataset(root))
    return buffer.getvalue()


def write_hostile_models(honest: Path, folder: Path) -> Iterator[Path]:
    """Yields `.keras` files, changed copies of an honest one."""
    writers = {name: _edit_config(change) for name, change in CONFIGS.items()} | ARCHIVES
    for name, write in writers.items():
        path = folder / f"{name}.keras"
        write(honest, path)
        yield path
    for name, change in WEIGHTS.items():
        if name == "repeated-names":  # nothing reads these lists in a model file
            continue
        editor = Editor(honest)
        editor.members["model.weights.h5"] = _edit_weights(editor.members["model.weights.h5"], change)
        path = folder / f"weights-{name}.keras"
        editor.write(path)
        yield path
    Editor(honest).write(folder / "recompressed.keras", zipfile.ZIP_DEFLATED)
    yield folder / "recompressed.keras"
    os.mkfifo(folder / "pipe.keras")
    yield folder / "pipe.keras"


def write_hostile_weights(honest: Path, folder: Path) -> Iterator[Path]:
    """Yields files of weights, changed copies of an honest one, with its suffixes."""
    suffixes = "".join(honest.suffixes)
    for name, change in WEIGHTS.items():
        path = folder / f"{name}{suffixes}"
        path.write_bytes(_edit_weights(honest.read_bytes(), change))
        yield path
    sparse = folder / f"sparse{suffixes}"
    with h5py.File(sparse, "w") as root:
        root.create_dataset("numbers", (10**9,), "f4")[-1] = 1  # the file has a hole of 4 GB
    os.truncate(sparse, max(sparse.stat().st_size, 4 * 10**9))
    yield sparse
