"""Run folders: what lies in them, and how they are made, found and read."""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keras_inat.errors import UserError
from keras_inat.files import fits, read_jsonl, write_json, write_text
from keras_inat.settings.loading import build_config, format_yaml, read_yaml
from keras_inat.settings.schema import Config

# Commands whose runs may look at the test images; everything else selects, and must not.
EVALUATING_COMMANDS = ("train-best", "finetune")
PACKAGES = (
    "keras",
    "keras-tuner",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scipy",
    "tensorflow",
    "tensorflow-cpu",
)

# Of what every result says: what its readers rely on.
RESULT_KINDS: dict[str, Any] = {
    "name": str,
    "seed": int,
    "config": {"data": dict, "model": dict},
    "data": {
        "name": str,
        "hash": str,
        "classes": list,
        "counts": {"train": int, "validation": int, "test": int},
        "per_class": {"train": list, "test": list},
        "quarantined": list,
        "leaked": list,
        "image_size": int,
    },
    "val_accuracy": float,
    "best_epoch": int,
    "epochs": int,
    "seconds": int | float,
    "images_per_second": float,
    "parameters": int,
    "macs": int,
    "packages": dict,
    "commit": str | None,
}
JUDGED_KINDS: dict[str, Any] = {"test_accuracy": float, "test_interval": list, "test_images": int}
METRIC_KINDS: dict[str, Any] = {"epoch": int, "val_accuracy": float}


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: `config.yaml`, `metrics.jsonl`, `result.json`, `best.keras` and what belongs to them."""

    path: Path
    command: str

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def model(self) -> Path:
        return self.path / "best.keras"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.npz"

    @property
    def wandb_id(self) -> Path:
        return self.path / "wandb-id"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def predictions(self) -> Path:
        return self.path / "test_predictions.npz"

    @property
    def sample(self) -> Path:
        return self.path / "validation_sample.npz"

    @property
    def duplicates(self) -> Path:
        return self.path / "copies.npz"

    def read_metrics(self) -> list[dict[str, Any]]:
        """The epochs' metrics, first to last; a line cut short by a kill is left out."""
        return [row for row in read_jsonl(self.metrics) if fits(row, METRIC_KINDS)]

    def read_result(self) -> dict[str, Any] | None:
        """The result; None while the run is unfinished, and, with a warning, where it is damaged."""
        try:
            result = json.loads(self.result.read_text(encoding="utf-8"))
            kinds = RESULT_KINDS | (JUDGED_KINDS if self.command in EVALUATING_COMMANDS else {})
            if fits(result, kinds):
                return dict(result)
        except FileNotFoundError:
            return None
        except ValueError:
            pass
        print(f"warning: {self.result} is damaged and left out", file=sys.stderr)
        return None


def create_run(config: Config, command: str, name: str | None = None) -> RunFolder:
    """Makes `runs/<command>/<date-time>-<name>/` with its `config.yaml`."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    parent = Path(config.run.directory) / command
    parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(100):
        path = parent / f"{stamp}-{name or config.run.name}{f'.{attempt}' if attempt else ''}"
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            break
    else:
        raise UserError(f"cannot make a new run folder in {parent}")
    return open_run(config, path, command)


def open_run(config: Config, path: Path, command: str) -> RunFolder:
    """A run in a folder of the caller's choosing, started afresh: what an earlier attempt left is removed."""
    run = RunFolder(path, command)
    path.mkdir(parents=True, exist_ok=True)
    for old in (
        run.result,
        run.metrics,
        run.model,
        run.checkpoint,
        run.predictions,
        run.sample,
        run.duplicates,
        run.wandb_id,
    ):
        old.unlink(missing_ok=True)
    for old in (path / "tensorboard", path / "wandb", path / "pictures"):
        shutil.rmtree(old, ignore_errors=True)
    write_text(run.config, format_yaml(config.model_dump()))
    return run


def finish_run(run: RunFolder, result: Mapping[str, Any]) -> None:
    """Writes `result.json`, which makes a run a finished one, and removes what was there to go on from."""
    write_json(run.result, result)
    run.checkpoint.unlink(missing_ok=True)
    run.lock.unlink(missing_ok=True)


def list_runs(directory: str | Path) -> list[RunFolder]:
    """The finished runs of the judging commands, oldest first."""
    folders = [
        RunFolder(path, command) for command in EVALUATING_COMMANDS for path in Path(directory, command).glob("*")
    ]
    return sorted((run for run in folders if run.result.exists()), key=lambda run: run.path.name)


def hash_weights(config: Config) -> str:
    """SHA-256 of the file of weights that a fine-tuning begins with; empty where there is none."""
    path = Path(config.finetune.weights if config.finetune else "")
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_finished(config: Config, command: str, data_hash: str) -> RunFolder | None:
    """A finished run of `command` on the same images with the same settings and weights, if there is one."""
    wanted, weights = _identify(config.model_dump(mode="json")), hash_weights(config)
    for path in sorted(Path(config.run.directory, command).glob("*/")):
        run = RunFolder(path, command)
        result = run.read_result()
        if result is None or not run.model.exists() or result["data"]["hash"] != data_hash:
            continue
        if weights and result.get("weights_hash", weights) != weights:
            continue  # another file of the same name
        if _is_of(result["config"], wanted):
            return run
    return None


def find_unfinished(config: Config, command: str) -> list[RunFolder]:
    """Runs of `command` with the same settings and no result, newest first."""
    wanted, found = _identify(config.model_dump(mode="json")), []
    for path in sorted(Path(config.run.directory, command).glob("*/"), reverse=True):
        run = RunFolder(path, command)
        if run.config.exists() and not run.result.exists():
            with contextlib.suppress(UserError):
                if _is_of(read_yaml(run.config), wanted):
                    found.append(run)
    return found


def lock_path(config: Config, command: str) -> Path:
    """What is held while a run of `command` is looked for or made."""
    return Path(config.run.directory) / f".{command}.lock"


def _is_of(values: Mapping[str, Any], wanted: dict[Any, Any]) -> bool:
    """Whether stored settings decide the same outcome; those that are newer than the file have their defaults."""
    try:
        return _identify(build_config(values).model_dump(mode="json")) == wanted
    except UserError:
        return False


def _identify(config: dict[str, Any]) -> dict[Any, Any]:
    """What decides a run's outcome, of a configuration as in `result.json`."""
    parts = {
        "data": ("image_size", "val_fraction", "split_seed", "near_duplicates"),
        "run": ("name", "seed", "deterministic"),
    }
    chosen = {(section, name): config.get(section, {}).get(name) for section in parts for name in parts[section]}
    return {name: config.get(name) for name in ("augment", "model", "training", "finetune")} | chosen


def now() -> str:
    """The time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@functools.cache
def read_commit() -> str | None:
    """The commit of the code that runs, with `+` when files differ from it; None outside a git checkout."""

    def git(*arguments: str) -> str:
        home = Path(__file__).parent
        command = ["git", "-C", str(home), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that decide a result."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
