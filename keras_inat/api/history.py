"""Runs, sweeps and reports as objects that show themselves in a notebook."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_inat.api.display import format_frame, format_picture, format_table
from keras_inat.errors import UserError
from keras_inat.intervals import accuracy_interval
from keras_inat.store.predictions import Predictions
from keras_inat.store.records import Epoch, Result, Trial, find_best
from keras_inat.store.runs import RunFolder, identify_group
from keras_inat.store.sweeps import SweepFolder

if TYPE_CHECKING:
    from keras_inat.api.classifier import Classifier

HEAD = ("run", "strategy", "seed", "epochs", "time", "validation", "test", "95 % interval", "n")


class Run:
    """A finished run: its scores and its files."""

    def __init__(self, folder: RunFolder, result: Result) -> None:
        self.path = folder.path
        self.result = result  # the content of `result.json`
        self._folder = folder

    @property
    def name(self) -> str:
        """The name of the run, which runs with other seeds share."""
        return self.result.name

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.result.seed

    @property
    def val_accuracy(self) -> float:
        """The validation accuracy of the kept epoch, a fraction."""
        return self.result.val_accuracy

    @property
    def test_accuracy(self) -> float:
        """The test accuracy, a fraction."""
        return self.result.test_scores.accuracy

    @property
    def test_interval(self) -> tuple[float, float]:
        """The 95 % interval of the test accuracy over images."""
        return self.result.test_scores.interval

    @property
    def model_path(self) -> Path:
        """The path of `best.keras`."""
        return self._folder.model

    @property
    def epochs(self) -> list[Epoch]:
        """The epochs of the training, first to last."""
        return self._folder.read_epochs()

    @property
    def example_images(self) -> np.ndarray:
        """`(images, size, size, 3)` uint8, test images that the run kept for the report; drawn at random.

        Raises:
            UserError: The file is missing or damaged.
        """
        predictions = Predictions.read(self._folder.predictions)
        if predictions is None:
            raise UserError(f"{self._folder.predictions} is missing or damaged")
        return predictions.pixels

    def load(self) -> "Classifier":
        """Loads its model."""
        from keras_inat.api.classifier import Classifier

        return Classifier(self.model_path, self)

    def __repr__(self) -> str:
        low, high = self.test_interval
        return f"<Run {self.path}: test accuracy {self.test_accuracy:.1%} ({low:.1%} to {high:.1%})>"

    def _repr_html_(self) -> str:
        return format_table(HEAD, [self._list_cells()])

    def _list_cells(self) -> list[str]:
        finetune = self.result.config.finetune
        low, high = self.test_interval
        return [
            self.path.name,
            finetune.strategy if finetune else "scratch",
            str(self.seed),
            str(self.result.epochs),
            f"{self.result.seconds / 60:.1f} min",
            f"{self.val_accuracy:.1%}",
            f"{self.test_accuracy:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{self.result.test_scores.num_images:,} images",
        ]


class Runs(Sequence[Run]):
    """Runs as a table. Runs that differ only in the seed also get their mean."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = list(runs)

    def __getitem__(self, index: Any) -> Any:
        return Runs(self._runs[index]) if isinstance(index, slice) else self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def best(self) -> Run:
        """The run with the best validation accuracy."""
        if not self._runs:
            raise UserError("there is no finished run")
        return max(self._runs, key=lambda run: run.val_accuracy)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._runs)) or "<no finished run>"

    def _repr_html_(self) -> str:
        rows = [run._list_cells() for run in self._runs]
        rows += [_list_mean_cells(group) for group in self._group_by_seed() if len(group) > 1]
        return format_table(HEAD, rows)

    def _group_by_seed(self) -> list[list[Run]]:
        groups = dict[str, list[Run]]()
        for run in self._runs:
            groups.setdefault(identify_group(run.result), []).append(run)
        return list(groups.values())


def _list_mean_cells(group: list[Run]) -> list[str]:
    accuracies = [run.test_accuracy for run in group]
    low, high = accuracy_interval(accuracies, group[0].result.test_scores.num_images)
    validation = statistics.mean(run.val_accuracy for run in group)
    mean = f"{statistics.mean(accuracies):.1%}"
    interval = f"{low:.1%} to {high:.1%}"
    return [f"mean of {group[0].name}", "", "", "", "", f"{validation:.1%}", mean, interval, f"{len(group)} seeds"]


class Sweep:
    """A sweep: its trials and the best of them."""

    def __init__(self, folder: SweepFolder) -> None:
        self.path = folder.path
        self.name = folder.name
        self._folder = folder

    @property
    def trials(self) -> list[Trial]:
        """The recorded trials, in order of creation."""
        return self._folder.read_trials()

    @property
    def best(self) -> Trial | None:
        """The completed trial with the best validation accuracy."""
        return find_best(self.trials)

    def __repr__(self) -> str:
        trials = self.trials
        best = find_best(trials)
        score = f", best {best.score:.1%} (trial {best.id})" if best else ""
        return f"<Sweep {self.path}: {len(trials)} trials{score}>"

    def _repr_html_(self) -> str:
        from keras_inat.reporting.charts.sweep import build_axes, draw_parallel_coordinates
        from keras_inat.reporting.sweep_history import read_sweep

        history = read_sweep(self._folder)
        best = history.best
        score = f"{best.score:.1%}, trial {best.id}" if best else "none yet"
        table = format_table(
            ("sweep", "trials", "best validation accuracy"), [[self.name, str(len(history.trials)), score]]
        )
        if not history.completed:
            return table
        return table + format_picture(
            draw_parallel_coordinates(build_axes(history)), "parallel coordinates of the trials"
        )


class Page:
    """A written report."""

    def __init__(self, path: Path, findings: Sequence[str]) -> None:
        self.path = path  # the HTML file
        self.findings = list(findings)  # sentences that summarize it

    def __repr__(self) -> str:
        return "\n".join([*self.findings, f"<Page {self.path}>"])

    def _repr_html_(self) -> str:
        return format_frame(self.path)
