"""The table of results for spreadsheets."""

import csv
import io
from pathlib import Path

import pytest
from report_workshop import Workshop

from keras_inat.report.history import read_history
from keras_inat.report.results_table import format_results
from keras_inat.store.records import EvaluationScores, FlipScores


def test_results_have_a_row_for_each_run(workshop: Workshop) -> None:
    workshop.add_run(seed=0, correct=60, val=0.52)
    flip = FlipScores(val_accuracy=0.6, test_accuracy=0.66, test_interval=(0.6, 0.7))
    test = EvaluationScores(accuracy=0.64, interval=(0.59, 0.69), num_images=100, flip=flip)
    workshop.add_run(seed=1, test=test)
    workshop.add_finetuned("head", correct=80, val=0.8)
    rows = list(csv.DictReader(io.StringIO(format_results(read_history(workshop.runs).runs))))
    assert [(row["command"], row["name"], row["seed"], row["strategy"], row["backbone"]) for row in rows] == [
        ("train-best", "first", "0", "scratch", ""),
        ("train-best", "first", "1", "scratch", ""),
        ("finetune", "head-MobileNetV2", "0", "head", "MobileNetV2"),
    ]
    first = rows[0]
    numbers = [float(first[name]) for name in ("val_accuracy", "test_accuracy", "low", "high")]
    assert numbers == pytest.approx([0.52, 0.60, 0.55, 0.65])
    assert (first["test_images"], first["parameters"], first["macs"]) == ("100", "49386", "16083456")
    assert (first["data"], first["data_hash"], first["commit"]) == ("toy", "toy-hash", "0123456789ab")
    assert Path(first["run"]).is_dir()
    assert [row["flip_test_accuracy"] for row in rows] == ["", "0.66", ""]
