"""Commands in a folder with one or two damaged files: they end as without the damage, or a line names the file.

Each command is run in a process that is forked from one that has imported its modules, so that a try takes a second.
"""

import contextlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mutations import damage_one

from keras_inat.__main__ import enter
from keras_inat.executors.local import CONTEXT, PRELOAD
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.loading import load_config
from keras_inat.store.ledger import read_ledger
from keras_inat.store.runs import list_runs
from keras_inat.training import checkpoint, epochs, evaluation

LIMIT_SECONDS = 300
KILLED = 77
UNTRACKED = ("tracking.wandb=disabled", "tracking.tensorboard=false")
SMALL = ("data.image_size=16", "training.batch_size=8", "run.deterministic=true", *UNTRACKED)
CNN = ("model.num_blocks=2", "model.filters=4", *SMALL)
SPACE = "sweep.space={model.filters: [4, 6], training.learning_rate: {min: 1e-3, max: 1e-1, log: true}}"
REPORT = ("report",)
SWEEP = ("sweep", "DATA=../photos", "NAME=s", "TRIALS=3", "sweep.workers=0", "sweep.epochs=2", SPACE, *CNN)
TRAIN = ("train-best", "SWEEP=s", "training.epochs=3", "training.min_steps=0", *UNTRACKED)
SECOND = (*TRAIN, "run.seed=5")
FINETUNE = ("finetune", "DATA=../photos", "STRATEGY=head", "WEIGHTS=../backbone.keras", "training.epochs=2", *SMALL)
PREDICT = ("predict", "IMAGE=../photos/val/red/1.png")
DATA = ("data", "DATA=../photos", *CNN)
# What differs between two runs of a command: times, and the lines about work that is done anew.
VARIABLE = re.compile(
    r"\d{8}-\d{6}|\d[\d.,]* (s|min|h|images/s)\b|\d\d:\d\d(:\d\d)?"
    r"|^(decoding|explaining|images: train from|running the frozen|training on|.* epoch \d+/|.* resumes).*\n",
    re.MULTILINE,
)


def die(*arguments: Any, **keywords: Any) -> None:
    os._exit(KILLED)


def die_after(epoch: int, trial: str = "") -> Callable[..., None]:
    """Returns a function that writes a checkpoint and, after an epoch of a run or of a trial, ends the process."""
    write = checkpoint.write_checkpoint

    def write_or_die(run: Any, progress: Any, *arguments: Any) -> None:
        write(run, progress, *arguments)
        if progress.epoch == epoch and trial in ("", run.path.name):
            die()

    return write_or_die


# By name, the function of a module that is replaced in order to kill a command, and what replaces it.
KILLS = {
    "in a trial": (epochs, "write_checkpoint", die_after(1, trial="1")),
    "in a training": (epochs, "write_checkpoint", die_after(2)),
    "after the predictions": (evaluation, "ValidationSample", die),
}


class Scenario(NamedTuple):
    """The commands that are run before the damage, how the last of them is killed, and the one that is run after it."""

    before: tuple[tuple[str, ...], ...]
    kill: str
    words: tuple[str, ...]


FINISHED = (SWEEP, TRAIN, SECOND, FINETUNE, REPORT)
SCENARIOS = (
    *(Scenario(FINISHED, "", words) for words in (REPORT, SWEEP, SECOND, FINETUNE, PREDICT, DATA)),
    Scenario((SWEEP,), "in a trial", SWEEP),
    Scenario((SWEEP, TRAIN, SECOND), "in a training", SECOND),
    Scenario((SWEEP, TRAIN, SECOND), "after the predictions", SECOND),
)


class Outcome(NamedTuple):
    complaints: list[str]  # the lines with warnings and errors
    said: str  # everything that is printed and, after a report, the page; without times
    files: dict[str, Any]  # by name, the bytes of a figure, table or choice, or the scores of a result
    num_evaluations: int  # lines of the ledger


def perform(words: tuple[str, ...], work: Path, kill: str) -> None:
    """Runs a command in this process, which was forked for it."""
    os.chdir(work)
    for descriptor, name in ((0, os.devnull), (1, "../output"), (2, "../output")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND), descriptor)
    if kill:
        setattr(*KILLS[kill])
    sys.argv = ["keras-inat", *words]
    enter()


