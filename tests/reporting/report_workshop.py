"""Run folders as the commands write them, made without training."""

import contextlib
import csv
import html
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from keras_inat.errors import UserError
from keras_inat.files import write_text
from keras_inat.reporting.blocks import Block, Chapter, Section
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.history import DataSet, read_history
from keras_inat.reporting.rendering import render_markdown
from keras_inat.settings import roles
from keras_inat.settings.catalog import nest, select
from keras_inat.settings.loading import build_config, load_config, merge, override
from keras_inat.settings.schema import Config
from keras_inat.settings.yaml_files import format_yaml
from keras_inat.store.ledger import record_evaluation
from keras_inat.store.predictions import Predictions, SuspectPictures, TrainingSample, ValidationSample
from keras_inat.store.records import DataSummary, Epoch, EvaluationScores, Result, StageSummary, Trial
from keras_inat.store.runs import RunFolder, finish_run, restart_run
from keras_inat.store.suspects import Suspect, Suspects, write_suspects
from keras_inat.store.sweeps import SweepFolder, SweepIdentity

CLASSES = ("Amphibia", "Aves", "Fungi", "Plantae")
START = datetime.fromisoformat("2026-11-01T08:00:00+00:00")
NUM_EPOCHS = 12
TRIAL_EPOCHS = 5
NUM_EXAMPLES = 30
NUM_ERRORS = 12
NUM_SAMPLES = 24


