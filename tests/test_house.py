"""The architecture: imports go down, and TensorFlow stays in its rooms."""

import ast
from pathlib import Path

import keras_inat

PACKAGE = Path(keras_inat.__file__).parent
# From the top floor to the ground. Rooms on the same floor do not import each other.
FLOORS = [
    {"__main__", "api"},
    {"command_line"},
    {"commands"},
    {"bench"},
    {"reporting", "search"},
    {"executors"},
    {"explain", "export", "training"},
    {"models", "data"},
    {"demo"},
    {"plotting", "progress"},
    {"store"},
    {"intervals", "machine", "style", "temporary", "workers"},
    {"settings"},
    {"files", "spreadsheets"},
    {"log"},
    {"errors", "signals", "streams"},
]
TENSORFLOW_ROOMS = (
    "data/pipeline.py",
    "training/devices.py",
    "training/fast_layers.py",
    "training/tracking.py",
    "explain/",
    "export/litert.py",
    "export/processor.py",
)


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            if node.module in ("keras_inat", "keras_inat.commands"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _floor(room):
    return next(level for level, rooms in enumerate(FLOORS) if room in rooms)


def _modules():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def test_imports_go_down():
    wrong = []
    for path in _modules():
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] != "keras_inat" or len(parts) < 2 or parts[1] in (room, "__version__"):
                continue
            if _floor(parts[1]) <= _floor(room):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


def test_tensorflow_stays_in_its_rooms():
    users = [
        path.relative_to(PACKAGE).as_posix()
        for path in _modules()
        if any(name.split(".")[0] in ("tensorflow", "tf_keras_vis") for name in _imports(path))
    ]
    assert users
    assert [user for user in users if not user.startswith(TENSORFLOW_ROOMS)] == []


def test_the_search_of_a_sweep_loads_neither_training_nor_models():
    # The processes of the trials load them. Only imports at module level count.
    todo = ["__main__", "commands.dispatch", "commands.sweep"]
    loaded = set()
    while todo:
        name = todo.pop()
        path = PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
        if name in loaded or not path.exists():
            continue
        loaded.add(name)
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module.startswith("keras_inat"):
                module = node.module.removeprefix("keras_inat").removeprefix(".")
                todo.append(module)
                todo += [f"{module}.{alias.name}".removeprefix(".") for alias in node.names]
    assert "search.runner" in loaded
    assert not {"training.session", "models.cnn", "data.pipeline"} & loaded
    assert len(loaded) < 70
