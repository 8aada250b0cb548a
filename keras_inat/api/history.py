"""Runs, sweeps and reports as objects that show themselves in a notebook."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_inat.api.display import format_frame, format_picture, format_table
from keras_inat.errors import UserError
from keras_inat.store.balance import NAMES, choose_common, read_score
from keras_inat.store.exports import ExportReport
from keras_inat.store.predictions import Predictions
from keras_inat.store.records import Epoch, Result, Trial, find_best
from keras_inat.store.runs import RunFolder, check_model, identify_group
from keras_inat.store.seed_scores import estimate_accuracy, estimate_balanced_accuracy
from keras_inat.store.sweeps import SweepFolder

if TYPE_CHECKING:
    from keras_inat.api.classifier import Classifier

HEAD = ("run", "strategy", "seed", "epochs", "time", "validation", "test", "95 % interval", "n")
BALANCED_HEAD = ("balanced validation", "balanced test", "95 % interval", "majority baseline")


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
    def val_balanced_accuracy(self) -> float:
        """The mean recall of the classes on the validation images in the kept epoch, a fraction."""
        return self.result.val_balanced_accuracy

    @property
    def test_balanced_accuracy(self) -> float:
        """The mean recall of the classes on the test images, a fraction."""
        return self.result.test_scores.balanced_accuracy

    @property
    def test_balanced_interval(self) -> tuple[float, float]:
        """The 95 % interval of the balanced test accuracy over images."""
        return self.result.test_scores.balanced_interval

    @property
    def majority_baseline(self) -> float:
        """The fraction of the test images that belong to their most frequent class."""
        return self.result.test_scores.majority_baseline

    @property
    def model_path(self) -> Path:
        """The path of `best.keras`."""
        return self._folder.model

    @property
    def epochs(self) -> list[Epoch]:
        """The epochs of the training, first to last."""
        return self._folder.read_epochs() if self._folder.is_unchanged(self.result, self._folder.metrics) else []

    @property
    def example_images(self) -> np.ndarray:
        """`(images, size, size, 3)` uint8, test images that the run kept for the report; drawn at random.

        Raises:
            UserError: The file is missing or damaged.
        """
        predictions = Predictions.read_unchanged(self._folder, self.result, self._folder.predictions)
        if predictions is None:
            raise UserError(f"{self._folder.predictions} is missing or damaged")
        return predictions.pixels

    def load(self) -> "Classifier":
        """Loads its model.

        Raises:
            UserError: The file is missing or damaged, or it was changed after the evaluation.
        """
        from keras_inat.api.classifier import Classifier

        check_model(self._folder, self.result)
        return Classifier(self.model_path, self)

    def export(self, formats: Sequence[str] = ("onnx", "litert"), license: str | None = None) -> ExportReport:
        """Exports its model to files of other runtimes, in the folder `export/` of the run.

        Args:
            formats: Some of "onnx", "litert", "litert-int8" and "savedmodel".
            license: The license of the model, such as "CC-BY-4.0".

        Returns:
            The comparison of each file with Keras.

        Raises:
            UserError: A package is missing, or an export does not agree with Keras.
        """
        from keras_inat.commands.dispatch import run_command

        words = [f"RUN={self.path}", f"FORMAT={','.join(formats)}"]
        return run_command("export", [*words, f"export.license={json.dumps(license)}"])

    def make_app(self, runtime: str | None = None) -> Path:
        """Makes a page that runs the model in a browser, and a Space for Hugging Face.

        Args:
            runtime: The package onnxruntime-web as a folder or as an archive of npm; by default npm fetches it.

        Returns:
            The page, `app/index.html` in the folder of the run.

        Raises:
            UserError: A package is missing, or the browser's runtime cannot be fetched.
        """
        from keras_inat.commands.dispatch import run_command

        words = [f"RUN={self.path}", f"app.runtime={json.dumps(runtime)}"]
        return run_command("app", words)

    def __repr__(self) -> str:
        low, high = self.test_interval
        balance = ""
        if self.result.data.is_imbalanced:
            low_balanced, high_balanced = self.test_balanced_interval
            balance = (
                f", balanced {self.test_balanced_accuracy:.1%} ({low_balanced:.1%} to {high_balanced:.1%}), "
                f"majority baseline {self.majority_baseline:.1%}"
            )
        return f"<Run {self.path}: test accuracy {self.test_accuracy:.1%} ({low:.1%} to {high:.1%}){balance}>"

    def _repr_html_(self) -> str:
        return Runs([self])._repr_html_()

    def _list_cells(self) -> list[str]:
        low, high = self.test_interval
        return [
            self.path.name,
            self.result.strategy,
            str(self.seed),
            str(self.result.epochs),
            f"{self.result.seconds / 60:.1f} min",
            f"{self.val_accuracy:.1%}",
            f"{self.test_accuracy:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{self.result.test_scores.num_images:,} images",
        ]

    def _list_balanced_cells(self) -> list[str]:
        return _format_balance(
            self.val_balanced_accuracy, self.test_balanced_accuracy, self.test_balanced_interval, self.majority_baseline
        )


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
        """The run with the best validation accuracy, or the best balanced one if that selected any of the runs."""
        if not self._runs:
            raise UserError("there is no finished run")
        objective = choose_common(run.result.objective for run in self._runs)
        return max(self._runs, key=lambda run: read_score(objective, run))

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._runs)) or "<no finished run>"

    def _repr_html_(self) -> str:
        groups = [group for group in self._group_by_seed() if len(group) > 1]
        rows = [run._list_cells() for run in self._runs]
        rows += [_list_mean_cells(group) for group in groups]
        if not any(run.result.data.is_imbalanced for run in self._runs):
            return format_table(HEAD, rows)
        balanced = [run._list_balanced_cells() for run in self._runs]
        balanced += [_list_balanced_mean_cells(group) for group in groups]
        return format_table([*HEAD, *BALANCED_HEAD], [row + more for row, more in zip(rows, balanced, strict=True)])

    def _group_by_seed(self) -> list[list[Run]]:
        groups = dict[str, list[Run]]()
        for run in self._runs:
            groups.setdefault(identify_group(run.result), []).append(run)
        return list(groups.values())


def _list_mean_cells(group: list[Run]) -> list[str]:
    test = estimate_accuracy([(run._folder, run.result) for run in group])
    validation = statistics.mean(run.val_accuracy for run in group)
    mean = f"{test.value:.1%}"
    interval = f"{test.low:.1%} to {test.high:.1%}"
    return [f"mean of {group[0].name}", "", "", "", "", f"{validation:.1%}", mean, interval, f"{len(group)} seeds"]


def _list_balanced_mean_cells(group: list[Run]) -> list[str]:
    test = estimate_balanced_accuracy([(run._folder, run.result) for run in group])
    validation = statistics.mean(run.val_balanced_accuracy for run in group)
    return _format_balance(validation, test.value, (test.low, test.high), group[0].majority_baseline)


def _format_balance(validation: float, test: float, interval: tuple[float, float], baseline: float) -> list[str]:
    low, high = interval
    return [f"{validation:.1%}", f"{test:.1%}", f"{low:.1%} to {high:.1%}", f"{baseline:.1%}"]


class Sweep:
    """A sweep: its trials and the best of them."""

    def __init__(self, folder: SweepFolder) -> None:
        self.path = folder.path
        self.name = folder.name
        self._folder = folder

    @property
    def trials(self) -> list[Trial]:
        """The recorded trials, in order of creation."""
        return self._folder.read_trials(self._folder.find_identity())

    @property
    def best(self) -> Trial | None:
        """The completed trial with the best score on the validation images; see `training.objective`."""
        return find_best(self.trials)

    def __repr__(self) -> str:
        trials = self.trials
        best = find_best(trials)
        kind = f"{NAMES[best.objective]} " if best and best.objective != "accuracy" else ""
        score = f", best {kind}{best.score:.1%} (trial {best.id})" if best else ""
        return f"<Sweep {self.path}: {len(trials)} trials{score}>"

    def _repr_html_(self) -> str:
        from keras_inat.reporting.charts.parallel_coordinates import build_axes, draw_parallel_coordinates
        from keras_inat.reporting.sweep_history import read_sweep

        history = read_sweep(self._folder)
        best = history.best
        score = f"{best.score:.1%}, trial {best.id}" if best else "none yet"
        if best and history.data and history.data.is_imbalanced:
            score += f": {best.describe_balance()}"
        table = format_table(
            ("sweep", "trials", f"best {NAMES[history.objective]}"), [[self.name, str(len(history.trials)), score]]
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
