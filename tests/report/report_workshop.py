"""Run folders as the commands leave them, written without training anything."""

import contextlib
import csv
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from keras_inat.errors import UserError
from keras_inat.files import append_jsonl, write_json, write_text
from keras_inat.settings.loading import format_yaml, load_config, override
from keras_inat.settings.schema import Config
from keras_inat.store.ledger import ledger_path
from keras_inat.store.runs import RunFolder

CLASSES = ["Amphibia", "Aves", "Fungi", "Plantae"]
START = datetime.fromisoformat("2026-11-01T08:00:00+00:00")


class Workshop:
    """Fills a `runs/` folder."""

    def __init__(self, directory: Path, classes: list[str] | None = None, size: int = 16, pixels: Any = None) -> None:
        self.runs = directory / "runs"
        self.config: Config = load_config([f"run.directory={self.runs}", f"report.directory={directory / 'reports'}"])
        self.classes, self.size, self.pixels = classes or CLASSES, size, pixels
        self.num_runs = 0

    def describe_data(self, name: str = "toy", num_test: int = 100, **changes: Any) -> dict[str, Any]:
        """What `Pack.describe` gives."""
        num = len(self.classes)
        return {
            "name": name,
            "hash": f"{name}-hash",
            "image_size": self.size,
            "classes": self.classes,
            "per_class": {"train": [60] * num, "test": [num_test // num] * num},
            "quarantined": [],
            "leaked": [],
            "counts": {"train": 48 * num, "validation": 12 * num, "test": num_test},
        } | changes

    def add_run(
        self,
        command: str = "train-best",
        name: str = "first",
        seed: int = 0,
        correct: int = 60,
        val: float = 0.5,
        data: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        finished: bool = True,
        shift: int = 0,
    ) -> RunFolder:
        """A run with `correct` of its test images right; which ones is moved by `shift`."""
        data = data or self.describe_data()
        values = {"run.name": name, "run.seed": seed, "data.image_size": self.size} | (settings or {})
        if self.size < 32:
            values.setdefault("model.num_blocks", 3)
        config = override(self.config, values)
        self.num_runs += 1
        stamp = (START + timedelta(hours=self.num_runs)).strftime("%Y%m%d-%H%M%S")
        run = RunFolder(self.runs / command / f"{stamp}-{name}-seed{seed}", command)
        run.path.mkdir(parents=True)
        write_text(run.config, format_yaml(config.model_dump()))
        rng = np.random.default_rng([seed, self.num_runs])
        stages = ["head", "top"] if command == "finetune" else ["scratch"]
        for epoch in range(1, 13):
            learnt = 1 - np.exp(-epoch / 4)
            row = {"epoch": epoch, "stage": stages[0] if epoch < 5 else stages[-1]}
            row |= {"accuracy": 0.1 + 1.3 * val * learnt, "loss": 2.2 - 1.6 * learnt}
            row |= {"val_accuracy": 0.1 + (val - 0.1) * learnt + rng.normal(0, 0.008), "val_loss": 2.2 - 1.1 * learnt}
            append_jsonl(run.metrics, row | {"learning_rate": 1e-3, "seconds": 2.0, "images_per_second": 500.0})
        num_test = data["counts"]["test"]
        labels = np.arange(num_test) * len(self.classes) // num_test
        right = np.roll(np.arange(num_test) % 5 < 3, shift)
        order = np.argsort(~right, kind="stable")
        predicted = (labels + 1 + np.arange(num_test) % 2) % len(self.classes)
        predicted[order[:correct]] = labels[order[:correct]]
        probabilities = rng.dirichlet([0.4] * len(self.classes), num_test).astype(np.float32)
        top = probabilities.argmax(axis=1)
        every = np.arange(num_test)
        swap = probabilities[every, predicted]
        probabilities[every, predicted], probabilities[every, top] = probabilities[every, top], swap
        examples = np.random.default_rng(0).permutation(num_test)[:30]
        pixels = self.pixels if self.pixels is not None else rng.integers(0, 255, (30, self.size, self.size, 3))
        wrong = np.flatnonzero(predicted != labels)
        errors = wrong[np.argsort(-probabilities[wrong].max(axis=1))][:12]
        np.savez_compressed(
            run.predictions,
            probabilities=probabilities,
            labels=labels,
            files=np.array([f"val/{self.classes[label]}/{index}.jpg" for index, label in enumerate(labels)]),
            examples=examples,
            pixels=pixels.astype(np.uint8),
            errors=errors,
            error_pixels=pixels[: len(errors)].astype(np.uint8),
        )
        sample = rng.integers(0, 255, (24, self.size, self.size, 3), dtype=np.uint8)
        np.savez_compressed(run.sample, pixels=sample, labels=np.arange(24) % len(self.classes))
        if finished:
            result = self._describe_result(config, data, val) | {
                "command": command,
                "created": (START + timedelta(hours=self.num_runs)).isoformat(),
                "stages": [{"stage": stage, "parameters": 1000, "learning_rate": 1e-3} for stage in stages],
                "test_accuracy": correct / num_test,
                "test_interval": [correct / num_test - 0.05, correct / num_test + 0.05],
                "test_images": num_test,
            }
            write_json(run.result, result)
        look = {
            "time": START.isoformat(),
            "command": command,
            "run": str(run.path),
            "data": data["hash"],
            "commit": None,
        }
        append_jsonl(ledger_path(self.runs), look)
        return run

    def add_sweep(
        self,
        name: str,
        settings: list[dict[str, Any]],
        scores: list[float | None],
        data: dict[str, Any] | None = None,
        curves: list[list[float]] | None = None,
    ) -> Path:
        """A sweep over `settings`; a trial without a score failed, one with a curve of less than five was pruned."""
        folder = self.runs / "sweep" / name
        data = data or self.describe_data()
        write_text(
            folder / "space.yaml", format_yaml({"base": {"data": {"source": f"data/{data['name']}"}}, "space": {}})
        )
        table = []
        for index, (values, score) in enumerate(zip(settings, scores, strict=True)):
            began = START + timedelta(minutes=3 * index)
            row = {"id": f"{index:03d}", "status": "completed" if score is not None else "failed", "score": score}
            row |= values | {"epochs": 5, "seconds": 150.2, "parameters": 50_000 + index, "macs": 16_000_000}
            if curves:
                row["val_accuracies"] = " ".join(map(str, curves[index]))
                row["status"] = "completed" if len(curves[index]) == 5 else "pruned"
            row |= {"started": began.isoformat(), "ended": (began + timedelta(minutes=2)).isoformat(), "error": ""}
            if score is None:
                row |= {"epochs": None, "parameters": None, "macs": None, "error": "FloatingPointError: the loss, oh"}
            else:
                result = self._describe_result(self.config, data, score)
                write_json(folder / "trials" / row["id"] / "result.json", result)
            table.append(row)
        with open(folder / "trials.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(table)
        if any(score is not None for score in scores):
            best = max(range(len(scores)), key=lambda index: scores[index] or 0)
            with contextlib.suppress(UserError):  # made-up hyperparameters
                values = override(self.config, settings[best]).model_dump()
                sections = {section: values[section] for section in ("data", "augment", "model", "training")}
                write_text(folder / "best.yaml", format_yaml(sections))
        return folder

    def _describe_result(self, config: Config, data: dict[str, Any], val: float) -> dict[str, Any]:
        return {
            "name": config.run.name,
            "config": config.model_dump(mode="json"),
            "seed": config.run.seed,
            "val_accuracy": val,
            "best_epoch": 11,
            "epochs": 12,
            "seconds": 75.0,
            "images_per_second": 500.0,
            "parameters": 49386,
            "macs": 16083456,
            "data": data,
            "packages": {"keras": "3.15.1", "tensorflow-cpu": "2.21.0"},
            "commit": "0123456789ab",
        }

    def read_results(self) -> list[dict[str, str]]:
        """The rows of `results.csv`."""
        with open(Path(self.config.report.directory) / "results.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def read_page(self) -> str:
        return (Path(self.config.report.directory) / "index.html").read_text(encoding="utf-8")
