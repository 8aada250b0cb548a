"""Commands that are killed, or whose disk is full, at random moments: the same command then ends as if nothing was."""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from fault import SIGNALS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the processes of a command are found in /proc")

MARK = "KERAS_INAT_TEST_TRY"  # the environment variable by which the processes of a try are known
UNTRACKED = "warning: W&B does not track this run"  # a failure of a tracker stops no training
WANDB_FILES = r"/wandb(-id)?$"
LIMIT_BITS = 18  # the largest file of a scenario has about 2^18 bytes
END_SECONDS = 20  # a process of a killed command may still close its files
SMALL = (
    *("data.image_size=32", "model.num_blocks=2", "model.filters=4", "model.dense_units=8", "training.epochs=2"),
    *("training.batch_size=8", "tracking.tensorboard=false"),
)
TRAIN = ("train-best", "DATA=photos", "CONFIG=tiny.yaml", *SMALL)
SWEEP = ("sweep", "DATA=photos", "CONFIG=tiny.yaml", "NAME=s", "TRIALS=2", "sweep.epochs=1", *SMALL)


class Scenario(NamedTuple):
    """A command that is disturbed, and those that are run before."""

    words: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    exact: str = "^$"  # files whose bytes have to be the same, a regular expression


SCENARIOS = {
    "data": Scenario(("data", "DATA=photos"), exact=r"\.uint8$"),
    "unpack": Scenario(("data", "ZIP=photos.zip", "DATA=data/mine"), exact=r"data/mine/"),
    "in-process sweep": Scenario((*SWEEP, "sweep.workers=0", "tracking.wandb=disabled")),
    "sweep": Scenario((*SWEEP, "tracking.wandb=disabled")),
    "two workers": Scenario((*SWEEP, "WORKERS=2", "tracking.wandb=offline")),
    "train": Scenario((*TRAIN, "tracking.wandb=offline"), exact=r"\.npz$"),
    "fine-tune": Scenario(
        ("finetune", "DATA=photos", "STRATEGY=topk", "UNFREEZE=1", "WEIGHTS=best.keras", *SMALL), (TRAIN,), r"\.npz$"
    ),
    "suspects": Scenario(("suspects", "DATA=photos", "CONFIG=tiny.yaml", "suspects.folds=2", *SMALL)),
    "report": Scenario(("report",), (SWEEP, TRAIN), r"reports/"),
    "predict": Scenario(("predict", "IMAGE=photos/val/red/0.png", "predict.output=out"), (TRAIN,), r"out/"),
    "export": Scenario(("export", "FORMAT=onnx"), (TRAIN,)),
    "draw": Scenario(("data", "DATA=demo"), exact=r"data/demo/"),
}
FAULTS = (*SIGNALS, "full", "stay-full", "limit")


class Place:
    """A working folder with its own temporary folder."""

    def __init__(self, root: Path) -> None:
        self.work = root / "work"
        self.temporary = root / "tmp"

    def start(self, words: tuple[str, ...], fault: str = "count", number: int = 0) -> subprocess.Popen:
        environment = os.environ | {"TMPDIR": str(self.temporary), MARK: str(self.work)}
        command = [sys.executable, str(Path(__file__).parents[1] / "fault.py"), fault, str(number), *words]
        return subprocess.Popen(
            command,
            cwd=self.work,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches all processes of a command, and only them
        )

    def run(self, words: tuple[str, ...], fault: str = "count", number: int = 0) -> tuple[int, str]:
        process = self.start(words, fault, number)
        _, errors = process.communicate(timeout=300)
        return process.returncode, errors

    def list_processes(self) -> list[str]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.work}\0".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def wait_for_end(self) -> None:
        end = time.monotonic() + END_SECONDS
        while (processes := self.list_processes()) and time.monotonic() < end:
            time.sleep(0.05)
        assert processes == []

    def list_files(self, exact: str) -> dict[str, bytes]:
        """Returns the files and folders; those that match `exact` with their bytes."""
        files = {}
        for path in sorted(self.work.rglob("*")):
            name = path.relative_to(self.work).as_posix()
            if "/wandb/" not in name:  # W&B names its files by the time
                name = re.sub(r"\d{8}-\d{6}|-[0-9a-f]{12}(?![0-9a-f])", "TIME", name)  # a pack has one in its key
                while name in files:  # a pack of a copy of the images
                    name += "*"
                files[name] = path.read_bytes() if path.is_file() and re.search(exact, name) else b""
        return files


class Reference(NamedTuple):
    before: Place  # the place before the command
    files: dict[str, bytes]  # after the undisturbed command
    changes: int
    seconds: float