class Place:
    """A folder with photographs and a backbone, in which commands are run in copies of the folders that they made."""

    def __init__(self, root: Path, write_photos: Callable[..., Path]) -> None:
        self.root = root
        self.trees: dict[tuple, Path] = {}
        self.sound: dict[Scenario, Outcome] = {}
        write_photos(root / "photos", num_train=14, num_test=5)
        build_cnn(load_config([*CNN]).model, 16, 5).save(root / "backbone.keras")

    def run(self, words: tuple[str, ...], work: Path, kill: str = "") -> tuple[int, str]:
        """Returns the code of a command, and what it has printed."""
        output = self.root / "output"
        output.unlink(missing_ok=True)
        process = CONTEXT.Process(target=perform, args=(words, work, kill))
        process.start()
        process.join(LIMIT_SECONDS)
        process.kill()
        process.join()
        return process.exitcode, output.read_text(encoding="utf-8", errors="replace")

    def copy(self, scenario: Scenario) -> Path:
        """Returns a copy of the folder in which the commands before the damage were run."""
        tree = self.trees.get(scenario[:2])
        if not tree:
            tree = self.trees[scenario[:2]] = self.root / f"tree {len(self.trees)}"
            tree.mkdir()
            for words in scenario.before:
                kill = scenario.kill if words == scenario.before[-1] else ""
                code, text = self.run(words, tree, kill)
                assert code == (KILLED if kill else 0), text
        work = self.root / "work"
        shutil.rmtree(work, ignore_errors=True)
        return shutil.copytree(tree, work)

    def read_outcome(self, words: tuple[str, ...], work: Path) -> Outcome:
        """Runs a command, which must not end with a traceback."""
        code, text = self.run(words, work)
        assert code in (0, 1, 2), f"code {code}: {text}"
        assert "Traceback" not in text, text
        complaints = [line for line in text.splitlines() if line.startswith(("warning: ", "error: "))]
        page = work / "reports" / "index.html"
        if words == REPORT and page.is_file():
            text += page.read_text(encoding="utf-8", errors="replace")
        files: dict[str, Any] = {}
        for path in sorted(work.rglob("*")):
            name = get_name(path, work)
            if path.name == "result.json" and path.is_file():
                with contextlib.suppress(ValueError, TypeError, KeyError):  # still damaged
                    result = json.loads(path.read_bytes())
                    files[name] = [result[key] for key in ("val_accuracy", "test", "temperature", "best_epoch", "seed")]
            elif path.is_file() and (path.name == "best.yaml" or (words == REPORT and "reports" in path.parts)):
                files[name] = b"" if path == page else path.read_bytes()
        ledger = work / "runs" / "test_ledger.jsonl"
        num_lines = ledger.read_bytes().count(b"\n") if ledger.is_file() else 0
        return Outcome(complaints, f"code {code}\n{VARIABLE.sub('', text)}", files, num_lines)


@pytest.fixture(scope="module")
def place(write_photos) -> Place:
    commands = ("data", "finetune", "predict", "report", "sweep", "train_best")
    forkserver.set_forkserver_preload([*PRELOAD, *(f"keras_inat.commands.{name}" for name in commands)])
    forkserver.ensure_running()
    with tempfile.TemporaryDirectory(prefix="break-in-") as root:
        yield Place(Path(root), write_photos)


def test_a_command_with_damaged_files_ends_as_without_or_names_them(place, list_seeds):
    failures = []
    for seed in list_seeds(3):
        chance = random.Random(seed)
        scenario = chance.choice(SCENARIOS)
        if scenario not in place.sound:
            place.sound[scenario] = place.read_outcome(scenario.words, place.copy(scenario))
        sound = place.sound[scenario]
        work = place.copy(scenario)
        damages = damage_some(work, chance)
        damaged = [path for path, _ in damages]
        names = tuple(get_name(path, work) for path in damaged)
        words = ", ".join(f"{path.relative_to(work)}: {words}" for path, words in damages)
        print(f"seed {seed}: {scenario.kill} {scenario.words[0]}, {words}", flush=True)
        try:
            received = place.read_outcome(scenario.words, work)
            if not is_named(damaged, work, received.complaints):
                assert received.said == sound.said
                assert received.num_evaluations == sound.num_evaluations
                files = {file for file in received.files.keys() | sound.files.keys() if not file.startswith(names)}
                assert [file for file in files if received.files.get(file) != sound.files.get(file)] == []
        except AssertionError as error:
            failures.append(f"seed {seed}, {scenario.words[0]}, {words}: {error}")
            print(failures[-1], flush=True)
    assert failures == []


def damage_some(work: Path, chance: random.Random) -> list[tuple[Path, str]]:
    """Damages one or two files, those of each name with equal chances, or exchanges the folders of two runs.

    Returns the paths, each with its damage in words.
    """
    runs = sorted(work.glob("runs/*/*-seed*"))
    if len(runs) > 1 and chance.random() < 0.1:
        first, second = chance.sample(runs, 2)
        first.rename(work / "moved")
        second.rename(first)
        (work / "moved").rename(second)
        return [(first, f"exchanged with {second.name}"), (second, "exchanged")]
    files = [path for path in sorted(work.rglob("*")) if path.is_file() and path.stat().st_size]
    damages = []
    for _ in range(chance.choice((1, 1, 2))):
        name = chance.choice(sorted({path.name for path in files}))
        path = chance.choice([path for path in files if path.name == name])
        damages.append(damage_one([path], chance.randrange(10**9), files))
        files.remove(path)
    return damages


def get_name(path: Path, work: Path) -> str:
    """Returns the name of a file in a folder, without times."""
    return VARIABLE.sub("", path.relative_to(work).as_posix())


def is_named(damaged: list[Path], work: Path, complaints: list[str]) -> bool:
    """Returns True if a line names a damaged file or its run. The next report names a damaged ledger."""
    if any("test_ledger" in path.name for path in damaged):
        runs = [run for run in list_runs(work / "runs") if run.result.is_file()]
        try:
            if read_ledger(work / "runs", runs).faults:
                return True
        except OSError:
            return True
    names = [path.name for path in damaged] + [path.parent.name for path in damaged if "-seed" in path.parent.name]
    return any(name in line for name in names for line in complaints)