class Workshop:
    """Fills a `runs/` folder.

    Args:
        directory: The parent of `runs/` and `reports/`.
        classes: The class names of the images.
        size: Their side in pixels.

    Attributes:
        printed: The output of the command, if a test ran it.
    """

    def __init__(self, directory: Path, classes: Sequence[str] = CLASSES, size: int = 16) -> None:
        self.runs = directory / "runs"
        self.reports = directory / "reports"
        self.config: Config = load_config(
            [f"run.directory={self.runs}", f"report.directory={self.reports}", "report.single_file=false"]
        )
        self.classes = tuple(classes)
        self.size = size
        self.num_runs = 0
        self.printed = ""

    def describe_data(self, name: str = "toy", num_test: int = 100, **changes: Any) -> DataSummary:
        """Returns a summary of the images. Keyword arguments replace its fields."""
        num_classes = len(self.classes)
        fields = {
            "name": name,
            "source": f"data/{name}",
            "near_duplicates": True,
            "hash": f"{name}-hash",
            "classes": self.classes,
            "files": {"train": 60 * num_classes, "test": num_test},
            "counts": {"train": 48 * num_classes, "validation": 12 * num_classes, "test": num_test},
            "per_class": {"train": [60] * num_classes, "test": [num_test // num_classes] * num_classes},
            "formats": {"JPEG": 60 * num_classes + num_test},
            "traits": {},
            "reasons": {},
            "num_quarantined": 0,
            "num_leaked": 0,
            "num_duplicates": {"identical": 0, "near": 0, "mirrored": 0, "of_another_class": 0, "train_and_test": 0},
            "image_size": self.size,
            "validation_hash": "def",
        }
        return DataSummary.model_validate(fields | changes)

    def add_run(
        self,
        command: str = "train-best",
        name: str = "first",
        seed: int = 0,
        correct: int = 60,
        val: float = 0.5,
        data: DataSummary | None = None,
        settings: dict[str, Any] | None = None,
        finished: bool = True,
        shift: int = 0,
        **changes: Any,
    ) -> RunFolder:
        """Adds a run that predicts `correct` of its test images correctly. `shift` changes which ones.

        Keyword arguments replace fields of its result.
        """
        data = data or self.describe_data()
        values = {"run.name": name, "run.seed": seed, "data.image_size": self.size} | (settings or {})
        if self.size < 32:
            values.setdefault("model.num_blocks", 3)
        config = override(self.config, values)
        self.num_runs += 1
        created = START + timedelta(hours=self.num_runs)
        path = self.runs / command / f"{created:%Y%m%d-%H%M%S}-{name}-seed{seed}"
        run = restart_run(config, path, command)
        rng = np.random.default_rng([seed, self.num_runs])
        stages = ("head", "top") if command == "finetune" else ("scratch",)
        for epoch in build_epochs(val, stages, rng):
            run.append_epoch(epoch)
        self._predict(data.counts.test, correct, shift, rng).write(run.predictions)
        pixels = rng.integers(0, 255, (NUM_SAMPLES, self.size, self.size, 3), dtype=np.uint8)
        ValidationSample(pixels, np.arange(NUM_SAMPLES) % len(self.classes)).write(run.sample)
        labels = np.arange(2 * len(self.classes)) % len(self.classes)
        images = rng.integers(0, 255, (len(labels), self.size, self.size, 3), dtype=np.uint8)
        TrainingSample(images, labels, images[None, :4]).write(run.training_sample)
        if finished:
            accuracy = correct / data.counts.test
            support = data.per_class.test
            test = EvaluationScores(
                accuracy=accuracy,
                interval=(max(accuracy - 0.05, 0), min(accuracy + 0.05, 1)),
                balanced_accuracy=accuracy,
                balanced_interval=(max(accuracy - 0.05, 0), min(accuracy + 0.05, 1)),
                majority_baseline=max(support) / sum(support),
                num_images=data.counts.test,
                images_per_class=support,
                correct_per_class=[round(accuracy * images) for images in support],
            )
            fields = {"command": command, "created": created.isoformat(), "test": test} | changes
            finish_run(run, build_result(config, data, val, stages, **fields))
        record_evaluation(self.runs, command, run.path, data.hash)
        return run

    def sign(self, run: RunFolder) -> None:
        """Makes the present files of a run those that it has written."""
        finish_run(run, Result.read(run.result))

    def add_finetuned(self, strategy: str, **options: Any) -> RunFolder:
        """Adds a fine-tuned run; see `add_run`."""
        scratch = self.config
        self.config = build_config(merge(scratch.model_dump(), {"finetune": {"strategy": strategy}}))
        try:
            return self.add_run("finetune", **{"name": f"{strategy}-MobileNetV2"} | options)
        finally:
            self.config = scratch

    def add_student(self, **options: Any) -> RunFolder:
        """Adds a run that learned from a teacher; see `add_run`."""
        teacher = {"training.teacher": "runs/finetune/20261101-080000-topk-MobileNetV2-seed0"}
        settings = teacher | options.pop("settings", {})
        return self.add_run(**{"name": "taught", "settings": settings, "teacher_hash": "t"} | options)

    def add_sweep(
        self,
        name: str,
        settings: Sequence[dict[str, Any]],
        scores: Sequence[float | None],
        data: DataSummary | None = None,
        curves: Sequence[Sequence[float]] | None = None,
    ) -> SweepFolder:
        """Adds a sweep. A trial without a score failed, and one with a curve of less than five epochs was pruned."""
        sweep = SweepFolder(self.runs / "sweep" / name)
        data = data or self.describe_data()
        sweep.mark_newest()
        names = dict.fromkeys(name for values in settings for name in values)
        space = {name: [values[name] for values in settings if name in values] for name in names}
        identity = SweepIdentity(space=space, settings={}, data_hash=data.hash)
        sweep.write_identity(identity)
        base = override(self.config, {"data.source": data.source})
        text = format_yaml(base.model_dump())
        for index, (values, score) in enumerate(zip(settings, scores, strict=True)):
            curve = curves[index] if curves else [score] * TRIAL_EPOCHS if score is not None else []
            trial = build_trial(index, values, score, curve).model_copy(update={"sweep": identity.hash})
            run = sweep.trial_run(trial.id)
            write_text(run.config, text)
            trial.write(sweep.trial_file(trial.id))
            if score is not None:
                build_result(base, data, score, ("scratch",), command="sweep").write(run.result)
        if any(score is not None for score in scores):
            best = max(range(len(scores)), key=lambda index: scores[index] or 0)
            with contextlib.suppress(UserError):  # made-up hyperparameters
                chosen = select(override(base, settings[best]), roles.BEST)
                write_text(sweep.best, format_yaml(nest(chosen)))
        return sweep

    def add_suspects(self, count: int, data: DataSummary | None = None) -> RunFolder:
        """Adds a run of the command `suspects` that found `count` label suspects."""
        self.num_runs += 1
        run = restart_run(self.config, self.runs / "suspects" / f"20261101-0800{self.num_runs:02d}-toy", "suspects")
        suspects = [
            Suspect(
                file=f"train/{self.classes[0]}/{rank}.jpg",
                label=self.classes[0],
                suggested=self.classes[1],
                probability_of_label=0.02,
                probability_of_suggested=0.95,
                rank=rank,
            )
            for rank in range(1, count + 1)
        ]
        outcome = Suspects(
            created=START.isoformat(),
            network="linear heads on the features of MobileNetV2",
            num_folds=5,
            num_images=240,
            accuracy=0.875,
            data=data or self.describe_data(),
            suspects=tuple(suspects),
        )
        pixels = np.zeros((min(count, 24), self.size, self.size, 3), np.uint8)
        SuspectPictures(pixels).write(run.suspect_pictures)
        write_suspects(run, outcome)
        return run

    def _predict(self, num_test: int, correct: int, shift: int, rng: np.random.Generator) -> Predictions:
        num_classes = len(self.classes)
        images = np.arange(num_test)
        labels = images * num_classes // num_test
        is_correct = np.roll(images % 5 < 3, shift)
        order = np.argsort(~is_correct, kind="stable")
        predicted = (labels + 1 + images % 2) % num_classes
        predicted[order[:correct]] = labels[order[:correct]]
        probabilities = rng.dirichlet([0.4] * num_classes, num_test).astype(np.float32)
        top = probabilities.argmax(axis=1)
        swapped = probabilities[images, predicted]
        probabilities[images, predicted] = probabilities[images, top]
        probabilities[images, top] = swapped
        errors = np.flatnonzero(predicted != labels)
        errors = errors[np.argsort(-probabilities[errors].max(axis=1))][:NUM_ERRORS]
        pixels = rng.integers(0, 255, (NUM_EXAMPLES, self.size, self.size, 3)).astype(np.uint8)
        return Predictions(
            probabilities=probabilities,
            labels=labels,
            files=np.array([f"val/{self.classes[label]}/{index}.jpg" for index, label in enumerate(labels)]),
            examples=np.random.default_rng(0).permutation(num_test)[:NUM_EXAMPLES],
            pixels=pixels,
            errors=errors,
            error_pixels=pixels[: len(errors)],
            flipped=probabilities[:0],
            origin=np.array(""),
            duplicates_hash=np.array(""),
        )

    def read_results(self) -> list[dict[str, str]]:
        """Returns the rows of `results.csv`."""
        with open(self.reports / "results.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def read_data_set(self) -> DataSet:
        """Returns the only data set."""
        [data_set] = read_history(self.runs).data_sets
        return data_set

    @property
    def figures(self) -> FigureFolder:
        """A new folder of figures, for sections that are rendered alone."""
        return FigureFolder(self.reports)

    def list_figures(self) -> set[str]:
        """Returns the names of the written figures."""
        return {path.stem for path in (self.reports / "figures").glob("*.svg")}

    def read_page(self) -> str:
        """Returns the HTML of the page."""
        return (self.reports / "index.html").read_text(encoding="utf-8")

    def read_text(self) -> str:
        """Returns the text of the page as a reader sees it."""
        page = re.sub(r"<(script|style).*?</\1>", "", self.read_page(), flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def format_text(*sections: Section | Sequence[Block]) -> str:
    """Returns the text of sections or of lists of blocks, without the marks of Markdown."""
    chapter = Chapter("", [entry if isinstance(entry, Section) else Section("", list(entry)) for entry in sections])
    text = re.sub(r"\\(.)", r"\1", render_markdown([chapter], ""))
    return " ".join(text.replace("`", "").replace("|", " ").split())


def build_epochs(val: float, stages: Sequence[str], rng: np.random.Generator) -> list[Epoch]:
    """Returns twelve epochs with an accuracy that rises to about `val`."""
    epochs = []
    for number in range(1, NUM_EPOCHS + 1):
        learned = float(1 - np.exp(-number / 4))
        epochs.append(
            Epoch(
                epoch=number,
                stage=stages[0] if number < 5 else stages[-1],
                loss=2.2 - 1.6 * learned,
                accuracy=min(0.1 + 1.3 * val * learned, 1),
                val_loss=2.2 - 1.1 * learned,
                val_balanced_accuracy=0.1 + (val - 0.1) * learned,
                val_accuracy=0.1 + (val - 0.1) * learned + rng.normal(0, 0.008),
                learning_rate=1e-3,
                seconds=2.0,
                images_per_second=500.0,
            )
        )
    return epochs


def build_result(config: Config, data: DataSummary, val: float, stages: Sequence[str], **changes: Any) -> Result:
    """Returns the result of a run. Keyword arguments replace its fields."""
    fields = {
        "command": "train-best",
        "name": config.run.name,
        "created": START.isoformat(),
        "config": config,
        "seed": config.run.seed,
        "objective": "accuracy",
        "val_accuracy": val,
        "val_balanced_accuracy": val,
        "val_majority_baseline": 1 / len(data.classes),
        "best_epoch": 11,
        "epochs": NUM_EPOCHS,
        "planned_epochs": NUM_EPOCHS,
        "seconds": 75.0,
        "images_per_second": 500.0,
        "parameters": 49386,
        "macs": 16083456,
        "precision": "float32",
        "weights_hash": "",
        "teacher_hash": "",
        "stages": tuple(StageSummary(stage=stage, parameters=1000, learning_rate=1e-3) for stage in stages),
        "data": data,
        "packages": {"keras": "3.15.1", "tensorflow-cpu": "2.21.0"},
        "device": "CPU, 2 cores",
        "commit": "0123456789ab",
        "temperature": 1.25,
    }
    return Result(**fields | changes)


def build_trial(index: int, settings: dict[str, Any], score: float | None, curve: Sequence[float]) -> Trial:
    """Returns a trial that failed if it has no score, and that was pruned if its curve is short."""
    started = START + timedelta(minutes=3 * index)
    fields = {
        "id": f"{index:03d}",
        "values": settings,
        "settings": settings,
        "started": started.isoformat(),
        "ended": (started + timedelta(minutes=2)).isoformat(),
        "seconds": 150.2,
    }
    if score is None:
        return Trial(status="failed", error="FloatingPointError: the loss is nan", **fields)
    return Trial(
        status="completed" if len(curve) == TRIAL_EPOCHS else "pruned",
        score=score,
        epochs=len(curve),
        val_accuracies=tuple(curve),
        val_balanced_accuracies=tuple(value / 2 for value in curve),
        val_majority_baseline=0.9,
        parameters=50_000 + index,
        macs=16_000_000,
        **fields,
    )