@pytest.fixture(scope="module")
def open_place(write_photos) -> Callable[[Place | None], Place]:
    """Makes a new place, or a copy of one. The paths are short, as those of sockets have to be."""
    with tempfile.TemporaryDirectory(prefix="faults-") as root:

        def make(place: Place | None) -> Place:
            made = Place(Path(tempfile.mkdtemp(dir=root)))
            made.temporary.mkdir()
            if place:
                shutil.copytree(place.work, made.work, symlinks=True)
                return made
            write_photos(made.work / "photos", side=32)
            with zipfile.ZipFile(made.work / "photos.zip", "w") as archive:
                for file in sorted((made.work / "photos").rglob("*.png")):
                    archive.write(file, file.relative_to(made.work))
            space = "{space: {model.filters: [4, 8], model.dropout: [0.0, 0.2]}}"
            (made.work / "tiny.yaml").write_text(f"sweep: {space}\n")
            return made

        yield make


@pytest.fixture(scope="module")
def prepare(open_place) -> Callable[[Scenario], Reference]:
    """Runs an undisturbed command, once for each scenario."""
    references: dict[Scenario, Reference] = {}

    def build(scenario: Scenario) -> Reference:
        if scenario not in references:
            before = open_place(None)
            for words in scenario.before:
                assert before.run(words)[0] == 0
                for model in before.work.glob("runs/train-best/*/best.keras"):
                    shutil.copy(model, before.work)
            place = open_place(before)
            began = time.monotonic()
            code, errors = place.run(scenario.words)
            assert code == 0, errors
            assert list(place.temporary.iterdir()) == []
            place.wait_for_end()
            changes = int(errors.rpartition("changes: ")[2])
            references[scenario] = Reference(
                before, place.list_files(scenario.exact), changes, time.monotonic() - began
            )
        return references[scenario]

    return build


def test_a_disturbed_command_that_is_repeated_ends_like_an_undisturbed_one(list_seeds, open_place, prepare):
    failures = []
    for seed in list_seeds(3):
        name = list(SCENARIOS)[seed % len(SCENARIOS)]
        fault = FAULTS[(seed + seed // len(SCENARIOS)) % len(FAULTS)]
        reference = prepare(SCENARIOS[name])
        place = open_place(reference.before)
        chance = random.Random(seed)
        try:
            words, errors = disturb(place, SCENARIOS[name], reference, fault, chance)
            print(f"seed {seed}: {name}, {words}", flush=True)
            check_repeated(place, SCENARIOS[name], reference, UNTRACKED in errors)
        except AssertionError as error:
            failures.append(f"seed {seed}, {name}: {error}")
            print(failures[-1], flush=True)
        shutil.rmtree(place.work.parent)
    assert failures == []


def disturb(
    place: Place, scenario: Scenario, reference: Reference, fault: str, chance: random.Random
) -> tuple[str, str]:
    """Runs a command with a fault at a random moment. Returns the fault in words, and what is on stderr."""
    if fault in SIGNALS and chance.random() < 0.5:
        seconds = chance.uniform(0.3, reference.seconds)
        words = f"{fault} after {seconds:.2f} of {reference.seconds:.2f} s"
        process = place.start(scenario.words)
        time.sleep(seconds)
        send = os.killpg if fault == "int" else os.kill
        send(process.pid, SIGNALS[fault])
        _, errors = process.communicate()
        code = process.returncode
    else:
        number = chance.randint(1, reference.changes)
        words = f"{fault} at change {number} of {reference.changes}"
        if fault == "limit":
            number = round(2 ** chance.uniform(0, LIMIT_BITS))
            words = f"no file with more than {number} bytes"
        code, errors = place.run(scenario.words, fault, number)
    words += f", code {code}"
    place.wait_for_end()
    assert "Traceback" not in errors, f"{words}: {errors}"
    if fault in SIGNALS:
        assert code in (0, -SIGNALS[fault], 128 + SIGNALS[fault]), words
    elif code:
        lines = [line for line in errors.splitlines() if not line.startswith(("changes: ", "warning: "))]
        assert (code, [line[:7] for line in lines]) == (1, ["error: "]), f"{words}: {errors}"
    return words, errors


def check_repeated(place: Place, scenario: Scenario, reference: Reference, is_untracked: bool) -> None:
    """Runs a command and compares what it leaves with what an undisturbed one leaves."""
    # A command that had done its work would make a second list of suspects. Any command removes temporary files.
    is_done = any(place.work.glob("runs/suspects/*/suspects.json"))
    code, errors = place.run(("settings",) if is_done else scenario.words)
    assert (code, "Traceback" in errors) == (0, False), errors
    place.wait_for_end()
    assert list(place.temporary.iterdir()) == []
    files = place.list_files(scenario.exact)
    expected = reference.files
    if is_untracked:
        expected = {name: expected[name] for name in expected if name in files or not re.search(WANDB_FILES, name)}
    assert sorted(files.keys() - expected.keys()) == []
    assert sorted(expected.keys() - files.keys()) == []
    assert [file for file in files if files[file] != expected[file]] == []
