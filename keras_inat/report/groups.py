"""What the report is made of: finished runs, their predictions, runs that differ in the seed, sweeps and trials."""

import contextlib
import re
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_inat.settings.schema import Config, Finetune
from keras_inat.store.runs import RunFolder

DEFAULTS = Config(finetune=Finetune()).model_dump(mode="json")
# What reading a damaged file of arrays may raise.
DAMAGED = (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Predictions:
    """What a run kept of its one look at the test images; see `training.evaluation.judge` for shapes."""

    probabilities: np.ndarray
    labels: np.ndarray
    files: np.ndarray
    examples: np.ndarray
    pixels: np.ndarray
    errors: np.ndarray
    error_pixels: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """`(images,)` int64, the class given to each image."""
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """`(images,)` bool."""
        return self.predicted == self.labels

    def are_sound(self, num_classes: int) -> bool:
        """Whether the arrays fit one another."""
        total, shown = len(self.labels), (self.examples, self.errors)
        return (
            total > 0
            and self.probabilities.shape == (total, num_classes)
            and len(self.files) == total
            and bool(np.isin(self.labels, np.arange(num_classes)).all())
            and all(bool(np.isin(rows, np.arange(total)).all()) for rows in shown)
            and [len(self.pixels), len(self.error_pixels)] == [len(rows) for rows in shown]
            and len(self.pixels) > 0
        )

    def select(self, rows: np.ndarray) -> "Predictions":
        """Those of some of the images, without examples."""
        none = np.empty(0, np.int64)
        return Predictions(self.probabilities[rows], self.labels[rows], self.files[rows], none, none, none, none)

    def show_errors(self) -> "Predictions":
        """The same, with the most confident errors as its examples."""
        return replace(self, examples=self.errors, pixels=self.error_pixels)


@dataclass(frozen=True)
class Record:
    """A finished run of `train-best` or `finetune`: its folder and what its `result.json` says."""

    folder: RunFolder
    result: dict[str, Any]

    @property
    def command(self) -> str:
        """Of what was done: `finetune` where a backbone was adapted, also by `train-best`."""
        return "finetune" if self.finetune else "train-best"

    @property
    def name(self) -> str:
        return str(self.result["name"])

    @property
    def data(self) -> dict[str, Any]:
        return self.result["data"]

    @property
    def config(self) -> dict[str, Any]:
        """Its settings; an older run did as those that came after it do by default."""
        return {
            name: (DEFAULTS.get(name) or {}) | values if isinstance(values, dict) else values
            for name, values in self.result["config"].items()
        }

    @property
    def finetune(self) -> dict[str, Any] | None:
        return self.config.get("finetune")

    @property
    def trained_parameters(self) -> int:
        """The most that any stage of the run trained."""
        return max((stage["parameters"] for stage in self.result.get("stages", [])), default=self.result["parameters"])

    @property
    def backbone(self) -> str:
        """The pretrained network, or the run that made it where it is one of our own; empty from scratch."""
        if not self.finetune:
            return ""
        weights = self.finetune["weights"]
        own = re.sub(r"^\d{8}-\d{6}-", "", Path(weights).parent.name)
        return own if weights.endswith(".keras") else self.finetune["backbone"]

    def read_predictions(self) -> Predictions | None:
        """What the run predicted on the test images; None where the file is missing or damaged."""
        with contextlib.suppress(*DAMAGED), np.load(self.folder.predictions) as arrays:
            none = np.empty(0, np.int64)
            given = {"errors": none, "error_pixels": none} | dict(arrays)  # an older run kept no mistakes
            predictions = Predictions(**{name: given[name] for name in Predictions.__dataclass_fields__})
            if predictions.are_sound(len(self.data["classes"])):
                return predictions
        return None

    def read_sample(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Some validation images `(images, size, size, 3)` uint8 and their labels; None where the file is not there."""
        with contextlib.suppress(*DAMAGED), np.load(self.folder.sample) as arrays:
            return arrays["pixels"], arrays["labels"]
        return None

    def read_duplicates(self) -> list[tuple[dict[str, Any], np.ndarray]]:
        """Some pairs of near copies in the data, with their two images `(2, size, size, 3)` uint8."""
        with contextlib.suppress(*DAMAGED), np.load(self.folder.duplicates) as arrays:
            pairs = [self.data["duplicates"][number] for number in arrays["pairs"]]
            return list(zip(pairs, arrays["pixels"], strict=True))
        return []


@dataclass(frozen=True)
class SeedGroup:
    """Runs on the same images that differ in nothing but the seed, one for each seed, lowest seed first."""

    records: tuple[Record, ...]

    @property
    def best(self) -> Record:
        """The run with the best validation accuracy: what is shown where only one can be."""
        return max(self.records, key=lambda record: record.result["val_accuracy"])

    @property
    def command(self) -> str:
        return self.best.command

    @property
    def title(self) -> str:
        """A few words for figures and tables."""
        record = self.best
        if not record.finetune:
            return f"scratch: {record.name}"
        strategy = record.finetune["strategy"]
        depth = f" {record.finetune['unfreeze']}" if strategy == "topk" else ""
        return f"{strategy}{depth}: {record.backbone}"


@dataclass(frozen=True)
class Trial:
    """A row of `trials.csv`.

    Attributes:
        score: Best validation accuracy.
        settings: Its hyperparameters by dotted name.
        curve: Best validation accuracy until each of its epochs.
    """

    id: str
    status: str
    score: float | None
    settings: dict[str, Any]
    parameters: Any
    seconds: Any
    started: str
    error: str
    curve: tuple[float, ...] = ()


@dataclass(frozen=True)
class SweepHistory:
    """A sweep: the rows of its `trials.csv` and, where a trial got that far, the data it saw.

    Attributes:
        epoch: Where its trials are compared; None at the end of each.
    """

    folder: Path
    trials: list[Trial]
    data: dict[str, Any] | None
    source: str
    epoch: int | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def completed(self) -> list[Trial]:
        """Trials with a score, in order of creation."""
        return [trial for trial in self.trials if trial.status == "completed" and trial.score is not None]

    @property
    def settings(self) -> list[str]:
        """Dotted names of the hyperparameters that took more than one value."""
        names = self.trials[0].settings if self.trials else {}
        return [name for name in names if len({str(trial.settings[name]) for trial in self.trials}) > 1]

    @property
    def best(self) -> Trial | None:
        return max(self.completed, key=lambda trial: trial.score or 0.0, default=None)

    def find_common_ground(self) -> "SweepHistory":
        """The same where none was stopped early; else as if all trials had ended with the first that was.

        Those that went on were chosen by what is to be explained, and by themselves tell too little of it.
        """
        once = dict[tuple[str, float], Trial]()  # hyperband goes on with a trial as another one
        stopped = list[Trial]()
        for trial in self.trials:
            if trial.curve and trial.status in ("completed", "pruned"):
                first = once.setdefault((str(trial.settings), trial.curve[0]), trial)
                if trial.status == "pruned" or first is not trial:
                    stopped.append(first)
        if not stopped:
            return self
        epoch = min(len(trial.curve) for trial in stopped)
        trials = [replace(trial, status="completed", score=trial.curve[:epoch][-1]) for trial in once.values()]
        return replace(self, trials=trials, epoch=epoch)

    @property
    def last_started(self) -> str:
        return max((trial.started for trial in self.trials), default="")
