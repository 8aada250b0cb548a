"""Builds the wheel, installs it into a new environment in an empty folder, and uses it there: `make test-wheel`.

Usage: python tests/wheel.py <python of the new environment>
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SMALL = "data.image_size=16 model.filters=4 model.num_blocks=3 training.epochs=1 sweep.epochs=1 sweep.trials=2"
API = """
import keras_inat
runs = keras_inat.results()
model = keras_inat.load(runs.best)
print(model.predict("data/demo/val/Aves")[0])
print(keras_inat.report())
"""


def run(*command: object, **options: object) -> None:
    print("$", *command, flush=True)
    subprocess.run(list(map(str, command)), check=True, **options)  # type: ignore[call-overload]


def main(python: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, stdout=subprocess.DEVNULL)
        (wheel,) = folder.glob("*.whl")
        run(python, "-m", "venv", folder / "venv")
        program = folder / "venv" / "bin" / "keras-inat"
        constraints = ROOT / "constraints.txt"
        run(folder / "venv/bin/python", "-m", "pip", "install", "-qq", "--constraint", constraints, f"{wheel}[cpu]")
        place = folder / "place"
        place.mkdir()
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        options = {"cwd": place, "env": environment}
        run(program, "--version", **options)
        run(program, "cost", "CONFIG=scratch", stdout=subprocess.DEVNULL, **options)
        run(program, "demo", *SMALL.split(), **options)
        run(folder / "venv/bin/python", "-c", API, **options)
        commits = (place / "runs" / "test_ledger.jsonl").read_text()
        assert '"commit": null' in commits, commits
    print("the wheel works")


if __name__ == "__main__":
    main(sys.argv[1])
