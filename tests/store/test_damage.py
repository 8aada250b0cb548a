"""Files of runs that are damaged at random: what is read is what was written, or a line names the file."""

import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from export_records import build_row, write_records
from mutations import damage, damage_one
from sweep_records import write_sweep

from keras_inat.errors import UserError
from keras_inat.files import remove
from keras_inat.reporting.history import FinishedRun
from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Config
from keras_inat.store.contracts import ModelContract, read_contract
from keras_inat.store.explanations import Explanations
from keras_inat.store.exports import find_app, find_export
from keras_inat.store.ledger import read_ledger, record_evaluation
from keras_inat.store.model_archives import CONTRACT
from keras_inat.store.predictions import (
    DuplicatePictures,
    Predictions,
    SuspectPictures,
    TrainingSample,
    ValidationSample,
)
from keras_inat.store.runs import RunFolder, choose_run, create_run, finish_run, list_runs
from keras_inat.store.suspects import Suspect, Suspects, list_suspects, write_suspects
from keras_inat.store.sweeps import SweepFolder, find_best_config


class Tree(NamedTuple):
    """A folder `runs/` with one file of each kind."""

    run: RunFolder
    sweep: SweepFolder
    suspects: RunFolder

    @property
    def finished(self) -> FinishedRun | None:
        result = self.run.read_result()
        return FinishedRun(self.run, result, result.test) if result and result.test else None


# By the file, the function that reads it. It may depend on the rest of the tree.
READERS: dict[str, Callable[[Tree], Any]] = {
    "train-best/a/result.json": lambda tree: (list_runs("runs"), tree.run.read_result()),
    "train-best/a/config.yaml": lambda tree: (tree.run.read_config(), tree.run.read_result()),
    "train-best/a/metrics.jsonl": lambda tree: tree.finished.read_epochs(),
    "train-best/a/best.keras": lambda tree: (choose_run(Config()), read_contract(tree.run.model)),
    "train-best/a/test_predictions.npz": lambda tree: tree.finished.read_predictions(),
    "train-best/a/validation_sample.npz": lambda tree: tree.finished.read_validation_sample(),
    "train-best/a/training_sample.npz": lambda tree: tree.finished.read_training_sample(),
    "train-best/a/duplicates.npz": lambda tree: tree.finished.read_duplicates(),
    "train-best/a/export/contract.json": lambda tree: find_export(tree.run, "onnx"),
    "train-best/a/export/model.onnx": lambda tree: find_export(tree.run, "onnx"),
    "train-best/a/export/export.json": lambda tree: find_export(tree.run, "onnx"),
    "train-best/a/app/space/contract.json": lambda tree: find_app(tree.run),
    "train-best/a/app/index.html": lambda tree: find_app(tree.run) is None,
    "sweep/s/trials/0/trial.json": lambda tree: tree.sweep.read_trials(tree.sweep.find_identity()),
    "sweep/s/trials/0/result.json": lambda tree: (
        tree.sweep.read_trials(tree.sweep.find_identity()),
        tree.sweep.read_data(tree.sweep.find_identity()),
    ),
    "sweep/s/space.yaml": lambda tree: tree.sweep.read_identity(),
    "sweep/s/best.yaml": lambda tree: load_config([], find_best_config("runs", None)),
    "sweep/s/order.txt": lambda tree: tree.sweep.read_order(),
    "suspects/a/suspects.json": lambda tree: list_suspects("runs"),
    "suspects/a/suspects.npz": lambda tree: list_suspects("runs")[0].read_pictures(),
    "test_ledger.jsonl": lambda tree: read_ledger("runs", [tree.run]),
    ".test_ledger_end.json": lambda tree: read_ledger("runs", [tree.run]),
}


@pytest.fixture
def tree(build_result, build_epoch) -> Tree:
    config = load_config(["model.filters=[4,8,8,8,8]", "training.epochs=3"])
    run = create_run(config, "train-best").path.rename("runs/train-best/a")
    run = RunFolder(run, "train-best")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(12) % 3
    probabilities = random.dirichlet([1.0] * 3, 12).astype(np.float32)
    files = np.array([f"test/{index}.png" for index in range(12)])
    rows = np.arange(3)
    Predictions(
        probabilities,
        labels,
        files,
        rows,
        pixels[:3],
        rows,
        pixels[:3],
        probabilities[:0],
        np.array("abc"),
        np.array(""),
    ).write(run.predictions)
    ValidationSample(pixels, labels).write(run.sample)
    TrainingSample(pixels, labels, pixels[None, :4]).write(run.training_sample)
    DuplicatePictures(np.array([0]), pixels[None, :2]).write(run.duplicates)
    for number in (1, 2, 3):
        run.append_epoch(build_epoch(number, number / 10))
    contract = ModelContract(classes=("blue", "green", "red"), image_size=16, keras="3", keras_inat="0")
    with zipfile.ZipFile(run.model, "w") as archive:
        archive.writestr("model.weights.h5", random.bytes(2000))
        archive.writestr(CONTRACT, contract.model_dump_json())
    pair = {"path": "a", "of": "b", "similarity": 0.9, "cells": 9, "agreeing_cells": 9, "mirrored": False}
    found = build_result(duplicates=[pair | {"same_class": True, "rows": (0, 1)}])
    finish_run(run, found.model_copy(update={"config": config, "epochs": 3}))
    run.export.mkdir()
    (run.export / "model.onnx").write_bytes(b"graph")
    write_records(run, [build_row("onnx", "model.onnx")], {})
    run.app_contract.parent.mkdir(parents=True)
    run.app_page.write_text("a page")
    run.app_contract.write_bytes(run.export_contract.read_bytes())

    sweep = SweepFolder(Path("runs/sweep/s"))
    sweep.mark_newest()
    write_sweep(sweep, {"training.learning_rate": 0.002}, data_hash=found.data.hash)
    trial = create_run(config, "sweep", "0").path.rename(sweep.trials / "x")
    (trial / "config.yaml").rename(sweep.trial_run("0").config)
    trial.rmdir()
    build_result().model_copy(update={"command": "sweep", "test": None}).write(sweep.trial_run("0").result)

    suspects = RunFolder(Path("runs/suspects/a"), "suspects")
    suspects.path.mkdir(parents=True)
    SuspectPictures(pixels[:1]).write(suspects.suspect_pictures)
    suspect = Suspect(
        file="a.png", label="red", suggested="blue", probability_of_label=0.1, probability_of_suggested=0.9, rank=1
    )
    outcome = {"created": "2026", "network": "a CNN", "num_folds": 5, "num_images": 12, "accuracy": 0.5}
    write_suspects(suspects, Suspects(**outcome, data=build_result().data, suspects=(suspect,)))
    record_evaluation("runs", "train-best", run.path, "abc")
    record_evaluation("runs", "train-best", run.path, "abc")
    return Tree(run, sweep, suspects)


def describe(found: Any) -> Any:
    """Returns a value that can be compared with `==`, also if it has arrays."""
    if isinstance(found, np.ndarray):
        return found.dtype.str, found.shape, found.tobytes()
    if is_dataclass(found) and not isinstance(found, type):
        return type(found).__name__, describe(vars(found))
    if isinstance(found, dict):
        return {key: describe(value) for key, value in found.items()}
    return [*map(describe, found)] if isinstance(found, list | tuple) else found


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_named_or_makes_no_difference(name, tree, list_seeds, capsys):
    path = Path("runs") / name
    read = READERS[name]
    sound = describe(read(tree))
    assert capsys.readouterr().err == ""
    content = path.read_bytes()
    others = [file for file in sorted(Path("runs").rglob("*")) if file.is_file() and file != path]
    for seed in list_seeds(500):
        _, words = damage_one([path], seed, others)
        received, message = None, ""
        try:
            received = describe(read(tree))
        except (UserError, OSError) as error:
            message = str(error)
        assert path.name in message + capsys.readouterr().err or received == sound, (seed, words)
        remove(path)
        path.write_bytes(content)
    assert describe(read(tree)) == sound


@pytest.mark.parametrize("read", [Predictions.read, lambda path: Explanations.read(path, "key")])
def test_a_pipe_of_arrays_is_none(read, tmp_path):
    os.mkfifo(tmp_path / "arrays.npz")
    assert read(tmp_path / "arrays.npz") is None


def test_damaged_explanations_are_none(list_seeds, tmp_path):
    path = tmp_path / "explanations.npz"
    Explanations(first_layer=np.ones((4, 3, 3, 3)), failures={"neurons": "none is active"}).write(path, "key")
    sound = asdict(Explanations.read(path, "key"))
    content = path.read_bytes()
    for seed in list_seeds(500):
        words = damage(path, seed)
        received = Explanations.read(path, "key")  # None: they are computed again
        assert received is None or describe(asdict(received)) == describe(sound), (seed, words)
        path.write_bytes(content)


def test_exchanged_arrays_of_explanations_are_none(tmp_path):
    path = tmp_path / "explanations.npz"
    Explanations(first_layer=np.ones((4, 3, 3, 3)), predictions=np.zeros((4, 3, 3, 3))).write(path, "key")
    assert Explanations.read(path, "key") is not None
    arrays = dict(np.load(path))
    arrays["0"], arrays["1"] = arrays["1"], arrays["0"]
    np.savez_compressed(path, **arrays)
    assert Explanations.read(path, "key") is None
